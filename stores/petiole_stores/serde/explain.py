"""Says where in a value the part is that cannot be stored, and why: slow, and run only when storing has failed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from petiole_stores.errors import SerializationError
from petiole_stores.serde.classes import Registry, class_name, is_supported
from petiole_stores.serde.kinds import BUILTIN
from petiole_stores.serde.packed import MAX_DEPTH

_SIMPLE = frozenset({str, int, float, bool, type(None), bytes, bytearray})


def refusal(value: object, root: str, registry: Registry) -> SerializationError:
    """The error to raise for a value that has no stored form.

    ``root`` is what the value is called at the start of a path, as in ``state.docs[3].owner``.
    """
    stack: list[tuple[str, Iterator[tuple[str, object]], int]] = []
    open_ids: set[int] = set()
    todo: tuple[str, object] | None = (root, value)
    while True:
        if todo is not None:
            path, item = todo
            if id(item) in open_ids:
                return SerializationError(
                    f"{path} holds itself: a state cannot have cycles; store ids instead of references"
                )
            if len(stack) > MAX_DEPTH:
                return _too_deep(root)
            if type(item) not in _SIMPLE:
                try:
                    children = _children(item, path, registry)
                except SerializationError as error:
                    return SerializationError(f"{path}: {error}")
                if children is None:
                    return SerializationError(f"{path} is a {class_name(type(item))}, {_remedy(item)}")
                stack.append((path, children, id(item)))
                open_ids.add(id(item))
        if not stack:
            return _too_deep(root)
        todo = next(stack[-1][1], None)
        if todo is None:
            open_ids.discard(stack.pop()[2])


def _too_deep(root: str) -> SerializationError:
    return SerializationError(
        f"{root} is nested deeper than {MAX_DEPTH} containers (an object counts as three): flatten it, for example "
        "into a list of nodes that name each other by id"
    )


def _children(item: Any, path: str, registry: Registry) -> Iterator[tuple[str, object]] | None:
    """What a container or object holds, with paths; None for a type that has no stored form."""
    kind = registry.by_type.get(type(item))
    if isinstance(item, dict) and type(item) in (dict, *BUILTIN):
        return _entries(item, path)
    if type(item) in (list, tuple, set, frozenset) or (
        kind is not None and kind.tag in ("deque", "namedtuple")
    ):
        return ((f"{path}[{index}]", element) for index, element in enumerate(item))
    if kind is None:
        return None
    payload = kind.dump(item)  # raises where the value itself has no stored form
    if kind.tag == "object":
        return ((f"{path}.{name}", element) for part in payload[1:] for name, element in part.items())
    return iter([(f"{path}.value", payload[1])] if kind.tag == "enum" else [])


def _entries(item: dict[Any, Any], path: str) -> Iterator[tuple[str, object]]:
    for key, element in item.items():
        if type(key) is not str:
            yield f"{path}: the key {key!r}", key
        yield (f"{path}.{key}" if type(key) is str and key.isidentifier() else f"{path}[{key!r}]"), element


def _remedy(item: object) -> str:
    cls = type(item)
    if is_supported(cls):
        return "which is not registered: use the class in the annotations of the state schema, or register it"
    for base in (str, bytes, bool, int, float, list, dict, set, frozenset, tuple):
        if isinstance(item, base):
            return f"a subclass of {base.__name__} that would come back as a plain one: convert it with {base.__name__}(...)"
    return (
        "which has no stored form: use a dataclass, pydantic model, msgspec Struct, Enum, namedtuple or a type of the "
        "standard library that the documentation lists, or keep it out of the state"
    )
