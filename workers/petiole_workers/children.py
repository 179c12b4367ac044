"""Child runs: a node that runs another graph on a thread of its own, and waits for its end without a worker's slot.

The run's id derives from the node's place in its own run, so that the node asks for the same run however often it is tried. The
parent's task is parked and awaits the child's end; whoever ends the child wakes it. That is a hint: a timer has it look by
itself, if less soon.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import msgspec
from msgspec.structs import replace

from petiole_stores.errors import (
    ConflictError,
    CorruptionError,
    InputError,
    RunCancelledError,
    RunFailedError,
    StoreError,
)
from petiole_stores.ids import derived_id
from petiole_stores.leaves import replaceable
from petiole_stores.records import SETTLED, START_PATH, NewRun, NewTask, Run, Task, TaskRef
from petiole_stores.store import Store
from petiole_workers.caller import undisturbed
from petiole_workers.failure import parse_failure
from petiole_workers.fitting import Fleet, queue_of
from petiole_workers.graph import START, result
from petiole_workers.graph.children import ChildCall
from petiole_workers.graph.overwrite import plain
from petiole_workers.hop import Parent, RunConfig, read_config
from petiole_workers.parking import ParkedError
from petiole_workers.progress import ChildSeen, Progress
from petiole_workers.settling import reading

if TYPE_CHECKING:
    from petiole_workers.compiled import CompiledGraph
    from petiole_workers.runner import Runner

logger = logging.getLogger("petiole.runner")

#: How long a parent waits before it looks by itself, in seconds: from the first to the longest, doubling; and for a child
#: that waits for people.
FIRST_LOOK, LAST_LOOK, HELD_LOOK = 1.0, 60.0, 3600.0
#: Runs that wait for somebody outside.
HELD = frozenset({"interrupted", "paused", "blocked"})


class InProcess(Protocol):
    """What runs children where nothing is published: ``graph.invoke``."""

    def queue(self) -> str:
        """Where their tasks wait."""

    def graph(self, call: ChildCall) -> CompiledGraph:
        """The child's graph. Raises ConfigurationError where it is not known here."""

    def at(self, run_id: str) -> AbstractContextManager[None]:
        """Within it this process is at a run, or about to be: others of its thread may wait for it."""

    def drive(self, graph: CompiledGraph, run: Run) -> BaseException | None:
        """Run what is ready of a run until it has ended or waits; gives what it failed of."""


