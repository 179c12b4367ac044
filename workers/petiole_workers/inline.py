"""The inline dispatcher: ``graph.invoke`` runs the same protocol in this process, its tasks never published.

The process is a holder like any worker: it beats while it runs, and what it leaves when it dies can be taken up by the
next ``invoke(None, ...)`` on the thread.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from petiole_stores.contract import CheckpointStore
from petiole_stores.errors import (
    InputError,
    PetioleError,
    RunCancelledError,
    RunInterruptedError,
    ThreadBusyError,
)
from petiole_stores.ids import new_id
from petiole_stores.leaves import replaceable
from petiole_stores.memory import MemoryStore
from petiole_stores.records import (
    ENDED,
    RUNNABLE,
    SETTLED,
    START_PATH,
    Blob,
    NewRun,
    NewTask,
    Resumption,
    Run,
    Task,
    TaskRef,
    Worker,
)
from petiole_stores.store import Store
from petiole_workers.caller import NodeCaller
from petiole_workers.compiled import CompiledGraph
from petiole_workers.documents import Documents
from petiole_workers.graph import INTERRUPT, START, Command, Interrupt, result
from petiole_workers.graph.runtime import NodeServices
from petiole_workers.hop import RunConfig, read_config
from petiole_workers.inline_children import ChildrenHere, waiting_for_child, wake_waiting
from petiole_workers.inline_crew import Crew
from petiole_workers.inline_options import InvokeOptions
from petiole_workers.inline_presence import BIRTH, Presence
from petiole_workers.processes import process_birth
from petiole_workers.queues import INLINE_PREFIX
from petiole_workers.recursion import LIMIT_PATH
from petiole_workers.registry import Registry
from petiole_workers.resuming import interrupts_of, resumptions
from petiole_workers.runner import Runner
from petiole_workers.settings import Settings
from petiole_workers.snapshot import values_now
from petiole_workers.states import States

if TYPE_CHECKING:
    from petiole_workers.streaming.live import Watch

_SETTINGS = Settings()


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
        self.presence = Presence(store)

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
        with self.presence:
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
            failed = replaceable(self.store.list_tasks(run.run_id))
            if failed and all(task.path == LIMIT_PATH for task in failed):  # its last step was its end
                return None, []
            return run.run_id, self._replay(run, failed)
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

    def _replay(self, run: Run, failed: Sequence[Task]) -> Sequence[TaskRef]:
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
        if not read_config(run.config).inline:
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
            if holder == self.presence.holder:  # left by an invocation that could not give it back
                slots = {task.slot for task in tasks if task.token and task.holder == holder and task.slot}
                if slots:
                    self.store.release(holder, slots=sorted(slots))
            else:
                self.store.release(holder, crashed=True, final=True)

    def _lives(self, worker: Worker, run_id: str) -> bool:
        if worker.worker_id == self.presence.holder:
            return run_id in self._active
        if worker.status not in ("alive", "stopping"):
            return False
        if worker.host == socket.gethostname():
            return process_birth(worker.pid) == worker.stats.get(BIRTH)
        return worker.expires_at > time.time()

    def _start_task(self) -> NewTask:
        queue = INLINE_PREFIX + self.presence.holder
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
        crew = Crew(self, options, loop, watch)
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

    def runner(self, slot: str, crew: Crew, loop: asyncio.AbstractEventLoop | None) -> Runner:
        return Runner(
            store=self.store,
            registry=self._registry,
            settings=_SETTINGS,
            holder=self.presence.holder,
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
        return self.presence.holder

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
        made.presence, made._active, made._registry = self.presence, self._active, self._registry
        made.expected = self.expected
        if self._registry.get(graph.name) is None:
            self._registry.add(graph)
        return made


class HalfWayError(PetioleError):
    """A run of ``graph.invoke`` is left with tasks that are not this process's."""


def _refused(reason: str, options: InvokeOptions, active: str | None) -> PetioleError:
    if reason == "busy":
        return ThreadBusyError(
            f"thread {options.thread_id!r} has the active run {active}: wait for it or cancel it"
        )
    if reason == "no base":
        return InputError(f"checkpoint {options.checkpoint_id!r} is not one of thread {options.thread_id!r}")
    return PetioleError(f"the run was refused: {reason}")
