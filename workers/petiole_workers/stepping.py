"""The steps of one attempt: `task` calls whose results are kept, so that each is made once however often the node runs.

A result is an item of the store under the thread, the node's place in its run, and the number of the call. They are removed
with the node's commit, else with the thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import logging
import random
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from petiole_stores.errors import InputError, StoreError
from petiole_stores.ids import derived_id
from petiole_stores.items import Item, Namespace, NewItem
from petiole_stores.records import Task
from petiole_stores.store import Store
from petiole_workers.graph.steps import StepFuture
from petiole_workers.retry import RetryStrategy
from petiole_workers.retry.retrying import retrying
from petiole_workers.retry.strategy import strategy_for

logger = logging.getLogger("petiole.runner")

_PAGE = 1000
#: How many steps of one attempt run side by side in threads.
SIDE_BY_SIDE = 16


def taker_of(task: Task) -> str:
    """Names a task's place in its run: the same for a task that a replay puts in this one's place."""
    return derived_id("taker", task.run_id, task.ns, task.checkpoint_id or "", task.path)


class Steps:
    """The steps of one attempt at a task. Its place in its run names them: a replay finds them again."""

    def __init__(self, store: Store, task: Task) -> None:
        self._store, self._task = store, task
        self._known: dict[str, Item] | None = None
        self._next = 0
        self._lock = threading.Lock()
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._running: set[asyncio.Task[None]] = set()

    @cached_property
    def _namespace(self) -> Namespace:
        return steps_of(self._task.thread_id, taker_of(self._task))

    def begin(self, name: str, call: Callable[[], Any], policies: Sequence[RetryStrategy]) -> StepFuture[Any]:
        """The attempt's next step: what it returned before, or what it returns now.

        Raises InputError where another step stood in this place before: what happens between the steps has changed.
        """
        with self._lock:
            key = f"{self._next:08d}"
            self._next += 1
            known = self._kept().get(key)
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        if known is not None:
            was = self._store.serde.load_whole(known.value)
            if was["name"] != name:
                raise InputError(
                    f"step {int(key)} of this workflow is {name!r} now and was {was['name']!r} before: call the same tasks in "
                    "the same order each time, and put what may differ into a task"
                )
            future.set_result(was["value"])
            return StepFuture(future)
        if inspect.iscoroutinefunction(getattr(call, "func", call)) and _loop() is not None:
            running = asyncio.ensure_future(self._await(key, name, call, policies, future))
            self._running.add(running)
            running.add_done_callback(self._running.discard)
            return StepFuture(future)

        def work() -> Any:
            def once() -> Any:
                returned = call()
                return asyncio.run(_awaited(returned)) if inspect.isawaitable(returned) else returned

            value = retrying(policies, key=name)(once) if policies else once()
            self._keep(key, name, value)
            return value

        return StepFuture(self._threads().submit(contextvars.copy_context().run, work))

    def again(self) -> None:
        """A further try of the node begins: its steps are counted from the first one."""
        self._next, self._known = 0, None

    def close(self) -> None:
        """Wait for steps that still run."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def forget(self) -> None:
        """Remove what is kept: the node has been committed."""
        if not self._next:
            return
        try:
            while self._store.remove_items(self._namespace, limit=_PAGE) == _PAGE:
                pass
        except StoreError:
            logger.debug("steps of a finished node stay until its thread is removed", exc_info=True)

    def _kept(self) -> dict[str, Item]:
        if self._known is None:
            found: list[Item] = []
            while (
                len(page := self._store.search_items(self._namespace, limit=_PAGE, offset=len(found)))
                == _PAGE
            ):
                found += page
            self._known = {item.key: item for item in (*found, *page)}
        return self._known

    def _keep(self, key: str, name: str, value: Any) -> None:
        document = self._store.serde.dump_whole({"name": name, "value": value})
        self._store.put_items([NewItem(self._namespace, key, document)])

    async def _await(
        self,
        key: str,
        name: str,
        call: Callable[[], Any],
        policies: Sequence[RetryStrategy],
        future: concurrent.futures.Future[Any],
    ) -> None:
        try:
            value = await _retried(call, policies, name)
            await asyncio.to_thread(self._keep, key, name, value)
        except BaseException as error:  # noqa: BLE001 - raised again where the step is awaited
            future.set_exception(error)
        else:
            future.set_result(value)

    def _threads(self) -> concurrent.futures.ThreadPoolExecutor:
        if self._pool is None:
            self._pool = concurrent.futures.ThreadPoolExecutor(
                SIDE_BY_SIDE, thread_name_prefix="petiole-step"
            )
        return self._pool


def steps_of(thread_id: str, *taker: str) -> Namespace:
    """Where the results of a thread's steps are, or those of one task."""
    return ("petiole", "steps", thread_id, *taker)


async def _retried(call: Callable[[], Any], policies: Sequence[RetryStrategy], key: str) -> Any:
    failures = 0
    while True:
        try:
            return await call()
        except Exception as error:
            failures += 1
            strategy = strategy_for(policies, error)
            if strategy is None or strategy.exhausted(failures, 0.0):
                raise
            await asyncio.sleep(strategy.delay(failures, random.random, key))


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def _loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
