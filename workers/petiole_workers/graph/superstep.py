"""Provisional."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from petiole_stores.errors import GraphRecursionError, InvalidUpdateError
from petiole_workers.graph.definition import GraphDefinition
from petiole_workers.graph.types import END, MISSING, START, Send

DEFAULT_RECURSION_LIMIT = 10000


@dataclass(frozen=True)
class TaskSpec:
    path: str
    node: str
    arg: object = MISSING


@dataclass(frozen=True)
class TaskOutput:
    path: str
    node: str
    writes: tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class Snapshot:
    step: int
    source: str
    values: dict[str, Any]
    next: tuple[TaskSpec, ...]
    control: dict[str, Any] = field(default_factory=dict)
    writers: tuple[str, ...] = ()


def check_input(graph: GraphDefinition, input: Any) -> Any:
    return input


def task_input(graph: GraphDefinition, base: Snapshot, task: TaskSpec) -> object:
    return dict(base.values) if task.arg is MISSING else task.arg


def task_output(graph: GraphDefinition, task: TaskSpec, returned: object) -> TaskOutput:
    if returned is None:
        return TaskOutput(task.path, task.node, ())
    if not isinstance(returned, dict):
        raise InvalidUpdateError(f"node {task.node!r} returned {returned!r}: return a dict of the keys to change")
    return TaskOutput(task.path, task.node, tuple((k, v) for k, v in returned.items() if k in graph.channels))


def result(graph: GraphDefinition, snapshot: Snapshot) -> Any:
    return dict(snapshot.values)


def _apply(graph: GraphDefinition, values: dict[str, Any], outputs: Sequence[TaskOutput]) -> dict[str, Any]:
    new = dict(values)
    seen: set[str] = set()
    for output in outputs:
        for key, value in output.writes:
            reducer = graph.channels.get(key)
            if reducer is None:
                if key in seen:
                    raise InvalidUpdateError(f"key {key!r} was written twice in one step: give it a reducer with Annotated")
                new[key] = value
            else:
                new[key] = value if key not in new else reducer(copy.deepcopy(new[key]) if key not in seen else new[key], value)
            seen.add(key)
    return new


def _plan(graph: GraphDefinition, base: dict[str, Any], values: dict[str, Any], outputs: Sequence[TaskOutput], control: dict[str, Any]) -> tuple[TaskSpec, ...]:
    pulls: set[str] = set()
    sends: list[Send] = []
    joins = {k: list(v) for k, v in control.get("joins", {}).items()}
    for output in outputs:
        for a, b in graph.edges:
            if a == output.node and b != END:
                pulls.add(b)
        for sources, target in graph.joins:
            if output.node in sources:
                key = "+".join(sources) + ">" + target
                got = joins.setdefault(key, [])
                if output.node not in got:
                    got.append(output.node)
                if len(got) == len(set(sources)):
                    del joins[key]
                    pulls.add(target)
        for branch in graph.branches.get(output.node, []):
            local = _apply(graph, base, [output])
            chosen = branch.path(local)
            for one in chosen if isinstance(chosen, (list, tuple)) else [chosen]:
                if isinstance(one, Send):
                    sends.append(one)
                else:
                    target = branch.path_map[one] if branch.path_map else one
                    if target != END:
                        pulls.add(target)
    control["joins"] = joins
    return (*(TaskSpec(f"push:{i:010d}", s.node, s.arg) for i, s in enumerate(sends)), *(TaskSpec(f"pull:{n}", n) for n in sorted(pulls)))


def begin(graph: GraphDefinition, base: Snapshot | None, input: Any) -> tuple[Snapshot, Snapshot]:
    step = -1 if base is None else base.step + 1
    before = dict(base.values) if base else {}
    taken = Snapshot(step, "input", before, (TaskSpec("pull:" + START, START),), {}, ())
    start = TaskOutput("pull:" + START, START, tuple(input.items()))
    values = _apply(graph, before, [start])
    control: dict[str, Any] = {"origin": step + 1}
    next = _plan(graph, before, values, [start], control)
    return taken, Snapshot(step + 1, "loop", values, next, control, (START,))


def advance(graph: GraphDefinition, base: Snapshot, outputs: Sequence[TaskOutput], *, stop: int | None) -> Snapshot:
    ordered = sorted(outputs, key=lambda o: o.path)
    values = _apply(graph, base.values, ordered)
    control = dict(base.control)
    next = _plan(graph, base.values, values, ordered, control)
    step = base.step + 1
    if stop is not None and step >= stop:
        raise GraphRecursionError(f"recursion limit reached at step {step}")
    return Snapshot(step, "loop", values, next, control, tuple(o.node for o in ordered))


def fork(graph: GraphDefinition, base: Snapshot) -> Snapshot:
    return Snapshot(base.step + 1, "fork", base.values, base.next, dict(base.control), ())


def interrupts(graph: GraphDefinition, snapshot: Snapshot) -> bool:
    return any(t.node in graph.interrupt_before for t in snapshot.next) or (
        bool(snapshot.next) and any(n in graph.interrupt_after for n in snapshot.writers))
