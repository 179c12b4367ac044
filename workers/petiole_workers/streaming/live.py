"""Streams of runs in this process: facts as the runner makes them, handed to whoever reads the stream.

The run has a thread of its own and does not run ahead: a superstep begins when the chunks of the one before have been
taken and the next one is asked for, as in LangGraph. A stream that is closed lets the nodes that run come to their end,
keeps what they gave, and starts nothing more; ``stream(None, config)`` goes on from there.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from petiole_stores.records import SETTLED, START_PATH, Checkpointed, Settle, Task
from petiole_workers.documents import Documents, checkpointed, written_keys
from petiole_workers.failure import parse_failure
from petiole_workers.graph import Interrupt
from petiole_workers.hop import Work
from petiole_workers.progress import Progress
from petiole_workers.resuming import interrupts_of
from petiole_workers.streaming.deriving import Deriver
from petiole_workers.streaming.facts import (
    CheckpointMade,
    Fact,
    PlannedTask,
    Resumed,
    Said,
    Stopped,
    TaskEnded,
    TaskInterrupted,
    start_of,
    superstep_of,
)
from petiole_workers.streaming.modes import SPOKEN, Chunk, Modes

if TYPE_CHECKING:
    from petiole_workers.attempt import Attempt


class StreamClosedError(BaseException):
    """Nobody reads the stream any more. No ``Exception``: it has to pass all that handles nodes' errors."""


