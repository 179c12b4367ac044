"""JSON Schemas of the classes that a graph's state, input, output and context are declared as."""

from __future__ import annotations

import sys
import types
import typing
from typing import Any, Union

import typing_extensions
from pydantic import TypeAdapter

#: From here on pydantic can read a ``typing.TypedDict``, whose keys tell then which are required.
_READABLE = sys.version_info >= (3, 12)


def json_schema_of(declared: Any) -> dict[str, Any]:
    """The JSON Schema of a typed dict, dataclass or pydantic model. Raises what pydantic raises where there is none.

    Its properties stand at its root, also of a type that holds itself, for which pydantic gives a reference alone.
    """
    schema = TypeAdapter(declared if _READABLE else _readable(declared, {})).json_schema()
    if (reference := schema.pop("$ref", None)) is not None:
        schema = schema["$defs"][reference.rpartition("/")[2]] | schema
    return schema


def _readable(declared: Any, made: dict[Any, Any]) -> Any:
    """The type with every typed dict in it as one of ``typing_extensions``; ``made`` are those, by the original."""
    if typing.is_typeddict(declared):
        if declared not in made:
            hints = typing_extensions.get_type_hints(declared, include_extras=True)
            made[declared] = dict  # one that holds itself is any object within itself
            fields: Any = {
                name: _required(name, declared, _readable(hint, made)) for name, hint in hints.items()
            }
            made[declared] = typing_extensions.TypedDict(declared.__name__, fields)  # type: ignore[operator]
        return made[declared]
    arguments = typing.get_args(declared)
    if not arguments or typing.get_origin(declared) is typing.Literal:
        return declared
    if hasattr(declared, "__metadata__"):
        return typing.Annotated[(_readable(arguments[0], made), *declared.__metadata__)]
    parts = tuple(one if isinstance(one, list) else _readable(one, made) for one in arguments)
    if isinstance(declared, types.UnionType):
        return Union[parts]  # noqa: UP007 - made of parts
    return declared.copy_with(parts) if hasattr(declared, "copy_with") else declared.__origin__[parts]


def _required(name: str, declared: Any, hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Required, typing.NotRequired):
        return hint
    return typing.Required[hint] if name in declared.__required_keys__ else typing.NotRequired[hint]
