"""The client's calls that look: states, history, streams, questions, workers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from petiole.client.answering import Question, interrupts_in, questions_of, target_of
from petiole.client.dead_letters import DeadLetter, dead_letters_of
from petiole.client.explaining import Explanation, explain
from petiole.client.handle import RESTING, check_succeeded, pauses
from petiole.client.history import HistoryEntry, history_of
from petiole.client.listing import Listing
from petiole.client.logs import LogEntry, LogPage, logs_page_of
from petiole_stores.errors import ConflictError, NotFoundError
from petiole_stores.records import SETTLED, QueueBacklog, Run, Worker
from petiole_workers.active import active_run
from petiole_workers.graph import Interrupt
from petiole_workers.times import epoch

if TYPE_CHECKING:
    from petiole.client.streaming import RunStream
    from petiole_workers.streaming import StreamMode


class Reading(Listing):
    """Looks at what the store holds and changes nothing."""

    def state(self, thread_id: str, *, checkpoint: str | None = None) -> dict[str, Any]:
        """The values of a thread's state at its head, or at a checkpoint. Raises NotFoundError."""
        record = self.store.get_checkpoint(checkpoint) if checkpoint else self.store.head(thread_id)
        if record is None or record.thread_id != thread_id:
            if checkpoint and self.store.newest_run(thread_id):
                raise NotFoundError(
                    f"checkpoint {checkpoint!r} is not one of thread {thread_id!r}: `petiole run history {thread_id}` lists them"
                )
            what = f"no checkpoint {checkpoint!r}" if checkpoint else "no checkpoint yet"
            raise NotFoundError(f"thread {thread_id!r} has {what}: `petiole run list` shows what is there")
        return self._values(record.checkpoint_id)

    def history(
        self, thread_id: str, *, run: str | None = None, limit: int | None = None, subgraphs: bool = False
    ) -> list[HistoryEntry]:
        """A thread's checkpoints, newest first, with the tasks of the superstep after each and their attempts.

        ``run`` leaves other runs out; ``subgraphs`` adds the checkpoints of nodes that are graphs. Raises NotFoundError for a
        thread that does not exist.
        """
        entries = self.typed(
            lambda: history_of(self.store, thread_id, run_id=run, limit=limit, subgraphs=subgraphs)
        )
        if not entries:
            self.get_run(run or thread_id)
        return entries

    def stream(
        self,
        thread_id: str,
        run_id: str | None = None,
        stream_mode: StreamMode | Sequence[StreamMode] | None = None,
        *,
        after: str | None = None,
        subgraphs: bool = False,
        output_keys: str | Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> RunStream:
        """Follow a run (the thread's newest, or ``run_id``) while workers execute it, until it has ended or is interrupted.

        Gives `StreamEvent`s to iterate over, also with ``async for``. Whatever the reader does, the run is not
        disturbed. After a break, go on with the ``id`` of the last event as ``after``: nothing is missing, nothing comes
        twice. What a thread's trimming has removed (``max_checkpoints``) cannot be told any more.

        Parameters
            stream_mode  as of ``graph.stream``; nothing: ``updates``. Inputs of nodes are shown as the whole state, and
                         errors as text.
            after        the id to go on from; nothing: the run's beginning
            subgraphs    tell of what happens in subgraphs too
            output_keys  keys of the state that ``values`` and ``updates`` show
            timeout      seconds after which RunTimeoutError is raised; the run itself goes on

        Raises NotFoundError for an unknown run, InputError for an id of another one; at its end RunFailedError and
        RunCancelledError, and StoreUnavailableError where the store has not answered for a minute.
        """
        from petiole.client.streaming import RunStream

        return RunStream(
            self,
            self.run_of(thread_id, run_id),
            stream_mode,
            after=after,
            subgraphs=subgraphs,
            output_keys=output_keys,
            timeout=timeout,
        )

    def logs(
        self,
        run_or_thread: str,
        *,
        task_id: str | None = None,
        node: str | None = None,
        level: str | None = None,
        follow: bool = False,
    ) -> Iterator[LogEntry]:
        """What the nodes of a run (or of a thread's newest run) have logged, in the order in which it was kept.

        Parameters
            task_id  of this task alone
            node     of this node alone; of one within another one that is a graph also as ``outer/inner``
            level    of this level and above: ``DEBUG``, ``INFO``, ``WARNING``, ``ERROR`` or ``CRITICAL``
            follow   wait for more, until the run has ended or is interrupted

        What workers keep, and for how long, is set by ``node_logs`` and ``keep_events``. Raises NotFoundError, InputError.
        """
        run_id, cursor = self.get_run(run_or_thread).run_id, None
        for pause in pauses(None):
            rests = not follow or self.get_run(run_id).status in RESTING
            while True:
                page = self.logs_page(run_id, task_id=task_id, node=node, level=level, cursor=cursor)
                yield from page.logs
                cursor = page.after
                if page.next is None:
                    break
            if rests:
                return
            time.sleep(pause or 0.0)

    def logs_page(
        self,
        run_or_thread: str,
        *,
        task_id: str | None = None,
        node: str | None = None,
        level: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> LogPage:
        """One page of what :meth:`logs` gives: at most ``limit`` (1 to 1000) records from where ``cursor`` says.

        ``cursor`` is the ``next`` of the page before, or its ``after`` once something new may be there. Raises NotFoundError,
        InputError.
        """
        run = self.get_run(run_or_thread)
        return logs_page_of(
            self.store, run, task_id=task_id, node=node, level=level, limit=limit, cursor=cursor
        )

    def workers(self) -> list[Worker]:
        """The workers that the store remembers, newest first."""
        return self.store.list_workers()

    def backlogs(self) -> list[QueueBacklog]:
        """How many tasks wait, by queue and priority."""
        return self.store.backlogs()

    def dead_letters(
        self,
        *,
        graph: str | None = None,
        thread_id: str | None = None,
        node: str | None = None,
        error_type: str | None = None,
        since: datetime | float | None = None,
        until: datetime | float | None = None,
        poison: bool = False,
    ) -> Iterator[DeadLetter]:
        """Tasks of failed runs that failed for good and were neither replayed nor dropped; the newest runs' first.

        ``since`` and ``until`` bound the time at which the task failed; ``error_type`` is as in :meth:`list_runs`;
        ``poison``: only tasks whose process died under them ``max_crashes`` times.
        """
        return dead_letters_of(
            self.store,
            self.list_runs(graph=graph, thread_id=thread_id, status="failed"),
            node=node,
            error_type=error_type,
            since=epoch(since),
            until=epoch(until),
            poison=poison,
        )

    def value(self, thread_id: str, document: str | None) -> Any:
        """What a document of a run or task says: its ``input``, ``arg`` or ``progress``; ``None``: nothing."""
        if document is None:
            return None
        store = self.store
        return self.typed(
            lambda: store.serde.load(document, store.load_blobs(thread_id, [document]), thread_id=thread_id)
        )

    def explain(self, thread_id: str, *, run: str | None = None) -> Explanation:
        """What a run (the thread's newest, or ``run``) waits for, why, and the command that helps. Raises NotFoundError.

        The broker is asked how many messages wait with it; that it cannot be reached is part of the answer.
        """
        found = self.run_of(thread_id, run)
        depth = self.dispatch.depth if self.store.shared else None
        return explain(self.store, found, now=self.now(), depth=depth)

    def interrupts(self, thread_id: str, *, run: str | None = None) -> list[Interrupt]:
        """The questions (``value`` and ``id``) that a thread's run waits with, those in its subgraphs, too.

        Of the thread's active run, or of ``run``; it is empty where nothing is asked. Raises NotFoundError.
        """
        found = self.asking_run(thread_id, run)
        tasks = [] if found.status in SETTLED else self.store.list_tasks(found.run_id)
        return self.typed(lambda: interrupts_in(tasks, self.store.serde))

    def thread_of(self, run_or_thread: str) -> str:
        """The thread of this id, also one that has checkpoints alone, else that of the run of this id. Raises NotFoundError."""
        if self.store.head(run_or_thread) is not None:
            return run_or_thread
        return self.get_run(run_or_thread).thread_id

    def asking_run(self, thread_id: str, run: str | None = None) -> Run:
        """The run that a question of a thread would be of: ``run``, else its active one, else its newest."""
        found = self.run_of(thread_id, run)
        return found if run or found.run_id == thread_id else active_run(self.store, found.thread_id) or found

    def questions(self, run: Run) -> list[Question]:
        """The interrupted tasks of a run as they are told to people, each with the command that lets it go on."""
        if run.status in SETTLED:  # one that failed may have had a task that asked
            return []
        target = target_of(run, self.store.newest_run(run.thread_id))
        tasks = self.store.list_tasks(run.run_id)
        found = questions_of(tasks, self.store.serde, target)
        if any(one.trouble for one in found) and self._import_graphs():
            found = questions_of(tasks, self.store.serde, target)
        return found

    def check_succeeded(self, run: Run) -> None:
        """Raise what :meth:`RunHandle.result` does for a run that has not succeeded."""
        check_succeeded(run, self._asked)

    def _asked(self, run: Run) -> tuple[list[Question], list[Interrupt]]:
        questions = self.questions(run)
        readable = [] if any(one.trouble for one in questions) else questions
        return questions, [Interrupt(one.value, one.id) for one in readable if one.id is not None]

    def outcome(self, run: Run) -> dict[str, Any]:
        """The final state's values of a run that has succeeded; else raises what :meth:`RunHandle.result` does."""
        self.check_succeeded(run)
        if run.checkpoint_id is None:
            raise ConflictError(f"run {run.run_id} is {run.status} and has no checkpoint: wait for it first")
        try:
            return self._values(run.checkpoint_id)
        except NotFoundError:
            raise NotFoundError(
                f"run {run.run_id} of thread {run.thread_id!r} has succeeded, and its final state "
                f"(checkpoint {run.checkpoint_id}) is no longer kept: retention has removed it, or somebody has. "
                "max_checkpoints counts a thread's checkpoints whichever run made them: raise it (0 keeps all), give "
                "each run a thread of its own, or keep the result elsewhere"
            ) from None

    def run_of(self, thread_id: str, run: str | None) -> Run:
        """The run that a verb with a thread means: its newest, or ``run``. Raises NotFoundError, also for another's run."""
        found = self.get_run(run or thread_id)
        if run is not None and thread_id not in (found.thread_id, found.run_id):
            raise NotFoundError(f"run {run!r} is of thread {found.thread_id!r}, not of {thread_id!r}")
        return found

    def _values(self, checkpoint_id: str) -> dict[str, Any]:
        return self.typed(lambda: self.store.load(checkpoint_id).state)
