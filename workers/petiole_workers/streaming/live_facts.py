"""Facts of a run in this process, as its threads report them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from petiole_stores.records import SETTLED, START_PATH, Checkpointed, Settle, Task
from petiole_workers.documents import Documents, checkpointed, written_keys
from petiole_workers.failure import parse_failure
from petiole_workers.graph import Interrupt
from petiole_workers.hop import Work
from petiole_workers.progress import Progress
from petiole_workers.resuming import interrupts_of
from petiole_workers.streaming.facts import (
    CheckpointMade,
    Fact,
    PlannedTask,
    Resumed,
    Said,
    Stopped,
    TaskEnded,
    TaskInterrupted,
    input_keys,
    start_of,
    superstep_of,
)


@dataclass
class _Superstep:
    """What is known of one that is open: the paths of tasks to end, and the keys that ended ones wrote."""

    record: Checkpointed
    open: set[str]
    written: set[str] | None = field(default_factory=set)
    behind: _Superstep | None = None  #: the one before, if it was open still when this one was made
    held: list[Fact] = field(default_factory=list)  #: what those behind it have to tell


class LiveFacts:
    """Puts what the threads of a run report into the order of facts.

    A superstep's settle, and all that the next ones have to tell, may be reported while the last but one of its tasks is
    still about to be: that is held back until all of them were.

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
            self._tell(self._open.get(task.checkpoint_id), Said(kind, value, task.ns, about))

    # ---------------------------------------------------------------- within

    def _tell(self, superstep: _Superstep | None, fact: Fact) -> None:
        """Emit what belongs to a superstep once the one that it is behind has ended."""
        behind = _still_open(superstep.behind) if superstep is not None else None
        if behind is None:
            self._emit(fact)
        else:
            behind.held.append(fact)

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
                self._tell(superstep, TaskInterrupted(waiting, superstep.record))
            return
        superstep.open.discard(task.path)
        if outcome.ending in ("done", "failed"):
            failed = outcome.ending == "failed"
            error = self._errors.get(task.task_id) or parse_failure(outcome.error) if failed else None
            if outcome.output is not None:
                superstep.written = (superstep.written or set()) | written_keys(outcome.output)
            ended = replace(PlannedTask.of(task), output=outcome.output)
            self._tell(superstep, TaskEnded(ended, task.thread_id, superstep.record.step + 1, error))
        if not superstep.open:
            held, superstep.held = superstep.held, []
            for fact in held:
                self._tell(superstep, _with_all_written(fact, superstep))

    def _settled(self, work: Work, settle: Settle) -> None:
        claim = work.claim
        for made in settle.checkpoints:
            record = checkpointed(made, claim.task, run_id=claim.run.run_id)
            last = made is settle.checkpoints[-1]
            tasks = [PlannedTask.of(task) for task in settle.tasks if task.kind == "node"]
            tasks = tasks if last else [start_of(record)]
            before = self._open.pop(record.parent_id, None)
            owner = self._open.get(claim.task.checkpoint_id)  # of a namespace that begins
            self._open[record.checkpoint_id] = superstep = _Superstep(
                record,
                {task.path for task in tasks} if last else set(),
                self._input_keys(work) if record.source == "input" else set() if last else None,
                _still_open(before or (owner and owner.behind)),
            )
            keys = before.written if before is not None else set()
            written = None if keys is None else frozenset(keys)
            waits = last and settle.run_status == "interrupted"
            if before is not None and before.open:
                self._open[record.parent_id] = before
            self._tell(superstep, CheckpointMade(record, tasks, written, waits))

    def _input_keys(self, work: Work) -> set[str] | None:
        """The keys of the input that a run, or a namespace, begins with; ``None``: that is not kept."""
        run = work.claim.run
        if work.outcome.nest is not None:
            return None
        return set(input_keys(self._documents, run))


def _still_open(superstep: _Superstep | None) -> _Superstep | None:
    """This superstep, or the last one before it, that has tasks yet to end."""
    while superstep is not None and not superstep.open:
        superstep = superstep.behind
    return superstep


def _with_all_written(fact: Fact, superstep: _Superstep) -> Fact:
    """The next checkpoint with the keys that the superstep's last tasks wrote, too."""
    if not isinstance(fact, CheckpointMade) or fact.record.parent_id != superstep.record.checkpoint_id:
        return fact
    return replace(fact, written=None if superstep.written is None else frozenset(superstep.written))
