"""What a node may know of the run it is part of."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from petiole_stores.errors import ConfigurationError
from petiole_workers.graph.names import DEFAULT_RECURSION_LIMIT
from petiole_workers.graph.steps import StepFuture
from petiole_workers.retry import RetryStrategy


def _never() -> bool:
    return False


def _unheard(value: Any) -> None:
    """Nobody listens."""


class NodeServices(Protocol):
    """What an engine does for a running node; see the methods of `Runtime`."""

    def pause(self, seconds: float) -> float:
        """How long the node has to wait here for its next timer; raises what parks the task where that is too long."""

    def heartbeat(self, details: object) -> None: ...

    def details(self) -> object: ...

    def failures(self) -> int:
        """How many tries of the task have failed so far."""

    def transaction(self) -> AbstractContextManager[Any]: ...

    def wait_signal(self, name: str, timeout: float | None) -> Any: ...

    def step(
        self, name: str, call: Callable[[], Any], policies: Sequence[RetryStrategy]
    ) -> StepFuture[Any]: ...

    def child(self, call: Any) -> Any:
        """The result of a run of another graph (`petiole_workers.graph.children`)."""

    def interrupt(self, value: object) -> Any:
        """The answer to the node's next interrupt; raises GraphInterrupt where there is none yet."""

    def answers(self) -> Sequence[Any]:
        """The answers that the node's interrupts have got so far, in the order asked."""


class NoServices:
    """Outside an engine: timers are slept through, details are forgotten, there is no store."""

    def pause(self, seconds: float) -> float:
        return seconds

    def heartbeat(self, details: object) -> None:
        """Nothing keeps them."""

    def details(self) -> object:
        return None

    def failures(self) -> int:
        return 0

    def transaction(self) -> AbstractContextManager[Any]:
        raise ConfigurationError(
            "runtime.transaction() needs a store with tables: run the graph on postgresql:// or sqlite://"
        )

    def step(self, name: str, call: Callable[[], Any], policies: Sequence[RetryStrategy]) -> StepFuture[Any]:
        raise ConfigurationError(
            f"the task {name!r} needs a workflow that runs: call it in an entrypoint or node"
        )

    def child(self, call: Any) -> Any:
        raise ConfigurationError(f"a run of graph {call.graph!r} needs a graph that runs: call it in a node")

    def wait_signal(self, name: str, timeout: float | None) -> Any:
        raise ConfigurationError("wait_signal() needs a graph that runs: call it in a node")

    def interrupt(self, value: object) -> Any:
        raise ConfigurationError("interrupt() needs a graph that runs: call it in a node")

    def answers(self) -> Sequence[Any]:
        return ()


@dataclass(frozen=True, slots=True)
class ExecutionInfo:
    """Which execution of a node this is: LangGraph's fields, ids as strings."""

    checkpoint_id: str
    checkpoint_ns: str
    task_id: str
    thread_id: str | None = None
    run_id: str | None = None
    node_attempt: int = 1
    node_first_attempt_time: float | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """What the caller of a run gave along with it, beside input and context.

    configurable: its values for functions that take ``config``.
    tags, metadata, recursion_limit: of the run.
    callbacks: LangChain's, for a graph that runs in the caller's process; they go nowhere else.
    """

    configurable: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    recursion_limit: int = DEFAULT_RECURSION_LIMIT
    callbacks: Any = None


ContextT = TypeVar("ContextT")


