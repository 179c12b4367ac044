"""JSON text of whatever a document holds: what JSON cannot say is said as near as can be, and never fails."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
from starlette.responses import Response


def encode(document: Any) -> bytes:
    """UTF-8 JSON. Numbers that are not finite become null; a lone surrogate becomes U+FFFD."""
    try:
        return msgspec.json.encode(document)
    except (UnicodeEncodeError, OverflowError, TypeError):
        return json.dumps(_sayable(document), ensure_ascii=False).encode()


class Json(Response):
    """An answer of JSON; ``media_type`` where it is another than ``application/json``."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return encode(content)


def _sayable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_sayable(str(key)): _sayable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sayable(item) for item in value]
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value)
    return value if value is None or isinstance(value, bool | int) else str(value)
