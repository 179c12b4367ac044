"""One hop: claim tasks, run them, commit what they gave, and say what comes next.

The same runner serves Celery workers (one a pool slot) and ``graph.invoke`` (one a thread). It holds no state of a run:
everything it needs comes with the claim, everything it makes goes out with the finish.
"""

from __future__ import annotations

import dataclasses
import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from petiole_stores.crashpoints import reach
from petiole_stores.errors import PetioleError, StoreError, StoreUnavailableError
from petiole_stores.ids import new_id
from petiole_stores.records import (
    HELD_BACK,
    RUNNABLE,
    SETTLED,
    START_PATH,
    Claim,
    ClaimAnswer,
    FinishAnswer,
    NewTask,
    Outcome,
    Task,
    TaskRef,
)
from petiole_stores.store import Store, StoreTransaction
from petiole_workers.attempt import Attempt
from petiole_workers.board import Posted, Seat
from petiole_workers.caching import NodeCache
from petiole_workers.caller import NodeCaller, undisturbed
from petiole_workers.carry import Carry
from petiole_workers.children import InProcess, cancel_children, wake_parent
from petiole_workers.damage import DamageControl
from petiole_workers.documents import Documents
from petiole_workers.durability import Durability, Measured
from petiole_workers.failure import describe
from petiole_workers.given import Given
from petiole_workers.graph.runtime import NodeServices
from petiole_workers.hop import AS_COMPILED, Hint, Stops, Work, read_config
from petiole_workers.logs import KIND, Logged, severity_of
from petiole_workers.long_term import LongTermMemory
from petiole_workers.misfits import note_misfits
from petiole_workers.patience import Patience
from petiole_workers.registry import Registry
from petiole_workers.settings import Settings
from petiole_workers.spool import Spool, entry_of
from petiole_workers.streaming.speaking import Speaker
from petiole_workers.telling import Telling

if TYPE_CHECKING:
    from petiole_workers.streaming.live import Watch

logger = logging.getLogger("petiole.runner")

#: After how long a task tries again to open a namespace that another one waits for, in seconds.
BUSY = 1.0
#: How long outcomes of short nodes may wait for each other before they are committed together, in seconds.
GATHER = 0.005


@dataclass
class Stats:
    """Counts since this process started."""

    claimed: int = 0
    committed: int = 0
    refused: int = 0
    failed: int = 0
    retried: int = 0
    parked: int = 0
    spooled: int = 0
    seconds: float = field(default=0.0)


