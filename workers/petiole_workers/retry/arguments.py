"""Checks of strategies' arguments. Each raises InputError with the argument's name, its value and what to give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from petiole_stores.errors import InputError
from petiole_workers.retry.matching import RetryOn


def check_number(owner: object, name: str, value: object, *, least: float, unit: str = "") -> None:
    """A finite number from ``least`` on."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not math.isfinite(value)
        or value < least
    ):
        raise InputError(f"{_name(owner)}: {name} is {value!r}: give a number of {least:g}{unit} or more")


def check_count(owner: object, name: str, value: object, *, least: int, or_none: bool = False) -> None:
    """A whole number from ``least`` on; ``None`` where that means no limit."""
    if value is None and or_none:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        otherwise = ", or None for no limit" if or_none else ""
        raise InputError(
            f"{_name(owner)}: {name} is {value!r}: give a whole number of {least} or more{otherwise}"
        )


def check_flag(owner: object, name: str, value: object) -> None:
    """A boolean."""
    if not isinstance(value, bool):
        raise InputError(f"{_name(owner)}: {name} is {value!r}: give True or False")


def check_waits(owner: object, base_delay: object, max_delay: object, multiplier: object) -> None:
    """The waits of exponential backoff: a first one above 0, which is not above the longest."""
    check_number(owner, "base_delay", base_delay, least=0.001, unit=" s")
    check_number(owner, "max_delay", max_delay, least=0.001, unit=" s")
    check_number(owner, "multiplier", multiplier, least=1.0)
    if cast(float, max_delay) < cast(float, base_delay):
        raise InputError(
            f"{_name(owner)}: max_delay is {max_delay!r}, below base_delay ({base_delay!r}): give at least as much"
        )


def check_rule(owner: object, value: object) -> RetryOn:
    """An exception class, several of them (returned as a tuple), or a function of the exception."""
    if isinstance(value, type):
        if issubclass(value, Exception):
            return value
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        if value and all(isinstance(kind, type) and issubclass(kind, Exception) for kind in value):
            return tuple(value)
    elif callable(value):
        return value
    raise InputError(
        f"{_name(owner)}: retry_on is {value!r}: give an exception class, a list of them, or a function that takes the "
        "exception and says whether to retry"
    )


def _name(owner: object) -> str:
    return type(owner).__name__
