"""Exponential backoff, the arithmetic of it."""

from __future__ import annotations

from collections.abc import Callable


def grown(first: float, factor: float, times: int, limit: float) -> float:
    """``first`` multiplied ``times`` times by ``factor``, at most ``limit``."""
    try:
        return min(limit, first * factor**times)
    except OverflowError:
        return limit


def jittered(wait: float, random: Callable[[], float]) -> float:
    """Full jitter: anything from 0 to ``wait``, so that those that failed together do not come back together.

    See Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
    """
    return wait * random()
