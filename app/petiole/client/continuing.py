"""Letting a thread go on from where it stands, or from where it once stood."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from petiole.client import answering, refusals
from petiole.client.handle import RunHandle
from petiole.client.replaying import find_base, next_nodes, replay_failed
from petiole.client.submitting import Submitting
from petiole_stores.errors import ConflictError, InputError
from petiole_stores.records import SETTLED, Run
from petiole_workers.active import active_run
from petiole_workers.children import wake_parent
from petiole_workers.graph import MISSING
from petiole_workers.updating import COPY, StateUpdate

if TYPE_CHECKING:
    from petiole_workers.compiled import CompiledGraph


class Continuing(Submitting):
    """Replays, resumes and forks."""

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
        source = self.run_of(thread_id, run)
        if checkpoint is None and from_node is None:
            answer = replay_failed(self.store, source)
            self.publish(answer.publish)
            return self._handle(source.thread_id, source.run_id)
        base = find_base(self.store, source.thread_id, checkpoint=checkpoint, from_node=from_node)
        if run is None and base.run_id is not None:
            source = self.store.get_run(base.run_id) or source
        return self._submit_from(source, base.checkpoint_id, {"replay_of": source.run_id})

    def resume(
        self,
        thread_id: str,
        value: Any = MISSING,
        *,
        id: str | None = None,
        answers: Mapping[str, Any] | None = None,
        run: str | None = None,
        checkpoint: str | None = None,
        resume_from: Sequence[str] = (),
        graph: CompiledGraph | str | None = None,
    ) -> RunHandle:
        """Let an interrupted run go on: with the answers to its questions, or without, where its graph was told to stop.

        Parameters
            value        the answer to the one interrupt that waits, or to the one of ``id`` (a dict of ids and answers is
                         taken as ``answers``); where none waits, what the stopped node's first interrupt will return
            id           names the interrupt (see :meth:`interrupts`); answering it twice does no harm: the first answer counts
            answers      answers by the ids of interrupts; those that are not named go on waiting
            run          which run (nothing: without a value the thread's newest; else its active one, or that which asked)
            checkpoint   go on from this one, as :meth:`fork` without values does
            resume_from  nodes that are to come next in place of those that did, on the state of ``checkpoint`` or the newest
            graph        the thread's graph, for ``checkpoint`` and ``resume_from``; see :class:`Snapshots`

        With no answer at all every interrupted node runs again, and its question is asked anew. A thread whose state was
        updated since its last run ended goes on from that state in a new run.

        Raises NotFoundError; InputError for an unknown id or node, and for one value where several interrupts wait;
        ConflictError where nothing waits.
        """
        reply = answering.Reply(value, id, answers).checked()
        if checkpoint is not None or resume_from:
            if not reply.is_empty or run is not None:
                raise InputError(
                    "an answer or a run is given with a checkpoint or resume_from: give one of them"
                )
            return self._resume_elsewhere(thread_id, checkpoint, resume_from, graph)
        if run is not None or reply.is_empty:
            found = self.run_of(thread_id, run)
            if found.status in SETTLED and (updated := self._updated(found)) is not None:
                return self._submit_from(found, updated, {"resume_of": found.run_id})
        else:
            found = answering.answered_run(self.store, thread_id, reply) or self.run_of(thread_id, None)
        resumptions = None if reply.is_empty else answering.answers_for(self.store, found, reply)
        if resumptions != []:  # else all had been answered before
            answer = self.store.resume(found.run_id, resumptions)
            refusals.check_resumed(found, answer)
            self.publish([*answer.publish, *wake_parent(self.store, found)])
        return self._handle(found.thread_id, found.run_id)

    def fork(
        self,
        thread_id: str,
        checkpoint: str,
        values: Any = MISSING,
        as_node: str | None = None,
        *,
        graph: CompiledGraph | str | None = None,
    ) -> RunHandle:
        """Let a thread go on from one of its checkpoints, with its state changed there as :meth:`update_state` would.

        Any number of forks may begin at one checkpoint; nodes before it are not run again, and what followed it stays in the
        history. A run of the thread that is interrupted goes on from the fork itself (one that is paused once it is
        unpaused); else a new one starts, with the graph, tags and configuration of the checkpoint's.

        Parameters
            values   what is written to the state; nothing: it is as it was
            as_node  the node that is to have written it: what follows from that node comes next; nothing: the one that did
            graph    the thread's graph, where the state is changed or a run goes on; see :class:`Snapshots`

        Raises NotFoundError, ThreadBusyError while a run is at work, ConflictError where no node comes next, and what
        :meth:`update_state` raises.
        """
        given = StateUpdate(None if values is MISSING else values, as_node)
        if values is MISSING and as_node is None:
            base = find_base(self.store, thread_id, checkpoint=checkpoint, from_node=None)
            if active_run(self.store, thread_id) is None:
                return self._start(thread_id, base.checkpoint_id, graph)
            given = StateUpdate(None, COPY)
        amended = self._update(thread_id, [[given]], checkpoint=checkpoint, graph=graph)
        return self._go_on(thread_id, amended.checkpoint_id, graph)

    # ---------------------------------------------------------------- parts

    def _resume_elsewhere(
        self,
        thread_id: str,
        checkpoint: str | None,
        nodes: Sequence[str],
        graph: CompiledGraph | str | None,
    ) -> RunHandle:
        if not nodes:
            assert checkpoint is not None
            return self.fork(thread_id, checkpoint, graph=graph)
        updating = self._updating(thread_id, graph)
        amended = self.typed(lambda: updating.restart(thread_id, nodes, checkpoint_id=checkpoint))
        self.publish(amended.publish)
        return self._go_on(thread_id, amended.checkpoint_id, graph)

    def _updated(self, run: Run) -> str | None:
        """The thread's newest checkpoint, if it was made by hand since the run ended and a node comes next."""
        head = self.store.head(run.thread_id)
        made = head is not None and head.source == "update" and head.checkpoint_id != run.checkpoint_id
        return head.checkpoint_id if head is not None and made and next_nodes(head) else None

    def _go_on(self, thread_id: str, checkpoint_id: str, graph: CompiledGraph | str | None) -> RunHandle:
        """Let the thread's interrupted run go on from a checkpoint that was put at its head, or start one there."""
        active = active_run(self.store, thread_id)
        if active is not None and active.checkpoint_id == checkpoint_id:
            if active.status == "interrupted":
                self.publish(self.store.resume(active.run_id).publish)
            return self._handle(thread_id, active.run_id)
        return self._start(thread_id, checkpoint_id, graph)

    def _start(self, thread_id: str, checkpoint_id: str, graph: CompiledGraph | str | None) -> RunHandle:
        """A new run from a checkpoint, like the run that made it, or that ran last; else of the one graph that is known."""
        record = self.store.get_checkpoint(checkpoint_id)
        if record is not None and not next_nodes(record):
            raise ConflictError(
                f"after checkpoint {checkpoint_id} of thread {thread_id!r} no node comes: its state is as you gave it, and there "
                f"is nothing to run (petiole run state {shlex.quote(thread_id)})"
            )
        made_by = self.store.get_run(record.run_id) if record is not None and record.run_id else None
        source = made_by or self.store.newest_run(thread_id)
        if source is not None:
            return self._submit_from(source, checkpoint_id, {"fork_of": source.run_id})
        made = self._submission(self.graph_of(None, graph), None)
        made.thread_id, made.base_id = thread_id, checkpoint_id
        return self._submit(made)
