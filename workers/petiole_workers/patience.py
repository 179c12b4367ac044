"""Calling the store again while it cannot be reached: every ledger operation may be."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import tenacity

from petiole_stores.errors import StoreUnavailableError

T = TypeVar("T")
logger = logging.getLogger("petiole.store")

#: How long a worker keeps trying one operation, in seconds; its claim is then left to the sweep.
LIMIT = 60.0


def patiently(operation: Callable[[], T], *, limit: float = LIMIT) -> T:
    """The operation's answer; while the store is unavailable it is called again, 0.1 s to 5 s apart, up to ``limit``."""
    try:
        return operation()
    except StoreUnavailableError as error:
        logger.warning("the store is unavailable, trying again: %s", error)
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(StoreUnavailableError),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=5.0),
        stop=tenacity.stop_after_delay(limit),
        reraise=True,
    )(operation)