class Child:
    """The child run of one task.

    Parameters
        place  the task's in its run: the same for a task that a replay puts in this one's place
        keep   has what is known of the child kept, with ``True`` in the ledger at once; whether the claim stands
    """

    def __init__(
        self, runner: Runner, task: Task, place: str, keep: Callable[[ChildSeen, bool], bool]
    ) -> None:
        self._runner, self._task, self._place, self._keep = runner, task, place, keep
        self._store = runner.store

    def result(self, call: ChildCall, seen: ChildSeen | None) -> Any:
        """The child's result, or where it runs if it is not waited for.

        In process it runs here and now, be it waited for or not. Raises ParkedError while there is no result, RunFailedError and
        RunCancelledError where there never will be.
        """
        with ExitStack() as stack:
            return self._result(call, seen, stack)

    def _result(self, call: ChildCall, seen: ChildSeen | None, stack: ExitStack) -> Any:
        here = self._runner.children
        run = None if seen is None else self._read(seen)
        seen = seen or self._planned(call, 0)
        while True:
            if here is not None:
                stack.enter_context(here.at(seen.run_id))
            if run is None:
                run = self._submit(call, seen)
            elif run.status in SETTLED and seen.told == run.replays:  # the node was told, and is tried again
                if run.status == "cancelled" or not self._replayed(run):
                    seen, run = self._planned(call, seen.generation + 1), None
                    continue
                run = self._read(seen) or run
            error = None
            if here is not None and run.status not in SETTLED:
                error = here.drive(here.graph(call), run)
                run = self._read(seen) or run
            if not call.waited:
                return {"thread_id": run.thread_id, "run_id": run.run_id}
            if run.status == "succeeded":
                return self._values(call, run)
            if run.status not in SETTLED:
                self._park(seen, run)
            self._keep(replace(seen, told=run.replays), True)
            raise _ending(run) from error

    # ---------------------------------------------------------------- parts

    def _planned(self, call: ChildCall, generation: int) -> ChildSeen:
        """The ids of the child, kept before the run is submitted: who cancels the parent finds them."""
        task, given = self._task, call.thread()
        thread_id = given or derived_id("child thread", self._place, str(generation))
        if given is not None and call.waited:
            self._check_thread(given)
        seen = ChildSeen(
            run_id=derived_id("child", self._place, str(generation)),
            thread_id=thread_id,
            graph=call.graph,
            waited=call.waited,
            generation=generation,
        )
        if not self._keep(seen, True):
            logger.debug("task %s has lost its claim and submits no child", task.task_id)
            raise ParkedError(0.0)
        return seen

    def _check_thread(self, thread_id: str) -> None:
        """Raises InputError for the thread of the parent or of a run further up: it would wait for itself."""
        above: tuple[str, str] | None = (self._task.thread_id, self._task.run_id)
        while above is not None:
            if above[0] == thread_id:
                raise InputError(
                    f"node {self._task.node!r} is to wait for a run on thread {thread_id!r}, on which run {above[1]} waits for "
                    "this very node: give the child another thread, or wait=False"
                )
            self._store.hint(above[0], [above[1]])
            run = self._store.get_run(above[1])
            parent = parent_of(run) if run else None
            above = (parent.thread_id, parent.run_id) if parent and parent.waits else None

    def _submit(self, call: ChildCall, seen: ChildSeen) -> Run:
        runner, store, serde = self._runner, self._store, self._store.serde
        here = runner.children
        graph = here.graph(call) if here else runner.registry.get(call.graph) or call.compiled
        offer = graph.offer if graph is not None else Fleet(store).offer(call.graph)
        queue = (graph.queue if graph is not None else None) or runner.settings.queue
        queue = here.queue() if here else queue_of(offer, queue)
        given = call.input()
        given = plain(given) if graph is None else graph.accept(given)
        document, blobs = serde.dump(given, thread_id=seen.thread_id)
        task = self._task
        parent = Parent(task.thread_id, task.run_id, task.task_id, task.node, call.waited)
        metadata, more = serde.dump_values({"parent": msgspec.to_builtins(parent)}, thread_id=seen.thread_id)
        new = NewRun(
            run_id=seen.run_id,
            thread_id=seen.thread_id,
            graph=call.graph,
            version=offer.version if offer else None,
            fingerprint=offer.fingerprint if offer else None,
            input=document,
            if_busy="enqueue",
            config=msgspec.json.encode(RunConfig(inline=here is not None, parent=parent)).decode(),
            metadata=metadata,
            start=NewTask(
                task_id=derived_id("start", seen.run_id),
                path=START_PATH,
                node=START,
                kind="advance",
                queue=queue,
            ),
            blobs=[*(blobs | more).values()],
        )
        store.hint(new.thread_id, [new.run_id, new.start.task_id])
        with undisturbed():
            [answer] = runner.patiently(lambda: store.submit([new]))
            if answer.result == "refused":
                raise ConflictError(
                    f"the child run {new.run_id} on thread {new.thread_id!r} was refused: {answer.reason}"
                )
            if here is None:
                runner.publish(answer.publish)
            run = store.get_run(new.run_id)
        assert run is not None
        return run

    def _replayed(self, run: Run) -> bool:
        """Let a failed child go on from its failed nodes; ``False``: it cannot."""
        with undisturbed():
            answer = replay(self._store, run)
            if self._runner.children is None:
                self._runner.publish(answer.publish if answer else [])
        if answer is None:
            return False
        if answer.reason == "busy":  # another run is on its thread: it is its turn again later
            raise ParkedError(LAST_LOOK)
        return str(answer.result) != "refused"

    def _read(self, seen: ChildSeen) -> Run | None:
        self._store.hint(seen.thread_id, [seen.run_id])
        with undisturbed():
            return self._store.get_run(seen.run_id)

    def _values(self, call: ChildCall, run: Run) -> Any:
        """The final state of the child, as its output schema has it where its graph is known here."""
        graph = call.compiled or self._runner.registry.get(call.graph)
        if graph is None and self._runner.children is not None:
            graph = self._runner.children.graph(call)
        if graph is not None:
            graph.register_types(self._store.serde)
        with reading(), undisturbed():
            record = self._store.get_checkpoint(run.checkpoint_id or "")
            if record is None:
                raise CorruptionError(
                    f"the last checkpoint of run {run.run_id} on thread {run.thread_id!r} is missing"
                )
            values = self._runner.documents.checkpoint(record).snapshot.values
        return dict(values) if graph is None else result(graph.definition, values)

    def _park(self, seen: ChildSeen, run: Run) -> NoReturn:
        held = run.status in HELD
        delay = HELD_LOOK if held else min(LAST_LOOK, FIRST_LOOK * 2.0 ** min(seen.looks, 16))
        self._keep(replace(seen, looks=0 if held else seen.looks + 1), False)
        raise ParkedError(delay, awaited(run.run_id))


