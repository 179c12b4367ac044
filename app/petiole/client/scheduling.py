"""Schedules of a client: made, changed, looked at, and fired by hand. Workers fire them when their time comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import msgspec

from petiole.client.continuing import Continuing
from petiole_stores.errors import InputError
from petiole_stores.ids import new_id
from petiole_workers.graph.overwrite import plain
from petiole_workers.schedules import book
from petiole_workers.schedules.firing import Firer
from petiole_workers.schedules.schedule import Missed, Schedule
from petiole_workers.schedules.timing import Timing
from petiole_workers.takeover import IfBusy
from petiole_workers.times import epoch

if TYPE_CHECKING:
    from petiole.client.handle import RunHandle
    from petiole_workers.compiled import CompiledGraph


class ScheduleChanges(TypedDict, total=False):
    """What can be changed of a schedule, see :meth:`Scheduling.create_schedule`."""

    graph: str | CompiledGraph
    input: Any
    cron: str | None
    timezone: str
    every: float | None
    thread_id: str | None
    if_busy: IfBusy
    tags: Sequence[str]
    metadata: Mapping[str, Any]
    deadline: float | None
    missed: Missed
    catch_up: float
    jitter: float
    until: datetime | float | None
    max_runs: int | None


class Scheduling(Continuing):
    """Keeps schedules."""

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
        """Let workers submit a run again and again, once for each due time. Durations are in seconds.

        Parameters
            name       up to 200 letters, digits, '.', ':', '@', '_' and '-'; its runs have the tag ``schedule:NAME``
            graph      name, or the compiled graph itself: then ``input`` is checked before anything is stored
            input      what each run starts with
            cron       five fields (``0 9 * * MON-FRI``), or six with seconds before them, read in ``timezone``
            every      the interval, counted from now on by the store's clock; in place of ``cron``, at least 1
            thread_id  of all runs; nothing: a new thread for each
            if_busy    on ``thread_id``, while another run is active there: as :meth:`Client.submit` takes it. What is
                       rejected is left out and recorded as the schedule's last outcome
            tags       of its runs, beside ``schedule:NAME``
            metadata   of its runs, beside ``schedule`` and ``due_at``
            deadline   fail a run that has not ended so long after it may start
            missed     ``skip``: of the times that passed while no worker looked, the newest alone is made up for; ``all``:
                       every one, at most 100. Times up to 10 s ago are not missed yet
            catch_up   times that were missed longer ago than this are given up
            jitter     a run starts at a moment up to so long after its due time, drawn for each
            until      no time later than this: an aware datetime, or seconds since the epoch
            max_runs   end after so many runs
            paused     it fires nothing until it is unpaused

        Raises InputError, SerializationError, and ConflictError where there is a schedule of this name.
        """
        graph_name, document = self._scheduled(graph, input)
        schedule = Schedule(
            name=name,
            id=new_id(),
            graph=graph_name,
            timing=Timing(cron, timezone, every),
            input=document,
            thread_id=thread_id,
            if_busy=if_busy,
            tags=list(tags),
            metadata=dict(metadata or {}),
            deadline=deadline,
            missed=missed,
            catch_up=catch_up,
            jitter=jitter,
            until=epoch(until),
            max_runs=max_runs,
            paused=paused,
        )
        return book.create_schedule(self.store, schedule)

    def update_schedule(self, name: str, **changes: Unpack[ScheduleChanges]) -> Schedule:
        """Change what is given, as :meth:`create_schedule` takes it; all else stays.

        ``cron`` takes the place of ``every`` and the other way round. After a change of its times the next one is reckoned
        from now on; runs that were submitted stay. Raises NotFoundError, InputError and SerializationError.
        """
        given: dict[str, Any] = dict(changes)
        unknown = set(given) - set(ScheduleChanges.__annotations__)
        if unknown:
            raise InputError(
                f"a schedule has no {', '.join(sorted(unknown))} to be changed: there are "
                f"{', '.join(ScheduleChanges.__annotations__)}"
            )
        if "until" in given:
            given["until"] = epoch(given["until"])
        retimed: dict[str, Any] = {
            key: given.pop(key) for key in ("cron", "timezone", "every") if key in given
        }
        graph, has_input, value = given.pop("graph", None), "input" in given, given.pop("input", None)

        def change(old: Schedule) -> Schedule:
            fields = dict(given)
            if graph is not None or has_input:
                old_input = None if has_input else self.store.serde.load_whole(old.input)
                named, document = self._scheduled(graph or old.graph, value if has_input else old_input)
                fields |= {"graph": named, "input": document}
            if retimed:
                fields |= {"timing": _retimed(old.timing, retimed), "anchor": None}
            if retimed or {"until", "max_runs"} & set(fields):
                fields["next_at"] = None
            return msgspec.structs.replace(old, **fields)

        return self._change_schedule(name, change)

    def get_schedule(self, name: str) -> Schedule:
        """A schedule with its next time and its last outcome. Raises NotFoundError."""
        return book.get_schedule(self.store, name)

    def list_schedules(self) -> list[Schedule]:
        """All schedules that can be read, by name."""
        return book.list_schedules(self.store)

    def damaged_schedules(self) -> dict[str, str]:
        """Why schedules cannot be read, by name: they fire nothing until they are deleted and made anew."""
        return book.damaged_schedules(self.store)

    def pause_schedule(self, name: str) -> Schedule:
        """Let a schedule fire nothing until it is unpaused; its runs go on. Raises NotFoundError."""
        return self._change_schedule(name, lambda old: _held(old, True))

    def unpause_schedule(self, name: str) -> Schedule:
        """Let a schedule fire again, from its next time on: times that passed meanwhile are not made up for.

        Raises NotFoundError.
        """
        return self._change_schedule(name, lambda old: _held(old, False))

    def trigger_schedule(self, name: str, *, idempotency_key: str | None = None) -> RunHandle:
        """Submit a run of a schedule now, paused or not; its times and ``max_runs`` stay as they are.

        The same ``idempotency_key`` gives the same run. Raises NotFoundError and ThreadBusyError.
        """
        key = f"trigger:{idempotency_key or new_id()}"
        firer = Firer(self.store, self._fleet, self.settings.queue, self.publish)
        thread_id, run_id = firer.submit(self.get_schedule(name), self.now(), key=key)
        return self._handle(thread_id, run_id)

    def delete_schedule(self, name: str) -> bool:
        """Remove a schedule; runs that it has submitted stay. ``False``: there was none."""
        return book.delete_schedule(self.store, name)

    # ---------------------------------------------------------------- within

    def _scheduled(self, graph: str | CompiledGraph, input: Any) -> tuple[str, str]:
        """A graph's name, and the document of an input for it."""
        if input is None:
            raise InputError("input is None: the runs of a schedule need one, such as {}")
        if isinstance(graph, str):
            return graph, self.store.serde.dump_whole(plain(input))
        self._learn(self.store, graph)
        return graph.name, self.store.serde.dump_whole(graph.accept(input))

    def _change_schedule(self, name: str, change: Callable[[Schedule], Schedule]) -> Schedule:
        """Change a schedule, again where somebody else has changed it meanwhile."""
        while True:
            old = self.get_schedule(name)
            new = change(old)
            if new == old:
                return old
            new.check()
            if (kept := book.replace_schedule(self.store, old, new)) is not None:
                return kept


def _retimed(old: Timing, given: dict[str, Any]) -> Timing:
    """The times with what is given; a cron expression and an interval replace each other."""
    if given.get("cron") is not None:
        given = {"every": None, **given}
    elif given.get("every") is not None:
        given = {"cron": None, **given}
    return msgspec.structs.replace(old, **given)


def _held(old: Schedule, paused: bool) -> Schedule:
    return old if old.paused == paused else msgspec.structs.replace(old, paused=paused, next_at=None)
