"""The client for ``async`` code: the same methods, each run in a thread; waiting is done on the event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from petiole.client.client import Client
from petiole.client.handle import RESTING, RunHandle, pauses, timed_out
from petiole_stores.records import Run, RunStatus
from petiole_workers.graph import Interrupt
from petiole_workers.long_term import LongTermMemory

if TYPE_CHECKING:
    from petiole.client.logs import LogEntry
    from petiole_workers.streaming import StreamMode
    from petiole_workers.streaming.following import StreamEvent

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=Callable[..., Any])


def _of(client: Client, method: Callable[Concatenate[Client, P], R]) -> Callable[P, R]:
    """The client's own method of that name: it may be one over HTTP, or one that is audited."""
    found: Callable[P, R] = getattr(client, method.__name__)
    return found


def _like(method: Callable[..., Any], call: C) -> C:
    """The call under the name, words and parameters of the method that it makes."""
    given: Any = call
    given.__name__, given.__qualname__ = method.__name__, f"AsyncClient.{method.__name__}"
    given.__doc__, given.__signature__ = method.__doc__, inspect.signature(method)
    return call


def _threaded(
    method: Callable[Concatenate[Client, P], R],
) -> Callable[Concatenate[AsyncClient, P], Awaitable[R]]:
    """The method as a coroutine that runs it in a thread."""

    async def call(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(_of(self.client, method), *args, **kwargs)

    return _like(method, call)


def _handed(
    method: Callable[Concatenate[Client, P], RunHandle],
) -> Callable[Concatenate[AsyncClient, P], Awaitable[AsyncRunHandle]]:
    """As ``_threaded``, for methods that give a handle."""

    async def call(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncRunHandle:
        return AsyncRunHandle(await asyncio.to_thread(_of(self.client, method), *args, **kwargs))

    return _like(method, call)


def _iterated(
    method: Callable[Concatenate[Client, P], Iterator[R]],
) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[R]]:
    """As ``_threaded``, for methods that give an iterator: each step of it is made in a thread."""

    async def call(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        iterator = await asyncio.to_thread(_of(self.client, method), *args, **kwargs)
        while (given := await asyncio.to_thread(next, iterator, None)) is not None:
            yield given

    return _like(method, call)


class AsyncRunHandle:
    """:class:`RunHandle` for ``async`` code; ``handle`` is the handle itself."""

    def __init__(self, handle: RunHandle) -> None:
        self.handle = handle
        self.thread_id, self.run_id = handle.thread_id, handle.run_id

    def __repr__(self) -> str:
        return repr(self.handle).replace("RunHandle", "AsyncRunHandle", 1)

    async def run(self) -> Run:
        """The run's record as it is now."""
        return await asyncio.to_thread(lambda: self.handle.run)

    async def status(self) -> RunStatus:
        """The run's status now."""
        return (await self.run()).status

    async def wait(self, timeout: float | None = None) -> Run:
        """As :meth:`RunHandle.wait`; no thread is held between two looks."""
        for pause in pauses(timeout):
            run = await asyncio.to_thread(self.handle._client._look_at, self.handle, 0.0)
            if run.status in RESTING:
                return run
            if pause is None:
                raise timed_out(run, timeout)
            await asyncio.sleep(pause)
        raise AssertionError("pauses() ends with None")

    async def result(self, timeout: float | None = None) -> dict[str, Any]:
        """As :meth:`RunHandle.result`."""
        return await asyncio.to_thread(self.handle.outcome, await self.wait(timeout))

    async def interrupts(self) -> list[Interrupt]:
        """As :meth:`RunHandle.interrupts`."""
        return await asyncio.to_thread(self.handle.interrupts)

    async def outcome(self, run: Run) -> dict[str, Any]:
        """As :meth:`RunHandle.outcome`."""
        return await asyncio.to_thread(self.handle.outcome, run)

    async def stream(
        self,
        stream_mode: StreamMode | Sequence[StreamMode] | None = None,
        *,
        after: str | None = None,
        subgraphs: bool = False,
        output_keys: str | Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[StreamEvent]:
        """As :meth:`RunHandle.stream`; no thread is held between two looks."""
        found = await asyncio.to_thread(
            self.handle.stream,
            stream_mode,
            after=after,
            subgraphs=subgraphs,
            output_keys=output_keys,
            timeout=timeout,
        )
        async for event in found:
            yield event

    async def logs(
        self,
        *,
        task_id: str | None = None,
        node: str | None = None,
        level: str | None = None,
        follow: bool = False,
    ) -> AsyncIterator[LogEntry]:
        """As :meth:`RunHandle.logs`."""
        iterator = self.handle.logs(task_id=task_id, node=node, level=level, follow=follow)
        while (entry := await asyncio.to_thread(next, iterator, None)) is not None:
            yield entry

    async def cancel(self, reason: str = "") -> bool:
        """As :meth:`RunHandle.cancel`."""
        return await asyncio.to_thread(self.handle.cancel, reason)

    async def pause(self, reason: str = "") -> bool:
        """As :meth:`RunHandle.pause`."""
        return await asyncio.to_thread(self.handle.pause, reason)

    async def unpause(self) -> bool:
        """As :meth:`RunHandle.unpause`."""
        return await asyncio.to_thread(self.handle.unpause)


class AsyncClient:
    """:class:`Client` for ``async`` code, made by ``client.aio`` or from the same arguments; ``client`` is the client itself."""

    def __init__(self, client: Client | None = None, **options: Any) -> None:
        self.client = client or Client(**options)

    submit = _handed(Client.submit)
    handle = _handed(Client.handle)
    replay = _handed(Client.replay)
    resume = _handed(Client.resume)
    fork = _handed(Client.fork)
    get_run = _threaded(Client.get_run)
    run_of = _threaded(Client.run_of)
    asking_run = _threaded(Client.asking_run)
    thread_of = _threaded(Client.thread_of)
    outcome = _threaded(Client.outcome)
    check_succeeded = _threaded(Client.check_succeeded)
    value = _threaded(Client.value)
    tasks = _threaded(Client.tasks)
    tasks_page = _threaded(Client.tasks_page)
    logs_page = _threaded(Client.logs_page)
    task_counts = _threaded(Client.task_counts)
    runs_page = _threaded(Client.runs_page)
    count_runs = _threaded(Client.count_runs)
    state = _threaded(Client.state)
    history = _threaded(Client.history)
    interrupts = _threaded(Client.interrupts)
    questions = _threaded(Client.questions)
    get_state = _threaded(Client.get_state)
    update_state = _threaded(Client.update_state)
    bulk_update_state = _threaded(Client.bulk_update_state)
    diff = _threaded(Client.diff)
    named_checkpoint = _threaded(Client.named_checkpoint)
    signal = _threaded(Client.signal)
    save_checkpoint = _threaded(Client.save_checkpoint)
    list_checkpoints = _threaded(Client.list_checkpoints)
    load_checkpoint = _threaded(Client.load_checkpoint)
    delete_checkpoint = _threaded(Client.delete_checkpoint)
    clear_checkpoints = _threaded(Client.clear_checkpoints)
    workers = _threaded(Client.workers)
    backlogs = _threaded(Client.backlogs)
    explain = _threaded(Client.explain)
    export_thread = _threaded(Client.export_thread)
    import_thread = _threaded(Client.import_thread)
    cancel = _threaded(Client.cancel)
    pause = _threaded(Client.pause)
    unpause = _threaded(Client.unpause)
    delete = _threaded(Client.delete)
    clear_cache = _threaded(Client.clear_cache)
    create_schedule = _threaded(Client.create_schedule)
    update_schedule = _threaded(Client.update_schedule)
    get_schedule = _threaded(Client.get_schedule)
    list_schedules = _threaded(Client.list_schedules)
    damaged_schedules = _threaded(Client.damaged_schedules)
    pause_schedule = _threaded(Client.pause_schedule)
    unpause_schedule = _threaded(Client.unpause_schedule)
    trigger_schedule = _handed(Client.trigger_schedule)
    delete_schedule = _threaded(Client.delete_schedule)
    close = _threaded(Client.close)

    drop_dead_letters = _threaded(Client.drop_dead_letters)
    list_runs = _iterated(Client.list_runs)
    logs = _iterated(Client.logs)
    state_history = _iterated(Client.state_history)
    dead_letters = _iterated(Client.dead_letters)
    replay_all = _iterated(Client.replay_all)
    cancel_all = _iterated(Client.cancel_all)

    async def stream(
        self,
        thread_id: str,
        run_id: str | None = None,
        stream_mode: StreamMode | Sequence[StreamMode] | None = None,
        *,
        after: str | None = None,
        subgraphs: bool = False,
        output_keys: str | Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[StreamEvent]:
        """As :meth:`Client.stream`; no thread is held between two looks."""
        found = await asyncio.to_thread(
            self.client.stream,
            thread_id,
            run_id,
            stream_mode,
            after=after,
            subgraphs=subgraphs,
            output_keys=output_keys,
            timeout=timeout,
        )
        async for event in found:
            yield event

    @property
    def memory(self) -> LongTermMemory:
        """As :attr:`Client.memory`: it has async twins of its own, such as ``aget``."""
        return self.client.memory

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
