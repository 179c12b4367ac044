"""Every error that Petiole raises, in one tree.

PetioleError
├── ConfigurationError          a setting, URL or graph reference is wrong
├── GraphError                  what a graph's author did wrong
│   ├── GraphValidationError    a graph that cannot be compiled (every fault is named)
│   ├── InvalidUpdateError      a node's update that its channel cannot take
│   └── GraphRecursionError     a run passed its recursion limit
├── InputError                  an input, id or argument that cannot be taken
├── NotFoundError               a thread, run, checkpoint, task or graph that does not exist
├── ConflictError               the request contradicts what is stored
│   ├── ThreadBusyError         the thread has an active run
│   └── IdempotencyError        one idempotency key, two different requests
├── RunError                    a run that did not succeed
│   ├── RunFailedError
│   ├── RunCancelledError
│   ├── RunInterruptedError     it waits for somebody to resume it
│   └── RunTimeoutError         waiting for a run took too long (the run goes on)
├── SerializationError          a value that cannot be stored, or bytes that cannot be read back
│   └── UnfitError              this process lacks a class, codec or key: nothing is wrong with the data
├── StoreError                  the store answered with an error
│   ├── StoreUnavailableError   the store cannot be reached: the call may be made again
│   ├── SchemaError             the store's schema is missing, or not of this version
│   ├── UnstorableError         a value that this store cannot hold; its neighbours in a batch are stored
│   └── CorruptionError         stored bytes do not match their digest
├── BrokerError                 the broker cannot be reached
├── AccessError                 a server refuses the key or token, or its scope
└── RateLimitError              a server takes no more requests for now
"""

from __future__ import annotations

from collections.abc import Sequence


class PetioleError(Exception):
    """The root of every error that Petiole raises."""


class ConfigurationError(PetioleError):
    """A setting, URL or graph reference is wrong."""


class GraphError(PetioleError):
    """A fault in how a graph is written."""


class GraphValidationError(GraphError, ValueError):
    """A graph cannot be compiled; ``faults`` names every reason at once."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = list(faults)
        super().__init__(
            "the graph cannot be compiled:\n" + "\n".join(f"  - {fault}" for fault in self.faults)
        )


class InvalidUpdateError(GraphError, ValueError):
    """A node wrote something that the state's channels cannot take."""


class GraphRecursionError(GraphError, RecursionError):
    """A run took more supersteps than its ``recursion_limit``."""


class InputError(PetioleError, ValueError):
    """An input, id or argument cannot be taken."""


class NotFoundError(PetioleError, LookupError):
    """A thread, run, checkpoint, task or graph does not exist."""


class ConflictError(PetioleError):
    """The request contradicts what is stored."""


class ThreadBusyError(ConflictError):
    """The thread has an active run."""


class IdempotencyError(ConflictError):
    """One idempotency key was used for two different requests."""


class RunError(PetioleError):
    """A run did not succeed."""


class RunFailedError(RunError):
    """A run failed; the message is the failing node's error, ``failure`` what is stored of it (or ``None``)."""

    def __init__(self, message: str, failure: object = None) -> None:
        self.failure = failure
        super().__init__(message)


class RunCancelledError(RunError):
    """A run was cancelled."""


class RunInterruptedError(RunError):
    """A run waits for somebody: for the answers to ``interrupts`` (none where its graph was told to stop there)."""

    def __init__(self, message: str, interrupts: Sequence[object] = ()) -> None:
        self.interrupts = list(interrupts)
        super().__init__(message)


class RunTimeoutError(RunError, TimeoutError):
    """Waiting for a run took longer than asked; the run itself goes on."""


class SignalTimeoutError(PetioleError, TimeoutError):
    """The signal that a node waited for did not come in time."""


class SerializationError(PetioleError, ValueError):
    """A value cannot be stored, or stored bytes cannot be read back."""


class UnfitError(SerializationError):
    """This process lacks a class, codec or key; the stored data itself may be sound."""


class StoreError(PetioleError):
    """The store answered with an error."""


class StoreUnavailableError(StoreError, ConnectionError):
    """The store cannot be reached; the same call may be made again."""


class SchemaError(StoreError):
    """The store's schema is missing or not of this version."""


class UnstorableError(StoreError):
    """A value cannot be held by this store; what came in the same batch was stored."""


class CorruptionError(StoreError):
    """Stored bytes do not match their digest."""


class BrokerError(PetioleError, ConnectionError):
    """The broker cannot be reached."""


class AccessError(PetioleError):
    """The server does not let the key's or token's bearer do this, or does not know the bearer."""


class RateLimitError(PetioleError):
    """Too many requests; ``retry_after`` is in how many seconds the server takes the next one."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(message)
