"""The classes of users that may be stored and come back: enums, namedtuples, dataclasses, pydantic models, Structs.

A class is stored by its name ("module:qualname") and found again only in this registry: nothing is ever imported on
the word of stored data. Objects are rebuilt field by field without running ``__post_init__`` or validators, so they
come back as they were; a field that the class has gained since takes its default.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import operator
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pydantic

from petiole_stores.errors import SerializationError, UnfitError
from petiole_stores.serde import kinds
from petiole_stores.serde.kinds import Kind

_BUILTIN_BASES = (
    str,
    bytes,
    bytearray,
    int,
    float,
    complex,
    list,
    dict,
    set,
    frozenset,
    tuple,
    BaseException,
)


def class_name(cls: type) -> str:
    """The name under which a class is stored."""
    return f"{cls.__module__}:{cls.__qualname__}"


def is_namedtuple(cls: type) -> bool:
    return issubclass(cls, tuple) and cls is not tuple and isinstance(getattr(cls, "_fields", None), tuple)


def is_supported(cls: object) -> bool:
    """Whether a class is of a sort that can be registered."""
    if not isinstance(cls, type):
        return False
    if issubclass(cls, enum.Enum) or is_namedtuple(cls):
        return True
    if issubclass(cls, _BUILTIN_BASES):
        return False
    return dataclasses.is_dataclass(cls) or issubclass(cls, pydantic.BaseModel | msgspec.Struct)


#: Packages whose classes are known without being registered: LangChain's messages, which annotations seldom name. Of
#: what stored data names, these alone are imported; nothing here imports them before data holds one.
FAMILIES = ("langchain_core.messages", "langchain_core.documents")


class ByType(dict[type, Kind]):
    """Kinds by type, that learn of a family's class when they are first asked for it."""

    def __init__(self, add: Callable[[type], bool]) -> None:
        super().__init__(kinds.BUILTIN)
        self._add = add

    def get(self, cls: type, default: Any = None) -> Any:
        found = super().get(cls, default)
        if found is None and _is_of_family(cls.__module__) and is_supported(cls):
            self._add(cls)
            return super().get(cls)
        return found


class Registry:
    """Which kind stores a value of a type, and which one reads a tag or code."""

    def __init__(self) -> None:
        self.by_type: dict[type, Kind] = ByType(self.add)
        self._classes: dict[str, type] = {}
        self._rebuild: dict[str, Callable[..., object]] = {}
        loaders = [*kinds.BUILTIN.values(), kinds.INT, kinds.FLOAT, kinds.STR, kinds.DICT]
        loaders.append(Kind(kinds.ENUM_TAG, kinds.ENUM_CODE, _never, self._load))
        loaders.append(Kind(kinds.NAMEDTUPLE_TAG, kinds.NAMEDTUPLE_CODE, _never, self._load))
        loaders.append(Kind(kinds.OBJECT_TAG, kinds.OBJECT_CODE, _never, self._load))
        self.by_tag: dict[str, Callable[[Any], object]] = {f"${kind.tag}": kind.load for kind in loaders}
        self.by_code: dict[int, Callable[[Any], object]] = {kind.code: kind.load for kind in loaders}

    def add(self, cls: type) -> bool:
        """Register one class; False when it was registered before. The newest class of a name wins (reloads)."""
        if self._classes.get(class_name(cls)) is cls:
            return False
        if not is_supported(cls):
            raise SerializationError(
                f"{_label(cls)} cannot be registered: it is no dataclass, pydantic model, msgspec Struct, Enum or "
                "namedtuple, or it extends a built-in type; make it one of those and keep its data in fields"
            )
        name = class_name(cls)
        older = self._classes.get(name)
        if older is not None:
            self.by_type.pop(older, None)
        dump, rebuild, tag, code = _ways(cls, name)
        self._classes[name], self._rebuild[name] = cls, rebuild
        self.by_type[cls] = Kind(tag, code, dump, self._load)
        return True

    def _load(self, payload: Any) -> object:
        name, *rest = payload
        rebuild = self._rebuild.get(name) or self._of_family(name)
        if rebuild is None:
            raise UnfitError(
                f"stored data holds a {name}, and no class of that name is registered here: register it, or use it "
                "in the annotations of the graph's state schema"
            )
        return rebuild(*rest)

    def _of_family(self, name: str) -> Callable[..., object] | None:
        """The way to rebuild a family's class. Raises UnfitError where its package is not here."""
        module, _, qualname = name.partition(":")
        if not _is_of_family(module):
            return None
        try:
            cls: object = operator.attrgetter(qualname)(importlib.import_module(module))
        except (ImportError, AttributeError) as error:
            raise UnfitError(
                f"stored data holds a {name}, and it cannot be had here ({error}): install the version of "
                f"{module.partition('.')[0]} that wrote it"
            ) from None
        if not isinstance(cls, type) or class_name(cls) != name or not is_supported(cls):
            return None
        self.add(cls)
        return self._rebuild[name]


