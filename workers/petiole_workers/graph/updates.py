"""From a node's answer to writes, and from writes to the values of the state."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from pydantic import BaseModel

from petiole_stores.errors import InvalidUpdateError
from petiole_workers.graph.command import Command
from petiole_workers.graph.definition import GraphDefinition
from petiole_workers.graph.managed import managed_value
from petiole_workers.graph.names import END, MISSING, START
from petiole_workers.graph.overwrite import is_overwrite, overwritten
from petiole_workers.graph.schema import Channel, Schema
from petiole_workers.graph.send import Send
from petiole_workers.graph.snapshot import Snapshot, TaskOutput, TaskSpec


def task_input(graph: GraphDefinition, base: Snapshot, task: TaskSpec, *, stop: int | None = None) -> object:
    """What the function of ``task`` gets.

    A `Send`'s argument as it is; else the state as the node's schema has it: a new dict, or an instance of the
    dataclass or pydantic model. The values in it are those of ``base``, not copies: a node returns what is to
    change. Managed values count from ``base`` to ``stop``, as `stop_step` gives it.

    Raises what the schema's class raises when it refuses the values.
    """
    if task.arg is not MISSING:
        return task.arg
    schema = graph.nodes[task.node].input_schema
    return schema.instance(readable(graph, base.values) | managed_values(schema, base.step, stop))


def managed_values(schema: Schema, base_step: int, stop: int | None) -> dict[str, object]:
    """The keys of ``schema`` that the engine fills in, for a task of the superstep after ``base_step``."""
    return {name: managed_value(kind, base_step, stop) for name, kind in schema.managed.items()}


def task_output(graph: GraphDefinition, task: TaskSpec, returned: object) -> TaskOutput:
    """The writes in what a node returned (or, for ``__start__``, in a run's input).

    ``None`` writes nothing; a dict its items, an instance of a dataclass or any annotated class its attributes;
    a pydantic model those of its attributes that were set, or are not None. Names that are no keys of the state
    are left out, as LangGraph does.

    A `Command` gives its update in the same way, and its destinations; a list or tuple with Commands in it gives what its
    items give.

    Raises InvalidUpdateError for anything else, and for a destination that does not exist.
    """
    writes: list[tuple[str, object]] = []
    goto: list[str | Send] = []
    for item in returned if _has_commands(returned) else (returned,):
        if isinstance(item, Command):
            if item.graph == Command.PARENT:
                return TaskOutput(
                    task.path, task.node, _all_writes(task, item.update), item.destinations, True
                )
            if item.graph is not None:
                raise InvalidUpdateError(
                    f"node {task.node!r} returned a Command for the graph {item.graph!r}: it is None for the node's own "
                    "graph, or Command.PARENT"
                )
            goto += [_destination(graph, task, to) for to in item.destinations if to != END]
            item = _paired(item.update)
        writes += (
            (key, graph.channels[key].rule.prepare(value)) for key, value in _writes(graph, task, item)
        )
    return TaskOutput(task.path, task.node, tuple(writes), tuple(goto))


def _has_commands(returned: object) -> TypeGuard[Sequence[object]]:
    return isinstance(returned, list | tuple) and any(isinstance(item, Command) for item in returned)


def _paired(update: object) -> object:
    """A Command's update that is given as pairs of key and value as a `_Pairs`; any other as it is."""
    if isinstance(update, list | tuple) and all(
        isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in update
    ):
        return _Pairs(update)
    return update


class _Pairs(tuple[tuple[str, object], ...]):
    """Writes in the order given; one key may come several times."""


def _writes(graph: GraphDefinition, task: TaskSpec, returned: object) -> Iterable[tuple[str, object]]:
    keys = graph.input_schema.channels if task.node == START else graph.channels
    if task.node == START and graph.input_key is not None:
        return [(graph.input_key, returned)]
    if returned is None:
        return ()
    if isinstance(returned, Mapping | _Pairs):
        pairs = returned.items() if isinstance(returned, Mapping) else returned
        return [(key, value) for key, value in pairs if key in keys]
    if isinstance(returned, BaseModel):
        return _model_writes(returned, keys)
    if not isinstance(returned, Send) and _annotated(type(returned)):
        found = [(key, getattr(returned, key, MISSING)) for key in keys]
        return [(key, value) for key, value in found if value is not MISSING]
    raise InvalidUpdateError(_refusal(task, returned))


def from_below(graph: GraphDefinition, task: TaskSpec, output: TaskOutput) -> TaskOutput:
    """The output of the node ``task`` whose graph was left by this output of one of its own nodes.

    Raises InvalidUpdateError for a destination that does not exist here.
    """
    goto = tuple(_destination(graph, task, item) for item in output.goto if item != END)
    writes = tuple((key, value) for key, value in output.writes if key in graph.channels)
    return TaskOutput(task.path, task.node, writes, goto)


def _all_writes(task: TaskSpec, update: object) -> tuple[tuple[str, object], ...]:
    """What an update for a graph that is not at hand writes: which keys count is told there."""
    if update is None:
        return ()
    if isinstance(update, Mapping):
        return tuple(update.items())
    if isinstance(update, BaseModel):
        return tuple(_model_writes(update, list(type(update).model_fields)))
    if isinstance(update, Send) or not _annotated(type(update)):
        raise InvalidUpdateError(_refusal(task, update))
    names = {name: None for base in reversed(type(update).__mro__) for name in inspect.get_annotations(base)}
    return tuple((name, getattr(update, name)) for name in names if hasattr(update, name))


def _destination(graph: GraphDefinition, task: TaskSpec, item: object) -> str | Send:
    name = item.node if isinstance(item, Send) else item
    if not isinstance(name, str) or name not in graph.nodes:
        raise InvalidUpdateError(
            f"node {task.node!r} returned a Command that goes to {name!r}, which is no node: the nodes are "
            f"{', '.join(map(repr, graph.nodes))}"
        )
    if isinstance(item, Send):
        check_limits(graph, item, f"a Command of node {task.node!r}")
    return item  # type: ignore[return-value]


def check_limits(graph: GraphDefinition, send: Send, who: str) -> None:
    """Raises InvalidUpdateError for a timeout of a node that is a graph: nothing of it runs there that could be ended."""
    if send.timeout is not None and graph.nodes[send.node].subgraph is not None:
        raise InvalidUpdateError(
            f"{who} sends to {send.node!r} with the timeout {send.timeout!r}, but that node is a graph: give the nodes in "
            "it their timeouts, each is a task of its own; or compile it with checkpointer=False, and it runs within "
            "its node"
        )


def _model_writes(model: BaseModel, keys: Iterable[str]) -> Iterable[tuple[str, object]]:
    fields = type(model).model_fields
    for key in keys:
        value = getattr(model, key, MISSING)
        if value is MISSING:
            continue
        # A None that is only the field's default says nothing; one that was given does. LangGraph's rule.
        if (
            value is None
            and key in fields
            and fields[key].default is None
            and key not in model.model_fields_set
        ):
            continue
        yield key, value


def _annotated(cls: type[Any]) -> bool:
    try:
        return any(inspect.get_annotations(base) for base in cls.__mro__)
    except NameError:  # Python 3.14 evaluates them only now: they exist, if of names unknown here
        return True


def _refusal(task: TaskSpec, returned: object) -> str:
    shown = repr(returned)
    shown = shown if len(shown) <= 200 else shown[:200] + "..."
    if task.node == START:
        return f"the input is {shown} ({type(returned).__name__}): give a dict of state keys, or an instance of the input schema"
    remedy = "return a dict of the state keys to change, an instance of the state's schema, or None"
    if isinstance(returned, Send) or (
        isinstance(returned, Sequence) and any(isinstance(item, Send) for item in returned)
    ):
        remedy += "; a Send is returned by the function of a conditional edge"
    return f"node {task.node!r} returned {shown} ({type(returned).__name__}): {remedy}"


def readable(graph: GraphDefinition, values: Mapping[str, object]) -> dict[str, object]:
    """``values`` in the order of the graph's keys, with the initial value of every reduced key that has none yet.

    Keys that this version of the graph does not know come last, untouched.
    """
    known: dict[str, object] = {}
    for name, channel in graph.channels.items():
        value = values[name] if name in values else channel.initial()
        if value is not MISSING:
            known[name] = value
    known.update((name, value) for name, value in values.items() if name not in known)
    return known


def apply_writes(
    graph: GraphDefinition, values: Mapping[str, object], outputs: Sequence[TaskOutput]
) -> dict[str, object]:
    """The state after a superstep with ``outputs``, which stand in path order; ``values`` stays as it is.

    Raises InvalidUpdateError for two writes to a key that takes one, and for two that overwrite the same key. What a reducer raises passes, with a
    note that names the key and the writers.
    """
    updates: dict[str, list[tuple[str, object]]] = {}
    for output in outputs:
        for key, value in output.writes:
            # A key may be gone from the graph since its write was stored.
            if key in graph.channels:
                updates.setdefault(key, []).append((output.node, value))
    after = readable(graph, values)
    for key, channel in graph.channels.items():
        if key in updates:
            after[key] = _written(channel, after.get(key, MISSING), updates[key])
        elif channel.rule.passes:
            after[key] = MISSING
    return {
        name: value
        for name in (*graph.channels, *after)
        if (value := after.get(name, MISSING)) is not MISSING
    }


def _written(channel: Channel, current: object, writes: Sequence[tuple[str, object]]) -> object:
    """The value of a key after the writes (pairs of node and value) of one superstep."""
    key, rule, values = channel.name, channel.rule, [value for _, value in writes]
    writers = ", ".join(repr(node) for node, _ in writes) if len(writes) < 20 else f"{len(writes)} tasks"
    if rule.takes_one and len(writes) > 1:
        raise InvalidUpdateError(
            f"the key {key!r} was written {len(writes)} times in one superstep (by {writers}), and takes one "
            f"value: let one node write it, or declare how to join the values with Annotated[..., reducer]"
        )
    if not rule.reduces:
        values = [value.value if is_overwrite(value) else value for value in values]
        return rule.join(current, values)
    replaced = [value for value in map(overwritten, values) if value is not MISSING]
    if len(replaced) > 1:
        raise InvalidUpdateError(
            f"the key {key!r} was overwritten {len(replaced)} times in one superstep (among the writes of {writers}): "
            "let one node overwrite it"
        )
    if replaced:
        return rule.replace(replaced[0])
    try:
        return rule.join(current, values)
    except Exception as exc:
        exc.add_note(f"in the reducer of key {key!r}, on the writes of {writers}")
        raise


def result(graph: GraphDefinition, values: Mapping[str, object]) -> dict[str, object]:
    """What a run that ended with this state returns: the output schema's keys that have a value."""
    values = readable(graph, values)
    return {name: values[name] for name in graph.output_schema.channels if name in values}
