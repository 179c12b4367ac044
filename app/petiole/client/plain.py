"""Values as JSON can say them."""

from __future__ import annotations

from typing import Any

import msgspec

#: Characters of a value that are shown on one line.
SHOWN = 200


def plain(value: Any) -> Any:
    """A value as JSON can say it: sets as lists, classes as their fields, what has no such form as text."""
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_other)


def shown(value: Any) -> str:
    """A value as one line of JSON, cut where it is long."""
    try:
        text = msgspec.json.encode(plain(value)).decode()
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _other(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) else repr(value)
