"""A state's schema: its keys, their reducers, and the class that nodes get the state as."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from petiole_stores.errors import GraphValidationError
from petiole_workers.graph.names import END, MISSING, START
from petiole_workers.graph.reducers import WRAPPERS, Reducer, initial_value, takes_two


@dataclass(frozen=True, slots=True)
class Channel:
    """One key of the state.

    reducer: joins the current value and a write; ``None`` for a key that takes one write a superstep.
    annotation: the type as declared.
    """

    name: str
    reducer: Reducer | None
    annotation: object

    def initial(self) -> object:
        """The value before any write, a new one each time; `MISSING` if there is none."""
        return MISSING if self.reducer is None else initial_value(self.annotation)

    @property
    def reducer_name(self) -> str | None:
        """A name for the reducer that is the same in every process."""
        if self.reducer is None:
            return None
        kind = type(self.reducer)
        module = getattr(self.reducer, "__module__", None) or kind.__module__
        return f"{module}.{getattr(self.reducer, '__qualname__', kind.__qualname__)}"


@dataclass(frozen=True, slots=True)
class Schema:
    """What a class says about a state.

    type: the typed dict, dataclass or pydantic model.
    channels: its keys in the order of declaration.
    builds: nodes get an instance of the class; else a dict.
    """

    type: type[Any]
    channels: Mapping[str, Channel]
    builds: bool

    def instance(self, values: Mapping[str, object]) -> object:
        """The state as a node sees it: the keys of this schema that have a value.

        Raises what the class raises when it refuses the values (pydantic's ValidationError, TypeError).
        """
        known = {name: values[name] for name in self.channels if name in values}
        return self.type(**known) if self.builds else known


def read_schema(schema: Any) -> Schema:
    """Reads the keys and reducers of ``schema``.

    A reducer is the last item of ``Annotated``, if that is callable. Inherited keys count; Required, NotRequired
    and ReadOnly may stand on either side of Annotated.

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
    channels = {name: _channel(name, hint, schema.__name__, faults) for name, hint in hints.items()}
    if faults:
        raise GraphValidationError(faults)
    return Schema(schema, channels, _builds(schema))


def _is_typed_dict(schema: type[Any]) -> bool:
    return issubclass(schema, dict) and hasattr(schema, "__total__")


def _builds(schema: type[Any]) -> bool:
    return dataclasses.is_dataclass(schema) or issubclass(schema, BaseModel)


def _channel(name: str, annotation: Any, schema: str, faults: list[str]) -> Channel:
    if name in (START, END):
        faults.append(f"the key {name!r} of {schema} is reserved: give it another name")
    while getattr(annotation, "__origin__", None) in WRAPPERS:
        annotation = annotation.__args__[0]
    metadata = getattr(annotation, "__metadata__", ())
    if not metadata or not callable(metadata[-1]):
        return Channel(name, None, annotation)
    reducer = metadata[-1]
    if not takes_two(reducer):
        faults.append(
            f"the reducer {reducer!r} of key {name!r} in {schema} must take two arguments: (current, update)"
        )
    if inspect.iscoroutinefunction(reducer):
        faults.append(
            f"the reducer {reducer!r} of key {name!r} in {schema} is async: reducers are plain functions"
        )
    return Channel(name, reducer, annotation)


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
