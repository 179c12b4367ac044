"""Finds every class that the annotations of a state schema reach."""

from __future__ import annotations

import enum
import inspect
import sys
import typing
from collections.abc import Iterator
from typing import Any

import msgspec
import pydantic

from petiole_stores.serde.classes import is_supported


def reachable_classes(root: object) -> Iterator[type]:
    """Yield each class of a sort that can be registered, ``root`` itself included, however deep in annotations.

    Names that cannot be resolved (imported for type checkers only) are passed over: storing an object of such a class
    says that it is not registered.
    """
    todo: list[object] = [root]
    seen: set[int] = set()
    kept: list[object] = []  # ids are compared, so nothing may be freed meanwhile
    while todo:
        hint = todo.pop()
        if id(hint) in seen:
            continue
        seen.add(id(hint))
        kept.append(hint)
        todo.extend(_parts(hint))
        if isinstance(hint, type) and is_supported(hint):
            yield hint
        if isinstance(hint, type) and not issubclass(hint, enum.Enum) and _has_fields(hint):
            todo.extend(_hints(hint).values())


def _has_fields(cls: type) -> bool:
    return typing.is_typeddict(cls) or is_supported(cls) or bool(getattr(cls, "__annotations__", None))


def _parts(hint: Any) -> Iterator[object]:
    """What a composed hint is made of."""
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        yield from (type(value) for value in typing.get_args(hint) if isinstance(value, enum.Enum))
        return
    if origin is not None:
        yield origin
        for part in typing.get_args(hint):
            yield from part if isinstance(part, list) else [part]
    elif isinstance(hint, typing.TypeVar):
        yield hint.__bound__
        yield from hint.__constraints__
    elif isinstance(hint, typing.NewType):
        yield hint.__supertype__
    elif isinstance(hint, type) and issubclass(hint, pydantic.BaseModel):
        yield from hint.__pydantic_generic_metadata__["args"]
    elif hasattr(hint, "__value__"):  # a `type X = ...` of Python 3.12 and later
        yield hint.__value__


def _hints(cls: type) -> dict[str, object]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except Exception:  # noqa: BLE001 - an annotation may be any expression; each is tried alone below
        pass
    hints: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        scope = {**vars(sys.modules.get(base.__module__, typing)), **vars(base), base.__name__: base}
        for name, hint in _raw_annotations(base).items():
            resolved = _resolved(hint, scope)
            if resolved is not None:
                hints[name] = resolved
    if issubclass(cls, pydantic.BaseModel):
        hints.update({name: field.annotation for name, field in cls.model_fields.items()})
    elif issubclass(cls, msgspec.Struct):
        hints.update(
            {
                field.name: field.type
                for field in msgspec.structs.fields(cls)
                if not isinstance(field.type, str)
            }
        )
    return hints


def _raw_annotations(cls: type) -> dict[str, object]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return dict(annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF))
    return dict(inspect.get_annotations(cls))


def _resolved(hint: object, scope: dict[str, Any]) -> object:
    text = hint if isinstance(hint, str) else getattr(hint, "__forward_arg__", None)
    if text is None:
        return hint
    holder = type("Holder", (), {"__annotations__": {"hint": text}})
    try:
        return typing.get_type_hints(holder, scope, include_extras=True)["hint"]
    except Exception:  # noqa: BLE001 - not to be resolved here
        return None
