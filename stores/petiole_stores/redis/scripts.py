"""The Lua scripts: files of this package, each put together with what its first line includes."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

_INCLUDE = "--- include "


class Script(NamedTuple):
    """One script, and the SHA-1 of its text by which the server knows it."""

    name: str
    text: bytes
    sha: str


@cache
def script(name: str) -> Script:
    """The script of ``lua/<name>.lua``, with the files that its line ``--- include a b`` names in front."""
    text = _read(name)
    first = text.partition("\n")[0]
    parts = first.removeprefix(_INCLUDE).split() if first.startswith(_INCLUDE) else []
    whole = "\n".join([*map(_read, parts), text]).encode()
    return Script(name, whole, hashlib.sha1(whole, usedforsecurity=False).hexdigest())


def _read(name: str) -> str:
    return (files("petiole_stores.redis") / "lua" / f"{name}.lua").read_text("utf-8")
