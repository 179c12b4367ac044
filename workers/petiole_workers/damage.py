"""What a worker does with what it cannot read: data that is damaged, and data that it is not fit for.

Damage is read twice, then mended from the checkpoint's parent and outputs where a digest proves the copy. What cannot be mended
is quarantined and its run is held back (``blocked``) with the reason: going on from the parent would repeat side effects,
which is for an operator to decide, or for ``on_corruption = "parent"``. A worker that lacks a key, codec or class
quarantines nothing: it gives the task back and takes no more of that graph.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from petiole_stores.crashpoints import reach
from petiole_stores.errors import CorruptionError, UnfitError
from petiole_stores.ids import derived_id, new_id
from petiole_stores.records import START_PATH, Checkpointed, Claim, NewRun, NewTask
from petiole_workers.documents import read_timeout
from petiole_workers.graph import START
from petiole_workers.repair import Repair

if TYPE_CHECKING:
    from petiole_workers.runner import Runner

logger = logging.getLogger("petiole.damage")

#: How long a task rests that this worker is not fit for, in seconds: another one may be.
UNFIT_DELAY = 2.0


class UnreadableError(BaseException):
    """The engine could not read what a task needs. No ``Exception``: it is no failure of the node's."""

    def __init__(self, error: CorruptionError | UnfitError) -> None:
        super().__init__(str(error))
        self.error = error


class DamageControl:
    """Decides for one runner."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def handle(self, claim: Claim, error: CorruptionError | UnfitError) -> float:
        """See to it that the task can be run again; gives the seconds after which.

        Raises the error itself where the engine serves ``graph.invoke`` and nothing could be mended.
        """
        if isinstance(error, UnfitError):
            self._unfit(claim, error)
            return UNFIT_DELAY
        if self._reads_well(claim):
            logger.warning("thread %r was read damaged once and sound once: %s", claim.task.thread_id, error)
            return 0.0
        why = self._mend(claim)
        if why is None:
            logger.warning("mended a damaged checkpoint of thread %r: %s", claim.task.thread_id, error)
            return 0.0
        self._give_up(claim, error, why)
        return 0.0

    def _unfit(self, claim: Claim, error: UnfitError) -> None:
        graph = claim.run.graph
        if not self._runner.published_elsewhere:
            raise error
        self._runner.unfit[graph] = str(error)
        logger.error(
            "this worker is not fit for graph %r and takes no more of it (task %s of thread %r is left to others): %s",
            graph, claim.task.task_id, claim.task.thread_id, error,
        )  # fmt: skip

    def _base(self, claim: Claim) -> Checkpointed | None:
        checkpoint_id = claim.task.checkpoint_id
        return (
            self._runner.patiently(lambda: self._runner.store.get_checkpoint(checkpoint_id))
            if checkpoint_id is not None
            else None
        )

    def _reads_well(self, claim: Claim) -> bool:
        """Whether a second look finds everything sound."""
        documents, thread_id = self._runner.documents, claim.task.thread_id
        try:
            if claim.task.checkpoint_id is not None:
                record = self._base(claim)
                if record is None:
                    return False
                documents.checkpoint(record)
            if claim.task.arg is not None:
                documents.value(thread_id, claim.task.arg)
            if claim.task.timeout is not None:
                read_timeout(claim.task.timeout)
            if claim.run.input is not None and claim.task.path == START_PATH:
                documents.value(thread_id, claim.run.input)
            documents.outputs(thread_id, claim.outputs)
        except CorruptionError:
            return False
        return True

    def _mend(self, claim: Claim) -> str | None:
        """Mend the task's checkpoint; says why it could not be."""
        record = self._base(claim)
        if record is None:
            return "the checkpoint that it starts from is not there"
        runner = self._runner
        definition = runner.registry[claim.run.graph].definition
        reach("mend.before")
        why = Repair(runner.store, runner.documents, definition, runner.caller.wait).mend(record)
        reach("mend.after")
        if why is None and not self._reads_well(claim):
            return "its checkpoint is sound; what its siblings put out, or what it was sent, is damaged"
        return why

    def _give_up(self, claim: Claim, error: CorruptionError, why: str) -> None:
        task, store = claim.task, self._runner.store
        reason = f"{error}; {why}"
        logger.error(
            "thread %r cannot go on from checkpoint %s: %s", task.thread_id, task.checkpoint_id, reason
        )
        if task.checkpoint_id is not None:
            checkpoint_id = task.checkpoint_id
            self._runner.patiently(lambda: store.quarantine(checkpoint_id, reason))
        if not self._runner.published_elsewhere:
            raise error
        parent = self._parent(claim)
        if self._runner.settings.on_corruption == "parent" and parent is not None:
            self._from_parent(claim, parent, reason)
            return
        self._runner.patiently(lambda: store.block([task.run_id], kind="Corruption", reason=reason))

    def _parent(self, claim: Claim) -> Checkpointed | None:
        """The nearest sound ancestor of a damaged base."""
        record = self._base(claim)
        while record is not None and record.parent_id is not None:
            parent_id = record.parent_id
            record = self._runner.patiently(lambda: self._runner.store.get_checkpoint(parent_id))  # noqa: B023 - called at once
            if record is None:
                return None
            try:
                self._runner.documents.checkpoint(record)
                return record
            except CorruptionError:
                continue
        return None

    def _from_parent(self, claim: Claim, parent: Checkpointed, reason: str) -> None:
        """Cancel the run and go on from a sound ancestor with a new one: what ran since then runs again."""
        run, store = claim.run, self._runner.store
        new = NewRun(
            run_id=derived_id("from parent", run.run_id, parent.checkpoint_id),
            thread_id=run.thread_id,
            graph=run.graph,
            version=run.version,
            fingerprint=run.fingerprint,
            base_id=parent.checkpoint_id,
            config=run.config,
            tags=run.tags,
            start=NewTask(
                task_id=new_id(), path=START_PATH, node=START, kind="advance", queue=claim.task.queue
            ),
        )
        self._runner.patiently(
            lambda: store.cancel([run.run_id], reason=f"{reason}; run {new.run_id} goes on from its parent")
        )
        [answer] = self._runner.patiently(lambda: store.submit([new]))
        self._runner.publish(answer.publish)
