"""`CachePolicy`: which results of a node may be used again, and for how long. LangGraph's name and fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class CachePolicy:
    """How a node's results are cached.

    key_func: gives a text or bytes for the node's input; inputs with the same one share a result. By default the whole
        input tells, by the digest of its stored form.
    ttl: seconds for which a result is used; ``None`` for ever.
    """

    key_func: Callable[[Any], str | bytes] | None = None
    ttl: float | None = None

    def fault(self) -> str | None:
        """What is wrong with it, in words; ``None`` if nothing is."""
        if self.key_func is not None and not callable(self.key_func):
            return f"key_func is {self.key_func!r}: give a function of the node's input, or None"
        if self.ttl is not None and not 0 < self.ttl < 1e11:
            return f"ttl is {self.ttl!r}: give a number of seconds above 0, or None"
        return None
