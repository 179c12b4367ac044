"""``/api/v1/schedules``: runs that workers submit when their time comes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, HTTPException, Path
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from petiole.access.principal import Principal
from petiole.api.access import Acting, Operator, Reader
from petiole.api.answers import typed
from petiole.api.encoding import Json
from petiole.api.values import InValues, Values
from petiole.client import Client
from petiole.documents import schedule_document
from petiole_stores.errors import NotFoundError, UnfitError
from petiole_workers.schedules.schedule import Schedule

router = APIRouter(prefix="/api/v1/schedules", tags=["schedules"])

Name = Annotated[str, Path(description="The schedule's name.", examples=["nightly"])]
IfBusy = Literal["reject", "enqueue", "interrupt", "rollback"]
Missed = Literal["skip", "all"]


class NewSchedule(BaseModel):
    """What a schedule is made of. Durations are in seconds."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "nightly",
                    "graph": "shop.report",
                    "input": {"days": 1},
                    "cron": "0 3 * * *",
                    "timezone": "Europe/Berlin",
                    "missed": "skip",
                },
                {"name": "poll", "graph": "shop.poll", "input": {}, "every": 30, "thread_id": "poller"},
            ]
        },
    )

    name: str
    graph: str
    input: Any = Field(description="What each run starts with; not null.")
    cron: str | None = Field(
        None, description="Minute, hour, day of month, month and day of week; seconds may come before them."
    )
    timezone: str = Field("UTC", description="Where `cron` is read: an IANA name.")
    every: float | None = Field(None, description="The interval, in place of `cron`; at least 1.")
    thread_id: str | None = Field(None, description="Of all runs; null: a new thread for each.")
    if_busy: IfBusy = Field("reject", description="While another run is active on `thread_id`.")
    tags: list[str] = []
    metadata: dict[str, Any] = {}
    deadline: float | None = Field(None, description="Fail runs that take longer.")
    missed: Missed = Field(
        "skip", description="Of times that passed unseen: make up for the newest, or for all."
    )
    catch_up: float = Field(3600.0, description="Times that were missed longer ago are given up.")
    jitter: float = Field(0.0, description="Each run starts up to so long after its time.")
    until: AwareDatetime | None = Field(None, description="No time after this.")
    max_runs: int | None = Field(None, description="End after so many runs.")
    paused: bool = False


class ScheduleChange(BaseModel):
    """What is to be changed; what is left out stays. `cron` and `every` replace each other."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"cron": "30 4 * * *", "jitter": 60}]}
    )

    graph: str | None = None
    input: Any = None
    cron: str | None = None
    timezone: str | None = None
    every: float | None = None
    thread_id: str | None = None
    if_busy: IfBusy | None = None
    tags: list[str] | None = None
    metadata: dict[str, Any] | None = None
    deadline: float | None = None
    missed: Missed | None = None
    catch_up: float | None = None
    jitter: float | None = None
    until: AwareDatetime | None = None
    max_runs: int | None = None


#: What may be changed to null: it then has no such bound.
NULLABLE = frozenset({"cron", "every", "thread_id", "deadline", "until", "max_runs"})


class Trigger(BaseModel):
    """How a schedule is fired by hand."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"idempotency_key": "release-7"}]}
    )

    idempotency_key: str | None = Field(None, description="The same key gives the same run.")


class LastFiring(BaseModel):
    """What came of a schedule's last due time."""

    due_at: datetime
    fired_at: datetime
    result: Literal["submitted", "refused", "failed"]
    thread_id: str | None
    run_id: str | None
    error: str | None


class ScheduleDocument(BaseModel):
    """A schedule. Its runs have the tag `tag`."""

    name: str
    status: Literal["active", "paused", "ended"]
    graph: str
    input: Any
    cron: str | None
    timezone: str
    every: float | None
    next_at: datetime | None
    thread_id: str | None
    if_busy: IfBusy
    tag: str
    tags: list[str]
    metadata: dict[str, Any]
    deadline: float | None
    missed: Missed
    catch_up: float
    jitter: float
    until: datetime | None
    max_runs: int | None
    runs: int
    last: LastFiring | None
    created_at: datetime
    updated_at: datetime


class DamagedSchedule(BaseModel):
    """A schedule that cannot be read, and fires nothing until it is deleted and made anew."""

    name: str
    reason: str


class Schedules(BaseModel):
    """All schedules, by name; damaged ones for callers who are limited to no graphs or namespaces."""

    schedules: list[ScheduleDocument]
    damaged: list[DamagedSchedule]


class Triggered(BaseModel):
    """The run that was submitted."""

    thread_id: str
    run_id: str


ONE = typed(ScheduleDocument, text="The schedule")
MADE = typed(ScheduleDocument, 201, text="It is there")