def awaited(run_id: str) -> str:
    """What a task awaits that waits for a run: see `Ledger.wake`."""
    return f"run:{run_id}"


def awaited_run(awaits: str) -> str | None:
    """The run that a task waits for; ``None``: it waits for something else."""
    return awaits.removeprefix("run:") if awaits.startswith("run:") else None


def parent_of(run: Run) -> Parent | None:
    """The task that has submitted a run; ``None``: it is nobody's child."""
    if '"parent"' not in run.config:
        return None
    return read_config(run.config).parent


def children_of(tasks: Iterable[Task]) -> list[ChildSeen]:
    """The child runs of a run, as its tasks remember them, each once."""
    found = [Progress.read(task.progress).child for task in tasks if '"child"' in (task.progress or "")]
    return list({seen.run_id: seen for seen in found if seen is not None}.values())


def replay(store: Store, run: Run) -> Any:
    """The ledger's answer to a replay of a failed run; ``None`` where no task of it has failed."""
    store.hint(run.thread_id, [run.run_id])
    failed = replaceable(store.list_tasks(run.run_id))
    if not failed:
        return None
    pairs = [
        (task.task_id, derived_id("replay", run.run_id, str(run.replays), task.task_id)) for task in failed
    ]
    return store.replay(run.run_id, pairs)


# ---------------------------------------------------------------- between parents and children


def wake_parent(store: Store, run: Run) -> Sequence[TaskRef]:
    """Tell whoever waits for a run that it has ended, or goes on; gives what to publish. A hint: no error is raised."""
    parent = parent_of(run)
    if parent is None or not parent.waits:
        return []
    try:
        store.hint(parent.thread_id, [parent.run_id, parent.task_id])
        return store.wake(parent.thread_id, awaited(run.run_id))
    except StoreError as error:
        logger.debug("the parent of run %s was not woken: %s", run.run_id, error)
        return []


def wake_parents(store: Store, run_ids: Iterable[str]) -> list[TaskRef]:
    """As `wake_parent`, for runs that ended otherwise than by a worker's commit."""
    found: list[TaskRef] = []
    for run_id in run_ids:
        run = store.get_run(run_id)
        found += wake_parent(store, run) if run is not None else []
    return found


def cancel_children(store: Store, run: Run, reason: str = "") -> list[TaskRef]:
    """Cancel what a cancelled run has waited for, and tell who has waited for it; gives what to publish. Best effort."""
    publish: list[TaskRef] = []
    doomed = [run]
    while doomed:
        above = doomed.pop()
        try:
            publish += wake_parent(store, above)
            store.hint(above.thread_id, [above.run_id])
            for seen in children_of(store.list_tasks(above.run_id)):
                if seen.waited:
                    doomed += cancel_child(store, seen.run_id, seen.thread_id, above, reason, publish)
        except StoreError as error:
            logger.warning("children of the cancelled run %s may still run: %s", above.run_id, error)
    return publish


def cancel_child(
    store: Store, run_id: str, thread_id: str, parent: Run, reason: str, publish: list[TaskRef]
) -> list[Run]:
    """Cancel one child of a cancelled run; gives it, if it was not over."""
    store.hint(thread_id, [run_id])
    why = f"its parent, run {parent.run_id} on thread {parent.thread_id!r}, was cancelled"
    [answer] = store.cancel([run_id], reason=f"{why}: {reason}" if reason else why)
    publish += answer.publish
    found = store.get_run(run_id) if answer.result == "committed" else None
    return [found] if found is not None else []


def _ending(run: Run) -> RunFailedError | RunCancelledError:
    where = f"child run {run.run_id} of graph {run.graph!r} on thread {run.thread_id!r}"
    failure = parse_failure(run.error)
    if run.status == "cancelled":
        return RunCancelledError(f"{where} was cancelled" + (f": {failure.message}" if failure else ""))
    return RunFailedError(f"{where} failed: {failure or 'no reason is on record'}", failure)
