"""Petiole: durable graph workflows on Celery.

Everything that a user needs is imported from here, and only when it is asked for: ``from petiole import StateGraph`` in a
worker loads neither the command line nor Celery.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from petiole.client import AsyncClient, AsyncRunHandle, Client, HistoryEntry, RunHandle
    from petiole_stores.checkpoint import Checkpoint
    from petiole_stores.contract import CheckpointStore
    from petiole_stores.errors import (
        BrokerError,
        ConfigurationError,
        ConflictError,
        CorruptionError,
        GraphError,
        GraphRecursionError,
        GraphValidationError,
        IdempotencyError,
        InputError,
        InvalidUpdateError,
        NotFoundError,
        PetioleError,
        RunCancelledError,
        RunError,
        RunFailedError,
        RunInterruptedError,
        RunTimeoutError,
        SchemaError,
        SerializationError,
        StoreError,
        StoreUnavailableError,
        ThreadBusyError,
        UnfitError,
        UnstorableError,
    )
    from petiole_stores.opening import open_checkpoint_store, open_store
    from petiole_stores.records import Run, Task, Worker
    from petiole_stores.store import Store
    from petiole_workers.celery.app import attach
    from petiole_workers.compiled import CompiledGraph
    from petiole_workers.failure import Failure
    from petiole_workers.graph import (
        END,
        START,
        CachePolicy,
        Command,
        NodeError,
        RetryPolicy,
        Runtime,
        Send,
        StateGraph,
    )
    from petiole_workers.long_term import LongTermMemory
    from petiole_workers.retry import (
        Adaptive,
        Emergency,
        Exponential,
        Fixed,
        RetryStrategy,
        default_retry_on,
    )
    from petiole_workers.settings import Settings, load_settings

__version__ = "0.1.0"

#: Module -> the names that come from it.
_HOMES = {
    "petiole.client": ("AsyncClient", "AsyncRunHandle", "Client", "HistoryEntry", "RunHandle"),
    "petiole_stores.checkpoint": ("Checkpoint",),
    "petiole_stores.contract": ("CheckpointStore",),
    "petiole_stores.errors": (
        "BrokerError",
        "ConfigurationError",
        "ConflictError",
        "CorruptionError",
        "GraphError",
        "GraphRecursionError",
        "GraphValidationError",
        "IdempotencyError",
        "InputError",
        "InvalidUpdateError",
        "NotFoundError",
        "PetioleError",
        "RunCancelledError",
        "RunError",
        "RunFailedError",
        "RunInterruptedError",
        "RunTimeoutError",
        "SchemaError",
        "SerializationError",
        "StoreError",
        "StoreUnavailableError",
        "ThreadBusyError",
        "UnfitError",
        "UnstorableError",
    ),
    "petiole_stores.opening": ("open_checkpoint_store", "open_store"),
    "petiole_stores.records": ("Run", "Task", "Worker"),
    "petiole_stores.store": ("Store",),
    "petiole_workers.celery.app": ("attach",),
    "petiole_workers.compiled": ("CompiledGraph",),
    "petiole_workers.failure": ("Failure",),
    "petiole_workers.graph": (
        "END",
        "START",
        "CachePolicy",
        "Command",
        "NodeError",
        "RetryPolicy",
        "Runtime",
        "Send",
        "StateGraph",
    ),
    "petiole_workers.long_term": ("LongTermMemory",),
    "petiole_workers.retry": (
        "Adaptive",
        "Emergency",
        "Exponential",
        "Fixed",
        "RetryStrategy",
        "default_retry_on",
    ),
    "petiole_workers.settings": ("Settings", "load_settings"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "END",
    "START",
    "Adaptive",
    "AsyncClient",
    "AsyncRunHandle",
    "BrokerError",
    "CachePolicy",
    "Checkpoint",
    "CheckpointStore",
    "Client",
    "Command",
    "CompiledGraph",
    "ConfigurationError",
    "ConflictError",
    "CorruptionError",
    "Emergency",
    "Exponential",
    "Failure",
    "Fixed",
    "GraphError",
    "GraphRecursionError",
    "GraphValidationError",
    "HistoryEntry",
    "IdempotencyError",
    "InputError",
    "InvalidUpdateError",
    "LongTermMemory",
    "NodeError",
    "NotFoundError",
    "PetioleError",
    "RetryPolicy",
    "RetryStrategy",
    "Run",
    "RunCancelledError",
    "RunError",
    "RunFailedError",
    "RunHandle",
    "RunInterruptedError",
    "RunTimeoutError",
    "Runtime",
    "SchemaError",
    "Send",
    "SerializationError",
    "Settings",
    "StateGraph",
    "Store",
    "StoreError",
    "StoreUnavailableError",
    "Task",
    "ThreadBusyError",
    "UnfitError",
    "UnstorableError",
    "Worker",
    "__version__",
    "attach",
    "default_retry_on",
    "load_settings",
    "open_checkpoint_store",
    "open_store",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'petiole' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
