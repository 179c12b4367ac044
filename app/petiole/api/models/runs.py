"""Runs as requests and answers have them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from petiole_stores.records import RunStatus, TaskKind, TaskStatus

#: Ten years: what may lie ahead of a run, in seconds.
FAR = 315_360_000.0


class Body(BaseModel):
    """A request's body: what it does not know is refused."""

    model_config = ConfigDict(extra="forbid")


class SubmitBody(Body):
    """A run to be started."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"graph": "shop.order", "input": {"id": 7}, "thread_id": "order-7", "tags": ["web"]}]
        },
    )

    graph: str = Field(min_length=1, max_length=255, description="The graph's name.")
    input: Any = Field(description="What the run starts with, applied to the thread's state as an update.")
    thread_id: str | None = Field(None, min_length=1, max_length=255, description="Nothing: a new thread.")
    context: Any = Field(None, description="What nodes get as `runtime.context`.")
    configurable: dict[str, Any] | None = Field(None, description="Values for nodes that take `config`.")
    tags: list[str] = []
    metadata: dict[str, Any] | None = None
    at: AwareDatetime | None = Field(None, description="Not before this time.")
    in_seconds: float | None = Field(None, ge=0, le=FAR, description="Not before so long from now.")
    deadline: AwareDatetime | None = Field(None, description="Fail the run if it has not ended by then.")
    deadline_seconds: float | None = Field(
        None, gt=0, le=FAR, description="The same, so long after it may start."
    )
    if_busy: Literal["reject", "enqueue", "interrupt", "rollback"] = "reject"
    version: str | None = Field(None, max_length=255, description="The graph's version that the run is of.")
    recursion_limit: int | None = Field(None, ge=1, le=1_000_000)
    durability: str | None = Field(None, examples=["sync"])
    consistency: Literal["strong", "eventual", "session", "minimal"] | None = None


class ErrorOut(BaseModel):
    """What something failed of, or why it is held back."""

    model_config = ConfigDict(extra="allow")

    type: str = ""
    message: str = ""


class RunOut(BaseModel):
    """A run without its input."""

    run_id: str
    thread_id: str
    graph: str
    version: str | None
    status: RunStatus
    tags: list[str]
    metadata: Any
    idempotency_key: str | None
    error: ErrorOut | None
    reason: ErrorOut | None
    checkpoint_id: str | None
    base_id: str | None
    replays: int
    run_at: datetime | None
    deadline: datetime | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class RunFullOut(RunOut):
    """A run with its input."""

    input: Any = Field(description="Null where the run goes on from a checkpoint.")


class RunPageOut(BaseModel):
    """Runs, newest first."""

    items: list[RunOut]
    next: str | None = Field(description="The `cursor` of the page after this; null on the last one.")


class CountsOut(BaseModel):
    """How many runs match, by status."""

    counts: dict[str, int]
    total: int


class AttemptOut(BaseModel):
    attempt: int
    outcome: str
    holder: str | None
    slot: str | None
    error: ErrorOut | None
    claimed_at: datetime | None
    ended_at: datetime | None


class QuestionOut(BaseModel):
    """An interrupted task and what it asks; `id` is null where it asks nothing."""

    id: str | None
    node: str
    ns: str
    task_id: str
    run_id: str
    value: Any
    trouble: str | None
    since: datetime | None
    command: str


class TaskOut(BaseModel):
    task_id: str
    run_id: str
    thread_id: str
    checkpoint_id: str | None
    ns: str
    child: str | None
    awaits: str | None
    path: str
    kind: TaskKind
    node: str
    status: TaskStatus
    queue: str
    priority: str
    attempt: int
    failures: int
    crashes: int
    recovered: bool
    replaced: bool
    holder: str | None
    slot: str | None
    error: ErrorOut | None
    run_at: datetime | None
    created_at: datetime
    claimed_at: datetime | None
    ended_at: datetime | None
    attempts: list[AttemptOut]
    interrupt: QuestionOut | None


class TaskPageOut(BaseModel):
    """Tasks of a run in the order they were made."""

    items: list[TaskOut]
    next: str | None


class LogOut(BaseModel):
    """A record that a node has logged."""

    id: str = Field(description="Its place among the run's; it rises.")
    run_id: str
    thread_id: str
    task_id: str
    node: str
    ns: str = Field(description="The namespace that the node is in; empty: the graph itself.")
    attempt: int = Field(description="1 for the node's first try.")
    at: datetime = Field(description="When it was logged, by the worker's clock.")
    level: str
    severity: int = Field(description="The level's number.")
    logger: str
    message: str
    exception: str | None = Field(description="The traceback, or the stack that was asked for.")
    cut: bool = Field(description="It was longer than what is kept, or more than an attempt may have.")


class LogPageOut(BaseModel):
    """Records in the order in which they were kept."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {
                            "id": "1764174000123",
                            "run_id": "0197c1…",
                            "thread_id": "order-7",
                            "task_id": "0197c2…",
                            "node": "charge",
                            "ns": "",
                            "attempt": 2,
                            "at": "2026-11-26T16:20:00.120000+00:00",
                            "level": "WARNING",
                            "severity": 30,
                            "logger": "shop.bank",
                            "message": "the bank answers slowly: 4.2 s",
                            "exception": None,
                            "cut": False,
                        }
                    ],
                    "next": None,
                    "after": "1764174000123",
                }
            ]
        }
    )

    items: list[LogOut]
    next: str | None = Field(
        description="The `cursor` of the page after this; null: nothing more by now. "
        "A page may have few records, or none, and have a next one."
    )
    after: str = Field(description="The `cursor` to ask with later for what is logged from now on.")


