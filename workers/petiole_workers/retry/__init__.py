"""Retry strategies: when a failed attempt is made again, be it a node's or a call to the store.

Pure values: they know no store, no Celery and no clock. :mod:`petiole_workers.retry.retrying` makes tenacity's loop of
them; workers run it for nodes and for store operations alike.
"""

from __future__ import annotations

from petiole_workers.retry.adaptive import Adaptive
from petiole_workers.retry.emergency import Emergency
from petiole_workers.retry.exponential import Exponential
from petiole_workers.retry.fixed import Fixed
from petiole_workers.retry.matching import RetryOn, default_retry_on
from petiole_workers.retry.strategy import RetryStrategy, Strategy, strategy_for

__all__ = [
    "Adaptive",
    "Emergency",
    "Exponential",
    "Fixed",
    "RetryOn",
    "RetryStrategy",
    "Strategy",
    "default_retry_on",
    "strategy_for",
]
