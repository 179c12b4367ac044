"""Calling one node's function: sync or async, with its timeout and its retries."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import dataclasses
import random
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import tenacity

from petiole_stores.errors import PetioleError
from petiole_workers.graph import NodeSpec, Runtime, call_node
from petiole_workers.greenlets import in_native_thread, is_patched
from petiole_workers.limits import Clocks
from petiole_workers.retry.retrying import retrying
from petiole_workers.retry.strategy import strategy_for

#: How often a running async node is asked whether it is still wanted, in seconds.
LOOK = 0.25


class RetryLaterError(PetioleError):
    """The next try is due in ``delay`` seconds: too long to wait for in the worker's slot."""

    def __init__(self, delay: float, error: BaseException) -> None:
        super().__init__(f"to be tried again in {delay:.1f} s after {type(error).__name__}: {error}")
        # tenacity's waits are floats of a class of its own, which no store could encode.
        self.delay, self.error = float(delay), error


class NodeCaller:
    """Calls nodes, one at a time.

    ``loop`` is the event loop that awaits async nodes (``graph.ainvoke``); without one, the caller keeps a loop of its
    own. A retry that is due within ``in_process_wait`` seconds is waited for here; a later one raises RetryLaterError.
    An async node is cancelled when ``cancelled``, which costs nothing to ask, says that it is no longer wanted.
    """

    def __init__(
        self,
        *,
        in_process_wait: float = 1.0,
        loop: asyncio.AbstractEventLoop | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self.in_process_wait = in_process_wait
        self._loop = loop
        self._cancelled = cancelled
        self._kept: asyncio.Runner | None = None
        self._error: BaseException | None = None
        self._clocks: Clocks | None = None
        #: How often the last :meth:`call` has called its node.
        self.tries = 0

    def call(
        self,
        spec: NodeSpec,
        input: object,
        runtime: Runtime[Any],
        *,
        failures: int = 0,
        key: str = "",
        again: Callable[[], object] | None = None,
        on_retry: Callable[[BaseException], None] | None = None,
        watch: Callable[[int], AbstractContextManager[None]] = lambda tries: nullcontext(),
        extend: Callable[[float], None] | None = None,
        hear: Callable[[object], AbstractContextManager[None]] = lambda input: nullcontext(),
    ) -> Any:
        """What the node returned.

        Parameters
            failures  how many earlier tries of this task failed
            key       names the node among those of all graphs, for strategies that remember how it fares
            again     makes the input anew for a further try (the one that failed may have changed it in place)
            on_retry  told of each failed try that another one follows, here or later
            watch     gives what is to be entered round the first, second … try
            extend    told how many seconds the node has at least, when it has shown progress (`Clocks`)
            hear      gives what is to be entered round each try with this input

        Raises whatever the last try raised, or RetryLaterError.
        """
        self.tries = 0

        def attempt() -> Any:
            self.tries += 1
            given = again() if again is not None and self.tries > 1 else input
            self._clocks = Clocks(spec, extend)
            try:
                with hear(given):
                    return self._once(spec, given, _again(runtime, self.tries - 1), watch(self.tries))
            finally:
                self._clocks = None

        if not spec.retry_policies:
            return attempt()

        def note(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            assert error is not None
            self._error = error
            if on_retry is not None:
                on_retry(error)

        loop = retrying(
            spec.retry_policies,
            key=key or spec.name,
            failures=failures,
            sleep=self._sleep,
            before_sleep=note,
        )
        return loop(attempt)

    def _sleep(self, seconds: float) -> None:
        if seconds > self.in_process_wait:
            assert self._error is not None
            raise RetryLaterError(seconds, self._error)
        time.sleep(seconds)

    def _once(
        self, spec: NodeSpec, input: object, runtime: Runtime[Any], watched: AbstractContextManager[None]
    ) -> Any:
        clocks = self._clocks
        assert clocks is not None

        def limited(awaitable: Awaitable[object]) -> object:
            return self._await(_limited(awaitable, clocks, self._cancelled))

        if spec.is_async:
            with watched:
                return call_node(spec, input, runtime, runner=limited)
        with watched, _deadline(clocks):
            return call_node(spec, input, runtime, runner=limited)

    def progress(self, *, heartbeat: bool, pause: float = 0.0) -> None:
        """The node that runs now has shown progress (`Clocks.progress`)."""
        if self._clocks is not None:
            self._clocks.progress(heartbeat=heartbeat, pause=pause)

    def wait(self, awaitable: Awaitable[object]) -> object:
        """The result of what an async router gave."""
        return self._await(_limited(awaitable, None))

    def _await(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if self._loop is not None:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            try:
                return future.result()
            except concurrent.futures.CancelledError:
                raise asyncio.CancelledError from None
        context = contextvars.copy_context()
        if is_patched():
            return in_native_thread(lambda: context.run(asyncio.run, coroutine))
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._runner().run(coroutine, context=context)
        # graph.invoke() called from within somebody's event loop: it is busy, so the node gets a thread of its own.
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            return thread.submit(context.run, asyncio.run, coroutine).result()

    def _runner(self) -> asyncio.Runner:
        if self._kept is None:
            self._kept = asyncio.Runner()
        return self._kept

    def close(self) -> None:
        """Close the event loop."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None


def _again(runtime: Runtime[Any], more: int) -> Runtime[Any]:
    return dataclasses.replace(runtime, attempt=runtime.attempt + more) if more else runtime


async def _limited(
    awaitable: Awaitable[object],
    clocks: Clocks | None,
    cancelled: Callable[[], bool] | None = None,
) -> Any:
    try:
        with _cancelling(cancelled):
            async with asyncio.timeout(None) as limit:
                with _expiring(limit, clocks):
                    return await awaitable
    except TimeoutError as error:
        if clocks is None or not limit.expired():
            raise
        raise clocks.error() from error


@contextmanager
def _expiring(limit: asyncio.Timeout, clocks: Clocks | None) -> Iterator[None]:
    """Let ``limit`` expire when the clocks say so: they may be set back meanwhile, from any thread."""
    if clocks is None or clocks.left() is None:
        yield
        return
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal timer
        left = clocks.left()
        assert left is not None
        if left <= 0:
            limit.reschedule(loop.time())
        else:
            timer = loop.call_later(left, look)

    look()
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()


@contextmanager
def _cancelling(cancelled: Callable[[], bool] | None) -> Iterator[None]:
    """Cancel the present asyncio task when ``cancelled`` says so; until then it is asked every ``LOOK`` seconds."""
    if cancelled is None:
        yield
        return
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    timer: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal timer
        if timer is not None and cancelled():
            task.cancel()
        else:
            timer = loop.call_later(LOOK, look)

    look()
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()


def is_interruptible(spec: NodeSpec) -> bool:
    """Whether a node that runs in this thread can be ended by its own process: an async one, or one in the main thread."""
    return spec.is_async or threading.current_thread() is threading.main_thread()


def next_try(spec: NodeSpec, error: Exception, failures: int, key: str) -> float | None:
    """In how many seconds a node is tried again that has failed ``failures`` times, now by ``error``; ``None``: never."""
    strategy = strategy_for(spec.retry_policies, error)
    if strategy is None or strategy.exhausted(failures, 0.0):
        return None
    return strategy.delay(failures, random.random, key)


@contextmanager
def _deadline(clocks: Clocks) -> Iterator[None]:
    """End the block by NodeTimeoutError when the clocks say so.

    In a main thread (prefork, solo) an alarm interrupts it. In other threads nothing can: the error is raised when the
    block is over.
    """
    if clocks.left() is None:
        yield
    elif threading.current_thread() is threading.main_thread():
        with _alarm(clocks):
            yield
    else:
        yield
        clocks.check()


class _Shield:
    """Whether the main thread is where no alarm may interrupt it, and the error of one that rang meanwhile."""

    depth = 0
    error: Exception | None = None


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let a node's alarm wait until this block is over: the client of a store would take it for a time-out of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _Shield.depth += 1
    try:
        yield
    finally:
        _Shield.depth -= 1
        if not _Shield.depth and _Shield.error is not None:
            error, _Shield.error = _Shield.error, None
            raise error


@contextmanager
def _alarm(clocks: Clocks) -> Iterator[None]:
    """Raise in the main thread when the clocks say so. An alarm that was set before goes on afterwards."""

    def ring(*_: object) -> None:
        left = clocks.left()
        if left is not None and left > 0:  # they were set back since it was set
            signal.setitimer(signal.ITIMER_REAL, left)
        elif _Shield.depth:
            _Shield.error = clocks.error()
        else:
            raise clocks.error()

    began = time.monotonic()
    before: Callable[..., Any] | int | None = signal.signal(signal.SIGALRM, ring)
    outer, _ = signal.setitimer(signal.ITIMER_REAL, max(clocks.left() or 0.0, 1e-6))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if outer:
            signal.setitimer(signal.ITIMER_REAL, max(outer - (time.monotonic() - began), 1e-6))