@dataclass(frozen=True, slots=True)
class Runtime(Generic[ContextT]):
    """The second argument of a node or router that asks for one.

    context: what the run was given as its context, as the graph's ``context_schema`` has it; ``None`` if it was given none.

    thread_id, run_id, task_id: ids as strings; empty where there is none.
    node: the name of the node; for a router, the node that it routes from.
    attempt: 1 for the first try.
    idempotency_key: the same on every attempt at this task, for the services that a node calls.
    logger: a logger that names the task.
    is_cancelled: asked by `cancelled`.
    services: what the engine does for the node, by the methods below.
    stream_writer: says something, at once, to whoever follows the run in ``stream_mode="custom"``; anything that a state
        may hold. It never fails a node, and what a try said that failed later is not taken back.
    caller: what the run was given, for `config`.
    step: the superstep that the task is of, counted as checkpoints count.
    checkpoint_id, checkpoint_ns: where the task starts from, and the namespace that it is in.
    first_attempt_time: seconds since the epoch when the first attempt began.
    store: long-term memory across threads, a `petiole_workers.long_term.LongTermMemory` or what ``compile(store=...)`` was
        given; ``None`` outside an engine.
    """

    context: ContextT = None  # type: ignore[assignment]
    thread_id: str = ""
    run_id: str = ""
    task_id: str = ""
    node: str = ""
    attempt: int = 1
    idempotency_key: str = ""
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger] = field(
        default_factory=lambda: logging.getLogger("petiole.node")
    )
    is_cancelled: Callable[[], bool] = _never
    services: NodeServices = field(default_factory=NoServices, repr=False)
    stream_writer: Callable[[Any], None] = field(default=_unheard, repr=False)
    store: Any = field(default=None, repr=False)
    caller: Caller = field(default_factory=Caller, repr=False)
    step: int = 0
    checkpoint_id: str = ""
    checkpoint_ns: str = ""
    first_attempt_time: float | None = None

    @property
    def execution_info(self) -> ExecutionInfo:
        """The same ids in the shape of LangGraph's ``runtime.execution_info``."""
        return ExecutionInfo(
            self.checkpoint_id,
            self.checkpoint_ns,
            self.task_id,
            self.thread_id or None,
            self.run_id or None,
            self.attempt,
            self.first_attempt_time,
        )

    @property
    def cancelled(self) -> bool:
        """Whether the work is no longer wanted: the run was cancelled, or this worker lost its claim."""
        return self.is_cancelled()

    def sleep(self, seconds: float) -> None:
        """Waits durably: a long wait leaves the worker and costs a row, and survives every crash.

        As with an interrupt, the node then runs again from its top, and the sleeps that it has been through return at
        once; so what comes before a sleep has to be harmless to repeat. Waits of up to ``in_process_wait`` (1 s) are
        slept through here. The n-th call of an attempt is the same timer in every attempt.
        """
        time.sleep(self.services.pause(_duration(seconds)))

    async def asleep(self, seconds: float) -> None:
        """As `sleep`, for async nodes."""
        import asyncio

        await asyncio.sleep(self.services.pause(_duration(seconds)))

    def wait_signal(self, name: str, timeout: float | None = None) -> Any:
        """Waits durably for a signal (``client.signal(thread, name, payload)``) and returns its payload.

        A signal that came before it was waited for counts; each is given to one wait alone, the oldest first. While there is
        none the task is put away and costs a row; when one comes the node runs again from its top, and the signals it has had
        return at once. ``timeout`` is in seconds; after it SignalTimeoutError is raised.
        """
        return self.services.wait_signal(name, None if timeout is None else _duration(timeout))

    async def await_signal(self, name: str, timeout: float | None = None) -> Any:
        """As `wait_signal`, for async nodes."""
        import asyncio

        return await asyncio.to_thread(self.wait_signal, name, timeout)

    def heartbeat(self, details: Any = None) -> None:
        """Keeps ``details`` (anything that a state may hold, up to 1 MiB) for the next attempt, should this one not end.

        For long nodes: say how far you are, and begin there when `details` has something. Calls within 0.1 s of one
        another are kept together.
        """
        self.services.heartbeat(details)

    @property
    def details(self) -> Any:
        """What the last heartbeat of an earlier attempt said; ``None`` if there was none."""
        return self.services.details()

    def transaction(self) -> AbstractContextManager[Any]:
        """``with runtime.transaction() as connection``: change tables of your own in the transaction that commits this
        node's output: both happen, or neither.

        The connection is psycopg's on ``postgresql://``, sqlite3's on ``sqlite://``; neither commit it nor roll it back.
        It stays open until the node's output is committed, so use it late in the node and return soon: on SQLite
        nobody else can write meanwhile. Where the node fails, or has lost its claim, all of it is rolled back; so it is
        when the block is left by an exception. Raises ConfigurationError on other stores.
        """
        return self.services.transaction()

    @property
    def config(self) -> dict[str, Any]:
        """What functions get that take ``(state, config)``: LangGraph's config, a new one each time."""
        caller = self.caller
        return {
            "tags": list(caller.tags),
            "metadata": {
                **caller.metadata,
                "node": self.node,
                "attempt": self.attempt,
                "langgraph_node": self.node,
                "langgraph_step": self.step,
            },
            "callbacks": caller.callbacks,
            "recursion_limit": caller.recursion_limit,
            "configurable": {
                **caller.configurable,
                "thread_id": self.thread_id,
                "run_id": self.run_id,
                "task_id": self.task_id,
                "checkpoint_id": self.checkpoint_id,
                "checkpoint_ns": self.checkpoint_ns,
            },
        }


_running: ContextVar[Runtime[Any]] = ContextVar("petiole_runtime")


@contextmanager
def running(runtime: Runtime[Any]) -> Iterator[None]:
    """Lets `get_runtime` give ``runtime`` within the block."""
    token = _running.set(runtime)
    try:
        yield
    finally:
        _running.reset(token)


def services_around() -> NodeServices | None:
    """What an engine does for the node within which this is called; ``None`` outside of one."""
    runtime = _running.get(None)
    return None if runtime is None or isinstance(runtime.services, NoServices) else runtime.services


def caller_around() -> tuple[dict[str, Any], Any]:
    """The config and the context of the node within which this is called, for a graph that it invokes; empty outside one.

    Not what is the node's task's own, beside the thread's id.
    """
    runtime = _running.get(None)
    if runtime is None or isinstance(runtime.services, NoServices):
        return {}, None
    caller = runtime.caller
    config = {
        "tags": list(caller.tags),
        "metadata": dict(caller.metadata),
        "callbacks": caller.callbacks,
        "recursion_limit": caller.recursion_limit,
        "configurable": {**caller.configurable, "thread_id": runtime.thread_id},
    }
    return config, runtime.context


def current_runtime(what: str) -> Runtime[Any]:
    """The `Runtime` of the node that runs here. ``what`` asks for it: ConfigurationError names it outside a node."""
    try:
        return _running.get()
    except LookupError:
        raise ConfigurationError(
            f"{what} was called outside of a node: call it in a node's or router's function, or in one that it calls "
            "(threads of its own do not count)"
        ) from None


def get_runtime(context_schema: type[ContextT] | None = None) -> Runtime[ContextT]:
    """The `Runtime` of the node or router that is running here, for functions that it calls.

    context_schema: for type checkers alone. Raises ConfigurationError outside of a node.
    """
    return current_runtime("get_runtime()")


def get_config() -> dict[str, Any]:
    """The config of the node or router that is running here. Raises ConfigurationError outside of a node."""
    return get_runtime().config


def get_stream_writer() -> Callable[[Any], None]:
    """What says something to whoever follows the run in ``stream_mode="custom"``: ``runtime.stream_writer``.

    Raises ConfigurationError outside of a node.
    """
    return current_runtime("get_stream_writer()").stream_writer


def _duration(seconds: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e11:
        raise ValueError(f"sleep was given {seconds!r}: give a number of seconds from 0")
    return float(seconds)
