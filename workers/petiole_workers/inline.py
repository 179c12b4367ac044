"""The inline dispatcher: ``graph.invoke`` runs the same protocol in this process, its tasks never published.

The process is a holder like any worker: it beats while it runs, and what it leaves when it dies can be taken up by the
next ``invoke(None, ...)`` on the thread.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from petiole_stores.contract import CheckpointStore
from petiole_stores.errors import (
    InputError,
    PetioleError,
    RunCancelledError,
    RunFailedError,
    RunInterruptedError,
    StoreError,
    ThreadBusyError,
)
from petiole_stores.ids import new_id
from petiole_stores.ledger import replaceable
from petiole_stores.memory import MemoryStore
from petiole_stores.records import (
    ENDED,
    RUNNABLE,
    SETTLED,
    START_PATH,
    Blob,
    Claim,
    NewRun,
    NewTask,
    Resumption,
    Run,
    TaskRef,
    Worker,
)
from petiole_stores.store import Store
from petiole_workers.caller import NodeCaller
from petiole_workers.compiled import CompiledGraph
from petiole_workers.documents import Documents
from petiole_workers.failure import parse_failure
from petiole_workers.given import Given, checked_tags
from petiole_workers.graph import DEFAULT_RECURSION_LIMIT, INTERRUPT, START, Command, Interrupt, result
from petiole_workers.graph.runtime import NodeServices
from petiole_workers.hop import AS_COMPILED, Hint, RunConfig, Stops
from petiole_workers.inline_children import ChildrenHere, waiting_for_child, wake_waiting
from petiole_workers.processes import process_birth
from petiole_workers.queues import INLINE_PREFIX
from petiole_workers.registry import Registry
from petiole_workers.resuming import interrupts_of, resumptions
from petiole_workers.runner import Runner
from petiole_workers.settings import Settings
from petiole_workers.snapshot import values_now
from petiole_workers.states import States

if TYPE_CHECKING:
    from petiole_workers.streaming.live import Watch

LEASE = 15.0
#: In a holder's stats: when its process was started, so that a pid that is used again is not taken for it.
BIRTH = "process_birth"
#: The keys of a config that are not ``configurable`` ones.
CONFIG_KEYS = frozenset(
    {
        "tags",
        "metadata",
        "callbacks",
        "run_name",
        "max_concurrency",
        "recursion_limit",
        "configurable",
        "run_id",
    }
)
#: How many nodes of a superstep run side by side when ``max_concurrency`` is not given.
CONCURRENCY = min(32, (os.cpu_count() or 1) + 4)


@dataclass(frozen=True)
class InvokeOptions:
    """What ``config`` says."""

    thread_id: str
    checkpoint_id: str | None = None
    recursion_limit: int = DEFAULT_RECURSION_LIMIT
    max_concurrency: int = CONCURRENCY
    durability: str | None = None
    stops: Stops = AS_COMPILED
    run_id: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    given: Given = field(default_factory=Given)

    @classmethod
    def of(
        cls,
        config: Mapping[str, Any] | None,
        *,
        needs_thread: bool,
        durability: str | None = None,
        stops: Stops = AS_COMPILED,
        context: Any = None,
    ) -> InvokeOptions:
        """What a config in LangGraph's shape says; keys that it does not know count as ``configurable`` ones there.

        Raises InputError when the thread id is missing or a value is out of range.
        """
        config = config or {}
        unknown = {key: value for key, value in config.items() if key not in CONFIG_KEYS}
        configurable = {**unknown, **(config.get("configurable") or {})}
        thread_id = configurable.get("thread_id")
        if thread_id is None and needs_thread:
            raise InputError(
                'a graph with a checkpointer needs a thread: pass {"configurable": {"thread_id": "..."}} as config'
            )
        limit = config.get("recursion_limit", DEFAULT_RECURSION_LIMIT)
        if not isinstance(limit, int) or limit < 1:
            raise InputError(f"recursion_limit is {limit!r}: take a whole number from 1")
        side_by_side = config.get("max_concurrency") or CONCURRENCY
        if not isinstance(side_by_side, int) or side_by_side < 1:
            raise InputError(f"max_concurrency is {side_by_side!r}: take a whole number from 1")
        run_id, metadata = config.get("run_id"), config.get("metadata") or {}
        if not isinstance(metadata, Mapping):
            raise InputError(f"metadata is {metadata!r}: take a dict")
        return cls(
            thread_id=str(thread_id) if thread_id is not None else new_id(),
            checkpoint_id=configurable.get("checkpoint_id"),
            recursion_limit=limit,
            max_concurrency=side_by_side,
            durability=durability,
            stops=stops,
            run_id=None if run_id is None else str(run_id),
            tags=checked_tags(config.get("tags") or ()),
            metadata=metadata,
            given=Given.of(configurable, context, config.get("callbacks")),
        )


class InlineEngine:
    """Runs one graph on one store in this process.

    around: what is done for the node within which the graph runs: its questions are that node's, and so are its waits.
    """

    def __init__(
        self,
        graph: CompiledGraph,
        store: Store,
        archive: CheckpointStore | None = None,
        *,
        around: NodeServices | None = None,
    ) -> None:
        graph.register_types(store.serde)
        self.around = around
        self.graph, self.store, self.archive = graph, store, archive
        self.documents = Documents(store)
        self._registry = Registry([graph])
        self.states = States(graph, self.documents, queue=_SETTINGS.queue)
        self._active: set[str] = set()
        #: Runs that nodes of this process wait for, which it is at or will be.
        self.expected: set[str] = set()
        self._presence = _Presence(store)

    @classmethod
    def on(cls, graph: CompiledGraph, checkpointer: CheckpointStore) -> InlineEngine:
        """On a full store; or, for a store that keeps checkpoints alone, on memory with that store as its archive."""
        if isinstance(checkpointer, Store):
            return cls(graph, checkpointer)
        return cls(graph, MemoryStore(), checkpointer)

    def load_archive(self, thread_id: str) -> None:
        """Bring an archived thread's checkpoints into memory, if they are not there."""
        if self.archive is None or self.store.head(thread_id) is not None:
            return
        for checkpoint in reversed(self.archive.list(thread_id)):
            self.store.save(checkpoint)

    # ---------------------------------------------------------------- invoke

    def invoke(
        self,
        input: Any,
        options: InvokeOptions,
        loop: asyncio.AbstractEventLoop | None,
        watch: Watch | None = None,
    ) -> Any:
        self.load_archive(options.thread_id)
        with self._presence:
            asked = self._asked(options.thread_id) if watch is not None else {}
            if isinstance(input, Command):
                run_id, ready = self._command(input, options)
            else:
                run_id, ready = self._go_on(options) if input is None else self._begin(input, options)
            goes_on = input is None or isinstance(input, Command)
            if watch is not None and goes_on and options.checkpoint_id is None:
                self._report_heads(watch, options.thread_id, run_id, asked)
            if run_id is not None:
                self._active.add(run_id)
                try:
                    self._drive(run_id, ready, options, loop, watch)
                finally:
                    self._active.discard(run_id)
        record = self.store.head(options.thread_id)
        if record is None:
            return None
        graph = self.graph.definition
        run = self.store.get_run(run_id) if run_id is not None else None
        if run is None or run.status != "interrupted":
            return result(graph, self.documents.checkpoint(record).snapshot.values)
        tasks = self.store.list_tasks(run.run_id)
        values = result(graph, values_now(self.documents, graph, record, tasks))
        asked = interrupts_of(tasks, self.store.serde)
        if questions := {question.id: question for them in asked.values() for question in them}:
            values[INTERRUPT] = list(questions.values())
        return values

    def _command(self, command: Command[Any], options: InvokeOptions) -> tuple[str | None, Sequence[TaskRef]]:
        """Change the state of the thread, send it to nodes, and answer its interrupts, as the command says."""
        thread_id, run = options.thread_id, self.store.newest_run(options.thread_id)
        interrupted = run is not None and run.status == "interrupted"
        if run is not None and run.status not in SETTLED and not interrupted:
            raise ThreadBusyError(f"thread {thread_id!r} has the run {run.run_id}, which is {run.status}")
        if command.resume is not None and not interrupted:
            raise InputError(
                f"thread {thread_id!r} has no interrupted run to resume"
                + (f": its newest one is {run.status}" if run else "")
            )
        if run is None and self.store.head(thread_id) is None:
            if command.destinations or command.update is None:
                raise InputError(f"thread {thread_id!r} is new: give an input")
            return self._begin(command.update, options)
        answers: Sequence[Resumption] | None = None
        if command.update is not None or command.destinations:
            answers = self.states.command(thread_id, command)
        elif command.resume is not None and run is not None:
            answers = resumptions(self.store.list_tasks(run.run_id), command.resume, self.store.serde)
        if run is None or not interrupted:
            return self._go_on(options)
        return run.run_id, self.store.resume(run.run_id, answers).publish

    def _begin(self, input: Any, options: InvokeOptions) -> tuple[str, Sequence[TaskRef]]:
        """Submit a run for this input."""
        document, blobs = self.store.serde.dump(self.graph.accept(input), thread_id=options.thread_id)
        new = self._new_run(options, document, blobs)
        answer = self.store.submit([new])[0]
        if answer.reason == "busy" and answer.active_run is not None:
            self._take_over(answer.active_run)
            self.store.cancel([answer.active_run], reason="its process died; a new input took its place")
            answer = self.store.submit([new])[0]
        if answer.result == "already" or answer.reason == "conflict":
            raise InputError(
                f"run_id {new.run_id!r} is that of an earlier run: give each run an id of its own"
            )
        if answer.result == "refused":
            raise _refused(answer.reason, options, answer.active_run)
        return new.run_id, answer.publish

    def _go_on(self, options: InvokeOptions) -> tuple[str | None, Sequence[TaskRef]]:
        """Let the thread go on from where it stands; ``None`` when there is nothing left to do."""
        if options.checkpoint_id is not None:
            return self._fork(options)
        run = self.store.newest_run(options.thread_id)
        if run is None:
            head = self.store.head(options.thread_id)
            if head is None:
                raise InputError(
                    f"thread {options.thread_id!r} has no checkpoint to go on from: give an input"
                )
            return self._fork(options) if head.next != "[]" else (None, [])
        if run.status in SETTLED:
            head = self.store.head(options.thread_id)
            if head is not None and head.checkpoint_id != run.checkpoint_id:  # its state was updated since
                return self._fork(options) if head.next != "[]" else (None, [])
        if run.status == "failed":
            return run.run_id, self._replay(run)
        if run.status == "interrupted":
            return run.run_id, self.store.resume(run.run_id).publish
        if run.status in SETTLED:
            return None, []
        self._take_over(run.run_id)
        wake_waiting(self.store, run)
        return run.run_id, self._ready(run.run_id)

    def _fork(self, options: InvokeOptions) -> tuple[str, Sequence[TaskRef]]:
        new = self._new_run(options, None, {})
        answer = self.store.submit([new])[0]
        if answer.result == "refused":
            raise _refused(answer.reason, options, answer.active_run)
        return new.run_id, answer.publish

    def _new_run(self, options: InvokeOptions, input: str | None, blobs: dict[str, Blob]) -> NewRun:
        serde, thread_id = self.store.serde, options.thread_id
        config = RunConfig(
            recursion_limit=options.recursion_limit, inline=True, durability=options.durability
        )
        # What cannot be stored is for this invocation alone, as all of it is in LangGraph.
        given = options.given.dump(config, serde, thread_id, strict=False)
        metadata, more = serde.dump_values(options.metadata, thread_id=thread_id)
        return NewRun(
            run_id=options.run_id or new_id(),
            thread_id=thread_id,
            graph=self.graph.name,
            version=self.graph.definition.version,
            fingerprint=self.graph.definition.fingerprint,
            input=input,
            base_id=options.checkpoint_id,
            config=msgspec.json.encode(config).decode(),
            tags=list(options.tags),
            metadata=metadata,
            start=self._start_task(),
            blobs=[*(blobs | given | more).values()],
        )

    def _replay(self, run: Run) -> Sequence[TaskRef]:
        failed = replaceable(self.store.list_tasks(run.run_id))
        answer = self.store.replay(run.run_id, [(task.task_id, new_id()) for task in failed])
        if answer.result == "refused":
            raise PetioleError(f"run {run.run_id} cannot be replayed: {answer.reason}")
        return answer.publish

    def _asked(self, thread_id: str) -> dict[str, tuple[Interrupt, ...]]:
        """The questions of the thread's newest run that wait for an answer."""
        run = self.store.newest_run(thread_id)
        if run is None or run.status != "interrupted":
            return {}
        return interrupts_of(self.store.list_tasks(run.run_id), self.store.serde)

    def _report_heads(
        self, watch: Watch, thread_id: str, run_id: str | None, asked: Mapping[str, tuple[Interrupt, ...]]
    ) -> None:
        """Report where a thread stands that goes on, and where the graphs stand that its nodes are."""
        head = self.store.head(thread_id)
        if head is None:
            return
        tasks = self.store.list_tasks(run_id) if run_id is not None else []
        watch.resumed(head, tasks, asked)
        inner = {
            (task.ns.count("|"), task.ns): task.checkpoint_id
            for task in tasks
            if task.ns and task.kind == "node" and task.status not in ENDED and not task.replaced
        }
        for (_, _), checkpoint_id in sorted(inner.items()):
            record = self.store.get_checkpoint(checkpoint_id) if checkpoint_id else None
            if record is not None:
                watch.resumed(record, tasks, asked)

    def _take_over(self, run_id: str) -> None:
        """Release what a dead process held of a run. Raises ThreadBusyError when its process lives."""
        run = self.store.get_run(run_id)
        if run is None or run.status in SETTLED:
            return
        if not msgspec.json.decode(run.config, type=RunConfig).inline:
            raise ThreadBusyError(
                f"thread {run.thread_id!r} has the active run {run_id} on workers: wait for it or cancel it"
            )
        workers = {worker.worker_id: worker for worker in self.store.list_workers()}
        tasks = self.store.list_tasks(run_id)
        holders = {task.queue.removeprefix(INLINE_PREFIX) for task in tasks} | {
            task.holder for task in tasks if task.token
        }
        for holder in sorted(h for h in holders if h in workers):
            if self._lives(workers[holder], run_id):
                raise ThreadBusyError(
                    f"thread {run.thread_id!r} is being run by process {workers[holder].pid} just now"
                )
            if holder == self._presence.holder:  # left by an invocation that could not give it back
                slots = {task.slot for task in tasks if task.token and task.holder == holder and task.slot}
                if slots:
                    self.store.release(holder, slots=sorted(slots))
            else:
                self.store.release(holder, crashed=True, final=True)

    def _lives(self, worker: Worker, run_id: str) -> bool:
        if worker.worker_id == self._presence.holder:
            return run_id in self._active
        if worker.status not in ("alive", "stopping"):
            return False
        if worker.host == socket.gethostname():
            return process_birth(worker.pid) == worker.stats.get(BIRTH)
        return worker.expires_at > time.time()

    def _start_task(self) -> NewTask:
        queue = INLINE_PREFIX + self._presence.holder
        return NewTask(task_id=new_id(), path=START_PATH, node=START, kind="advance", queue=queue)

    def _ready(self, run_id: str) -> list[TaskRef]:
        run = self.store.get_run(run_id)
        assert run is not None
        return [
            TaskRef(
                task_id=t.task_id, run_id=run_id, thread_id=t.thread_id, queue=t.queue, priority=t.priority,
                graph=run.graph, node=t.node, version=run.version,
            )
            for t in self.store.list_tasks(run_id)
            if t.status == "ready"
        ]  # fmt: skip

    # ---------------------------------------------------------------- the loop

    def _drive(
        self,
        run_id: str,
        ready: Sequence[TaskRef],
        options: InvokeOptions,
        loop: asyncio.AbstractEventLoop | None,
        watch: Watch | None,
    ) -> None:
        """Run what is ready until the run has settled, been interrupted, or nothing is left."""
        crew = _Crew(self, options, loop, watch)
        crew.add(ready)
        try:
            crew.work()
        except BaseException:
            crew.close(failed=True)
            raise
        crew.close()
        if crew.beyond is not None:  # the node around this has to be put away
            raise crew.beyond
        self._archive(options.thread_id)
        run = self.store.get_run(run_id)
        assert run is not None
        if run.status in RUNNABLE:
            if (waiting := waiting_for_child(self.store, run)) is not None:
                raise waiting
            raise HalfWayError(
                f"run {run_id} on thread {run.thread_id!r} has stopped half-way: this process lost the right to its tasks. "
                "invoke(None, config) takes it up again"
            )
        if run.status == "failed":
            raise crew.error_of(run)
        if run.status == "interrupted" and watch is not None:
            head = self.store.head(options.thread_id)
            assert head is not None
            watch.stopped(head, self.store.list_tasks(run_id))
        if run.status == "cancelled":
            raise RunCancelledError(f"run {run_id} on thread {run.thread_id!r} was cancelled")

    def _archive(self, thread_id: str) -> None:
        if self.archive is None:
            return
        known = {checkpoint.id for checkpoint in self.archive.list(thread_id)}
        for checkpoint in reversed(self.store.list(thread_id)):
            if checkpoint.id not in known:
                self.archive.save(checkpoint)

    def runner(self, slot: str, crew: _Crew, loop: asyncio.AbstractEventLoop | None) -> Runner:
        return Runner(
            store=self.store,
            registry=self._registry,
            settings=_SETTINGS,
            holder=self._presence.holder,
            slot=slot,
            publish=crew.add,
            caller=NodeCaller(in_process_wait=float("inf"), loop=loop),
            documents=self.documents,
            on_failure=crew.note,
            published_elsewhere=False,
            stops=crew.stops,
            watch=crew.watch,
            given=crew.given,
            around=self.around,
            children=ChildrenHere(self, loop),
        )

    @property
    def holder(self) -> str:
        """This process's id in the ledger."""
        return self._presence.holder

    def drive(self, run: Run, loop: asyncio.AbstractEventLoop | None) -> BaseException | None:
        """Run what is ready of a run that nobody else is at; gives what it has failed of.

        Raises RunInterruptedError for a run that waits for a child of its own.
        """
        if run.run_id in self._active:
            return None
        self._take_over(run.run_id)
        wake_waiting(self.store, run)
        self._active.add(run.run_id)
        try:
            self._drive(
                run.run_id, self._ready(run.run_id), InvokeOptions(thread_id=run.thread_id), loop, None
            )
        except RunInterruptedError:
            raise
        except Exception as error:
            found = self.store.get_run(run.run_id)
            if found is not None and found.status in SETTLED:
                return error
            if not isinstance(error, HalfWayError):
                raise
        finally:
            self._active.discard(run.run_id)
        return None

    def beside(self, graph: CompiledGraph) -> InlineEngine:
        """The engine of another graph on the same store, for a run that a node of this one waits for."""
        if graph is self.graph:
            return self
        made = InlineEngine(graph, self.store)
        made._presence, made._active, made._registry = self._presence, self._active, self._registry
        made.expected = self.expected
        if self._registry.get(graph.name) is None:
            self._registry.add(graph)
        return made


