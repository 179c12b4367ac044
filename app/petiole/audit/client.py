"""A client whose changes are written into the audit log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Unpack

from petiole.audit.entry import Entry, Origin, shortened
from petiole.audit.log import AuditLog
from petiole.client.bulk import BATCH, Treated
from petiole.client.carrying import Imported
from petiole.client.client import Client
from petiole.client.dispatch import Dispatch
from petiole.client.handle import RunHandle
from petiole.client.scheduling import ScheduleChanges
from petiole.defaults import Ground
from petiole_stores.errors import (
    BrokerError,
    CorruptionError,
    NotFoundError,
    PetioleError,
    StoreError,
    UnfitError,
    UnstorableError,
)
from petiole_stores.ids import new_id
from petiole_stores.records import Run
from petiole_stores.store import Store
from petiole_workers.fitting import Fleet
from petiole_workers.graph import MISSING
from petiole_workers.schedules.schedule import Schedule

if TYPE_CHECKING:
    from petiole_workers.compiled import CompiledGraph

#: Set while something is recorded: what that does itself (a resume forks) is part of it.
_within: ContextVar[bool] = ContextVar("petiole_audit_within", default=False)


class AuditedClient(Client):
    """The client of somebody in particular: it works with the store, broker and graphs of ``client``, and what it changes is
    recorded as done by ``origin``. Cheap to make, one a request."""

    def __init__(self, client: Client, origin: Origin) -> None:
        self.settings = client.settings
        self._client, self.origin = client, origin
        self._known_graphs = client._known_graphs

    @cached_property
    def place(self) -> Ground:
        return self._client.place

    @cached_property
    def store(self) -> Store:
        return self._client.store

    @cached_property
    def dispatch(self) -> Dispatch:
        return self._client.dispatch

    @property
    def _fleet(self) -> Fleet:
        return self._client._fleet

    def _import_graphs(self) -> bool:
        return self._client._import_graphs()

    def close(self) -> None:
        """Nothing: what it works with belongs to another client."""

    @property
    def audit(self) -> AuditLog:
        """The log."""
        return AuditLog(self.store, keep=self.settings.keep_audit)

    # ---------------------------------------------------------------- recording

    @contextmanager
    def recording(self, action: str, **fields: Any) -> Iterator[Entry]:
        """Record what is done within, also when it raises; the entry may be filled in meanwhile."""
        entry = self._entry(action, **fields)
        if _within.get():
            yield entry
            return
        mark = _within.set(True)
        try:
            yield entry
        except PetioleError as error:
            lost = isinstance(error, StoreError | BrokerError)
            known = isinstance(error, UnstorableError | CorruptionError)
            entry.result = "failed" if lost and not known else "refused"
            entry.reason = shortened(str(error))
            raise
        except BaseException as error:
            entry.result, entry.reason = "failed", type(error).__name__
            raise
        finally:
            _within.reset(mark)
            self.audit.write([entry])

    def note_refusal(self, action: str, reason: str, where: Mapping[str, Any]) -> None:
        """Record that something was asked for that its asker may not do; ``where`` may name ``thread_id`` and ``run_id``."""
        named = {name: str(where[name]) for name in ("thread_id", "run_id") if name in where}
        self.audit.write([self._entry(action, result="refused", reason=shortened(reason), **named)])

    def _entry(self, action: str, **fields: Any) -> Entry:
        origin = self.origin
        return Entry(
            id=new_id(),
            at=self.now(),
            actor=shortened(origin.actor),
            via=origin.via,
            address=origin.address,
            user_agent=shortened(origin.user_agent),
            action=action,
            **fields,
        )

    @contextmanager
    def _acting(self, action: str, thread_id: str, run: str | None = None, **details: Any) -> Iterator[Entry]:
        """Record a change of a thread, with where it stood before and stands after."""
        before = self._standing(thread_id, run)
        given = {name: value for name, value in details.items() if value not in (None, "", ())}
        with self.recording(
            action,
            graph=before.pop("graph", None),
            thread_id=before.pop("thread_id", thread_id),
            run_id=before.get("run_id"),
            before=before,
            details=given,
        ) as entry:
            yield entry
            try:
                after = self._standing(entry.thread_id or thread_id, entry.run_id)
            except StoreError:  # what was asked for is done all the same
                return
            entry.graph = after.pop("graph", entry.graph)
            entry.thread_id = after.pop("thread_id", entry.thread_id)
            entry.run_id = after.get("run_id", entry.run_id)
            entry.after = after

    def _standing(self, thread_id: str, run: str | None) -> dict[str, Any]:
        try:
            found = self.get_run(run or thread_id)
        except NotFoundError:
            found = None
        head = self.store.head(found.thread_id if found else thread_id)
        standing: dict[str, Any] = {} if head is None else {"checkpoint_id": head.checkpoint_id}
        if found is not None:
            standing |= {"graph": found.graph, "thread_id": found.thread_id}
            standing |= {"run_id": found.run_id, "status": found.status}
        return standing

    def _about(self, action: str, thread_id: str, do: Callable[[], RunHandle], **details: Any) -> RunHandle:
        """As ``_acting``, for what gives a handle: the run that the handle is of."""
        with self._acting(action, thread_id, **details) as entry:
            handle = do()
            entry.thread_id, entry.run_id = handle.thread_id, handle.run_id
        return handle

    # ---------------------------------------------------------------- what is recorded

    def submit(self, graph: str | CompiledGraph, input: Any, **options: Any) -> RunHandle:
        name = graph if isinstance(graph, str) else graph.name
        kept = ("thread_id", "idempotency_key", "if_busy", "version")
        details = {key: value for key in kept if (value := options.get(key)) not in (None, "reject")}
        thread_id = details.pop("thread_id", None)
        with self.recording("run.submit", graph=name, thread_id=thread_id, details=details) as entry:
            handle = super().submit(graph, input, **options)
            entry.thread_id, entry.run_id = handle.thread_id, handle.run_id
        return handle

    def cancel(self, thread_id: str, *, run: str | None = None, reason: str = "") -> bool:
        with self._acting("run.cancel", thread_id, run, reason=reason) as entry:
            done = super().cancel(thread_id, run=run, reason=reason)
            entry.result = "done" if done else "already"
        return done

    def pause(self, thread_id: str, *, run: str | None = None, reason: str = "") -> bool:
        with self._acting("run.pause", thread_id, run, reason=reason) as entry:
            done = super().pause(thread_id, run=run, reason=reason)
            entry.result = "done" if done else "already"
        return done

    def unpause(self, thread_id: str, *, run: str | None = None) -> bool:
        with self._acting("run.unpause", thread_id, run) as entry:
            done = super().unpause(thread_id, run=run)
            entry.result = "done" if done else "already"
        return done

    def signal(self, thread_id: str, name: str, payload: Any = None, *, id: str | None = None) -> str:
        with self._acting("run.signal", thread_id, name=name) as entry:
            given = super().signal(thread_id, name, payload, id=id)
            entry.details = {**entry.details, "id": given}
        return given

    def delete(self, thread_id: str, *, force: bool = False) -> bool:
        with self._acting("thread.delete", thread_id, force=force or None) as entry:
            gone = super().delete(thread_id, force=force)
            entry.result = "done" if gone else "already"
        return gone

    def replay(
        self,
        thread_id: str,
        *,
        run: str | None = None,
        checkpoint: str | None = None,
        from_node: str | None = None,
    ) -> RunHandle:
        do = super().replay
        return self._about(
            "run.replay",
            thread_id,
            lambda: do(thread_id, run=run, checkpoint=checkpoint, from_node=from_node),
            run=run,
            checkpoint=checkpoint,
            from_node=from_node,
        )

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
        do = super().resume
        return self._about(
            "run.resume",
            thread_id,
            lambda: do(
                thread_id,
                value,
                id=id,
                answers=answers,
                run=run,
                checkpoint=checkpoint,
                resume_from=resume_from,
                graph=graph,
            ),
            run=run,
            checkpoint=checkpoint,
            interrupts=[id] if id else sorted(answers or ()) or None,
            resume_from=[*resume_from] or None,
        )

    def fork(
        self,
        thread_id: str,
        checkpoint: str,
        values: Any = MISSING,
        as_node: str | None = None,
        *,
        graph: CompiledGraph | str | None = None,
    ) -> RunHandle:
        do = super().fork
        return self._about(
            "run.fork",
            thread_id,
            lambda: do(thread_id, checkpoint, values, as_node, graph=graph),
            checkpoint=checkpoint,
            as_node=as_node,
            keys=_keys(values),
        )

    def bulk_update_state(
        self,
        thread_id: str,
        supersteps: Sequence[Sequence[tuple[Any, ...]]],
        *,
        checkpoint: str | None = None,
        ns: str = "",
        graph: CompiledGraph | str | None = None,
    ) -> dict[str, Any]:
        keys = sorted({key for updates in supersteps for update in updates for key in _keys(update[0]) or ()})
        with self._acting("thread.update", thread_id, checkpoint=checkpoint, ns=ns, keys=keys or None):
            return super().bulk_update_state(thread_id, supersteps, checkpoint=checkpoint, ns=ns, graph=graph)

    def save_checkpoint(self, thread_id: str, state: Mapping[str, Any], **options: Any) -> str:
        with self._acting("checkpoint.save", thread_id, keys=_keys(state)):
            return super().save_checkpoint(thread_id, state, **options)

    def delete_checkpoint(self, checkpoint_id: str) -> None:
        with self.recording("checkpoint.delete", before={"checkpoint_id": checkpoint_id}):
            super().delete_checkpoint(checkpoint_id)

    def clear_checkpoints(self, thread_id: str) -> None:
        with self._acting("checkpoint.clear", thread_id):
            super().clear_checkpoints(thread_id)

    def clear_cache(self, graph: str | CompiledGraph, nodes: Sequence[str] | None = None) -> None:
        name = graph if isinstance(graph, str) else graph.name
        with self.recording("cache.clear", graph=name, details={"nodes": [*nodes]} if nodes else {}):
            super().clear_cache(graph, nodes)

    def import_thread(self, text: bytes | str, *, thread_id: str | None = None) -> Imported:
        with self.recording("thread.import", thread_id=thread_id) as entry:
            brought = super().import_thread(text, thread_id=thread_id)
            entry.thread_id, entry.run_id = brought.thread_id, brought.run_id
        return brought

    def create_schedule(self, name: str, graph: str | CompiledGraph, input: Any, **options: Any) -> Schedule:
        named = graph if isinstance(graph, str) else graph.name
        with self.recording("schedule.create", graph=named, details={"name": name}) as entry:
            made = super().create_schedule(name, graph, input, **options)
            entry.thread_id, entry.after = made.thread_id, _of_schedule(made)
        return made

    def update_schedule(self, name: str, **changes: Unpack[ScheduleChanges]) -> Schedule:
        do = super().update_schedule
        return self._schedule("schedule.update", name, lambda: do(name, **changes), changed=sorted(changes))

    def pause_schedule(self, name: str) -> Schedule:
        do = super().pause_schedule
        return self._schedule("schedule.pause", name, lambda: do(name))

    def unpause_schedule(self, name: str) -> Schedule:
        do = super().unpause_schedule
        return self._schedule("schedule.unpause", name, lambda: do(name))

    def trigger_schedule(self, name: str, *, idempotency_key: str | None = None) -> RunHandle:
        with self.recording("schedule.trigger", details={"name": name}) as entry:
            handle = super().trigger_schedule(name, idempotency_key=idempotency_key)
            entry.thread_id, entry.run_id = handle.thread_id, handle.run_id
        return handle

    def delete_schedule(self, name: str) -> bool:
        with self.recording("schedule.delete", details={"name": name}) as entry:
            try:
                old = self.get_schedule(name)
                entry.graph, entry.thread_id, entry.before = old.graph, old.thread_id, _of_schedule(old)
            except NotFoundError:
                pass  # then nothing is deleted
            except (CorruptionError, UnfitError) as error:
                entry.details = {"name": name, "damaged": str(error)}
            gone = super().delete_schedule(name)
            entry.result = "done" if gone else "already"
        return gone

    def _schedule(self, action: str, name: str, do: Callable[[], Schedule], **details: Any) -> Schedule:
        with self.recording(action, details={"name": name} | details) as entry:
            old = self.get_schedule(name)
            entry.before = _of_schedule(old)
            new = do()
            entry.graph, entry.thread_id, entry.after = new.graph, new.thread_id, _of_schedule(new)
            entry.result = "already" if new == old else "done"
        return new

    def replay_all(self, runs: Iterable[Run]) -> Iterator[Treated]:
        made: list[Entry] = []
        try:
            for one in super().replay_all(runs):
                made.append(self._entry_of("run.replay", one))
                if len(made) >= BATCH:
                    self.audit.write(made)
                    made = []
                yield one
        finally:
            self.audit.write(made)

    def cancel_all(self, runs: Iterable[Run], *, reason: str = "") -> Iterator[Treated]:
        iterator = iter(runs)
        # As many as are cancelled in one transaction: whoever stops after the first one has cancelled them all.
        while batch := [*islice(iterator, BATCH)]:
            treated = [*super().cancel_all(batch, reason=reason)]
            self.audit.write([self._entry_of("run.cancel", one, reason=reason) for one in treated])
            yield from treated

    def drop_dead_letters(self, task_ids: Iterable[str]) -> int:
        ids = [*task_ids]
        with self.recording("dead_letter.drop", details={"tasks": ids[:BATCH], "asked": len(ids)}) as entry:
            count = super().drop_dead_letters(ids)
            entry.after = {"dropped": count}
        return count

    def _entry_of(self, action: str, one: Treated, **details: Any) -> Entry:
        """The entry of one run of many."""
        run = one.run
        return self._entry(
            action,
            graph=run.graph,
            thread_id=run.thread_id,
            run_id=run.run_id,
            before={"run_id": run.run_id, "status": run.status},
            result=one.result,
            reason=shortened(one.reason),
            details={"bulk": True} | {name: value for name, value in details.items() if value},
        )


def _of_schedule(schedule: Schedule) -> dict[str, Any]:
    """What tells one state of a schedule from another."""
    return {"schedule_id": schedule.id, "paused": schedule.paused, "next_at": schedule.next_at}


def _keys(values: Any) -> list[str] | None:
    """Which keys of a state are written; their values are nothing for the log."""
    return sorted(map(str, values)) if isinstance(values, Mapping) else None
