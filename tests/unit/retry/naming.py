"""Names of test cases: the same in every process, so that several may share the tests out among them."""

from __future__ import annotations

import re


def named(value: object) -> str:
    """The value's ``repr`` without the addresses of functions."""
    return re.sub(r"<function (\S+) at 0x[0-9a-f]+>", r"\1", repr(value))
