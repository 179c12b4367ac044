"""What happened in a run, as the ledger has it: what chunks are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from petiole_stores.ids import derived_id
from petiole_stores.records import Checkpointed, NewTask, Task
from petiole_workers.failure import Failure, parse_failure
from petiole_workers.graph import START, Interrupt
from petiole_workers.graph.snapshot import pull_path


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """One task of the superstep that follows a checkpoint, with what has become of it.

    output, error, interrupts: what it gave, failed by, or asks, so far.
    """

    task_id: str
    path: str
    node: str
    ns: str = ""
    output: str | None = None
    error: Failure | None = None
    interrupts: tuple[Interrupt, ...] = ()

    @classmethod
    def of(cls, task: NewTask | Task) -> PlannedTask:
        return cls(task.task_id, task.path, task.node, task.ns)


@dataclass(frozen=True, slots=True)
class CheckpointMade:
    """A superstep has settled.

    tasks: those that come next, in path order.
    written: the keys that the superstep wrote, for a run's first one those of its input; ``None``: that is not known.
    waits: nothing goes on from here by itself: ``interrupt_before`` or ``interrupt_after``.
    """

    record: Checkpointed
    tasks: Sequence[PlannedTask] = ()
    written: frozenset[str] | None = frozenset()
    waits: bool = False


@dataclass(frozen=True, slots=True)
class TasksBegun:
    """Tasks of the superstep after a checkpoint are to run that were not to before: it waited, or was replayed."""

    record: Checkpointed
    tasks: Sequence[PlannedTask]


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """A node has ended, well if it has an output. ``step`` is its superstep's number.

    error: the exception, where it was raised in this process; else what is stored of it.
    """

    task: PlannedTask
    thread_id: str
    step: int
    error: BaseException | Failure | None = None


@dataclass(frozen=True, slots=True)
class TaskInterrupted:
    """A node asks, or a node that is a graph in which somebody asks; ``record`` is the checkpoint before its superstep."""

    task: PlannedTask
    record: Checkpointed


@dataclass(frozen=True, slots=True)
class Stopped:
    """A run is interrupted. ``tasks`` are those of the open superstep after its head."""

    record: Checkpointed
    tasks: Sequence[Task]


@dataclass(frozen=True, slots=True)
class Resumed:
    """A thread goes on from where it stands. ``tasks`` are those of the open superstep, ended ones too."""

    record: Checkpointed
    tasks: Sequence[PlannedTask] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """A running node has said something: ``kind`` is ``custom`` or ``messages``."""

    kind: str
    value: object
    ns: str = ""
    about: Mapping[str, object] = field(default_factory=dict)


Fact = CheckpointMade | TasksBegun | TaskEnded | TaskInterrupted | Stopped | Resumed | Said


def start_of(record: Checkpointed) -> PlannedTask:
    """What follows a checkpoint that an input made: it is applied."""
    return PlannedTask(derived_id("start", record.checkpoint_id), pull_path(START), START, record.ns)


def superstep_of(
    record: Checkpointed, tasks: Sequence[Task], asked: Mapping[str, tuple[Interrupt, ...]]
) -> list[PlannedTask]:
    """The tasks that follow a checkpoint, one a path, each with its output, or the error of the try before.

    asked: what waited for an answer before, by the id of the task.
    """
    errors: dict[str, Failure] = {}
    latest: dict[str, Task] = {}
    for task in tasks:
        if task.checkpoint_id != record.checkpoint_id or task.kind != "node":
            continue
        if task.status == "failed" and (failure := parse_failure(task.error)) is not None:
            errors[task.path] = failure
        latest[task.path] = task
    return [
        PlannedTask(
            task.task_id,
            path,
            task.node,
            task.ns,
            output=task.output if task.status == "done" else None,
            error=None if task.status == "done" else errors.get(path),
            interrupts=asked.get(task.task_id, ()),
        )
        for path, task in sorted(latest.items())
    ]