class HalfWayError(PetioleError):
    """A run of ``graph.invoke`` is left with tasks that are not this process's."""


class _Crew:
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
                self._engine.store.release(self._engine._presence.holder, slots=slots)
            except StoreError:
                pass  # the next invocation on the thread gives it back


class _Presence:
    """This process as a holder of one store: registered when first needed, beating while an invocation runs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._running = 0
        self._pid = 0
        self._beaten = float("-inf")
        self._thread: threading.Thread | None = None
        self.holder = ""

    def __enter__(self) -> None:
        with self._lock:
            if self._pid != os.getpid():
                self.holder, self._pid, self._running, self._thread = new_id(), os.getpid(), 0, None
                self._beaten = float("-inf")
                if self._store.shared:
                    atexit.register(self._leave, self._pid)
            self._running += 1
            if time.monotonic() - self._beaten > LEASE / 3:
                self._beat()
            if self._store.shared and self._thread is None:
                self._thread = threading.Thread(
                    target=self._keep_beating, name="petiole-presence", daemon=True
                )
                self._thread.start()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._running -= 1

    def _beat(self) -> None:
        lease = LEASE if self._store.shared else 10 * 365 * 86400.0
        name = f"invoke@{socket.gethostname()}"
        self._store.beat(
            Worker(
                worker_id=self.holder,
                name=name,
                host=socket.gethostname(),
                pid=os.getpid(),
                lease=lease,
                pool="inline",
                stats={BIRTH: process_birth(os.getpid()) or 0.0},
            )
        )
        self._beaten = time.monotonic()

    def _keep_beating(self) -> None:
        while True:
            time.sleep(LEASE / 3)
            with self._lock:  # so that no invocation begins between this look and this thread's end
                if not self._running:
                    self._thread = None
                    return
                try:
                    self._beat()
                except StoreError:
                    pass  # the invocation itself will say so; until then the next beat may succeed

    def _leave(self, pid: int) -> None:
        if pid == os.getpid():
            try:
                self._store.release(self.holder, final=True)
            except Exception:  # noqa: BLE001 - the process is ending; the lease runs out by itself
                pass


_SETTINGS = Settings()


def _refused(reason: str, options: InvokeOptions, active: str | None) -> PetioleError:
    if reason == "busy":
        return ThreadBusyError(
            f"thread {options.thread_id!r} has the active run {active}: wait for it or cancel it"
        )
    if reason == "no base":
        return InputError(f"checkpoint {options.checkpoint_id!r} is not one of thread {options.thread_id!r}")
    return PetioleError(f"the run was refused: {reason}")
