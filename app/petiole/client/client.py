"""``Client``: what any process does with runs. It talks to the store; workers do the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from petiole.client import refusals
from petiole.client.bulk import Treated, cancel_each, replay_each
from petiole.client.carrying import Carrying
from petiole.client.handle import RunHandle
from petiole.client.removal import remove_thread
from petiole.client.scheduling import Scheduling
from petiole.client.signals import send_signal
from petiole_stores.errors import InputError
from petiole_stores.records import Run
from petiole_workers import submission
from petiole_workers.caching import clear_cache
from petiole_workers.children import cancel_children
from petiole_workers.given import Given
from petiole_workers.graph.overwrite import plain
from petiole_workers.long_term import LongTermMemory
from petiole_workers.takeover import IfBusy

if TYPE_CHECKING:
    from petiole.client.aio import AsyncClient
    from petiole_stores.store import Store
    from petiole_workers.compiled import CompiledGraph
    from petiole_workers.settings import Settings


class Client(Carrying, Scheduling):
    """Submits runs, looks at them and steers them. May be used by several threads; a context manager.

    Parameters
        store     URL or open store; nothing: the settings' one, else the embedded SQLite file. The URL of a server
                  (``http://host:8642``, see ``petiole serve``) gives a client over HTTP
        broker    URL; nothing: the settings' one, else the embedded broker
        settings  nothing: ``load_settings()`` (environment and pyproject.toml)
        graphs    compiled graphs (or their import paths) whose state classes this client can bring back; a graph that
                  is submitted itself is known from then on
        token     for a server's URL: an API key or bearer token; nothing: the setting ``token``

    The store is opened at the first call. Raises ConfigurationError, StoreUnavailableError and SchemaError there.
    """

    def __new__(
        cls,
        store: Store | str | None = None,
        broker: str | None = None,
        *,
        settings: Settings | None = None,
        **_: Any,
    ) -> Self:
        if cls is Client:
            url = store if isinstance(store, str) else settings.store if store is None and settings else None
            if url is not None and url.startswith(("http://", "https://")):
                from petiole.remote.client import RemoteClient

                return cast(Self, object.__new__(RemoteClient))
        return object.__new__(cls)

    @cached_property
    def aio(self) -> AsyncClient:
        """The same client for ``async`` code: every method awaitable, run in threads."""
        from petiole.client.aio import AsyncClient

        return AsyncClient(self)

    # ---------------------------------------------------------------- submitting

    def submit(
        self,
        graph: str | CompiledGraph,
        input: Any,
        *,
        thread_id: str | None = None,
        idempotency_key: str | None = None,
        context: Any = None,
        configurable: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        at: datetime | timedelta | float | None = None,
        deadline: datetime | timedelta | float | None = None,
        if_busy: IfBusy = "reject",
        version: str | None = None,
        recursion_limit: int | None = None,
        durability: str | None = None,
        consistency: Literal["strong", "eventual", "session", "minimal"] | None = None,
    ) -> RunHandle:
        """Accept a run durably and return its handle; a worker takes it up. What returned is never lost.

        Parameters
            graph            name, or the compiled graph itself: then ``input`` is checked before anything is stored
            input            what the run starts with, applied to the thread's state as an update
            thread_id        nothing: a new thread
            idempotency_key  the same key (for the same graph) gives the same run, however often it is submitted; run and
                             thread ids derive from it
            context          what nodes get as ``runtime.context``, kept with the run: an instance of the graph's
                             ``context_schema``, or a dict for one, checked here if the graph itself is given, else where it runs
            configurable     values for nodes that take ``config``: they find them in ``config["configurable"]``
            tags, metadata   kept with the run, for finding and reading it; nodes find them in ``config``
            at               not before this time (aware datetime, or seconds since the epoch), or not before so long from
                             now by the store's clock (timedelta)
            deadline         fail the run if it has not ended by then: an aware datetime, or so long after the time at
                             which it may start (timedelta or seconds)
            if_busy          on a thread with an active run: ``reject``; ``enqueue`` behind it; ``interrupt`` cancels it, and
                             what is queued behind it, and starts from what it has come to; ``rollback`` does so and starts
                             from the state before it began
            version          the graph's version that the run is of (nothing: the compiled graph's)
            recursion_limit  supersteps the run may take (nothing: the engine's default)
            durability       ``sync``, ``async``, ``exit``, ``adaptive``, ``interval`` or ``interval:SECONDS``: how much of
                             the run a worker may carry before it commits (nothing: the graph's, else the worker's)
            consistency      a preset in place of ``durability``: ``strong``, ``eventual``, ``session`` or ``minimal``

        Raises ThreadBusyError, IdempotencyError (one key, two requests), InputError, SerializationError,
        InvalidUpdateError (an input that the graph's state cannot take).
        """
        if input is None:
            raise InputError(
                "input is None: a run needs one; replay() goes on from a checkpoint, resume() past an interrupt"
            )
        made = self._submission(graph, version)
        if isinstance(graph, str):
            input = plain(input)
        else:
            input, context = graph.accept(input), graph.accept_context(context)
        made.given = Given.of(configurable or {}, context)
        made.input, made.thread_id, made.idempotency_key = input, thread_id, idempotency_key
        made.tags, made.metadata, made.if_busy = tags, metadata, if_busy
        made.at, made.deadline = at, deadline
        made.config = submission.config_document(
            recursion_limit=recursion_limit, durability=durability, consistency=consistency
        )
        return self._submit(made)

    def handle(self, run_or_thread: str) -> RunHandle:
        """The handle of a run, or of a thread's newest run. Raises NotFoundError."""
        run = self.get_run(run_or_thread)
        return RunHandle(self, run.thread_id, run.run_id)

    def _look_at(self, handle: RunHandle, until: float | None = None) -> Run:
        """The run's record as it is now. Whoever can be told of its end may wait for it meanwhile, until that moment."""
        return handle.run

    # ---------------------------------------------------------------- steering

    def cancel(self, thread_id: str, *, run: str | None = None, reason: str = "") -> bool:
        """Cancel a run (the thread's newest, or ``run``), and the child runs it waits for; outputs of nodes still running are dropped.

        Returns ``False`` when it was cancelled before. Raises NotFoundError, and ConflictError when it has ended otherwise.
        """
        found = self.run_of(thread_id, run)
        [answer] = self.store.cancel([found.run_id], reason=reason)
        refusals.check_cancelled(found, answer)
        self.publish([*answer.publish, *cancel_children(self.store, found, reason)])
        return answer.result == "committed"

    def pause(self, thread_id: str, *, run: str | None = None, reason: str = "") -> bool:
        """Hold a run back (the thread's newest, or ``run``): nodes that run finish, nothing further starts.

        ``reason`` is kept with the run and shown wherever it is. Returns ``False`` when it was paused before. Raises
        NotFoundError, and ConflictError when it has ended, is interrupted or queued behind another run.
        """
        found = self.run_of(thread_id, run)
        [answer] = self.store.pause([found.run_id], reason=reason)
        refusals.check_paused(self.store, found, answer)
        return answer.result == "committed"

    def unpause(self, thread_id: str, *, run: str | None = None) -> bool:
        """Let a paused run go on (the thread's newest, or ``run``). Returns ``False`` when it was not held back.

        Raises NotFoundError, and ConflictError when it is blocked, interrupted or has ended.
        """
        found = self.run_of(thread_id, run)
        [answer] = self.store.unpause([found.run_id])
        refusals.check_unpaused(self.store, found, answer)
        self.publish(answer.publish)
        return answer.result == "committed"

    def signal(self, thread_id: str, name: str, payload: Any = None, *, id: str | None = None) -> str:
        """Send a signal to a thread, for a node that waits for it (``runtime.wait_signal``) now or later; gives its id.

        It is kept until it is waited for, also before the thread's first run. Under one ``id`` (nothing: a new one) it is
        sent once, however often this is called. Raises IdempotencyError for an id with another payload, InputError,
        SerializationError.
        """
        given, woken = send_signal(self.store, thread_id, name, payload, id)
        self.publish(woken)
        return given

    def delete(self, thread_id: str, *, force: bool = False) -> bool:
        """Remove a thread with its runs, tasks, checkpoints and blobs, for good. ``False``: there was none.

        ``force`` cancels its active and queued runs first. Raises ThreadBusyError while a run is active, without it.
        """
        return remove_thread(self.store, thread_id, force=force)

    # ---------------------------------------------------------------- beside the threads

    @property
    def memory(self) -> LongTermMemory:
        """The long-term memory that nodes have as ``runtime.store``."""
        return LongTermMemory(self.store)

    def clear_cache(self, graph: str | CompiledGraph, nodes: Sequence[str] | None = None) -> None:
        """Forget the cached results of these nodes of a graph (``None``: of all), whatever its version."""
        clear_cache(self.store, graph if isinstance(graph, str) else graph.name, nodes)

    # ---------------------------------------------------------------- many at once

    def replay_all(self, runs: Iterable[Run]) -> Iterator[Treated]:
        """Let each failed run go on from its failed nodes, as it is iterated; a refusal does not stop the others.

        ``client.replay_all(client.list_runs(status="failed", graph="shop.order", error_type="Declined"))``
        """
        return replay_each(self.store, runs, self.publish)

    def cancel_all(self, runs: Iterable[Run], *, reason: str = "") -> Iterator[Treated]:
        """Cancel each run that has not ended, as it is iterated; a refusal does not stop the others."""
        return cancel_each(self.store, runs, reason, self.publish)

    def drop_dead_letters(self, task_ids: Iterable[str]) -> int:
        """Take tasks off the dead letters; they stay on record, and their runs can still be replayed.

        Returns how many were on them.
        """
        return self.store.drop([*task_ids])
