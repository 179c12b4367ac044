"""A state's schema: its keys, their reducers, and the class that nodes get the state as."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from petiole_stores.errors import GraphValidationError
from petiole_workers.graph.channels import (
    CHANNELS,
    BinaryOperatorAggregate,
    DeltaChannel,
    LastValue,
    Topic,
)
from petiole_workers.graph.managed import MANAGED, ManagedValue
from petiole_workers.graph.names import END, START
from petiole_workers.graph.reducers import WRAPPERS, takes_two

#: ``type`` is a field's name below.
Managed = type[ManagedValue]


@dataclass(frozen=True, slots=True)
class Channel:
    """One key of the state.

    rule: how it takes the writes of a superstep (`petiole_workers.graph.channels`).
    annotation: the type as declared.
    """

    name: str
    rule: LastValue
    annotation: object

    @property
    def reads_itself(self) -> bool:
        """Whether its next value depends on the one it has."""
        return self.rule.reduces or isinstance(self.rule, Topic)

    @property
    def label(self) -> str | None:
        """What it is, by a name that is the same in every process; ``None`` for a plain key."""
        return self.rule.label

    def initial(self) -> object:
        """The value before any write, a new one each time; `MISSING` if there is none."""
        return self.rule.initial()


@dataclass(frozen=True, slots=True)
class Schema:
    """What a class says about a state.

    type: the typed dict, dataclass or pydantic model.
    channels: its keys in the order of declaration.
    builds: nodes get an instance of the class; else a dict.
    managed: its keys that the engine fills in.
    """

    type: type[Any]
    channels: Mapping[str, Channel]
    builds: bool
    managed: Mapping[str, Managed] = field(default_factory=dict)

    def instance(self, values: Mapping[str, object]) -> object:
        """The state as a node sees it: the keys of this schema that have a value.

        Raises what the class raises when it refuses the values (pydantic's ValidationError, TypeError).
        """
        known = {name: values[name] for name in (*self.channels, *self.managed) if name in values}
        return self.type(**known) if self.builds else known


def read_schema(schema: Any) -> Schema:
    """Reads the keys and reducers of ``schema``.

    A reducer is the last item of ``Annotated``, if that is callable; a channel is any of its items, and comes first.
    Inherited keys count; Required, NotRequired and ReadOnly may stand on either side of Annotated.

    Raises GraphValidationError naming every key that is wrong.
    """
    if not (isinstance(schema, type) and (_is_typed_dict(schema) or _builds(schema))):
        raise GraphValidationError(
            [f"the state schema is {schema!r}: give a TypedDict, a dataclass or a pydantic model"]
        )
    try:
        hints = typing.get_type_hints(schema, include_extras=True)
    except (NameError, TypeError) as exc:
        raise GraphValidationError(
            [
                f"the annotations of {schema.__name__} cannot be read ({exc}): define or import the names at module level"
            ]
        ) from exc
    if dataclasses.is_dataclass(schema):
        hints = {f.name: hints[f.name] for f in dataclasses.fields(schema)}
    elif issubclass(schema, BaseModel):
        hints = {name: hints[name] for name in schema.model_fields}
    faults: list[str] = []
    managed = {name: kind for name, hint in hints.items() if (kind := _managed(hint)) is not None}
    channels = {
        name: _channel(name, hint, schema.__name__, faults)
        for name, hint in hints.items()
        if name not in managed
    }
    if faults:
        raise GraphValidationError(faults)
    return Schema(schema, channels, _builds(schema), managed)


def _is_typed_dict(schema: type[Any]) -> bool:
    return issubclass(schema, dict) and hasattr(schema, "__total__")


def _builds(schema: type[Any]) -> bool:
    return dataclasses.is_dataclass(schema) or issubclass(schema, BaseModel)


def _managed(annotation: Any) -> type[ManagedValue] | None:
    """The managed value that a key is declared as, wherever Required or NotRequired stand."""
    last: Any = (getattr(annotation, "__metadata__", None) or (None,))[-1]
    last = typing.get_origin(last) or last
    if isinstance(last, type):
        if issubclass(last, ManagedValue):
            return last
        if last.__module__.startswith("langgraph.managed"):
            return MANAGED.get(last.__name__)
    if typing.get_origin(annotation) is not None and (inner := typing.get_args(annotation)):
        return _managed(inner[0])
    return None


def _channel(name: str, annotation: Any, schema: str, faults: list[str]) -> Channel:
    if name in (START, END):
        faults.append(f"the key {name!r} of {schema} is reserved: give it another name")
    while getattr(annotation, "__origin__", None) in WRAPPERS:
        annotation = annotation.__args__[0]
    metadata = getattr(annotation, "__metadata__", ())
    for item in metadata:
        if (rule := _declared(item, annotation, f"key {name!r} of {schema}", faults)) is not None:
            return Channel(name, rule, annotation)
    if not metadata or not callable(metadata[-1]):
        return Channel(name, LastValue(annotation), annotation)
    reducer = metadata[-1]
    if not takes_two(reducer):
        faults.append(
            f"the reducer {reducer!r} of key {name!r} in {schema} must take two arguments: (current, update)"
        )
    if inspect.iscoroutinefunction(reducer):
        faults.append(
            f"the reducer {reducer!r} of key {name!r} in {schema} is async: reducers are plain functions"
        )
    return Channel(name, BinaryOperatorAggregate(annotation, reducer), annotation)


def _declared(item: Any, annotation: Any, key: str, faults: list[str]) -> LastValue | None:
    """The channel that an item of ``Annotated`` is or names; LangGraph's own classes are known by their names."""
    kind = item if isinstance(item, type) else type(item)
    if not issubclass(kind, LastValue):
        if not kind.__module__.startswith("langgraph.channels"):
            return None
        if kind.__name__ not in CHANNELS:
            faults.append(f"the {key} is a {kind.__name__}: declare it as one of {', '.join(CHANNELS)}")
            return LastValue(annotation)
    own = CHANNELS.get(kind.__name__, kind)
    if isinstance(item, type):
        if own in (BinaryOperatorAggregate, DeltaChannel):
            faults.append(f"the {key} names {own.__name__} without a reducer: give one, or the reducer alone")
            return LastValue(annotation)
        return own(_origin(annotation))
    if own is DeltaChannel:
        return DeltaChannel(item.reducer, _origin(annotation), snapshot_frequency=item.snapshot_frequency)
    if isinstance(item, LastValue):
        return item
    given = {
        option: getattr(item, option)
        for option in ("guard", "accumulate", "operator")
        if hasattr(item, option)
    }
    return own(item.typ, **given)


def _origin(annotation: Any) -> object:
    """What stands within ``Annotated``."""
    return getattr(annotation, "__origin__", annotation)


def annotated_input(hints: Mapping[str, object], first: str) -> type[Any] | None:
    """The schema that a function asks for by annotating its first parameter, or ``None`` for the graph's own."""
    hint = hints.get(first)
    if isinstance(hint, type) and (_is_typed_dict(hint) or _builds(hint)):
        return hint
    return None


def function_hints(fn: object) -> tuple[dict[str, object], str | None]:
    """The annotations of a callable and the name of its first parameter; empty where they cannot be read."""
    target: Any = fn if inspect.isroutine(fn) else getattr(fn, "func", None) or getattr(fn, "__call__", fn)  # noqa: B004
    try:
        hints = typing.get_type_hints(target)
        first = next(iter(inspect.signature(target).parameters), None)
    except (NameError, TypeError, ValueError, AttributeError):
        return {}, None
    return hints, first