def _is_of_family(module: str) -> bool:
    return module.startswith("langchain_core.") and any(
        module == family or module.startswith(family + ".") for family in FAMILIES
    )


def _ways(cls: type, name: str) -> tuple[Callable[[Any], Any], Callable[..., object], str, int]:
    """How to take objects of a class apart and rebuild them, with tag and code."""
    if issubclass(cls, enum.Enum):
        if issubclass(cls, enum.Flag):
            return (lambda v: [name, v.value]), _from_flag(cls, name), kinds.ENUM_TAG, kinds.ENUM_CODE
        return (lambda v: [name, v.name]), _from_enum(cls, name), kinds.ENUM_TAG, kinds.ENUM_CODE
    if is_namedtuple(cls):
        return (
            (lambda v: [name, list(v)]),
            _from_items(cls, name),
            kinds.NAMEDTUPLE_TAG,
            kinds.NAMEDTUPLE_CODE,
        )
    if issubclass(cls, pydantic.BaseModel):
        return _dump_model(name), _from_model(cls, name), kinds.OBJECT_TAG, kinds.OBJECT_CODE
    if issubclass(cls, msgspec.Struct):
        fields = cls.__struct_fields__
        return _dump_fields(name, fields), _from_struct(cls, name), kinds.OBJECT_TAG, kinds.OBJECT_CODE
    fields = tuple(field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]
    return _dump_fields(name, fields), _from_dataclass(cls, name), kinds.OBJECT_TAG, kinds.OBJECT_CODE


def _dump_fields(name: str, fields: tuple[str, ...]) -> Callable[[Any], list[object]]:
    def dump(value: Any) -> list[object]:
        # A field that was never set, or deleted, has nothing to store.
        return [name, {field: getattr(value, field) for field in fields if hasattr(value, field)}]

    return dump


def _dump_model(name: str) -> Callable[[Any], list[object]]:
    def dump(value: pydantic.BaseModel) -> list[object]:
        fields = type(value).model_fields
        stored = {key: item for key, item in value.__dict__.items() if key in fields}
        payload: list[object] = [name, stored]
        given = value.model_fields_set
        rest = {
            "set": None if given == stored.keys() else sorted(given),
            "extra": value.__pydantic_extra__,
            "private": value.__pydantic_private__,
        }
        rest = {key: item for key, item in rest.items() if item is not None}
        return [*payload, rest] if rest else payload

    return dump


def _from_enum(cls: type[enum.Enum], name: str) -> Callable[..., object]:
    def rebuild(member: str) -> object:
        try:
            return cls[member]
        except KeyError:
            raise UnfitError(
                f"{name} has no member {member!r} here: deploy the version that has it"
            ) from None

    return rebuild