class Runner:
    """Runs tasks for one slot of one holder.

    Parameters
        publish   called with the tasks that became ready; returns the ids of those whose message is known to be out
        serves    tells whether this worker consumes a queue (for ``chain = "inline"``)
        on_failure  called with the exception itself when a task fails (``graph.invoke`` raises it again)
        published_elsewhere  whether other workers may run what this one gives back (not for ``graph.invoke``)
        spool     where outcomes go that the store cannot take
        measured  what this process knows of commits and crashes (for ``durability = "adaptive"``)
        seat      where the worker's main process sees what this slot works on
        stops     where runs are interrupted, whatever their graph says (for ``graph.stream``)
        watch     told of every outcome, and of what nodes say (for ``graph.stream``)
        given     what the caller of ``graph.invoke`` gave along: it goes before what is kept with the run
        around    what is done for the node within which ``graph.invoke`` was called: it asks and waits for the nodes here
        children  what runs children in this process (for ``graph.invoke``)
    """

    def __init__(
        self,
        *,
        store: Store,
        registry: Registry,
        settings: Settings,
        holder: str,
        slot: str,
        publish: Callable[[Sequence[TaskRef]], Sequence[str]],
        caller: NodeCaller | None = None,
        documents: Documents | None = None,
        serves: Callable[[str], bool] = lambda queue: True,
        on_failure: Callable[[Claim, BaseException], None] | None = None,
        measured: Measured | None = None,
        published_elsewhere: bool = True,
        spool: Spool | None = None,
        seat: Seat | None = None,
        stops: Stops = AS_COMPILED,
        watch: Watch | None = None,
        given: Given | None = None,
        around: NodeServices | None = None,
        children: InProcess | None = None,
    ) -> None:
        self.store, self.registry, self.settings = store, registry, settings
        self.holder, self.slot = holder, slot
        self.patiently = Patience.of(settings, store)
        self.documents = documents or Documents(store, self.patiently)
        self.cache = NodeCache(store, self.documents)
        #: What nodes get as ``runtime.store`` where their graph has none of its own.
        self.memory = LongTermMemory(store, patiently=self.patiently)
        self.seat, self.given, self.around = seat, given, around
        #: What the node around is to be put away by, once one here has asked for what is not there yet.
        self.beyond: BaseException | None = None
        self.caller = caller or NodeCaller(
            in_process_wait=settings.in_process_wait,
            cancelled=None if seat is None else lambda: seat.cancelled,
        )
        self.stats = Stats()
        self._publish = publish
        self._serves = serves
        self.on_failure = on_failure
        self._published: list[str] = []
        self._spooled: list[str] = []  # tokens of what is in the spool
        self._seconds: dict[tuple[str, str], float] = {}
        self._slice_ends = 0.0
        self._clock: tuple[float, float] | None = None
        self._durabilities: dict[str, Durability] = {}
        self.measured = measured or Measured()
        #: Graphs that this process lacks something for, and what.
        self.unfit: dict[str, str] = {}
        self.published_elsewhere = published_elsewhere
        self.spool = spool
        self.stops, self.watch, self.children = stops, watch, children
        kept = settings.stream_events if published_elsewhere else ()
        #: The level from which on what nodes log is kept; ``None``: it is not.
        self.logs = severity_of(settings.node_logs) if published_elsewhere else None
        self._speaker = Speaker(store) if kept or self.logs is not None else None
        #: The modes of streams that somebody follows this runner's nodes in.
        self.heard: Collection[str] = kept if watch is None else watch.heard
        self.damage = DamageControl(self)
        self._carry = Carry(self._commit, self._is_to_go_on, self.measured)

    # ---------------------------------------------------------------- a message's worth of tasks

    def run(self, hints: Sequence[Hint]) -> int:
        """Claim and run what the hints name; returns how many attempts were made.

        Nodes known to be short are claimed and committed together, all others one by one.
        """
        pending = [hint for hint in hints if hint.graph not in self.unfit]
        if len(pending) < len(hints):
            unfit = [hint for hint in hints if hint.graph in self.unfit]
            note_misfits(self.store, [(hint, f"graph {hint.graph!r} cannot be read") for hint in unfit])
        done = 0
        while pending:
            together, pending = self._split(pending)
            for hint in together:
                self.store.hint(hint.thread_id, (hint.task_id, hint.run_id))
            claims = []
            for hint, answer in zip(together, self._claim(together), strict=True):
                if answer.claim is not None:
                    claims.append(answer.claim)
                else:
                    logger.debug(
                        "task %s (%s) is not to be claimed: %s", hint.task_id, hint.node, answer.reason
                    )
            self.stats.claimed += len(claims)
            done += self.work(claims)
        return done

    def _claim(self, hints: Sequence[Hint]) -> list[ClaimAnswer]:
        """The ledger's answers, one a hint.

        A holder that was declared dead waits for its heartbeat to revive it; one that was stopped never is.
        """
        published, self._published = self._published, []
        wants = [(hint.task_id, new_id()) for hint in hints]
        until = time.monotonic() + self.settings.lease
        holds = self._still_spooled()
        # While the store is gone a message is soon given up: it is a hint.
        patiently = dataclasses.replace(self.patiently, limit=0.0) if self._degraded() else self.patiently
        while True:
            answers = patiently(
                lambda: self.store.claim(self.holder, self.slot, wants, holds=holds, published=published)
            )
            if answers[0].reason not in ("holder dead", "holder unknown") or time.monotonic() > until:
                return answers
            time.sleep(min(0.2, self.settings.beat_every))

    def _degraded(self) -> bool:
        return self.seat is not None and self.seat.degraded

    def _still_spooled(self) -> list[str]:
        """Tokens that a claim must not end: what this slot did under them waits in the spool."""
        if self._spooled and self.spool is not None:
            try:
                waiting = any(True for _ in self.spool.entries())
            except (OSError, sqlite3.Error, PetioleError):
                waiting = True
            if not waiting:
                self._spooled.clear()
        return self._spooled

    def _split(self, hints: list[Hint]) -> tuple[list[Hint], list[Hint]]:
        """The hints to claim now, and the rest: as many short nodes as stand in front, or the first one alone."""
        count = 0
        while count < len(hints) and self._is_short(hints[count]):
            count += 1
        count = max(1, count)
        return hints[:count], hints[count:]

    def _is_short(self, hint: Hint) -> bool:
        return not hint.alone and self._seconds.get((hint.graph, hint.node), 1.0) < GATHER

    def work(self, claims: Sequence[Claim]) -> int:
        """Run claimed tasks, and whatever of their followers this slot holds; returns how many attempts were made."""
        self._slice_ends = time.monotonic() + self.settings.inline_slice
        self._note_time(claims)
        queue = list(claims)
        made: list[Work] = []
        done, began = 0, time.monotonic()
        while queue:
            try:
                work = self.execute(queue.pop(0))
            except StoreUnavailableError:
                self.commit(made)  # they have ended all the same
                raise
            done += 1
            if work.carried:
                self.documents.carried(work.claim.task.thread_id, work.outcome.blobs)
                follow = self._carry.add(work, self._durability_of(work.claim))
                if self.watch is not None:
                    self.watch.made(work)
                queue[:0] = [] if follow is None else [follow]
                if queue:
                    continue
            else:
                made.append(work)
            if not queue or work.transaction is not None or time.monotonic() - began > GATHER:
                queue.extend(self.commit(made))
                made, began = [], time.monotonic()
        return done

    def close(self) -> None:
        """Commit what is carried and give up what the runner holds."""
        self.commit_carried()
        self._carry.close()
        self.caller.close()
        if self._speaker is not None:
            self._speaker.close()

    def abandon(self) -> None:
        """Give up what the runner holds, uncommitted: its process is taken for dead."""
        self._carry.abandon()
        self.caller.close()
        if self._speaker is not None:
            self._speaker.abandon()

    # ---------------------------------------------------------------- one task

    def execute(self, claim: Claim) -> Work:
        """Run one claimed task to its outcome. Never raises for what users' code did."""
        began = time.monotonic()
        graph = self.registry[claim.run.graph]
        attempt = Attempt(self, graph, claim)
        work = Work(claim, attempt.outcome(), close=attempt.close)
        self._post(claim)
        try:
            if claim.task.kind == "advance":
                attempt.settling.advance(work)
            else:
                attempt.run_node(work)
        finally:
            if self.seat is not None:
                self.seat.end()
        reach("node.after")
        work.took = time.monotonic() - began
        key = (claim.run.graph, claim.task.node)
        self._seconds[key] = 0.8 * self._seconds.get(key, work.took) + 0.2 * work.took
        return work

    def _post(self, claim: Claim) -> None:
        if self.seat is not None:
            claimed = self.anchor(claim.task)[0] == claim.task.task_id
            self.seat.begin(Posted(slot=self.slot, ref=_ref(claim.task, claim), claimed=claimed))

    def know(self) -> None:
        """Let the ledger know the task that is run now as claimed, and the main process that it does."""
        if self.seat is not None and not self.seat.sees_claim:
            self.commit_carried()
            self.seat.claimed()

    # ---------------------------------------------------------------- commit and chain

    def commit(self, made: Sequence[Work]) -> list[Claim]:
        """Commit what is carried and these; gives the claims that this slot now holds.

        One with a transaction of its node's own is committed by itself.
        """
        works = [*self._carry.take(), *made]
        if works and works[-1].transaction is not None and len(works) > 1:
            return [*self._commit(works[:-1]), *self._commit(works[-1:])]
        return self._commit(works) if works else []

    def commit_carried(self) -> None:
        """Commit what is carried: the ledger is to know the task that is run now."""
        if works := self._carry.take():
            self._commit(works)

    def _commit(self, made: Sequence[Work]) -> list[Claim]:
        """Finish, publish what comes next, and return the claims that this slot now holds."""
        follow: list[Claim] = []
        publish: list[TaskRef] = []
        if len(made) > 1:  # tasks that an earlier one of these inserts are not known to every store
            for work in made:
                self.store.hint(work.claim.task.thread_id, [work.claim.task.task_id])
        began = time.monotonic()
        try:
            answers = self._finish(made)
        except StoreUnavailableError as error:
            self._drop(made)
            if self.spool is None:
                raise
            self._spool(made, error)
            return []
        except BaseException:
            self._drop(made)
            raise
        self.measured.committed((time.monotonic() - began) / len(made))
        for work, answer in zip(made, answers, strict=True):
            self._count(work, answer)
            if answer.result == "refused":
                logger.warning(
                    "output of %s dropped: task %s of run %s was refused (%s)",
                    work.claim.task.node, work.claim.task.task_id, work.claim.run.run_id, answer.reason,
                )  # fmt: skip
                work.refused = True
                self.documents.dropped(work.claim.task.thread_id, work.outcome.blobs)
                if work.outcome.nest is not None and answer.reason == "busy":
                    self._try_later(work)
                elif work.outcome.awaits and answer.reason == "run cancelled":
                    publish += cancel_children(self.store, work.claim.run)
                continue
            publish += answer.publish
            if answer.run_status in SETTLED:
                woken = wake_parent(self.store, work.claim.run)
                publish += woken if self.published_elsewhere else []
            if work.forget is not None and work.outcome.ending == "done":
                work.forget()
            self._tell(work)
            if answer.advance is not None:
                follow.append(answer.advance)
            if work.follow is not None and answer.run_status not in HELD_BACK:
                follow.append(work.follow)
            if work.rows is not None:
                self.documents.stored(work.claim.task.thread_id, work.outcome.blobs)
                publish += [
                    _ref(task, work.claim)
                    for task in work.rows.tasks
                    if task.token is None and task.status == "ready"
                ]
            elif work.outcome.ending in ("retry", "parked") and not work.outcome.delay:
                publish.append(_ref(work.claim.task, work.claim))
            if self.watch is not None and not work.carried:
                self.watch.made(work)
        if publish:
            self._published.extend(self._publish(publish))
            reach("publish.after")
        return follow

    def _tell(self, work: Work) -> None:
        """Tell the graph's listeners of what is committed."""
        graph = self.registry[work.claim.run.graph]
        if graph.listeners and not work.taken_over:
            Telling(graph, work.claim).committed(work)

    def _try_later(self, work: Work) -> None:
        """Somebody else waits for the namespace that a task would open: it waits its turn."""
        task = work.claim.task
        later = Outcome(task_id=task.task_id, token=task.token or "", ending="parked", delay=BUSY)
        self.patiently(lambda: self.store.finish(self.holder, self.slot, [later]))

    def _drop(self, made: Sequence[Work]) -> None:
        for work in made:
            self.documents.dropped(work.claim.task.thread_id, work.outcome.blobs)

    def _spool(self, made: Sequence[Work], error: StoreUnavailableError) -> None:
        """Keep outcomes that the store cannot take now; what comes after them is for others, once they are sent."""
        assert self.spool is not None
        refs = [_ref(work.claim.task, work.claim) for work in made]
        try:
            self.spool.put(entry_of(self.holder, self.slot, [work.outcome for work in made], refs))
        except (OSError, sqlite3.Error, PetioleError) as failure:
            logger.error(
                "%d outcomes are lost, they cannot be spooled (%s): their nodes run again", len(made), failure
            )
            raise error from failure
        for work in made:
            work.refused = True
            self._spooled.append(work.outcome.token)
        self.stats.spooled += len(made)
        if self.seat is not None:
            self.seat.count("spooled", len(made))
        logger.warning("%d outcomes are spooled, for the store is gone: %s", len(made), error)

    def _finish(self, made: Sequence[Work]) -> Sequence[FinishAnswer]:
        """The ledger's answers. An output that the store cannot hold fails its own task, not its neighbours."""
        outcomes = [work.outcome for work in made]
        if self._speaker is not None:
            self._speaker.drain()
        try:
            if made[0].transaction is not None:
                return self._finish_transaction(made[0], made[0].transaction)
            return self.patiently(lambda: self.store.finish(self.holder, self.slot, outcomes))
        except StoreUnavailableError:
            raise
        except StoreError as error:
            if len(made) > 1:
                return [answer for work in made for answer in self._finish([work])]
            work = made[0]
            if work.outcome.ending == "failed":
                raise
            task = work.claim.task
            logger.error("the output of %s (task %s) cannot be stored: %s", task.node, task.task_id, error)
            if self.on_failure is not None:
                self.on_failure(work.claim, error)
            work.outcome = Outcome(
                task_id=task.task_id, token=work.outcome.token, ending="failed",
                error=describe(error, node=task.node, attempt=task.attempt),
                advance_id=new_id(), advance_token=new_id(), advance_queue=task.queue,
            )  # fmt: skip
            work.rows = work.follow = work.transaction = None
            return self._finish([work])

    def _finish_transaction(self, work: Work, transaction: StoreTransaction) -> Sequence[FinishAnswer]:
        """Commit a node's own writes with its outcome.

        Where the answer is lost, the ledger tells whether both were committed; if not, the node's writes are gone and it
        runs again.
        """
        try:
            return transaction.finish(self.holder, self.slot, [work.outcome])
        except StoreUnavailableError as error:
            logger.warning("a node's transaction is in doubt, asking the ledger: %s", error)
        finally:
            work.transaction = None
            work.close()
        task = work.claim.task
        if self.patiently(lambda: self.store.holds(task.task_id, task.token or "")):
            work.outcome = Outcome(
                task_id=task.task_id, token=work.outcome.token, ending="parked",
                error=describe(StoreUnavailableError("its transaction was lost"), node=task.node, attempt=task.attempt),
            )  # fmt: skip
            work.rows = work.follow = None
        return self.patiently(lambda: self.store.finish(self.holder, self.slot, [work.outcome]))

    def _count(self, work: Work, answer: FinishAnswer) -> None:
        self.stats.seconds += work.took
        if answer.result == "refused" or (work.taken_over and answer.result == "already"):
            kind = "refused"
        else:
            kind = {"failed": "failed", "retry": "retried", "parked": "parked"}.get(
                work.outcome.ending, "committed"
            )
        setattr(self.stats, kind, getattr(self.stats, kind) + 1)
        if self.seat is not None:
            self.seat.count(kind)

    # ---------------------------------------------------------------- what attempts ask

    def say(
        self, kind: str, value: object, attempt: Attempt, about: Mapping[str, object] | None = None
    ) -> None:
        """Hand on what a running node says; ``about``: a message's metadata."""
        if kind not in self.heard:
            return
        if self.watch is not None:
            self.watch.said(kind, value, attempt, about or {})
        elif self._speaker is not None:
            with undisturbed():
                self._speaker.say(kind, value, attempt, about)

    def log(self, logged: Logged, attempt: Attempt) -> None:
        """Hand on what a running node logs."""
        if self._speaker is not None:
            with undisturbed():
                self._speaker.say(KIND, msgspec.to_builtins(logged), attempt)

    def publish(self, refs: Sequence[TaskRef]) -> None:
        """Tell the broker of tasks that became ready otherwise than by a commit."""
        self._published.extend(self._publish(refs))

    def store_time(self) -> float:
        """The store's time by now, as far as the last claim tells."""
        at, seen = self._clock or (time.time(), time.monotonic())
        return at + time.monotonic() - seen

    def _note_time(self, claims: Sequence[Claim]) -> None:
        times = [claim.task.claimed_at for claim in claims if claim.task.claimed_at is not None]
        if times:
            self._clock = max(times), time.monotonic()
        for claim in claims:
            self.measured.crashes += sum(it.outcome in ("lost", "crashed") for it in claim.task.attempts[-1:])

    def anchor(self, task: Task) -> tuple[str, str]:
        """The task and token that the ledger knows as claimed while ``task`` is run."""
        known = self._carry.anchor(task)
        return known.task_id, known.token or ""

    def durability(self, text: str | None) -> Durability:
        """How a run is kept that says so itself or by its graph; else as the settings say."""
        text = text or self.settings.durability
        if text not in self._durabilities:
            self._durabilities[text] = Durability.parse(text)
        return self._durabilities[text]

    def _durability_of(self, claim: Claim) -> Durability:
        config = read_config(claim.run.config)
        return self.durability(config.durability or self.registry[claim.run.graph].durability)

    def _is_to_go_on(self, run_id: str) -> bool:
        try:
            run = self.store.get_run(run_id)
        except StoreUnavailableError:
            return True
        return run is not None and run.status in RUNNABLE

    def is_lone(self, tasks: Sequence[NewTask]) -> bool:
        """Whether a settle's tasks are one that this worker may carry on with."""
        return len(tasks) == 1 and tasks[0].status == "ready" and self._serves(tasks[0].queue)

    def may_go_on(self, claim: Claim, tasks: Sequence[NewTask]) -> bool:
        """Whether to claim a settle's only task in the settle itself.

        A run's first node follows its start in one message; further ones with ``chain = "inline"``, for its slice.
        """
        if not self.is_lone(tasks):
            return False
        if claim.task.path == START_PATH and claim.task.kind == "advance":
            return tasks[0].priority == claim.task.priority
        return self.settings.chain == "inline" and time.monotonic() < self._slice_ends


def _ref(task: NewTask | Task, claim: Claim) -> TaskRef:
    return TaskRef(
        task_id=task.task_id,
        run_id=claim.run.run_id,
        thread_id=claim.run.thread_id,
        queue=task.queue,
        priority=task.priority,
        graph=claim.run.graph,
        node=task.node,
        version=claim.run.version,
    )