@router.get(
    "", summary="List schedules", response_model=None, responses=typed(Schedules, text="The schedules")
)
def list_schedules(who: Reader, client: Acting, values: InValues) -> Json:
    """All schedules, by name, each with its next time and what came of its last one."""
    found = [one for one in client.list_schedules() if _sees(who, one.graph, one.thread_id)]
    damaged = client.damaged_schedules() if _sees_all(who) else {}
    return values.answer(
        {
            "schedules": [_document(client, one, values) for one in found],
            "damaged": [{"name": name, "reason": reason} for name, reason in damaged.items()],
        }
    )


@router.post("", summary="Make a schedule", status_code=201, response_model=None, responses=MADE)
def create_schedule(who: Operator, client: Acting, body: NewSchedule, values: InValues) -> Json:
    """Make a schedule. Workers fire it from its first time after now on."""
    _may(who, body.graph, body.thread_id)
    fields = body.model_dump(exclude={"name", "graph", "input"})
    made = client.create_schedule(body.name, body.graph, values.given(body.input), **fields)
    return values.answer(_document(client, made, values), 201)


@router.get("/{name}", summary="Look at a schedule", response_model=None, responses=ONE)
def get_schedule(who: Reader, client: Acting, name: Name, values: InValues) -> Json:
    """One schedule."""
    return values.answer(_document(client, _seen(who, client, name), values))


@router.patch("/{name}", summary="Change a schedule", response_model=None, responses=ONE)
def update_schedule(
    who: Operator, client: Acting, name: Name, body: ScheduleChange, values: InValues
) -> Json:
    """Change what is given; after a change of its times the next one is reckoned from now on."""
    fields: Any = body.model_dump(exclude_unset=True)
    if unset := sorted(key for key, value in fields.items() if value is None and key not in NULLABLE):
        raise HTTPException(422, f"{', '.join(unset)} cannot be null: leave out what is to stay")
    old = _seen(who, client, name)
    _may(who, fields.get("graph", old.graph), fields.get("thread_id", old.thread_id))
    if "input" in fields:
        fields["input"] = values.given(fields["input"])
    return values.answer(_document(client, client.update_schedule(name, **fields), values))


@router.delete("/{name}", summary="Delete a schedule", status_code=204)
def delete_schedule(who: Operator, client: Acting, name: Name) -> None:
    """Remove a schedule; runs that it has submitted stay."""
    if not (_sees_all(who) and name in client.damaged_schedules()):
        _seen(who, client, name)
    client.delete_schedule(name)


@router.post("/{name}/pause", summary="Hold a schedule back", response_model=None, responses=ONE)
def pause_schedule(who: Operator, client: Acting, name: Name, values: InValues) -> Json:
    """Let it fire nothing until it is unpaused."""
    changed = client.pause_schedule(_seen(who, client, name).name)
    return values.answer(_document(client, changed, values))


@router.post("/{name}/unpause", summary="Let a paused schedule go on", response_model=None, responses=ONE)
def unpause_schedule(who: Operator, client: Acting, name: Name, values: InValues) -> Json:
    """Let it fire again, from its next time on."""
    changed = client.unpause_schedule(_seen(who, client, name).name)
    return values.answer(_document(client, changed, values))


@router.post(
    "/{name}/trigger", summary="Submit a schedule's run now", status_code=202, response_model=Triggered
)
def trigger_schedule(
    who: Operator, client: Acting, name: Name, body: Trigger | None = None
) -> dict[str, Any]:
    """Submit a run now, paused or not; its times stay as they are."""
    _seen(who, client, name)
    handle = client.trigger_schedule(name, idempotency_key=body.idempotency_key if body else None)
    return {"thread_id": handle.thread_id, "run_id": handle.run_id}


def _sees(who: Principal, graph: str, thread_id: str | None) -> bool:
    """Whether a schedule is his to see. New threads are of no namespace, so who is limited to some has none of those."""
    return who.sees(graph=graph, thread_id=thread_id) and (thread_id is not None or not who.namespaces)


def _sees_all(who: Principal) -> bool:
    return not who.graphs and not who.namespaces


def _seen(who: Principal, client: Client, name: str) -> Schedule:
    """The schedule of this name. Raises NotFoundError, also for one that is not his to see."""
    found = client.get_schedule(name)
    if not _sees(who, found.graph, found.thread_id):
        raise NotFoundError(f"there is no schedule {name!r}")
    return found


def _may(who: Principal, graph: str, thread_id: str | None) -> None:
    """Refuse (403) what is outside of the graphs and namespaces that the caller is limited to."""
    if not _sees(who, graph, thread_id):
        thread = "new threads" if thread_id is None else f"thread {thread_id!r}"
        raise HTTPException(403, f"{who.name} may not submit runs of graph {graph!r} on {thread}")


def _document(client: Client, schedule: Schedule, values: Values) -> dict[str, Any]:
    """The schedule; its input as it is stored where this server does not know its classes."""
    try:
        given = values.out(client.typed(lambda: client.store.serde.load_whole(schedule.input)))
    except UnfitError:
        given = msgspec.json.decode(schedule.input)
    document = schedule_document(msgspec.structs.replace(schedule, input="null"), client.store.serde)
    return ScheduleDocument.model_validate(document).model_dump(mode="json") | {"input": given}
