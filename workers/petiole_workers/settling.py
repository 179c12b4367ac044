"""Settling a superstep: the checkpoint that follows from its outputs, and the tasks that come next."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import msgspec

from petiole_stores.errors import CorruptionError, PetioleError, StoreUnavailableError, UnfitError
from petiole_stores.ids import derived_id, new_id
from petiole_stores.records import START_PATH, Checkpointed, Claim, NewCheckpoint, NewTask, Settle, Task
from petiole_workers.damage import UnreadableError
from petiole_workers.documents import Loaded, Rows, checkpointed
from petiole_workers.failure import ends_the_process
from petiole_workers.fitting import queue_of
from petiole_workers.graph import (
    START,
    GraphDefinition,
    Snapshot,
    TaskOutput,
    TaskSpec,
    advance,
    begin,
    check_limit,
    stop_step,
    task_output,
)
from petiole_workers.graph.snapshot import pull_path
from petiole_workers.hop import AS_COMPILED, Stops, Work
from petiole_workers.recursion import FIRST_STEP, LIMIT_PATH, counted, is_beyond, last_step

if TYPE_CHECKING:
    from petiole_workers.attempt import Attempt

logger = logging.getLogger("petiole.runner")

#: In the control of a namespace's last snapshot: the output by which a node left it for the parent graph.
LEFT = "left"

SettleStatus = Literal["running", "interrupted", "succeeded"]
#: Snapshots of one settle, each with the stored text of the values that it has from the one before.
Snapshots = Sequence[tuple[Snapshot, dict[str, bytes]]]


class Settling:
    """The settles that one attempt makes: at the end of a lone task, of an ``advance``, of a namespace's opening."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._runner, self._task, self._definition = attempt.runner, attempt.task, attempt.definition
        self._documents = attempt.documents

    # ---------------------------------------------------------------- a lone task

    def alone(self, work: Work, loaded: Loaded, output: TaskOutput) -> None:
        """A lone task brings its settle along; where that fails, an ``advance`` will fail in its stead, output kept."""
        try:
            written = {key for key, _ in output.writes}
            base = loaded.snapshot
            if self._reads_state(written):
                with reading():
                    base = dataclasses.replace(base, values=self._documents.fresh_values(loaded))
            self._settle(work, loaded, base, [output])
        except UnreadableError:
            raise
        except BaseException as error:  # the store may be gone, too: the node's output is not lost for that
            if ends_the_process(error):
                raise
            logger.debug(
                "settling after %s failed; an advance task will say why", self._task.node, exc_info=True
            )
            work.outcome.settle, work.rows, work.follow = None, None, None

    def _reads_state(self, written: set[str]) -> bool:
        """Whether settling looks at the state itself: a router does, and so does the reducer of a written key."""
        channels = self._definition.channels
        return bool(self._definition.branches_from(self._task.node)) or any(
            key in channels and channels[key].reads_itself for key in written
        )

    # ---------------------------------------------------------------- an advance

    def advance(self, work: Work) -> None:
        """Open the run, or settle the superstep of several tasks whose last one has ended."""
        try:
            self._attempt.check()
            if self._task.path == START_PATH:
                self._start(work)
            elif self._task.path == LIMIT_PATH:
                loaded = self._attempt.base()
                self.check_limit(loaded.snapshot)
                self._bring(work, self._forked(loaded.snapshot, loaded.parts), loaded.record)
            else:
                loaded = self._attempt.base()
                with reading():
                    outputs = self._documents.outputs(self._task.thread_id, self._attempt.claim.outputs)
                self._settle(work, loaded, loaded.snapshot, outputs)
        except StoreUnavailableError:
            raise
        except UnreadableError as unreadable:
            self._attempt.unreadable(work, unreadable.error)
        except BaseException as error:  # reducers and routers are users' code too
            if ends_the_process(error):
                raise
            work.outcome.settle, work.rows, work.follow = None, None, None
            self._attempt.end(work, "failed", error)

    def _start(self, work: Work) -> None:
        """Apply the input to the thread's head and plan the first superstep."""
        attempt = self._attempt
        loaded = attempt.base() if self._task.checkpoint_id is not None else None
        base = loaded.snapshot if loaded else None
        if attempt.run.input is None:
            if loaded is None or base is None:
                raise PetioleError(
                    f"run {attempt.run.run_id} has neither an input nor a checkpoint to go on from"
                )
            self._bring(work, self._forked(base, loaded.parts), loaded.record)
            return
        with reading():
            given = self._documents.value(self._task.thread_id, attempt.run.input)
        self._bring(work, self._begun(loaded, given), loaded.record if loaded else None)

    def _begun(self, loaded: Loaded | None, given: object, ns: str = "") -> Snapshots:
        """The snapshots of an input, and of what is to run first."""
        base = _returned_to(loaded.snapshot) if loaded else None
        taken, first = begin(
            self._attempt.definition_of(ns),
            base,
            given,
            runner=self._runner.caller.wait,
            runtime=self._attempt.runtime(),
            stop=stop_step(base, self._attempt.config.recursion_limit),
        )
        first = dataclasses.replace(first, control={**first.control, FIRST_STEP: taken.step})
        return [(taken, loaded.parts if loaded else {}), (first, {})]

    def _forked(self, base: Snapshot, parts: dict[str, bytes]) -> Snapshots:
        """The snapshots that a run begins with which goes on from a checkpoint: the same state, the same tasks to come.

        From an input's checkpoint the input is applied next.
        """
        control: dict[str, object] = {**base.control, FIRST_STEP: base.step + 1}
        fork = dataclasses.replace(base, step=base.step + 1, source="fork", control=control, writers=())
        starts = [task for task in base.next if task.node == START]
        if not starts:
            return [(fork, parts)]
        outputs = [task_output(self._definition, task, task.arg) for task in starts]
        first = advance(
            self._definition,
            fork,
            outputs,
            stop=self.stop(fork),
            runner=self._runner.caller.wait,
            runtime=self._attempt.runtime(),
        )
        return [(fork, parts), (first, {})]

    # ---------------------------------------------------------------- a namespace

    def open(self, work: Work, ns: str, head: Loaded | None, given: object) -> None:
        """Open a namespace with this input, or go on in it from its head: the task waits for its end."""
        checkpoints, rows, status = self._rows(
            work, self._begun(head, given, ns), head.record if head else None, ns
        )
        work.outcome.ending = "parked"
        work.outcome.nest = Settle(checkpoints=checkpoints, tasks=rows.tasks, run_status=status)
        work.rows = rows

    # ---------------------------------------------------------------- rows

    def _settle(self, work: Work, loaded: Loaded, base: Snapshot, outputs: Sequence[TaskOutput]) -> None:
        for output in outputs:
            if output.to_parent:
                self._bring(work, [(self._left(work, base, output), loaded.parts)], loaded.record)
                return
        snapshot = advance(
            self._definition,
            base,
            outputs,
            stop=self.stop(base),
            runner=self._runner.caller.wait,
            runtime=self._attempt.runtime(),
        )
        snapshot = counted(base, snapshot, self._attempt.config.recursion_limit)
        written = {key for output in outputs for key, _ in output.writes}
        kept = {key: part for key, part in loaded.parts.items() if key not in written}
        cached = [output.path for output in outputs if output.cached]
        self._bring(work, [(snapshot, kept)], loaded.record, {"cached": cached} if cached else None)

    def _left(self, work: Work, base: Snapshot, output: TaskOutput) -> Snapshot:
        """The last snapshot of a namespace that a ``Command`` to the parent graph has ended: it keeps that output."""
        text, blobs = self._documents.output(self._task.thread_id, output)
        work.outcome.blobs = [*work.outcome.blobs, *blobs.values()]
        return dataclasses.replace(
            base,
            step=base.step + 1,
            source="loop",
            next=(),
            control={**base.control, LEFT: msgspec.Raw(text.encode())},
            writers=(output.node,),
        )

    def _bring(
        self,
        work: Work,
        snapshots: Snapshots,
        parent: Checkpointed | None,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Put the settle of these snapshots, one after the other, into the outcome; ``metadata`` is the last one's."""
        checkpoints, rows, status = self._rows(work, snapshots, parent, self._task.ns, metadata)
        if status == "running" and self._attempt.services.open_transaction is None:
            work.carried = self._attempt.durability.carries and self._runner.is_lone(rows.tasks)
            if work.carried or self._runner.may_go_on(self._attempt.claim, rows.tasks):
                self._go_on(work, rows)
        whole = self._attempt.graph.definition
        work.outcome.settle = Settle(
            checkpoints=checkpoints,
            tasks=rows.tasks,
            run_status=status,
            version=whole.version,
            fingerprint=whole.fingerprint,
        )
        work.rows = rows

    def _rows(
        self,
        work: Work,
        snapshots: Snapshots,
        parent: Checkpointed | None,
        ns: str,
        metadata: Mapping[str, object] | None = None,
    ) -> tuple[list[NewCheckpoint], Rows, SettleStatus]:
        """What the snapshots are in the ledger, and what becomes of their run or namespace."""
        parent_id = parent.checkpoint_id if parent else None
        checkpoints = []
        rows: Rows | None = None
        queue = self._attempt.graph.queue or self._runner.settings.queue
        last = snapshots[-1][0]
        definition = self._attempt.definition_of(ns)
        interrupted = _interrupts(definition, last, AS_COMPILED if ns else self._runner.stops)
        for snapshot, kept in snapshots:
            rows = self._documents.settle(
                definition,
                snapshot,
                thread_id=self._task.thread_id,
                parent_id=parent_id,
                kept=kept,
                queue=queue,
                interrupted=interrupted and snapshot is last,
                ns=ns,
                metadata=metadata if snapshot is last else None,
            )
            parent_id = rows.checkpoint.checkpoint_id
            checkpoints.append(rows.checkpoint)
            work.outcome.blobs = [*work.outcome.blobs, *rows.blobs.values()]
        assert rows is not None
        if (
            not rows.tasks
            and LEFT not in last.control
            and is_beyond(last, self._attempt.config.recursion_limit)
        ):
            rows.tasks = [
                NewTask(task_id=new_id(), path=LIMIT_PATH, node="advance", kind="advance", ns=ns, queue=queue)
            ]
        inline, offer = self._attempt.config.inline, self._attempt.graph.offer
        for task in rows.tasks:
            task.queue = self._task.queue if inline else queue_of(offer, task.queue)
        return (
            checkpoints,
            rows,
            "succeeded" if not rows.tasks else "interrupted" if interrupted else "running",
        )

    def _go_on(self, work: Work, rows: Rows) -> None:
        """Claim the settle's only task in the settle itself.

        A carried task may be run again before the ledger has heard of it: its id derives from what came before it, so
        that its idempotency key is the same then.
        """
        new = rows.tasks[0]
        if work.carried:
            new.task_id = derived_id("carried", self._task.task_id, str(work.claim.run.replays), new.path)
        new.token = new_id()
        work.follow = self._followed(rows)

    def _followed(self, rows: Rows) -> Claim:
        """The claim of the settle's only task, which this slot will hold when the settle is committed."""
        new, made = rows.tasks[0], rows.checkpoint
        base = checkpointed(made, self._task, run_id=self._attempt.run.run_id)
        task = Task(
            task_id=new.task_id,
            run_id=self._attempt.run.run_id,
            thread_id=self._task.thread_id,
            ns=new.ns,
            checkpoint_id=made.checkpoint_id,
            path=new.path,
            kind=new.kind,
            node=new.node,
            queue=new.queue,
            priority=new.priority,
            status="claimed",
            arg=new.arg,
            timeout=new.timeout,
            token=new.token,
            holder=self._runner.holder,
            slot=self._runner.slot,
            attempt=1,
            started=True,
            created_at=self._task.created_at,
        )
        return Claim(task=task, run=self._attempt.run, base=base, width=1)

    def stop(self, base: Snapshot) -> int:
        """The last step that the graph may take after ``base``."""
        return last_step(base, self._attempt.config.recursion_limit)

    def check_limit(self, snapshot: Snapshot) -> None:
        """Raises GraphRecursionError where the recursion limit lets no superstep follow, unless a replay does."""
        limit, task = self._attempt.config.recursion_limit, self._task
        if not is_beyond(snapshot, limit):
            return
        if self._attempt.run.replays:
            place = (task.checkpoint_id, task.ns, task.path, task.kind)
            tasks = self._runner.store.list_tasks(task.run_id)
            if any(it.replaced and (it.checkpoint_id, it.ns, it.path, it.kind) == place for it in tasks):
                return
        if task.kind == "node":
            snapshot = dataclasses.replace(snapshot, next=(TaskSpec(task.path, task.node),))
        check_limit(snapshot, snapshot.step)


def _returned_to(head: Snapshot) -> Snapshot:
    """The head of a namespace that is come to again. One that was left stands where the node that left had yet to run."""
    if LEFT not in head.control:
        return head
    control = {key: value for key, value in head.control.items() if key != LEFT}
    return dataclasses.replace(
        head, control=control, next=tuple(TaskSpec(pull_path(node), node) for node in head.writers)
    )


def _interrupts(graph: GraphDefinition, snapshot: Snapshot, stops: Stops) -> bool:
    """Whether the run stops here: after a node in ``interrupt_after``, or before one in ``interrupt_before``.

    Not at a fork: whoever goes on from an interrupted checkpoint means to pass it.
    """
    before = graph.interrupt_before if stops.before is None else stops.before
    after = graph.interrupt_after if stops.after is None else stops.after
    return (
        bool(snapshot.next)
        and snapshot.source != "fork"
        and (
            any(name in after for name in snapshot.writers)
            or any(task.node in before for task in snapshot.next)
        )
    )


class _Reading:
    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, (CorruptionError, UnfitError)):
            raise UnreadableError(error) from error


_READING = _Reading()


def reading() -> AbstractContextManager[None]:
    """What cannot be read within is the engine's to deal with: it is no failure of users' code."""
    return _READING
