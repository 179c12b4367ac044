"""``Client("http://…")``: the client's interface over a server's API, for programs that reach neither store nor broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast

from petiole.client.answering import Question, Reply
from petiole.client.bulk import Treated
from petiole.client.dead_letters import DeadLetter
from petiole.client.explaining import Explanation
from petiole.client.handle import RunHandle
from petiole.client.logs import LogPage
from petiole.client.run_query import RunQuery
from petiole.remote import decoding
from petiole.remote.connected import part, trouble
from petiole.remote.scheduling import RemoteScheduling
from petiole.remote.streaming import RemoteStream
from petiole.remote.transport import PATIENCE
from petiole_stores.errors import ConflictError, InputError, NotFoundError
from petiole_stores.ids import new_id
from petiole_stores.records import (
    SETTLED,
    QueueBacklog,
    Run,
    RunPage,
    RunStatus,
    Task,
    TaskCount,
    TaskKind,
    TaskPage,
    Worker,
)
from petiole_workers.active import OPEN
from petiole_workers.graph import MISSING, Interrupt
from petiole_workers.graph.overwrite import plain
from petiole_workers.takeover import IfBusy

if TYPE_CHECKING:
    from petiole.client.streaming import RunStream
    from petiole_workers.compiled import CompiledGraph
    from petiole_workers.streaming import StreamMode

#: For how long the server is asked to wait for a run before it answers, in seconds.
LONG = 20.0


class RemoteClient(RemoteScheduling):
    """A client over HTTP; see :class:`petiole.Client` for what its methods take and give.

    Parameters
        store   the server's URL: ``http://host:8642``
        token   an API key or bearer token; nothing: the setting ``token`` (``PETIOLE_TOKEN``)
        graphs  as for any client: graphs whose state classes are to come back as themselves

    What is done with the store itself (``store``, ``memory``, ``now`` and the broker) is not to be had: that raises
    ConfigurationError. Records leave out what only workers need, such as a task's output. Raises AccessError where the server
    refuses the token or its scope, and StoreUnavailableError where it does not answer; reads and submits are made again before
    that.
    """

    # ---------------------------------------------------------------- submitting

    def submit(
        self,
        graph: str | CompiledGraph,
        input: Any,
        *,
        thread_id: str | None = None,
        idempotency_key: str | None = None,
        context: Any = None,
        configurable: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        at: datetime | timedelta | float | None = None,
        deadline: datetime | timedelta | float | None = None,
        if_busy: IfBusy = "reject",
        version: str | None = None,
        recursion_limit: int | None = None,
        durability: str | None = None,
        consistency: Literal["strong", "eventual", "session", "minimal"] | None = None,
    ) -> RunHandle:
        if input is None:
            raise InputError(
                "input is None: a run needs one; replay() goes on from a checkpoint, resume() past an interrupt"
            )
        if isinstance(graph, str):
            name, input = graph, plain(input)
        else:
            self._know(graph)
            name, version = graph.name, version or graph.offer.version
            input, context = graph.accept(input), graph.accept_context(context)
        body = {
            "graph": name,
            "input": self._write(input),
            "thread_id": thread_id,
            "context": None if context is None else self._write(context),
            "configurable": None if configurable is None else self._write(dict(configurable)),
            "tags": list(tags),
            "metadata": None if metadata is None else self._write(dict(metadata)),
            "if_busy": if_busy,
            "version": version,
            "recursion_limit": recursion_limit,
            "durability": durability,
            "consistency": consistency,
            **_when("at", "in_seconds", at, is_span=False),
            **_when("deadline", "deadline_seconds", deadline, is_span=True),
        }
        # Under a key of its own a submit may be sent again when its answer was lost.
        key = idempotency_key or f"once-{new_id()}"
        document = self.transport.post(
            "/runs",
            {name: value for name, value in body.items() if value is not None},
            again=True,
            headers={"Idempotency-Key": key},
        )
        return RunHandle(self, document["thread_id"], document["run_id"])

    # ---------------------------------------------------------------- looking

    def get_run(self, run_or_thread: str, *, thread_id: str | None = None) -> Run:
        try:
            return decoding.run_of(self.transport.get(f"/runs/{part(run_or_thread)}"))
        except NotFoundError:
            page = [] if thread_id else self.runs_page(thread_id=run_or_thread, limit=1).runs
            if not page:
                raise
            return page[0]

    def list_runs(self, **query: Unpack[RunQuery]) -> Iterator[Run]:
        return self._pages("/runs", _query(query), decoding.run_of)

    def runs_page(self, *, limit: int = 50, cursor: str | None = None, **query: Unpack[RunQuery]) -> RunPage:
        found = self.transport.get("/runs", _query(query) | {"limit": limit, "cursor": cursor})
        return RunPage(runs=[decoding.run_of(one) for one in found["items"]], next=found["next"])

    def count_runs(self, **query: Unpack[RunQuery]) -> dict[RunStatus, int]:
        counts: dict[RunStatus, int] = self.transport.get("/runs/counts", _query(query))["counts"]
        return counts

    def tasks(self, run_or_thread: str) -> list[Task]:
        run = self.get_run(run_or_thread)
        return [*self._pages(f"/runs/{part(run.run_id)}/tasks", {}, decoding.task_of)]

    def tasks_page(
        self,
        run_or_thread: str,
        *,
        ns: str | None = None,
        node: str | None = None,
        kind: TaskKind | None = None,
        status: str | Sequence[str] = (),
        checkpoint_id: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
        brief: bool = False,
    ) -> TaskPage:
        run = self.get_run(run_or_thread)
        params = {
            "ns": ns,
            "node": node,
            "kind": kind,
            "status": [status] if isinstance(status, str) else list(status),
            "checkpoint_id": checkpoint_id,
            "limit": limit,
            "cursor": cursor,
        }
        found = self.transport.get(f"/runs/{part(run.run_id)}/tasks", params)
        return TaskPage(tasks=[decoding.task_of(one) for one in found["items"]], next=found["next"])

    def logs_page(
        self,
        run_or_thread: str,
        *,
        task_id: str | None = None,
        node: str | None = None,
        level: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> LogPage:
        run = self.get_run(run_or_thread)
        query = {"task_id": task_id, "node": node, "level": level, "limit": limit, "cursor": cursor}
        found = self.transport.get(f"/runs/{part(run.run_id)}/logs", query)
        logs = [decoding.log_of(one) for one in found["items"]]
        return LogPage(logs=logs, next=found["next"], after=found["after"])

    def task_counts(self, run_or_thread: str) -> list[TaskCount]:
        run = self.get_run(run_or_thread)
        found = self.transport.get(f"/runs/{part(run.run_id)}/task-counts")
        return [decoding.task_count_of(one) for one in found["items"]]

    def stream(
        self,
        thread_id: str,
        run_id: str | None = None,
        stream_mode: StreamMode | Sequence[StreamMode] | None = None,
        *,
        after: str | None = None,
        subgraphs: bool = False,
        output_keys: str | Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> RunStream:
        modes: list[Any] = [stream_mode] if isinstance(stream_mode, str) else list(stream_mode or ["updates"])
        stream = RemoteStream(
            self.transport,
            self._read,
            self.run_of(thread_id, run_id),
            modes,
            after=after,
            subgraphs=subgraphs,
            output_keys=output_keys,
            timeout=timeout,
        )
        return cast("RunStream", stream)  # the same to iterate over, without a store behind it

    def workers(self) -> list[Worker]:
        return [decoding.worker_of(one) for one in self.transport.get("/workers")["items"]]

    def backlogs(self) -> list[QueueBacklog]:
        return [decoding.backlog_of(one) for one in self.transport.get("/queues")["items"]]

    def dead_letters(
        self,
        *,
        graph: str | None = None,
        thread_id: str | None = None,
        node: str | None = None,
        error_type: str | None = None,
        since: datetime | float | None = None,
        until: datetime | float | None = None,
        poison: bool = False,
    ) -> Iterator[DeadLetter]:
        query = {
            "graph": graph,
            "thread_id": thread_id,
            "node": node,
            "error_type": error_type,
            "since": since,
            "until": until,
            "poison": poison,
        }
        for one in self._pages("/dead-letters", _query(query), dict):
            yield decoding.letter_of(
                self.transport.get(f"/dead-letters/{part(one['run_id'])}/{part(one['task_id'])}")
            )

    def _look_at(self, handle: RunHandle, until: float | None = None) -> Run:
        """As the server tells it, once the run rests or after a while; a server that restarts meanwhile is waited for."""
        left = LONG if until is None else max(0.0, until - time.monotonic())
        params = {"timeout": f"{min(left, LONG):.3f}"}
        path = f"/runs/{part(handle.run_id)}/wait"
        # Who can wait no longer still has a moment for a server that is just being started.
        patience = PATIENCE if until in (None, 0.0) else max(left, 5.0)
        return decoding.run_of(self.transport.get(path, params, patience=patience))

    def explain(self, thread_id: str, *, run: str | None = None) -> Explanation:
        found = self.run_of(thread_id, run)
        return decoding.explanation_of(self.transport.get(f"/runs/{part(found.run_id)}/explain"))

    def interrupts(self, thread_id: str, *, run: str | None = None) -> list[Interrupt]:
        try:
            if run is not None:
                raise NotFoundError(run)
            found = self.transport.get(f"/threads/{part(thread_id)}/interrupts")
        except NotFoundError:
            found = self.transport.get(f"/runs/{part(self.run_of(thread_id, run).run_id)}/interrupts")
        asked = [one for one in found["items"] if one["id"]]
        for one in asked:
            if one["trouble"]:
                raise trouble(one["trouble"])
        return [Interrupt(value=self._read(one["value"]), id=one["id"]) for one in asked]

    def asking_run(self, thread_id: str, run: str | None = None) -> Run:
        found = self.run_of(thread_id, run)
        if run or found.run_id == thread_id:
            return found
        waiting = [*self.list_runs(thread_id=found.thread_id, status=OPEN)][::-1]
        return next(iter(sorted(waiting, key=lambda one: one.status == "queued")), found)

    def questions(self, run: Run) -> list[Question]:
        if run.status in SETTLED:
            return []
        path = f"/runs/{part(run.run_id)}"
        found = self.transport.get(f"{path}/interrupts")["items"]
        told = self._pages(f"{path}/tasks", {"status": ["interrupted"]}, decoding.task_of) if found else ()
        tasks = {task.task_id: task for task in told}
        return [
            decoding.question_of(one, tasks[one["task_id"]], self._read)
            for one in found
            if one["task_id"] in tasks  # else it was answered in between
        ]

    def outcome(self, run: Run) -> dict[str, Any]:
        self.check_succeeded(run)
        found = self.transport.get(f"/runs/{part(run.run_id)}/result", patience=PATIENCE)
        return cast(dict[str, Any], self._read(found["result"]))

    # ---------------------------------------------------------------- steering

    def cancel(self, thread_id: str, *, run: str | None = None, reason: str = "") -> bool:
        return self._changed(thread_id, run, "cancel", {"reason": reason})

    def pause(self, thread_id: str, *, run: str | None = None, reason: str = "") -> bool:
        return self._changed(thread_id, run, "pause", {"reason": reason})

    def unpause(self, thread_id: str, *, run: str | None = None) -> bool:
        return self._changed(thread_id, run, "unpause", None)

    def resume(
        self,
        thread_id: str,
        value: Any = MISSING,
        *,
        id: str | None = None,
        answers: Mapping[str, Any] | None = None,
        run: str | None = None,
        checkpoint: str | None = None,
        resume_from: Sequence[str] = (),
        graph: CompiledGraph | str | None = None,
    ) -> RunHandle:
        reply = Reply(value, id, answers).checked()
        body: dict[str, Any] = {"id": reply.id}
        if checkpoint is not None or resume_from:
            if not reply.is_empty or run is not None:
                raise InputError(
                    "an answer or a run is given with a checkpoint or resume_from: give one of them"
                )
            body = {"checkpoint": checkpoint, "resume_from": list(resume_from), "graph": self._named(graph)}
        if reply.answers is not None:
            body["answers"] = {name: self._write(answer) for name, answer in reply.answers.items()}
        if reply.value is not MISSING:
            body["value"] = self._write(reply.value)
        return self._goes_on(thread_id, run, "resume", body)

    def replay(
        self,
        thread_id: str,
        *,
        run: str | None = None,
        checkpoint: str | None = None,
        from_node: str | None = None,
    ) -> RunHandle:
        return self._goes_on(thread_id, run, "replay", {"checkpoint": checkpoint, "from_node": from_node})

    def signal(self, thread_id: str, name: str, payload: Any = None, *, id: str | None = None) -> str:
        body = {"name": name, "payload": self._write(payload), "id": id or new_id()}
        return str(self.transport.post(f"/threads/{part(thread_id)}/signals", body, again=True)["id"])

    def delete(self, thread_id: str, *, force: bool = False) -> bool:
        try:
            found = self.transport.delete(f"/threads/{part(thread_id)}", {"force": force})
        except NotFoundError:
            return False
        return bool(found["deleted"])

    def clear_cache(self, graph: str | CompiledGraph, nodes: Sequence[str] | None = None) -> None:
        name = graph if isinstance(graph, str) else graph.name
        body = None if nodes is None else {"nodes": list(nodes)}
        self.transport.post(f"/graphs/{part(name)}/cache/clear", body, again=True)

    # ---------------------------------------------------------------- many at once

    def replay_all(self, runs: Iterable[Run]) -> Iterator[Treated]:
        for run in runs:
            yield _treated(run, partial(self.replay, run.thread_id, run=run.run_id))

    def cancel_all(self, runs: Iterable[Run], *, reason: str = "") -> Iterator[Treated]:
        for run in runs:
            yield _treated(run, partial(self.cancel, run.thread_id, run=run.run_id, reason=reason))

    def drop_dead_letters(self, task_ids: Iterable[str]) -> int:
        wanted, dropped = set(task_ids), 0
        for one in self._pages("/dead-letters", {}, dict) if wanted else ():
            if one["task_id"] in wanted:
                path = f"/dead-letters/{part(one['run_id'])}/{part(one['task_id'])}/drop"
                dropped += self.transport.post(path, again=True)["dropped"]
        return dropped

    # ---------------------------------------------------------------- within

    def _changed(self, thread_id: str, run: str | None, verb: str, body: Any) -> bool:
        found = self.run_of(thread_id, run)
        return bool(self.transport.post(f"/runs/{part(found.run_id)}/{verb}", body, again=True)["changed"])

    def _goes_on(self, thread_id: str, run: str | None, verb: str, body: Mapping[str, Any]) -> RunHandle:
        """Let a run go on, or whichever run of the thread is meant."""
        given = {name: value for name, value in body.items() if value not in (None, [])}
        if run is None:
            try:
                return self._handled(self.transport.post(f"/threads/{part(thread_id)}/{verb}", given))
            except NotFoundError:
                found = self.get_run(thread_id)
                if found.run_id != thread_id:
                    raise
        else:
            found = self.run_of(thread_id, run)
        return self._handled(self.transport.post(f"/runs/{part(found.run_id)}/{verb}", given))

    def _handled(self, document: Mapping[str, Any]) -> RunHandle:
        return RunHandle(self, document["thread_id"], document["run_id"])


def _query(query: Mapping[str, Any]) -> dict[str, Any]:
    """A filter as parameters: times as ISO 8601 in UTC, one status as a list."""
    found = dict(query)
    found.pop("brief", None)
    for name in ("since", "until"):
        at = found.get(name)
        if isinstance(at, int | float):
            at = datetime.fromtimestamp(at, UTC)
        if isinstance(at, datetime):
            found[name] = at.isoformat()
    for name in ("status", "graphs", "namespaces"):
        if name in found:
            found[name] = [found[name]] if isinstance(found[name], str) else list(found[name])
    return found


def _when(
    moment: str, span: str, given: datetime | timedelta | float | None, *, is_span: bool
) -> dict[str, Any]:
    """A time under the name that fits; a number is seconds since the epoch, or with ``is_span`` so many from then."""
    if given is None:
        return {}
    if isinstance(given, timedelta):
        return {span: given.total_seconds()}
    if isinstance(given, datetime):
        if given.tzinfo is None:
            raise InputError(f"{moment} is {given!r}, without a time zone: give an aware datetime")
        return {moment: given.isoformat()}
    return {span: given} if is_span else {moment: datetime.fromtimestamp(given, UTC).isoformat()}


def _treated(run: Run, act: Callable[[], RunHandle | bool]) -> Treated:
    """What became of one run of many: a refusal does not stop the others."""
    try:
        done = act()
    except (ConflictError, NotFoundError) as error:
        return Treated(run=run, result="refused", reason=str(error))
    return Treated(run=run, result="done" if done else "already")
