"""Wait for a condition with a deadline, instead of sleeping for luck."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def wait_until(
    condition: Callable[[], Found],
    timeout: float = 10.0,
    message: str | Callable[[], str] = "",
    *,
    interval: float = 0.02,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Found:
    """Call ``condition`` until it gives something true, and give that.

    ``timeout`` and ``interval`` are seconds. An ``AssertionError`` or ``OSError`` that the condition raises counts as
    "not yet". Past the deadline an ``AssertionError`` says what was waited for (``message``, called if it is a function),
    how long, how often it was asked and what it last gave or raised. The condition is asked once more after the
    deadline, so that a stalled machine doesn't fail a test whose condition has come true.
    """
    started = clock()
    asked = 0
    last = ""
    while True:
        late = clock() - started >= timeout
        asked += 1
        try:
            found = condition()
        except (AssertionError, OSError) as error:
            last = f"it last raised {type(error).__name__}: {error}"
        else:
            if found:
                return found
            last = f"it last gave {found!r}"
        if late:
            what = message() if callable(message) else message
            name = getattr(condition, "__qualname__", repr(condition))
            raise AssertionError(
                f"waited {clock() - started:.1f} s in vain for {what or name} (asked {asked} times; {last})"
            )
        sleep(interval)
