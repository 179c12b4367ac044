"""The threads that run one invocation of a graph in this process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from petiole_stores.errors import RunFailedError, StoreError
from petiole_stores.ids import new_id
from petiole_stores.records import Claim, Run, TaskRef
from petiole_workers.failure import parse_failure
from petiole_workers.hop import Hint
from petiole_workers.inline_options import InvokeOptions
from petiole_workers.runner import Runner

if TYPE_CHECKING:
    from petiole_workers.inline import InlineEngine
    from petiole_workers.streaming.live import Watch


class Crew:
    """The threads that run one invocation. A lone task runs in the caller's own thread."""

    def __init__(
        self,
        engine: InlineEngine,
        options: InvokeOptions,
        loop: asyncio.AbstractEventLoop | None,
        watch: Watch | None,
    ) -> None:
        self._engine, self._loop = engine, loop
        self.stops, self.watch = options.stops, watch
        self.given = options.given
        self._limit = options.max_concurrency
        self._ready: deque[TaskRef] = deque()
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._runners: list[Runner] = []
        self._errors: dict[str, BaseException] = {}

    def add(self, refs: Sequence[TaskRef]) -> list[str]:
        self._ready.extend(refs)
        return []

    @property
    def beyond(self) -> BaseException | None:
        """What the node around this graph is to be put away by."""
        return next((it.beyond for it in self._runners if it.beyond is not None), None)

    def note(self, claim: Claim, error: BaseException) -> None:
        self._errors[claim.task.task_id] = error
        if self.watch is not None:
            self.watch.failed(claim.task.task_id, error)

    def work(self) -> None:
        running: set[concurrent.futures.Future[None]] = set()
        while self._ready or running:
            if self.watch is not None and not running:
                self.watch.pause()
            if len(self._ready) == 1 and not running:
                self._run(self._ready.popleft())
                continue
            while self._ready and len(running) < self._limit:
                running.add(self._threads().submit(self._run, self._ready.popleft()))
            done, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                future.result()

    def _run(self, ref: TaskRef) -> None:
        runner: Runner | None = getattr(self._local, "runner", None)
        if runner is None:
            runner = self._local.runner = self._engine.runner(new_id(), self, self._loop)
            self._runners.append(runner)
        runner.run([Hint.of(ref)])

    def _threads(self) -> concurrent.futures.ThreadPoolExecutor:
        if self._pool is None:
            self._pool = concurrent.futures.ThreadPoolExecutor(
                self._limit, thread_name_prefix="petiole-invoke"
            )
        return self._pool

    def error_of(self, run: Run) -> BaseException:
        """The very exception that failed the run, or its description when it is from another process."""
        for task in sorted(self._engine.store.list_tasks(run.run_id), key=lambda t: t.path):
            if task.task_id in self._errors and task.error == run.error:
                return self._errors[task.task_id]
        return RunFailedError(f"run {run.run_id} failed: {parse_failure(run.error)}")

    def close(self, *, failed: bool = False) -> None:
        """Wait for the threads. ``failed`` (by Ctrl-C, or a store that is away): what they still held is ready again."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        for runner in self._runners:
            runner.close()
        if failed:
            try:
                slots = [runner.slot for runner in self._runners]
                self._engine.store.release(self._engine.presence.holder, slots=slots)
            except StoreError:
                pass  # the next invocation on the thread gives it back
