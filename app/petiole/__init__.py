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
        AccessError,
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
        RateLimitError,
        RunCancelledError,
        RunError,
        RunFailedError,
        RunInterruptedError,
        RunTimeoutError,
        SchemaError,
        SerializationError,
        SignalTimeoutError,
        StoreError,
        StoreUnavailableError,
        ThreadBusyError,
        UnfitError,
        UnstorableError,
    )
    from petiole_stores.message import Message
    from petiole_stores.opening import open_checkpoint_store, open_store
    from petiole_stores.records import Run, Task, Worker
    from petiole_stores.store import Store
    from petiole_workers.celery.app import attach
    from petiole_workers.celery.nodes import celery_node
    from petiole_workers.compiled import CompiledGraph
    from petiole_workers.failure import Failure
    from petiole_workers.functional import entrypoint, task
    from petiole_workers.graph import (
        END,
        REMOVE_ALL_MESSAGES,
        START,
        AnyValue,
        BinaryOperatorAggregate,
        CachePolicy,
        Command,
        DeltaChannel,
        EphemeralValue,
        ExecutionInfo,
        GraphInterrupt,
        Interrupt,
        IsLastStep,
        LastValue,
        MessagesState,
        NodeError,
        Overwrite,
        RemainingSteps,
        RemoveMessage,
        RetryPolicy,
        Runtime,
        Send,
        StateGraph,
        TimeoutPolicy,
        Topic,
        UntrackedValue,
        add_messages,
        child,
        get_config,
        get_runtime,
        get_stream_writer,
        interrupt,
    )
    from petiole_workers.limits import NodeTimeoutError
    from petiole_workers.listeners import LoggingListener, MetricsListener, ProgressListener
    from petiole_workers.listening import (
        CheckpointEvent,
        Listener,
        NodeEndEvent,
        NodeErrorEvent,
        NodeEvent,
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
    from petiole_workers.schedules.schedule import Schedule
    from petiole_workers.settings import Settings, load_settings
    from petiole_workers.snapshot import StateSnapshot
    from petiole_workers.updating import StateUpdate

__version__ = "0.1.0"

#: Module -> the names that come from it.
_HOMES = {
    "petiole.client": ("AsyncClient", "AsyncRunHandle", "Client", "HistoryEntry", "RunHandle"),
    "petiole_stores.checkpoint": ("Checkpoint",),
    "petiole_stores.contract": ("CheckpointStore",),
    "petiole_stores.errors": (
        "AccessError",
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
        "RateLimitError",
        "RunCancelledError",
        "RunError",
        "RunFailedError",
        "RunInterruptedError",
        "RunTimeoutError",
        "SchemaError",
        "SerializationError",
        "SignalTimeoutError",
        "StoreError",
        "StoreUnavailableError",
        "ThreadBusyError",
        "UnfitError",
        "UnstorableError",
    ),
    "petiole_stores.message": ("Message",),
    "petiole_stores.opening": ("open_checkpoint_store", "open_store"),
    "petiole_stores.records": ("Run", "Task", "Worker"),
    "petiole_stores.store": ("Store",),
    "petiole_workers.celery.app": ("attach",),
    "petiole_workers.celery.nodes": ("celery_node",),
    "petiole_workers.compiled": ("CompiledGraph",),
    "petiole_workers.failure": ("Failure",),
    "petiole_workers.functional": ("entrypoint", "task"),
    "petiole_workers.graph": (
        "END",
        "REMOVE_ALL_MESSAGES",
        "START",
        "AnyValue",
        "BinaryOperatorAggregate",
        "CachePolicy",
        "Command",
        "DeltaChannel",
        "EphemeralValue",
        "ExecutionInfo",
        "GraphInterrupt",
        "Interrupt",
        "IsLastStep",
        "LastValue",
        "MessagesState",
        "NodeError",
        "Overwrite",
        "RemainingSteps",
        "RemoveMessage",
        "RetryPolicy",
        "Runtime",
        "Send",
        "StateGraph",
        "TimeoutPolicy",
        "Topic",
        "UntrackedValue",
        "add_messages",
        "child",
        "get_config",
        "get_runtime",
        "get_stream_writer",
        "interrupt",
    ),
    "petiole_workers.long_term": ("LongTermMemory",),
    "petiole_workers.limits": ("NodeTimeoutError",),
    "petiole_workers.listeners": ("LoggingListener", "MetricsListener", "ProgressListener"),
    "petiole_workers.listening": (
        "CheckpointEvent",
        "Listener",
        "NodeEndEvent",
        "NodeErrorEvent",
        "NodeEvent",
    ),
    "petiole_workers.retry": (
        "Adaptive",
        "Emergency",
        "Exponential",
        "Fixed",
        "RetryStrategy",
        "default_retry_on",
    ),
    "petiole_workers.schedules.schedule": ("Schedule",),
    "petiole_workers.settings": ("Settings", "load_settings"),
    "petiole_workers.snapshot": ("StateSnapshot",),
    "petiole_workers.updating": ("StateUpdate",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "END",
    "REMOVE_ALL_MESSAGES",
    "START",
    "AccessError",
    "Adaptive",
    "AnyValue",
    "AsyncClient",
    "AsyncRunHandle",
    "BinaryOperatorAggregate",
    "BrokerError",
    "CachePolicy",
    "Checkpoint",
    "CheckpointEvent",
    "CheckpointStore",
    "Client",
    "Command",
    "CompiledGraph",
    "ConfigurationError",
    "ConflictError",
    "CorruptionError",
    "DeltaChannel",
    "Emergency",
    "EphemeralValue",
    "ExecutionInfo",
    "Exponential",
    "Failure",
    "Fixed",
    "GraphError",
    "GraphInterrupt",
    "GraphRecursionError",
    "GraphValidationError",
    "HistoryEntry",
    "IdempotencyError",
    "InputError",
    "Interrupt",
    "InvalidUpdateError",
    "IsLastStep",
    "LastValue",
    "Listener",
    "LoggingListener",
    "LongTermMemory",
    "Message",
    "MessagesState",
    "MetricsListener",
    "NodeEndEvent",
    "NodeError",
    "NodeErrorEvent",
    "NodeEvent",
    "NodeTimeoutError",
    "NotFoundError",
    "Overwrite",
    "PetioleError",
    "ProgressListener",
    "RateLimitError",
    "RemainingSteps",
    "RemoveMessage",
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
    "Schedule",
    "SchemaError",
    "Send",
    "SerializationError",
    "Settings",
    "SignalTimeoutError",
    "StateGraph",
    "StateSnapshot",
    "StateUpdate",
    "Store",
    "StoreError",
    "StoreUnavailableError",
    "Task",
    "ThreadBusyError",
    "TimeoutPolicy",
    "Topic",
    "UnfitError",
    "UnstorableError",
    "UntrackedValue",
    "Worker",
    "__version__",
    "add_messages",
    "attach",
    "celery_node",
    "child",
    "default_retry_on",
    "entrypoint",
    "get_config",
    "get_runtime",
    "get_stream_writer",
    "interrupt",
    "load_settings",
    "open_checkpoint_store",
    "open_store",
    "task",
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
