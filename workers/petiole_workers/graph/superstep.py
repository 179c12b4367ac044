"""The superstep: apply all writes, route, settle joins and deferred nodes, plan what comes next.

Nothing here does I/O or reads a clock: given the same graph, snapshot and outputs it makes the same next snapshot,
as far as the author's reducers and routers do. The order of everything is LangGraph's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from petiole_stores.errors import GraphRecursionError, InputError
from petiole_workers.graph.callables import Runner, run_awaitable
from petiole_workers.graph.definition import GraphDefinition
from petiole_workers.graph.names import DEFAULT_RECURSION_LIMIT, START
from petiole_workers.graph.routing import route
from petiole_workers.graph.runtime import Runtime
from petiole_workers.graph.send import Send
from petiole_workers.graph.snapshot import Snapshot, TaskOutput, TaskSpec, pull_path, push_path
from petiole_workers.graph.updates import apply_writes, readable, task_output


def begin(
    graph: GraphDefinition,
    base: Snapshot | None,
    input: object,
    *,
    runner: Runner = run_awaitable,
    runtime: Runtime[Any] | None = None,
    stop: int | None = None,
) -> tuple[Snapshot, Snapshot]:
    """Starts a run: the ``input`` snapshot, and the one after ``__start__``, in which the entry nodes come next.

    base: the thread's newest snapshot; ``None`` for a new thread. What it still had to run is dropped; what its
        joins and deferred nodes have seen is kept.
    input: a dict of state keys, or an instance of the input schema. ``{}`` is an input, ``None`` is not.
    stop: what routers' managed values count to (see `stop_step`); it is not checked.

    Raises InputError for ``None``, InvalidUpdateError for another kind of input, and what `advance` raises.
    """
    if input is None:
        raise InputError("a run was started without an input: give a dict of state keys; {} will do")
    start = TaskSpec(pull_path(START), START, input)
    first = Snapshot(
        step=-1 if base is None else base.step + 1,
        source="input",
        values=readable(graph, {} if base is None else _of_the_thread(graph, base)),
        next=(start,),
        control={} if base is None else dict(base.control),
        writers=(START,),
    )
    output = task_output(graph, start, input)
    return first, _advanced(graph, first, [output], stop, runner, runtime)


def advance(
    graph: GraphDefinition,
    base: Snapshot,
    outputs: Sequence[TaskOutput],
    *,
    stop: int | None,
    runner: Runner = run_awaitable,
    runtime: Runtime[Any] | None = None,
    unstarted: bool = False,
) -> Snapshot:
    """The snapshot after a superstep. ``base`` and ``outputs`` are left as they are.

    outputs: of every task in ``base.next``, in any order: the order of their paths decides.
    stop: what routers' managed values count to (see `stop_step`); it is not checked.
    runner: waits for async routers.
    runtime: what routers get that ask for one.
    unstarted: the tasks of ``base.next`` did not run (``outputs`` are by hand): the joins that led to them still stand.

    Raises InvalidUpdateError (two writes to a key without a reducer, a router's wrong answer), and whatever a reducer or
    router raises.
    """
    return _advanced(graph, base, outputs, stop, runner, runtime, unstarted=unstarted)


def _advanced(
    graph: GraphDefinition,
    base: Snapshot,
    outputs: Sequence[TaskOutput],
    stop: int | None,
    runner: Runner,
    runtime: Runtime[Any] | None,
    *,
    unstarted: bool = False,
) -> Snapshot:
    outputs = sorted(outputs, key=lambda output: output.path)
    values = apply_writes(graph, base.values, outputs)
    plan = _Plan(graph, base.control)
    if unstarted:
        plan.restore({task.node for task in base.next}, base.control)
    for output in outputs:
        plan.arrive(output.node)
        # A Command's Sends come before those of the node's routers, in LangGraph's order.
        for destination in output.goto:
            plan.lead_to(destination)
        for destination in route(graph, base, output, runner=runner, runtime=runtime or Runtime(), stop=stop):
            plan.lead_to(destination)
    return Snapshot(
        step=base.step + 1,
        source="loop",
        values=values,
        next=plan.tasks(),
        control=plan.control(),
        writers=tuple(output.node for output in outputs),
    )


def _of_the_thread(graph: GraphDefinition, base: Snapshot) -> dict[str, object]:
    """The values of ``base`` without those that were kept for one run alone.

    What was for one superstep goes with the tasks that were to see it and are dropped; after a run that had ended it stays
    to be seen at the input's checkpoint. LangGraph's rule.
    """
    gone = {
        name
        for name, channel in graph.channels.items()
        if channel.rule.of_one_run or (base.next and channel.rule.passes)
    }
    return {name: value for name, value in base.values.items() if name not in gone}


class _Plan:
    """What comes after a superstep, gathered task by task."""

    def __init__(self, graph: GraphDefinition, control: dict[str, object]) -> None:
        self._graph = graph
        self._ready: set[str] = set()
        self._sends: list[Send] = []
        self._rest = {
            key: value for key, value in control.items() if key not in ("joins", "deferred", "fired")
        }
        joins = cast("dict[str, list[str]]", control.get("joins", {}))
        self._arrived = {key: set(names) for key, names in joins.items()}
        self._deferred = set(cast("list[str]", control.get("deferred", [])))
        self._fired: list[str] = []

    def restore(self, nodes: set[str], control: dict[str, object]) -> None:
        """Fill the joins again that have led to these nodes."""
        fired = cast("list[str]", control.get("fired", []))
        for join in self._graph.joins:
            if join.key in fired and join.end in nodes:
                self._arrived[join.key] = set(join.starts)

    def arrive(self, source: str) -> None:
        """Follows the plain edges of ``source`` and ticks it off in the joins that wait for it."""
        for target in self._graph.targets(source):
            self.lead_to(target)
        for join in self._graph.joins_from(source):
            self._arrived.setdefault(join.key, set()).add(source)

    def lead_to(self, destination: str | Send) -> None:
        if isinstance(destination, Send):
            self._sends.append(destination)
        elif self._graph.nodes[destination].defer:
            self._deferred.add(destination)
        else:
            self._ready.add(destination)

    def tasks(self) -> tuple[TaskSpec, ...]:
        """The next tasks in path order. To be called once: what becomes a task is no longer waited for."""
        self._open_joins(deferred=False)
        # LangGraph's rule: Sends alone do not hold a deferred node back, though they run beside it.
        if not self._ready:
            self._ready |= {name for name in self._deferred if name in self._graph.nodes}
            self._deferred.clear()
            self._open_joins(deferred=True)
        pulls = [TaskSpec(pull_path(name), name) for name in sorted(self._ready)]
        pushes = (
            TaskSpec(push_path(i), send.node, send.arg, send.timeout) for i, send in enumerate(self._sends)
        )
        return (*pulls, *pushes)

    def _open_joins(self, *, deferred: bool) -> None:
        for join in self._graph.joins:
            end = self._graph.nodes.get(join.end)
            if end is not None and end.defer is deferred and self._arrived.get(join.key) == set(join.starts):
                # Emptied as it fires, so that in a loop it waits for all of them again.
                del self._arrived[join.key]
                self._ready.add(join.end)
                self._fired.append(join.key)

    def control(self) -> dict[str, object]:
        control: dict[str, Any] = dict(self._rest)
        if joins := {key: sorted(names) for key, names in sorted(self._arrived.items()) if names}:
            control["joins"] = joins
        if self._fired:
            control["fired"] = sorted(self._fired)
        if self._deferred:
            control["deferred"] = sorted(self._deferred)
        return control


def stop_step(base: Snapshot | None, recursion_limit: int = DEFAULT_RECURSION_LIMIT) -> int:
    """The ``stop`` for a run that `begin` starts on ``base``; for a resumed run, for one that goes on from it.

    Raises InputError for a limit below 1.
    """
    if recursion_limit < 1:
        raise InputError(f"recursion_limit is {recursion_limit}: give at least 1")
    return (-1 if base is None else base.step + 1) + recursion_limit + 1


def check_limit(snapshot: Snapshot, stop: int) -> None:
    """Raises GraphRecursionError if no superstep may follow ``snapshot``.

    As LangGraph counts: a run must *end* within its limit, so one of exactly ``recursion_limit`` supersteps of
    nodes fails too, after its last checkpoint.
    """
    if snapshot.step + 1 > stop:
        raise GraphRecursionError(
            f"the run took {snapshot.step} steps and may take {stop}: raise recursion_limit, "
            f"or let a router lead to END (next: {', '.join(next_names(snapshot.next)) or 'nothing'})"
        )


def next_names(tasks: Iterable[TaskSpec]) -> tuple[str, ...]:
    """The nodes of ``tasks`` as LangGraph's ``StateSnapshot.next`` shows them: Sends first."""
    tasks = list(tasks)
    pushes = [task.node for task in tasks if task.path.startswith("push:")]
    return (*pushes, *(task.node for task in tasks if not task.path.startswith("push:")))
