"""How each built-in type beyond JSON is taken apart and put together again.

A kind has a tag (its name in a JSON document, after "$"), a code (its number in packed bytes: never reused) and two
functions: ``dump`` gives a payload made of simpler values, ``load`` makes the value from that payload.
"""

from __future__ import annotations

import base64
import pathlib
import uuid
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic_core import TzInfo

from petiole_stores.errors import SerializationError, UnfitError
from petiole_stores.message import Message


@dataclass(frozen=True, slots=True)
class Kind:
    """One type's way out and back."""

    tag: str
    code: int
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]


def _dump_zone(zone: tzinfo | None) -> object:
    """None, a zone's key, or the offset: [seconds, name or None, whether it is pydantic's class]."""
    if zone is None:
        return None
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    if type(zone) is timezone:
        name = zone.tzname(None)
        offset = zone.utcoffset(None)
        return [offset.total_seconds(), None if name == timezone(offset).tzname(None) else name]
    if type(zone) is TzInfo:
        shift = zone.utcoffset(None)
        return [0.0 if shift is None else shift.total_seconds(), None, True]
    raise SerializationError(
        f"the time zone {zone!r} of type {type(zone).__module__}.{type(zone).__qualname__} has no stored form: "
        "use zoneinfo.ZoneInfo(name) or datetime.timezone"
    )


def _load_zone(stored: Any) -> tzinfo | None:
    if stored is None:
        return None
    if isinstance(stored, str):
        try:
            return ZoneInfo(stored)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise UnfitError(
                f"the time zone {stored!r} is not known here: install the package tzdata or the system's zone files"
            ) from error
    if len(stored) == 3:
        return TzInfo(stored[0])
    seconds, name = stored
    offset = timedelta(seconds=seconds)
    return timezone(offset) if name is None else timezone(offset, name)


def _dump_datetime(value: datetime) -> list[object]:
    return [value.replace(tzinfo=None, fold=0).isoformat(), _dump_zone(value.tzinfo), value.fold]


def _load_datetime(payload: Any) -> datetime:
    text, zone, fold = payload
    return datetime.fromisoformat(text).replace(tzinfo=_load_zone(zone), fold=fold)


def _dump_time(value: time) -> list[object]:
    return [value.replace(tzinfo=None, fold=0).isoformat(), _dump_zone(value.tzinfo), value.fold]


def _load_time(payload: Any) -> time:
    text, zone, fold = payload
    return time.fromisoformat(text).replace(tzinfo=_load_zone(zone), fold=fold)


_PATHS: dict[str, type[pathlib.PurePath]] = {
    "PurePosixPath": pathlib.PurePosixPath,
    "PureWindowsPath": pathlib.PureWindowsPath,
    "PosixPath": pathlib.PosixPath,
    "WindowsPath": pathlib.WindowsPath,
}


def _load_path(payload: Any) -> pathlib.PurePath:
    name, text = payload
    try:
        return _PATHS[name](text)
    except NotImplementedError as error:  # UnsupportedOperation from 3.13 on is one too
        raise UnfitError(
            f"a pathlib.{name} cannot be made on this system: store pathlib.PurePath values where workers "
            "of several systems share a thread"
        ) from error


def _load_deque(payload: Any) -> deque[object]:
    limit, items = payload
    return deque(items, limit)


def _load_dict(pairs: Any) -> dict[object, object]:
    return dict(pairs)


BYTES = Kind(
    "bytes", 20, lambda v: base64.b64encode(v).decode("ascii"), lambda p: base64.b64decode(p, validate=True)
)
INT = Kind("int", 14, hex, lambda p: int(p, 16))
FLOAT = Kind("float", 21, repr, float)
STR = Kind(
    "str", 15, lambda v: v.encode("utf-8", "surrogatepass"), lambda p: p.decode("utf-8", "surrogatepass")
)
DICT = Kind("dict", 16, lambda v: [[key, item] for key, item in v.items()], _load_dict)

#: Kinds that a type alone decides on.
BUILTIN: dict[type, Kind] = {
    bytes: BYTES,
    tuple: Kind("tuple", 1, list, tuple),
    set: Kind("set", 2, list, set),
    frozenset: Kind("frozenset", 3, list, frozenset),
    datetime: Kind("datetime", 4, _dump_datetime, _load_datetime),
    date: Kind("date", 5, date.isoformat, date.fromisoformat),
    time: Kind("time", 6, _dump_time, _load_time),
    timedelta: Kind("timedelta", 7, lambda v: [v.days, v.seconds, v.microseconds], lambda p: timedelta(*p)),
    Decimal: Kind("decimal", 8, str, Decimal),
    uuid.UUID: Kind("uuid", 9, str, uuid.UUID),
    complex: Kind("complex", 10, lambda v: [v.real, v.imag], lambda p: complex(*p)),
    deque: Kind("deque", 12, lambda v: [v.maxlen, list(v)], _load_deque),
    bytearray: Kind("bytearray", 13, bytes, bytearray),
    Counter: Kind("counter", 22, dict, Counter),
    OrderedDict: Kind("ordered", 23, dict, OrderedDict),
    Message: Kind("message", 24, dict, Message.of),
}
_PATH = Kind("path", 11, lambda v: [type(v).__name__, str(v)], _load_path)
BUILTIN.update(dict.fromkeys(_PATHS.values(), _PATH))

#: Codes and tags of the classes that users register (see classes.py).
ENUM_TAG, ENUM_CODE = "enum", 17
NAMEDTUPLE_TAG, NAMEDTUPLE_CODE = "namedtuple", 18
OBJECT_TAG, OBJECT_CODE = "object", 19
