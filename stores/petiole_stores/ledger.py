"""The contract of the execution protocol: what every store does so that no committed output is lost or doubled.

The ledger is the truth; a message of the broker is a hint. Each operation below takes many, is atomic, and is
idempotent by the ids and tokens that the *client* makes: called again with the same arguments after a timeout it
answers ``already`` instead of doing its work twice. A backend implements the private primitives (``_claim`` …); the
public methods check arguments and hand the clock down. What only looks is in :mod:`petiole_stores.ledger_reads`.

Life of a task (the state chart is in docs/guarantees.md)::

    ready -> claimed -> done | failed | interrupted | cancelled          each counts its superstep's ``open`` down
             claimed -> parked -> ready      a retry later, a timer, a worker that cannot run it, a namespace of its own
             interrupted -> ready            resumed (its owners: interrupted -> parked)
             claimed -> ready                released, or its worker was lost: *reclaimable*; the old token may still
                                             finish until somebody else claims

Rules that every backend keeps
    fence      A finish must name the task's current token, and a settle must extend the head it names.
    count      Every end of a task takes one from the superstep's ``open``. At zero: a failed sibling fails the run
               (outputs are kept); an interrupted one interrupts it; else an ``advance`` task is inserted, already
               claimed under the finisher's ``advance_token``. A lone task (``width == 1``) may bring its settle along.
    outbox     Tasks are inserted in the transaction that made them, with ``next_publish = now + grace``.
    one run    A thread has one active run. When it settles, the thread's next queued run starts in the same transaction.
    held back  Nothing of a paused or blocked run is claimed. What was claimed before may finish and settle: the run stays
               held back, and tasks that would be born claimed (``NewTask.token``) are born ready, unless the same
               finish ends them (a worker had carried the run on). A superstep's ``advance`` is still inserted and
               claimed by its last finisher. Ending and interrupting win over it.
    namespaces A task may open a namespace (``Outcome.nest``) and wait, ``parked`` without a time, for its end: it *owns*
               it (``Task.child`` names it, the namespace's head knows the task). A superstep of the namespace is
               counted, settled and advanced as any other. When it is over for good, the owner takes the place that the
               run has at the root: settled to ``succeeded`` it is ready, for the caller to publish; with a failed task
               it fails with that task's error, with an interrupted one it is interrupted, with a cancelled one
               cancelled, and counts down in turn. A namespace whose name has a ``:`` after its last ``|`` dies with its
               owner; any other outlives it.
    deadline   A run that has not settled when its deadline is over fails at the next sweep, with all its open tasks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence

from petiole_stores.checks import check_id, check_outcome, check_times
from petiole_stores.crashpoints import reach
from petiole_stores.errors import InputError
from petiole_stores.ledger_reads import LedgerReads
from petiole_stores.records import (
    SETTLED,
    Amendment,
    Answer,
    BeatAnswer,
    Blob,
    ClaimAnswer,
    FinishAnswer,
    NewRun,
    Outcome,
    QueueBacklog,
    Resumption,
    SubmitAnswer,
    SweepReport,
    TaskRef,
    Trimmed,
    Worker,
)


class Ledger(LedgerReads):
    """Runs, tasks, claims and workers of one store.

    ``clock`` is for tests: when set, its answer (seconds since the epoch) is used in place of the store's own time.
    ``grace`` is how many seconds after its commit an unclaimed task is published again; it doubles with each time, up to
    ``max_backoff``. ``max_crashes`` is how many started attempts may end with a dead process before a task fails.
    """

    clock: Callable[[], float] | None = None
    grace: float = 5.0
    max_backoff: float = 120.0
    max_crashes: int = 5

    def _now(self) -> float | None:
        return None if self.clock is None else self.clock()

    def hint(self, thread_id: str, ids: Iterable[str]) -> None:
        """Tell the store which thread these runs and tasks belong to; stores that need no such help ignore it."""

    # ---------------------------------------------------------------- the protocol

    def submit(self, runs: Sequence[NewRun]) -> list[SubmitAnswer]:
        """Accept runs durably.

        A run whose id exists is ``already`` (or ``refused`` with ``conflict`` when ``request_digest`` differs). A thread
        with an active run refuses with ``busy``, or takes the run as queued when ``if_busy`` is ``enqueue``. A run with
        ``run_at`` in the future is ``waiting`` until then, and is its thread's active run meanwhile. A ``base_id`` that
        is not a checkpoint of the thread is refused with ``no base``. Starting a run sets the root namespace's
        ``open`` and ``width`` to 1 and, with a ``base_id``, moves the head there. Judged in this order: ``conflict``,
        ``no base``, ``busy``. ``delay`` stands for ``run_at = now + delay``; ``lifetime`` for a ``deadline`` of so many
        seconds after the later of now and ``run_at``.
        """
        for run in runs:
            check_times(run)
            for name, value in (("thread_id", run.thread_id), ("run_id", run.run_id), ("graph", run.graph)):
                check_id(name, value)
        reach("submit.before")
        answers = self._submit(runs, self._now()) if runs else []
        reach("submit.after")
        return answers

    def claim(
        self,
        holder: str,
        slot: str,
        wants: Sequence[tuple[str, str]],
        *,
        holds: Sequence[str] = (),
        published: Sequence[str] = (),
    ) -> list[ClaimAnswer]:
        """Claim tasks for one slot of one holder, each under a token of the caller's.

        Refused, in this order: ``holder <status>`` (not registered: ``holder unknown``; dead or stopped: beat first),
        ``missing``, ``run <status>``, the task's status.

        Parameters
            wants      pairs of (task_id, token). The first is taken as *started*; the others start when the caller gets
                       there (a crash is charged to what had started).
            holds      tokens that this slot still works under. Its other claims end: they are ready again.
            published  ids of tasks whose publishing is known to have succeeded: their ``next_publish`` moves one
                       step further, if they are still ready and were never published again.

        A ready task of a queued or running run is claimed: attempt + 1, no longer ``woken``, ``awaits`` nothing; the
        run becomes ``running``. The same token again is ``already``. Everything else is refused with its reason. A
        ready task that still had a token (its worker was lost) gets a ``lost`` entry in its attempts.
        """
        reach("claim.before")
        answers = (
            self._claim(holder, slot, wants, holds, published, self._now()) if wants or published else []
        )
        reach("claim.after")
        return answers

    def finish(self, holder: str, slot: str, outcomes: Sequence[Outcome]) -> list[FinishAnswer]:
        """End attempts under their tokens; each outcome is judged on its own, all in one transaction.

        Outcomes are judged in the order given (of one thread): one may end a task that an earlier one's settle has
        born claimed. Judged in this order: an unknown task is refused as ``missing``; a token that already ended it
        is ``already`` (and gets its advance claim once more, while it holds it); another's token is ``fenced``; a
        settled run refuses with ``run <status>``; a claim that has ended otherwise is ``fenced``; a settle for a node
        with siblings is refused as ``not alone``, one whose first checkpoint does not extend the head as ``head
        moved``. A refused outcome changes nothing.

        ``parked`` with ``nest`` opens the namespace of its checkpoints, or goes on in it: the task owns it and waits
        for its end. Refused as ``head moved`` unless its first checkpoint extends that head, as ``busy`` while the
        run has tasks there that go on, wait for an answer or have failed. ``parked`` with ``awaits`` waits for
        :meth:`wake`, or for the end of ``delay``; a task that was woken during its claim is ready again at once.

        A node that is ``done`` brings a settle or an advance id and token; an advance that is ``done`` brings a
        settle. ``retry`` counts a failure, ``parked`` does not; both void the token, keep ``progress`` for the next
        attempt if they bring one (``interrupted`` keeps it, too), and make the task ready at once or, with a
        ``delay``, park it. A settle's version and fingerprint are the run's if it has none. Of a run that is held
        back the answer's ``run_status`` says so.
        """
        for outcome in outcomes:
            check_outcome(outcome)
        reach("finish.before")
        answers = self._finish(holder, slot, outcomes, self._now()) if outcomes else []
        reach("finish.after")
        return answers

    def beat(self, worker: Worker, *, published: Sequence[str] = ()) -> BeatAnswer:
        """Register a worker or renew its lease (``now + lease``).

        One that had been declared dead is alive again, and what nobody claimed in between is its own again.
        """
        check_id("worker_id", worker.worker_id)
        reach("beat.before")
        answer = self._beat(worker, published, self._now())
        reach("beat.after")
        return answer

    def release(
        self, holder: str, *, slots: Sequence[str] | None = None, crashed: bool = False, final: bool = False
    ) -> list[TaskRef]:
        """Give up the claims of a holder's slots (``None``: of all), and say which tasks are ready again.

        Their tokens are void. ``crashed``: the process is known to be dead; a started attempt is charged with it and
        after ``max_crashes`` the task fails as ``WorkerLost`` (and counts down). ``final``: the holder itself is over:
        ``stopped``, or ``dead`` with ``crashed``. Released tasks are due at once and count as recovered.
        """
        reach("release.before")
        answer = self._release(holder, slots, crashed, final, self._now())
        reach("release.after")
        return answer

    def postpone(self, task_ids: Sequence[str], delay: float) -> None:
        """Set ``next_publish`` of ready tasks to ``now + delay`` seconds (0: due at once).

        They count as published then, so that an empty queue does not make them due before.
        """
        if task_ids:
            reach("postpone.before")
            self._postpone(task_ids, delay, self._now())
            reach("postpone.after")

    def sweep(self, *, observed: float = float("inf")) -> SweepReport:
        """Declare dead the workers whose lease is over, wake timers that are due, end runs whose deadline is over, and
        count what waits.

        A run whose ``deadline`` is past and that has not settled fails as ``DeadlineExceeded``: its open tasks (ready,
        claimed, parked, interrupted) fail with the same error, so that a replay can take them up; its heads have no open
        task; its thread's next queued run starts.

        ``observed`` is for how many seconds the caller has seen this store answer without a gap: a worker is declared
        dead only when that is at least its lease, so that an outage of the store kills nobody. Every task that is
        claimed by a holder who is not alive or stopping (dead, stopped or never registered: one that died may still
        have finished and so have taken an advance) is ready (recovered, due at once) but keeps its token until it is
        claimed anew.
        """
        reach("sweep.before")
        answer = self._sweep(observed, self._now())
        reach("sweep.after")
        return answer

    def due(
        self,
        *,
        limit: int = 100,
        queue: str | None = None,
        priority: str | None = None,
        published_before: float | None = None,
    ) -> list[TaskRef]:
        """Pick ready tasks to publish, oldest ``next_publish`` first, and push each one's ``next_publish`` on.

        The push is ``grace * 2**publishes``, at most ``max_backoff`` seconds, in the same statement, so that any number
        of sweeps never pick one twice. With ``published_before`` (a store time) those made before it are picked even
        when not due: for a queue that was seen empty. ``queue`` and ``priority`` narrow the choice; a recovered task
        counts as priority ``high`` here and in the refs.
        """
        reach("due.before")
        answer = self._due(limit, queue, priority, published_before, self._now())
        reach("due.after")
        return answer

    def cancel(self, run_ids: Sequence[str], *, reason: str = "") -> list[Answer]:
        """Settle runs as ``cancelled``: their open tasks are cancelled, later finishes are refused.

        A run that is cancelled is ``already``; one that succeeded or failed is refused with its status.
        """
        reach("cancel.before")
        answers = self._cancel(run_ids, reason, self._now()) if run_ids else []
        reach("cancel.after")
        return answers

    def replay(self, run_id: str, replacements: Sequence[tuple[str, str]]) -> Answer:
        """Let a failed run go on: each failed task of its open supersteps is replaced by a new one.

        ``replacements`` are pairs (failed task's id, new task's id). The new task is ready, with the old one's node,
        path, argument and namespace of its own; outputs of finished siblings stay. An owner that failed because of a
        task in its namespace is not replaced (see :func:`petiole_stores.leaves.replaceable`): it waits again. The run is ``queued`` again,
        ``replays`` + 1, and its thread's active run. Refused: ``run <status>`` when it has not failed, ``busy`` when
        another run is active, ``head moved`` when the thread has gone on since (in a namespace with a failed task),
        ``stale`` when the replacements do not name exactly the replaceable tasks. ``already`` when the first new task
        exists. A deadline is lifted; the new tasks keep the ``progress`` of the old ones.
        """
        reach("replay.before")
        answer = self._replay(run_id, replacements, self._now())
        reach("replay.after")
        return answer

    def resume(self, run_id: str, answers: Sequence[Resumption] | None = None) -> Answer:
        """Let an interrupted run go on: its interrupted tasks become ready, without a token or holder, and are counted;
        owners that were interrupted with them wait again.

        ``answers`` names the tasks (``None``: all); the others stay interrupted, and interrupt the run again once their
        superstep is over. With answers a run that is queued or running takes them, too. Any other status but
        ``interrupted`` is refused as ``run <status>``; a task that is not the run's, or that was interrupted with its
        namespace (see :func:`petiole_stores.leaves.resumable`), as ``stale``. Answers to tasks that are no longer interrupted under that token
        count for nothing; ``already`` when none is left, or without answers when the run is queued or running.
        """
        reach("resume.before")
        answer = self._resume(run_id, answers, self._now())
        reach("resume.after")
        return answer

    def amend(self, amendment: Amendment) -> Answer:
        """Put checkpoints made by hand at the head of a thread's namespace.

        Refused, in this order: ``busy`` when a run is active that is not interrupted or paused, or is paused with a task
        that is claimed, or ready under a token; ``no base`` when the first one's parent is not a checkpoint of the
        namespace; ``head moved`` when the head is not ``head_id``; ``no run`` when it brings tasks and no run is active,
        or none of its tasks waits for the namespace. ``already`` when the last checkpoint exists. ``Answer.run_id`` is
        the active run's, or empty.

        With an active run the checkpoints are that run's. Its tasks in the namespace, and in those below it, that have not
        ended or are interrupted are ``cancelled`` and ``replaced``, failed ones are ``replaced``; the new ones take their
        place, ``interrupted`` as the run or, in a paused run, ``ready``, whatever they say. Without new ones the
        namespace is over: the run succeeds, or the owner is ready and the run, if interrupted, running. Of a namespace
        that no task waits for nothing but the head moves.
        """
        for name, value in (
            ("thread_id", amendment.thread_id),
            *(("task_id", t.task_id) for t in amendment.tasks),
        ):
            check_id(name, value)
        if not amendment.checkpoints:
            raise InputError(f"an amendment of thread {amendment.thread_id!r} needs a checkpoint")
        spaces = {c.ns for c in amendment.checkpoints} | {t.ns for t in amendment.tasks} | {amendment.ns}
        if len(spaces) > 1:
            raise InputError(
                f"an amendment of thread {amendment.thread_id!r} is of the namespaces {sorted(spaces)}: give one"
            )
        reach("amend.before")
        answer = self._amend(amendment, self._now())
        reach("amend.after")
        return answer

    def wake(self, thread_id: str, name: str) -> list[TaskRef]:
        """Make ready, due at once, what waits for the signal ``name`` in the thread's active run; gives what to publish.

        Tasks that are claimed just now, or ready under a token, are marked ``woken``: they may be about to wait.
        """
        check_id("thread_id", thread_id)
        check_id("name", name)
        reach("wake.before")
        answer = self._wake(thread_id, name, self._now())
        reach("wake.after")
        return answer

    def note(self, task_id: str, token: str, progress: str) -> bool:
        """Keep ``progress`` (a document) on a task for its next attempt, should this one not end it.

        Returns whether the token stands, as :meth:`holds`; nothing is kept if it does not.
        """
        reach("note.before")
        answer = self._note(task_id, token, progress)
        reach("note.after")
        return answer

    def pause(self, run_ids: Sequence[str], *, reason: str = "") -> list[Answer]:
        """Hold runs back at their next checkpoint (status ``paused``) until they are unpaused.

        Only a thread's active run that is queued, running, waiting or blocked: refused are ``missing``, ``not active`` (it
        is queued behind another), ``run <status>``. ``already`` when it is paused. ``reason`` (text) is kept in
        ``Run.reason``, a document ``{"type": "Paused", "message": reason}``.
        """
        reach("pause.before")
        answers = self._hold_back(run_ids, "paused", "Paused", reason, self._now()) if run_ids else []
        reach("pause.after")
        return answers

    def unpause(self, run_ids: Sequence[str]) -> list[Answer]:
        """Let paused runs go on: ``waiting`` if its start task still waits for its time, ``queued`` if it never started,
        else ``running``. Its ready tasks are due at once. ``already`` when it is queued, running or waiting; any other
        status is refused as ``run <status>``."""
        reach("unpause.before")
        answers = self._let_go(run_ids, "paused", self._now()) if run_ids else []
        reach("unpause.after")
        return answers

    def block(self, run_ids: Sequence[str], *, kind: str, reason: str) -> list[Answer]:
        """Hold runs back (status ``blocked``) because they cannot go on: ``kind`` is ``Unserved`` (no living worker serves
        them) or ``Corruption``. As :meth:`pause`, but a paused run is refused as ``run paused``."""
        reach("block.before")
        answers = self._hold_back(run_ids, "blocked", kind, reason, self._now()) if run_ids else []
        reach("block.after")
        return answers

    def unblock(self, run_ids: Sequence[str]) -> list[Answer]:
        """Let blocked runs go on, as :meth:`unpause` does for paused ones."""
        reach("unblock.before")
        answers = self._let_go(run_ids, "blocked", self._now()) if run_ids else []
        reach("unblock.after")
        return answers

    def drop(self, task_ids: Sequence[str]) -> int:
        """Take failed tasks off the dead letters (``Task.dropped``); returns how many were on them. They stay on record."""
        reach("drop.before")
        answer = self._drop(task_ids) if task_ids else 0
        reach("drop.after")
        return answer

    # ---------------------------------------------------------------- upkeep

    def quarantine(self, checkpoint_id: str, reason: str) -> bool:
        """Mark a damaged checkpoint, so that nothing starts from it; saving it anew heals it. ``False``: there is none."""
        reach("quarantine.before")
        answer = self._quarantine(checkpoint_id, reason)
        reach("quarantine.after")
        return answer

    def replace_blobs(self, thread_id: str, blobs: Sequence[Blob]) -> None:
        """Write blobs of a thread in place of damaged ones of the same digest."""
        if blobs:
            self._replace_blobs(thread_id, blobs)

    def recent(self, cursor: str = "", *, limit: int = 100) -> tuple[list[str], str]:
        """Threads that got checkpoints since ``cursor`` (empty: ever), each once, and the cursor to go on from.

        The cursor is the backend's own. One that comes back empty says that the backend keeps the place itself, and tells
        no two callers of the same thread.
        """
        return self._recent(cursor, limit)

    def latest(self) -> str:
        """The cursor from which :meth:`recent` gives only what comes after now."""
        return self._latest()

    def trim(self, thread_id: str, max_checkpoints: int | None) -> Trimmed:
        """Keep a thread's newest ``max_checkpoints`` of each namespace (``None``: all), and remove blobs that nothing names.

        Also kept: heads, the bases of runs, checkpoints with a task that is not over or is interrupted, and the
        parent of a head. With a checkpoint go the tasks of its superstep, and with a task the namespace that dies
        with it. One transaction under the lock that a finish takes, so that a running thread never loses what it
        needs.
        """
        if max_checkpoints is not None and max_checkpoints < 1:
            raise InputError(f"max_checkpoints is {max_checkpoints}: keep at least 1, or None for all")
        reach("trim.before")
        answer = self._trim(thread_id, max_checkpoints)
        reach("trim.after")
        return answer

    def expired(self, ages: Mapping[str, float], *, limit: int = 100) -> list[str]:
        """Threads without an active run whose newest run has settled longer ago than ``ages`` (by status, seconds) says."""
        for status, age in ages.items():
            if status not in SETTLED or age < 0:
                raise InputError(
                    f"ages has {status!r}: {age!r}: take seconds from 0 for {', '.join(sorted(SETTLED))}"
                )
        return self._expired(ages, limit, self._now()) if ages else []

    def delete_thread(self, thread_id: str) -> bool:
        """Remove a thread with its runs, tasks, checkpoints and blobs; ``False``: a run is active, nothing is done.

        A thread that does not exist counts as removed.
        """
        reach("delete.before")
        answer = self._delete_thread(thread_id)
        reach("delete.after")
        return answer

    def backlogs(self) -> list[QueueBacklog]:
        """Ready tasks by queue and priority, without changing anything; sorted by both."""
        return self._backlogs(self._now())

    # ---------------------------------------------------------------- primitives of a backend

    @abstractmethod
    def _submit(self, runs: Sequence[NewRun], now: float | None) -> list[SubmitAnswer]: ...
    @abstractmethod
    def _claim(
        self,
        holder: str,
        slot: str,
        wants: Sequence[tuple[str, str]],
        holds: Sequence[str],
        published: Sequence[str],
        now: float | None,
    ) -> list[ClaimAnswer]: ...
    @abstractmethod
    def _finish(
        self, holder: str, slot: str, outcomes: Sequence[Outcome], now: float | None
    ) -> list[FinishAnswer]: ...
    @abstractmethod
    def _beat(self, worker: Worker, published: Sequence[str], now: float | None) -> BeatAnswer: ...
    @abstractmethod
    def _release(
        self, holder: str, slots: Sequence[str] | None, crashed: bool, final: bool, now: float | None
    ) -> list[TaskRef]: ...
    @abstractmethod
    def _postpone(self, task_ids: Sequence[str], delay: float, now: float | None) -> None: ...
    @abstractmethod
    def _sweep(self, observed: float, now: float | None) -> SweepReport: ...
    @abstractmethod
    def _due(
        self,
        limit: int,
        queue: str | None,
        priority: str | None,
        published_before: float | None,
        now: float | None,
    ) -> list[TaskRef]: ...
    @abstractmethod
    def _backlogs(self, now: float | None) -> list[QueueBacklog]: ...
    @abstractmethod
    def _cancel(self, run_ids: Sequence[str], reason: str, now: float | None) -> list[Answer]: ...
    @abstractmethod
    def _replay(self, run_id: str, replacements: Sequence[tuple[str, str]], now: float | None) -> Answer: ...
    @abstractmethod
    def _resume(self, run_id: str, answers: Sequence[Resumption] | None, now: float | None) -> Answer: ...
    @abstractmethod
    def _amend(self, amendment: Amendment, now: float | None) -> Answer: ...
    @abstractmethod
    def _wake(self, thread_id: str, name: str, now: float | None) -> list[TaskRef]: ...
    @abstractmethod
    def _note(self, task_id: str, token: str, progress: str) -> bool: ...
    @abstractmethod
    def _hold_back(
        self, run_ids: Sequence[str], status: str, kind: str, reason: str, now: float | None
    ) -> list[Answer]: ...
    @abstractmethod
    def _let_go(self, run_ids: Sequence[str], status: str, now: float | None) -> list[Answer]: ...
    @abstractmethod
    def _drop(self, task_ids: Sequence[str]) -> int: ...
    @abstractmethod
    def _quarantine(self, checkpoint_id: str, reason: str) -> bool: ...
    @abstractmethod
    def _replace_blobs(self, thread_id: str, blobs: Sequence[Blob]) -> None: ...
    @abstractmethod
    def _recent(self, cursor: str, limit: int) -> tuple[list[str], str]: ...
    @abstractmethod
    def _latest(self) -> str: ...
    @abstractmethod
    def _trim(self, thread_id: str, max_checkpoints: int | None) -> Trimmed: ...
    @abstractmethod
    def _expired(self, ages: Mapping[str, float], limit: int, now: float | None) -> list[str]: ...
    @abstractmethod
    def _delete_thread(self, thread_id: str) -> bool: ...