class TaskCountOut(BaseModel):
    """The tasks of a run that share namespace, node, kind and status."""

    ns: str
    node: str
    kind: TaskKind
    status: TaskStatus
    count: int
    created_at: datetime
    ended_at: datetime | None
    crashes: int
    failures: int
    recovered: int
    replaced: int


class TaskCountsOut(BaseModel):
    items: list[TaskCountOut]


class ResultOut(BaseModel):
    """The final state of a run that succeeded."""

    run_id: str
    thread_id: str
    result: Any


class QuestionsOut(BaseModel):
    items: list[QuestionOut]


class WaitOut(BaseModel):
    kind: str
    subject: str
    detail: str
    since: datetime | None
    until: datetime | None
    command: str | None


class SuperstepOut(BaseModel):
    total: int
    open: int


class ExplanationOut(BaseModel):
    """What a run waits for, why, and the command that helps."""

    thread_id: str
    run_id: str
    graph: str
    status: RunStatus
    summary: str
    superstep: SuperstepOut | None
    waits: list[WaitOut]
    now: datetime


class DifferenceOut(BaseModel):
    path: str
    kind: Literal["added", "removed", "changed"]
    before: Any
    after: Any


class DifferencesOut(BaseModel):
    items: list[DifferenceOut]


class ReasonBody(Body):
    """Why something is done; kept with the run."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "the bank is down"}]}
    )

    reason: str = Field("", max_length=2000)


class ChangedOut(BaseModel):
    """Whether this request has changed something; `false`: it was so before."""

    changed: bool
    run: RunOut


class ResumeBody(Body):
    """The answer to one interrupt, or answers by id, or nothing where the graph was told to stop.

    With `update` or `goto` the state is changed first, as if the node that stopped had written it.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"value": {"approved": True}}, {"answers": {"9f…": "yes"}}]},
    )

    value: Any = None
    id: str | None = Field(None, description="The interrupt that `value` answers.")
    answers: dict[str, Any] | None = None
    update: Any = Field(None, description="Written to the state before the run goes on.")
    as_node: str | None = Field(None, description="The node that is to have written `update`.")
    goto: list[str] | None = Field(None, description="Nodes that come next in place of those that did.")


class ReplayBody(Body):
    """Without a checkpoint and nodes a failed run goes on itself from its failed nodes."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"from_node": "charge"}]})

    checkpoint: str | None = Field(None, description="A new run starts from there.")
    from_node: str | None = Field(None, description="A new run starts before this node.")
    resume_from: list[str] = Field([], description="Nodes that come next, on the checkpoint or the newest.")


class ForkBody(Body):
    """A checkpoint to go on from, and what is changed there."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"checkpoint_id": "01975c…", "values": {"amount": 5}, "as_node": "price"}]
        },
    )

    checkpoint_id: str = Field(min_length=1, max_length=255)
    values: Any = Field(None, description="Written to the state; leave it out to change nothing.")
    as_node: str | None = Field(None, max_length=255)
