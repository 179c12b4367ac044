"""Schedules, and threads as files, over a server's API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Unpack
from urllib.parse import quote

import msgspec

from petiole.client.carrying import Imported
from petiole.client.handle import RunHandle
from petiole.client.plain import plain
from petiole.client.scheduling import ScheduleChanges
from petiole.remote.decoding import timed
from petiole.remote.states import RemoteStates
from petiole_stores.decoding import converter
from petiole_stores.errors import InputError, NotFoundError
from petiole_stores.ids import new_id
from petiole_workers.graph.overwrite import plain as as_given
from petiole_workers.schedules.schedule import Firing, Missed, Schedule
from petiole_workers.schedules.timing import Timing
from petiole_workers.takeover import IfBusy

if TYPE_CHECKING:
    from petiole_workers.compiled import CompiledGraph

_TIMES = ("next_at", "until", "created_at", "updated_at")


class RemoteScheduling(RemoteStates):
    """As :class:`petiole.client.scheduling.Scheduling`."""

    def create_schedule(
        self,
        name: str,
        graph: str | CompiledGraph,
        input: Any,
        *,
        cron: str | None = None,
        timezone: str = "UTC",
        every: float | None = None,
        thread_id: str | None = None,
        if_busy: IfBusy = "reject",
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        deadline: float | None = None,
        missed: Missed = "skip",
        catch_up: float = 3600.0,
        jitter: float = 0.0,
        until: datetime | float | None = None,
        max_runs: int | None = None,
        paused: bool = False,
    ) -> Schedule:
        body = {
            "name": name,
            **self._scheduled_as(graph, input),
            "cron": cron,
            "timezone": timezone,
            "every": every,
            "thread_id": thread_id,
            "if_busy": if_busy,
            "tags": list(tags),
            "metadata": plain(dict(metadata or {})),
            "deadline": deadline,
            "missed": missed,
            "catch_up": catch_up,
            "jitter": jitter,
            "until": _moment(until),
            "max_runs": max_runs,
            "paused": paused,
        }
        return self._schedule(self.transport.post("/schedules", body))

    def update_schedule(self, name: str, **changes: Unpack[ScheduleChanges]) -> Schedule:
        body: dict[str, Any] = dict(changes)
        if "until" in body:
            body["until"] = _moment(body["until"])
        if unknown := set(body) - set(ScheduleChanges.__annotations__):
            raise InputError(
                f"a schedule has no {', '.join(sorted(unknown))} to be changed: there are "
                f"{', '.join(ScheduleChanges.__annotations__)}"
            )
        if "metadata" in body:
            body["metadata"] = plain(dict(body["metadata"] or {}))
        if "tags" in body:
            body["tags"] = list(body["tags"])
        graph = body.pop("graph", None)
        if "input" in body:
            body |= self._scheduled_as(graph or self.get_schedule(name).graph, body["input"])
        elif graph is not None:
            body["graph"] = graph if isinstance(graph, str) else graph.name
        return self._schedule(self.transport.patch(_path(name), body))

    def get_schedule(self, name: str) -> Schedule:
        return self._schedule(self.transport.get(_path(name)))

    def list_schedules(self) -> list[Schedule]:
        return [self._schedule(one) for one in self.transport.get("/schedules")["schedules"]]

    def damaged_schedules(self) -> dict[str, str]:
        return {one["name"]: one["reason"] for one in self.transport.get("/schedules")["damaged"]}

    def pause_schedule(self, name: str) -> Schedule:
        return self._schedule(self.transport.post(f"{_path(name)}/pause", again=True))

    def unpause_schedule(self, name: str) -> Schedule:
        return self._schedule(self.transport.post(f"{_path(name)}/unpause", again=True))

    def trigger_schedule(self, name: str, *, idempotency_key: str | None = None) -> RunHandle:
        body = {"idempotency_key": idempotency_key or new_id()}
        made = self.transport.post(f"{_path(name)}/trigger", body, again=True)
        return RunHandle(self, made["thread_id"], made["run_id"])

    def delete_schedule(self, name: str) -> bool:
        try:
            self.transport.delete(_path(name))
        except NotFoundError:
            return False
        return True

    # ---------------------------------------------------------------- threads as files

    def export_thread(self, thread_id: str, *, run: str | None = None) -> bytes:
        return self.transport.get_bytes(f"/runs/{quote(run or thread_id, safe='')}/export")

    def import_thread(self, text: bytes | str, *, thread_id: str | None = None) -> Imported:
        params = {"thread_id": thread_id} if thread_id else {}
        made = self.transport.post("/runs/import", msgspec.Raw(_bytes(text)), params=params)
        return Imported(made["thread_id"], made["run_id"], made["checkpoints"])

    def _scheduled_as(self, graph: str | CompiledGraph, input: Any) -> dict[str, Any]:
        """A graph's name and an input for it, as they are sent."""
        if input is None:
            raise InputError("input is None: the runs of a schedule need one, such as {}")
        if isinstance(graph, str):
            return {"graph": graph, "input": self._write(as_given(input))}
        self._know(graph)
        return {"graph": graph.name, "input": self._write(graph.accept(input))}

    def _schedule(self, document: Mapping[str, Any]) -> Schedule:
        """A schedule from its document. What only workers need of it (its id, revision and anchor) is not in it."""
        told = timed(document, _TIMES)
        last = document["last"] and timed(document["last"], ("due_at", "fired_at"))
        for name in ("status", "tag", "runs"):
            told.pop(name)
        return Schedule(
            **told
            | {
                "id": "",
                "timing": Timing(told.pop("cron"), told.pop("timezone"), told.pop("every")),
                "input": msgspec.json.encode(document["input"]).decode(),
                "fired": document["runs"],
                "paused": document["status"] == "paused",
                "last": last and _firing(last),
            }
        )


def _path(name: str) -> str:
    return f"/schedules/{quote(name, safe='')}"


def _moment(at: datetime | float | None) -> str | None:
    if at is None:
        return None
    return (at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)).isoformat()


def _bytes(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text


_firing = converter(Firing)