def _from_flag(cls: type[enum.Enum], name: str) -> Callable[..., object]:
    def rebuild(value: object) -> object:
        try:
            return cls(value)
        except ValueError as error:
            raise UnfitError(
                f"{name} has no member of the value {value!r} here: deploy the version that has it"
            ) from error

    return rebuild


def _from_items(cls: type, name: str) -> Callable[..., object]:
    fields: tuple[str, ...] = cls._fields  # type: ignore[attr-defined]
    defaults: dict[str, object] = getattr(cls, "_field_defaults", {})

    def rebuild(items: list[object]) -> object:
        if len(items) > len(fields):
            raise _unfit_fields(
                name, [f"#{index}" for index in range(len(fields), len(items))], "has no field"
            )
        missing = fields[len(items) :]
        if unknown := [field for field in missing if field not in defaults]:
            raise _unfit_fields(name, unknown, "was stored without the field")
        return tuple.__new__(cls, [*items, *(defaults[field] for field in missing)])

    return rebuild


def _from_dataclass(cls: type, name: str) -> Callable[..., object]:
    fields: dict[str, dataclasses.Field[Any]] = {field.name: field for field in dataclasses.fields(cls)}

    def rebuild(stored: dict[str, object]) -> object:
        _refuse_unknown(name, stored, fields)
        value: object = object.__new__(cls)
        for key, item in stored.items():
            object.__setattr__(value, key, item)
        for key in fields.keys() - stored.keys():
            field = fields[key]
            if field.default is not dataclasses.MISSING:
                object.__setattr__(value, key, field.default)
            elif field.default_factory is not dataclasses.MISSING:
                object.__setattr__(value, key, field.default_factory())
            elif field.init:
                raise _unfit_fields(name, [key], "was stored without the field")
        return value

    return rebuild


def _from_struct(cls: type[msgspec.Struct], name: str) -> Callable[..., object]:
    fields = {field.name: field for field in msgspec.structs.fields(cls)}

    def rebuild(stored: dict[str, object]) -> object:
        _refuse_unknown(name, stored, fields)
        if missing := [key for key, field in fields.items() if field.required and key not in stored]:
            raise _unfit_fields(name, missing, "was stored without the field")
        value = cls(**stored)
        if hasattr(cls, "__post_init__"):
            for key, item in stored.items():
                msgspec.structs.force_setattr(value, key, item)
        return value

    return rebuild


def _from_model(cls: type[pydantic.BaseModel], name: str) -> Callable[..., object]:
    def rebuild(stored: dict[str, object], rest: dict[str, Any] | None = None) -> object:
        fields = cls.model_fields
        rest = rest or {}
        _refuse_unknown(name, stored, fields)
        values = dict(stored)
        for key, field in fields.items():
            if key in values:
                continue
            if field.is_required():
                raise _unfit_fields(name, [key], "was stored without the field")
            values[key] = field.get_default(call_default_factory=True, validated_data=values)
        given = rest.get("set")
        value: pydantic.BaseModel = cls.__new__(cls)
        value.__setstate__(
            {
                "__dict__": values,
                "__pydantic_fields_set__": set(stored if given is None else given),
                "__pydantic_extra__": rest.get("extra"),
                "__pydantic_private__": rest.get("private"),
            }
        )
        return value

    return rebuild


def _refuse_unknown(name: str, stored: Mapping[str, object], fields: Mapping[str, object]) -> None:
    if unknown := [key for key in stored if key not in fields]:
        raise _unfit_fields(name, unknown, "has no field")


def _unfit_fields(name: str, fields: list[str], what: str) -> UnfitError:
    return UnfitError(
        f"the class {name} {what} {', '.join(fields)}: deploy the version that wrote the data, or give the field a default"
    )


def _label(cls: object) -> str:
    return class_name(cls) if isinstance(cls, type) else repr(cls)


def _never(value: object) -> object:
    raise AssertionError(f"read-only kind asked to store {value!r}")
