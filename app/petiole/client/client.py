"""``Client``: what any process does with runs. It talks to the store; workers do the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import msgspec

from petiole.client import submission
from petiole.client.dispatch import Dispatch
from petiole.client.handle import RunHandle, check_succeeded
from petiole.client.history import PAGE, HistoryEntry, history_of, runs_of
from petiole.client.replaying import find_base, replay_failed
from petiole.defaults import Ground, ground
from petiole_stores.errors import ConflictError, InputError, NotFoundError, UnfitError
from petiole_stores.opening import open_store
from petiole_stores.records import QueueBacklog, Run, RunFilter, Task, TaskRef, Worker
from petiole_stores.store import Store
from petiole_workers.settings import Settings, load_settings

if TYPE_CHECKING:
    from petiole.client.aio import AsyncClient
    from petiole_workers.compiled import CompiledGraph

T = TypeVar("T")


class Client:
    """Submits runs, looks at them and steers them. May be used by several threads; a context manager.

    Parameters
        store     URL or open store; nothing: the settings' one, else the embedded SQLite file
        broker    URL; nothing: the settings' one, else the embedded broker
        settings  nothing: ``load_settings()`` (environment and pyproject.toml)
        graphs    compiled graphs (or their import paths) whose state classes this client can bring back; a graph that
                  is submitted itself is known from then on

    The store is opened at the first call. Raises ConfigurationError, StoreUnavailableError and SchemaError there.
    """

    def __init__(
        self,
        store: Store | str | None = None,
        broker: str | None = None,
        *,
        settings: Settings | None = None,
        graphs: Sequence[CompiledGraph | str] = (),
    ) -> None:
        url = store.url.text if isinstance(store, Store) else store
        chosen = settings or load_settings({"store": url, "broker": broker})
        chosen = msgspec.structs.replace(chosen, store=url or chosen.store, broker=broker or chosen.broker)
        self.settings = chosen
        self._given = store if isinstance(store, Store) else None
        self._graphs = list(graphs)

    # ---------------------------------------------------------------- life

    @cached_property
    def place(self) -> Ground:
        """The store and broker in force."""
        return ground(self.settings)

    @cached_property
    def store(self) -> Store:
        """The open store."""
        store = self._given or open_store(self.place.store_url)
        store.grace, store.max_crashes = self.settings.publish_grace, self.settings.max_crashes
        graphs, self._graphs = self._graphs, []
        for graph in graphs:
            self._learn(store, graph)
        return store

    @cached_property
    def aio(self) -> AsyncClient:
        """The same client for ``async`` code: every method awaitable, run in threads."""
        from petiole.client.aio import AsyncClient

        return AsyncClient(self)

    def close(self) -> None:
        """Close the broker's connection, and the store unless it was given open. The client may be used again."""
        if "_dispatch" in self.__dict__:
            self.__dict__.pop("_dispatch").close()
        store = self.__dict__.pop("store", None)
        if store is not None and store is not self._given:
            store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---------------------------------------------------------------- submitting

    def submit(
        self,
        graph: str | CompiledGraph,
        input: Any,
        *,
        thread_id: str | None = None,
        idempotency_key: str | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        at: datetime | float | None = None,
        if_busy: Literal["reject", "enqueue"] = "reject",
        version: str | None = None,
        recursion_limit: int | None = None,
    ) -> RunHandle:
        """Accept a run durably and return its handle; a worker takes it up. What returned is never lost.

        Parameters
            graph            name, or the compiled graph itself: then ``input`` is checked before anything is stored
            input            what the run starts with, applied to the thread's state as an update
            thread_id        nothing: a new thread
            idempotency_key  the same key (for the same graph) gives the same run, however often it is submitted; run and
                             thread ids derive from it
            tags, metadata   kept with the run, for finding and reading it
            at               not before this time (aware datetime, or seconds since the epoch)
            if_busy          on a thread with an active run: ``reject``, or ``enqueue`` behind it
            version          the graph's version that the run is of (nothing: the compiled graph's)
            recursion_limit  supersteps the run may take (nothing: the engine's default)

        Raises ThreadBusyError, IdempotencyError (one key, two requests), InputError, SerializationError,
        InvalidUpdateError (an input that the graph's state cannot take).
        """
        if input is None:
            raise InputError(
                "input is None: a run needs one; replay() goes on from a checkpoint, resume() past an interrupt"
            )
        made = self._submission(graph)
        if not isinstance(graph, str):
            input = graph.accept(input)
        made.input, made.thread_id, made.idempotency_key = input, thread_id, idempotency_key
        made.tags, made.metadata, made.at, made.if_busy = tags, metadata, at, if_busy
        made.version = version or made.version
        made.config = submission.config_document(recursion_limit)
        return self._submit(made)

    def handle(self, run_or_thread: str) -> RunHandle:
        """The handle of a run, or of a thread's newest run. Raises NotFoundError."""
        run = self.get_run(run_or_thread)
        return RunHandle(self, run.thread_id, run.run_id)

    # ---------------------------------------------------------------- looking

    def get_run(self, run_or_thread: str, *, thread_id: str | None = None) -> Run:
        """The run of this id, else the newest run of the thread of this id. Raises NotFoundError.

        ``thread_id`` is the run's thread where it is known; some stores find the run faster with it.
        """
        if thread_id is not None:
            self.store.hint(thread_id, [run_or_thread])
        run = self.store.get_run(run_or_thread)
        if run is None and thread_id is None:
            run = self.store.newest_run(run_or_thread)
        if run is None:
            raise NotFoundError(
                f"neither a run nor a thread {run_or_thread!r} is known to {self.store.url.shown}: `petiole run list` shows "
                "what is there"
            )
        return run

    def list_runs(
        self,
        *,
        graph: str | None = None,
        status: str | Sequence[str] = (),
        thread_id: str | None = None,
        tag: str | None = None,
        since: datetime | float | None = None,
        until: datetime | float | None = None,
    ) -> Iterator[Run]:
        """Runs that match, newest first; pages are fetched as they are needed.

        ``since`` and ``until`` bound the time of submission (aware datetimes, or seconds since the epoch).
        """
        return runs_of(
            self.store,
            RunFilter(
                graph=graph,
                status=[status] if isinstance(status, str) else list(status),
                thread_id=thread_id,
                tag=tag,
                since=submission.epoch(since),
                until=submission.epoch(until),
                limit=PAGE,
            ),
        )

    def tasks(self, run_or_thread: str) -> list[Task]:
        """The tasks of a run in the order they were made, with their attempts. Raises NotFoundError."""
        return self.store.list_tasks(self.get_run(run_or_thread).run_id)

    def state(self, thread_id: str, *, checkpoint: str | None = None) -> dict[str, Any]:
        """The values of a thread's state at its head, or at a checkpoint. Raises NotFoundError."""
        record = self.store.get_checkpoint(checkpoint) if checkpoint else self.store.head(thread_id)
        if record is None or record.thread_id != thread_id:
            what = f"no checkpoint {checkpoint!r}" if checkpoint else "no checkpoint yet"
            raise NotFoundError(f"thread {thread_id!r} has {what}: `petiole run list` shows what is there")
        return self._values(record.checkpoint_id)

    def history(
        self, thread_id: str, *, run: str | None = None, limit: int | None = None
    ) -> list[HistoryEntry]:
        """A thread's checkpoints, newest first, with the tasks of the superstep after each and their attempts.

        ``run`` leaves other runs out. Raises NotFoundError for a thread that does not exist.
        """
        entries = self._typed(lambda: history_of(self.store, thread_id, run_id=run, limit=limit))
        if not entries:
            self.get_run(run or thread_id)
        return entries

    def workers(self) -> list[Worker]:
        """The workers that the store remembers, newest first."""
        return self.store.list_workers()

    def backlogs(self) -> list[QueueBacklog]:
        """How many tasks wait, by queue and priority."""
        return self.store.backlogs()

    def outcome(self, run: Run) -> dict[str, Any]:
        """The final state's values of a run that has succeeded; else raises what :meth:`RunHandle.result` does."""
        check_succeeded(run)
        if run.checkpoint_id is None:
            raise ConflictError(f"run {run.run_id} is {run.status} and has no checkpoint: wait for it first")
        return self._values(run.checkpoint_id)

    # ---------------------------------------------------------------- steering

    def replay(
        self,
        thread_id: str,
        *,
        run: str | None = None,
        checkpoint: str | None = None,
        from_node: str | None = None,
    ) -> RunHandle:
        """Run a part again. What is replayed keeps the graph, tags and configuration of its run.

        Without ``checkpoint`` and ``from_node`` a failed run (the thread's newest, or ``run``) goes on itself: its failed
        nodes run again, their finished siblings do not. With ``checkpoint`` a new run starts from there; with
        ``from_node`` from the newest checkpoint that this node comes after.

        Raises NotFoundError, ThreadBusyError, and ConflictError where there is nothing to replay.
        """
        source = self._run_of(thread_id, run)
        if checkpoint is None and from_node is None:
            answer = replay_failed(self.store, source)
            self.publish(answer.publish)
            return RunHandle(self, source.thread_id, source.run_id)
        base = find_base(self.store, source.thread_id, checkpoint=checkpoint, from_node=from_node)
        if run is None and base.run_id is not None:
            source = self.store.get_run(base.run_id) or source
        return self._submit(
            submission.Submission(
                graph=source.graph,
                queue=self.settings.queue,
                thread_id=source.thread_id,
                base_id=base.checkpoint_id,
                tags=source.tags,
                metadata={"replay_of": source.run_id},
                version=source.version,
                fingerprint=source.fingerprint,
                config=source.config,
            )
        )

    def resume(self, thread_id: str, *, run: str | None = None) -> RunHandle:
        """Let an interrupted run go on (the thread's newest, or ``run``). Raises NotFoundError and ConflictError."""
        found = self._run_of(thread_id, run)
        answer = self.store.resume(found.run_id)
        if answer.result == "refused":
            raise ConflictError(
                f"run {found.run_id} of thread {found.thread_id!r} is {found.status}: only an interrupted run can be resumed"
            )
        self.publish(answer.publish)
        return RunHandle(self, found.thread_id, found.run_id)

    def cancel(self, thread_id: str, *, run: str | None = None, reason: str = "") -> bool:
        """Cancel a run (the thread's newest, or ``run``); outputs of nodes still running are dropped.

        Returns ``False`` when it was cancelled before. Raises NotFoundError, and ConflictError when it has ended otherwise.
        """
        found = self._run_of(thread_id, run)
        [answer] = self.store.cancel([found.run_id], reason=reason)
        if answer.result == "refused":
            raise ConflictError(
                f"run {found.run_id} of thread {found.thread_id!r} has ended before ({answer.reason}): nothing is left to cancel"
            )
        self.publish(answer.publish)
        return answer.result == "committed"

    # ---------------------------------------------------------------- parts

    def publish(self, refs: Sequence[TaskRef]) -> None:
        """Tell the broker of tasks that are ready: best effort, a worker's sweep makes good what is lost."""
        if self.store.shared:
            self._dispatch.publish(refs)

    @cached_property
    def _dispatch(self) -> Dispatch:
        return Dispatch(self.place)

    def _submission(self, graph: str | CompiledGraph) -> submission.Submission:
        if isinstance(graph, str):
            return submission.Submission(graph=graph, queue=self.settings.queue)
        self._learn(self.store, graph)
        return submission.Submission(
            graph=graph.name,
            queue=graph.queue or self.settings.queue,
            version=graph.definition.version,
            fingerprint=graph.definition.fingerprint,
        )

    def _submit(self, made: submission.Submission) -> RunHandle:
        run = made.new_run(self.store.serde)
        self.store.hint(run.thread_id, [run.run_id, run.start.task_id])
        [answer] = self.store.submit([run])
        submission.check_answer(self.store, run, answer)
        self.publish(answer.publish)
        return RunHandle(self, answer.thread_id, answer.run_id)

    def _run_of(self, thread_id: str, run: str | None) -> Run:
        found = self.get_run(run or thread_id)
        if run is not None and thread_id not in (found.thread_id, found.run_id):
            raise NotFoundError(f"run {run!r} is of thread {found.thread_id!r}, not of {thread_id!r}")
        return found

    def _values(self, checkpoint_id: str) -> dict[str, Any]:
        return self._typed(lambda: self.store.load(checkpoint_id).state)

    def _typed(self, read: Callable[[], T]) -> T:
        """Call ``read``; where a class is unknown, import the settings' graphs once and call it again."""
        try:
            return read()
        except UnfitError:
            if not self._import_graphs():
                raise
            return read()

    def _import_graphs(self) -> bool:
        if self.__dict__.get("_imported") or not self.settings.graphs:
            return False
        self.__dict__["_imported"] = True
        for reference in self.settings.graphs:
            self._learn(self.store, reference)
        return True

    @staticmethod
    def _learn(store: Store, graph: CompiledGraph | str) -> None:
        if isinstance(graph, str):
            from petiole_workers.registry import load_graph

            graph = load_graph(graph)
        graph.register_types(store.serde)