class Handover:
    """Chunks on their way from the threads of a run to its one reader."""

    def __init__(self) -> None:
        self._chunks: deque[Chunk] = deque()
        self._changed = threading.Condition()
        self._asking = False
        self._over = False
        self._error: BaseException | None = None
        self.closed = False
        self._wake: Callable[[], object] | None = None

    # ---------------------------------------------------------------- the run's side

    def put(self, chunk: Chunk) -> None:
        with self._changed:
            if not self.closed:
                self._chunks.append(chunk)
                self._notify()

    def end(self, error: BaseException | None = None) -> None:
        """The run is over; its reader gets ``error`` after the last chunk."""
        with self._changed:
            self._over, self._error = True, error
            self._notify()

    def wait(self) -> None:
        """Wait until everything was taken and more is asked for. Raises StreamClosedError when the stream was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or (self._asking and not self._chunks))
        self.check()

    def check(self) -> None:
        if self.closed:
            raise StreamClosedError

    # ---------------------------------------------------------------- the reader's side

    def take(self) -> Chunk | None:
        """The next chunk; ``None`` when the run is over. Raises what the run raised."""
        with self._changed:
            self._ask()
            self._changed.wait_for(lambda: bool(self._chunks) or self._over)
            return self._taken()

    async def atake(self) -> Chunk | None:
        """As `take`, from a coroutine."""
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        while True:
            with self._changed:
                if self._chunks or self._over:
                    return self._taken()
                news.clear()
                self._wake = functools.partial(loop.call_soon_threadsafe, news.set)
                self._ask()
            await news.wait()

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def _ask(self) -> None:
        self._asking = True
        self._changed.notify_all()

    def _taken(self) -> Chunk | None:
        self._asking, self._wake = False, None
        if self._chunks:
            return self._chunks.popleft()
        if self._error is not None:
            raise self._error
        return None

    def _notify(self) -> None:
        self._changed.notify_all()
        if self._wake is not None:
            self._wake()


@dataclass
class _Superstep:
    """What is known of one that is open: the paths of tasks to end, and the keys that ended ones wrote."""

    record: Checkpointed
    open: set[str]
    written: set[str] | None = field(default_factory=set)
    held: list[CheckpointMade] = field(default_factory=list)


class LiveFacts:
    """Puts what the threads of a run report into the order of facts.

    A superstep's settle may be reported while the last but one of its tasks is still about to be: it is held back until
    all of them were.

    Parameters
        emit    takes the facts, one at a time
        errors  the exceptions of failed tasks by task id
    """

    def __init__(
        self, documents: Documents, emit: Callable[[Fact], None], errors: Mapping[str, BaseException]
    ) -> None:
        self._documents, self._emit, self._errors = documents, emit, errors
        self._open: dict[str | None, _Superstep] = {}
        self._lock = threading.RLock()

    def resumed(
        self, record: Checkpointed, tasks: Sequence[Task], asked: Mapping[str, tuple[Interrupt, ...]]
    ) -> None:
        """A run goes on from this checkpoint, the head of its namespace.

        Parameters
            tasks  all of the run's, as they are now
            asked  what waited for an answer until now, by the id of the task
        """
        if any(task.path == START_PATH and task.status not in ("done", *SETTLED) for task in tasks):
            return  # it is still to take its input
        planned = superstep_of(record, tasks, asked)
        with self._lock:
            known = _Superstep(record, {task.path for task in planned if task.output is None})
            outputs = [task.output for task in planned if task.output is not None]
            known.written = {key for output in outputs for key in written_keys(output)}
            self._open[record.checkpoint_id] = known
            self._emit(Resumed(record, planned))

    def stopped(self, record: Checkpointed, tasks: Sequence[Task]) -> None:
        """The run is interrupted: nodes that are graphs stand for those that ask in them."""
        asked = interrupts_of(tasks, self._documents.serde)
        owners = [task for task in tasks if task.child and task.task_id in asked]
        with self._lock:
            for task in sorted(owners, key=lambda task: task.ns.count("|") if task.ns else -1, reverse=True):
                superstep = self._open.get(task.checkpoint_id)
                if superstep is not None:
                    owner = replace(PlannedTask.of(task), interrupts=asked[task.task_id])
                    self._emit(TaskInterrupted(owner, superstep.record))
            after = [it for it in tasks if it.checkpoint_id == record.checkpoint_id and not it.replaced]
            self._emit(Stopped(record, after))

    def made(self, work: Work) -> None:
        """A task has come to its outcome, which is committed or will be."""
        task, outcome = work.claim.task, work.outcome
        with self._lock:
            if task.kind == "node" and outcome.ending in ("done", "failed", "interrupted", "cancelled"):
                self._ended(work)
            for settle in (outcome.settle, outcome.nest):
                if settle is not None:
                    self._settled(work, settle)

    def said(self, kind: str, value: object, task: Task, about: Mapping[str, object]) -> None:
        with self._lock:
            self._emit(Said(kind, value, task.ns, about))

    # ---------------------------------------------------------------- within

    def _ended(self, work: Work) -> None:
        task, outcome = work.claim.task, work.outcome
        superstep = self._open.get(task.checkpoint_id)
        if superstep is None or task.path not in superstep.open:
            return
        if outcome.ending == "interrupted":
            asked = Progress.read(outcome.progress).asked
            if asked is not None:
                question = Interrupt(asked.value.value(self._documents.serde, task.thread_id), asked.id)
                waiting = replace(PlannedTask.of(task), interrupts=(question,))
                self._emit(TaskInterrupted(waiting, superstep.record))
            return
        superstep.open.discard(task.path)
        if outcome.ending in ("done", "failed"):
            failed = outcome.ending == "failed"
            error = self._errors.get(task.task_id) or parse_failure(outcome.error) if failed else None
            if outcome.output is not None:
                superstep.written = (superstep.written or set()) | written_keys(outcome.output)
            ended = replace(PlannedTask.of(task), output=outcome.output)
            self._emit(TaskEnded(ended, task.thread_id, superstep.record.step + 1, error))
        if not superstep.open:
            for fact in superstep.held:
                self._emit(fact)

    def _settled(self, work: Work, settle: Settle) -> None:
        claim = work.claim
        for made in settle.checkpoints:
            record = checkpointed(made, claim.task, run_id=claim.run.run_id)
            last = made is settle.checkpoints[-1]
            tasks = [PlannedTask.of(task) for task in settle.tasks] if last else [start_of(record)]
            self._open[record.checkpoint_id] = _Superstep(
                record,
                {task.path for task in tasks} if last else set(),
                self._input_keys(work) if record.source == "input" else set(),
            )
            before = self._open.pop(record.parent_id, None)
            keys = before.written if before is not None else set()
            written = None if keys is None else frozenset(keys)
            waits = last and settle.run_status == "interrupted"
            fact = CheckpointMade(record, tasks, written, waits)
            if before is not None and before.open:
                before.held.append(fact)
                self._open[record.parent_id] = before
            else:
                self._emit(fact)

    def _input_keys(self, work: Work) -> set[str] | None:
        """The keys of the input that a run, or a namespace, begins with; ``None``: that is not kept."""
        run = work.claim.run
        if work.outcome.nest is not None:
            return None
        return set(self._documents.value(run.thread_id, run.input)) if run.input is not None else set()


class Watch:
    """What an engine reports the run of one stream to. Made in the thread that drives the run."""

    def __init__(self, handover: Handover, deriver: Deriver, documents: Documents) -> None:
        self._handover, self._deriver = handover, deriver
        #: The modes that nodes speak in and that are followed.
        self.heard = SPOKEN & deriver.modes.asked
        self._errors: dict[str, BaseException] = {}
        self._facts = LiveFacts(documents, self._emit, self._errors)
        self._thread = threading.get_ident()

    def resumed(
        self, record: Checkpointed, tasks: Sequence[Task], asked: Mapping[str, tuple[Interrupt, ...]]
    ) -> None:
        """As :meth:`LiveFacts.resumed`."""
        self._facts.resumed(record, tasks, asked)

    def stopped(self, record: Checkpointed, tasks: Sequence[Task]) -> None:
        """As :meth:`LiveFacts.stopped`."""
        self._facts.stopped(record, tasks)

    def failed(self, task_id: str, error: BaseException) -> None:
        """What a task has failed by; its outcome is still to come."""
        self._errors[task_id] = error

    def made(self, work: Work) -> None:
        """Report a task's outcome; where a superstep is over, wait until more is asked for.

        Raises StreamClosedError where nothing more is to be started.
        """
        self._facts.made(work)
        if work.outcome.settle is not None or work.outcome.nest is not None:
            self.pause()

    def said(self, kind: str, value: object, attempt: Attempt, about: Mapping[str, object]) -> None:
        """A node says something."""
        self._facts.said(kind, value, attempt.task, about)

    def pause(self) -> None:
        """Wait until more is asked for; threads of a pool never do, for the interpreter waits for them when it ends."""
        if threading.get_ident() == self._thread:
            self._handover.wait()
        else:
            self._handover.check()

    def _emit(self, fact: Fact) -> None:
        for chunk in self._deriver.chunks(fact):
            self._handover.put(chunk)


def stream(run: Callable[[Handover], object], modes: Modes) -> Iterator[Any]:
    """What ``run`` streams while it runs in a thread of its own, shaped."""
    handover = Handover()
    thread = _start_thread(run, handover)
    try:
        while (chunk := handover.take()) is not None:
            modes.print(chunk)
            if chunk.mode in modes.given:
                yield modes.shaped(chunk)
    finally:
        handover.close()
        thread.join()


async def astream(run: Callable[[Handover], object], modes: Modes) -> AsyncIterator[Any]:
    """As `stream`, for a coroutine."""
    handover = Handover()
    thread = _start_thread(run, handover)
    try:
        while (chunk := await handover.atake()) is not None:
            modes.print(chunk)
            if chunk.mode in modes.given:
                yield modes.shaped(chunk)
    finally:
        handover.close()
        await asyncio.to_thread(thread.join)


def _start_thread(run: Callable[[Handover], object], handover: Handover) -> threading.Thread:
    def work() -> None:
        error: BaseException | None = None
        try:
            handover.wait()
            run(handover)
        except StreamClosedError:
            pass
        except BaseException as raised:  # noqa: BLE001 - it is the reader's
            error = raised
        handover.end(error)

    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(work,), name="petiole-stream", daemon=True
    )
    thread.start()
    return thread
