"""One hop: claim tasks, run them, commit what they gave, and say what comes next.

The same runner serves Celery workers (one a pool slot) and ``graph.invoke`` (one a thread). It holds no state of a run:
everything it needs comes with the claim, everything it makes goes out with the finish.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from petiole_stores.errors import GraphError, PetioleError, StoreError, StoreUnavailableError
from petiole_stores.ids import new_id
from petiole_stores.records import (
    START_PATH,
    Checkpointed,
    Claim,
    ClaimAnswer,
    FinishAnswer,
    NewTask,
    Outcome,
    Settle,
    Task,
    TaskRef,
)
from petiole_stores.store import Store
from petiole_workers.caller import NodeCaller, RetryLaterError, undisturbed
from petiole_workers.compiled import CompiledGraph
from petiole_workers.crashpoints import reach
from petiole_workers.documents import Documents, Loaded, Rows
from petiole_workers.failure import describe, ends_the_process, parse_failure
from petiole_workers.graph import (
    DEFAULT_RECURSION_LIMIT,
    MISSING,
    START,
    Runtime,
    Snapshot,
    TaskOutput,
    TaskSpec,
    advance,
    begin,
    task_input,
    task_output,
)
from petiole_workers.patience import Patience
from petiole_workers.registry import Registry
from petiole_workers.settings import Settings

logger = logging.getLogger("petiole.runner")

#: How long outcomes of short nodes may wait for each other before they are committed together, in seconds.
GATHER = 0.005


#: In a snapshot's control: the step at which the run began, for its recursion limit.
FIRST_STEP = "first_step"


class Hint(NamedTuple):
    """What a message says of a task: ids, the graph and node that it is of, and whether it is to be run alone.

    A task on the fast lane may have been recovered from a process that died under it. It is claimed by itself, so that
    it is charged with the crash, should it kill this process too.
    """

    thread_id: str
    run_id: str
    task_id: str
    graph: str
    node: str
    alone: bool = False

    @classmethod
    def of(cls, ref: TaskRef) -> Hint:
        return cls(ref.thread_id, ref.run_id, ref.task_id, ref.graph, ref.node, ref.priority == "high")


class RunConfig(msgspec.Struct, omit_defaults=True):
    """How a run is to be executed (the ``config`` document of a run)."""

    recursion_limit: int = DEFAULT_RECURSION_LIMIT
    inline: bool = False  #: made by graph.invoke: its tasks are never published


@dataclass
class Work:
    """One claimed task on its way to its outcome."""

    claim: Claim
    outcome: Outcome
    rows: Rows | None = None  #: of its settle
    took: float = 0.0
    follow: Claim | None = None  #: the next task, if this worker holds it already


@dataclass
class Stats:
    """Counts since this process started."""

    claimed: int = 0
    committed: int = 0
    refused: int = 0
    failed: int = 0
    retried: int = 0
    seconds: float = field(default=0.0)


class Runner:
    """Runs tasks for one slot of one holder.

    Parameters
        publish   called with the tasks that became ready; returns the ids of those whose message is known to be out
        serves    tells whether this worker consumes a queue (for ``chain = "inline"``)
        on_failure  called with the exception itself when a task fails (``graph.invoke`` raises it again)
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
    ) -> None:
        self.store, self.registry, self.settings = store, registry, settings
        self.holder, self.slot = holder, slot
        self._patiently = Patience.of(settings, store)
        self.documents = documents or Documents(store, self._patiently)
        self.caller = caller or NodeCaller(in_process_wait=settings.in_process_wait)
        self.stats = Stats()
        self._publish = publish
        self._serves = serves
        self.on_failure = on_failure
        self._published: list[str] = []
        self._seconds: dict[tuple[str, str], float] = {}
        self._slice_ends = 0.0

    # ---------------------------------------------------------------- a message's worth of tasks

    def run(self, hints: Sequence[Hint]) -> int:
        """Claim and run what the hints name; returns how many attempts were made.

        Nodes known to be short are claimed and committed together, all others one by one.
        """
        pending = list(hints)
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
        while True:
            reach("claim.before")
            answers = self._patiently(
                lambda: self.store.claim(self.holder, self.slot, wants, published=published)
            )
            reach("claim.after")
            if answers[0].reason not in ("holder dead", "holder unknown") or time.monotonic() > until:
                return answers
            time.sleep(min(0.2, self.settings.beat_every))

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
        queue = list(claims)
        made: list[Work] = []
        done, began = 0, time.monotonic()
        while queue:
            work = self.execute(queue.pop(0))
            made.append(work)
            done += 1
            if not queue or time.monotonic() - began > GATHER:
                queue.extend(self.commit(made))
                made, began = [], time.monotonic()
        return done

    # ---------------------------------------------------------------- one task

    def execute(self, claim: Claim) -> Work:
        """Run one claimed task to its outcome. Never raises for what users' code did."""
        began = time.monotonic()
        graph = self.registry[claim.run.graph]
        attempt = _Attempt(self, graph, claim)
        work = Work(claim, attempt.outcome())
        if claim.task.kind == "advance":
            attempt.settle_only(work)
        else:
            attempt.run_node(work)
        reach("node.after")
        work.took = time.monotonic() - began
        key = (claim.run.graph, claim.task.node)
        self._seconds[key] = 0.8 * self._seconds.get(key, work.took) + 0.2 * work.took
        return work

    # ---------------------------------------------------------------- commit and chain

    def commit(self, made: Sequence[Work]) -> list[Claim]:
        """Finish, publish what comes next, and return the claims that this slot now holds."""
        follow: list[Claim] = []
        publish: list[TaskRef] = []
        reach("finish.before")
        answers = self._finish(made)
        reach("finish.after")
        for work, answer in zip(made, answers, strict=True):
            self._count(work, answer)
            if answer.result == "refused":
                logger.warning(
                    "output of %s dropped: task %s of run %s was refused (%s)",
                    work.claim.task.node, work.claim.task.task_id, work.claim.run.run_id, answer.reason,
                )  # fmt: skip
                continue
            publish += answer.publish
            if answer.advance is not None:
                follow.append(answer.advance)
            if work.follow is not None:
                follow.append(work.follow)
            if work.rows is not None:
                self.documents.stored(work.claim.task.thread_id, work.outcome.blobs)
                publish += [
                    _ref(task, work.claim)
                    for task in work.rows.tasks
                    if task.token is None and task.status == "ready"
                ]
            elif work.outcome.ending == "retry" and not work.outcome.delay:
                publish.append(_ref(work.claim.task, work.claim))
        if publish:
            self._published.extend(self._publish(publish))
            reach("publish.after")
        return follow

    def _finish(self, made: Sequence[Work]) -> list[FinishAnswer]:
        """The ledger's answers. An output that the store cannot hold fails its own task, not its neighbours."""
        try:
            return self._patiently(
                lambda: self.store.finish(self.holder, self.slot, [work.outcome for work in made])
            )
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
            work.rows = work.follow = None
            return self._finish([work])

    def _count(self, work: Work, answer: FinishAnswer) -> None:
        self.stats.seconds += work.took
        if answer.result == "refused":
            self.stats.refused += 1
        elif work.outcome.ending == "failed":
            self.stats.failed += 1
        elif work.outcome.ending == "retry":
            self.stats.retried += 1
        else:
            self.stats.committed += 1

    def may_go_on(self, claim: Claim, tasks: Sequence[NewTask]) -> bool:
        """Whether to claim a settle's only task in the settle itself.

        A run's first node follows its start in one message; further ones with ``chain = "inline"``, for its slice.
        """
        if len(tasks) != 1 or tasks[0].status != "ready" or not self._serves(tasks[0].queue):
            return False
        if claim.task.path == START_PATH and claim.task.kind == "advance":
            return tasks[0].priority == claim.task.priority
        return self.settings.chain == "inline" and time.monotonic() < self._slice_ends


class _Attempt:
    """One attempt at one task."""

    def __init__(self, runner: Runner, graph: CompiledGraph, claim: Claim) -> None:
        self.runner, self.graph, self.claim = runner, graph, claim
        self.definition = graph.definition
        self.task, self.run = claim.task, claim.run
        self.documents = runner.documents
        known = parse_failure(self.task.error) if self.task.failures else None
        #: Earlier tries that failed: the ledger counts those that left the worker, the error has those made in it too.
        self._failures = max(self.task.failures, known.tries if known else 0)
        self._tries = 0

    def outcome(self) -> Outcome:
        return Outcome(
            task_id=self.task.task_id,
            token=self.task.token or "",
            ending="done",
            advance_id=new_id(),
            advance_token=new_id(),
            advance_queue=self.task.queue,
        )

    # ---------------------------------------------------------------- nodes

    def run_node(self, work: Work) -> None:
        try:
            if self.task.node not in self.definition.nodes:
                known = ", ".join(self.definition.nodes)
                raise GraphError(
                    f"graph {self.run.graph!r} has no node {self.task.node!r} in this worker's version; it has: {known}. "
                    "Bring the node back, or replay the run from a checkpoint before it"
                )
            loaded = self._base(tasks=self.claim.width == 1)
            spec = TaskSpec(path=self.task.path, node=self.task.node, arg=self._arg())
            input = task_input(self.definition, loaded.snapshot, spec)
            returned = self._call(input, spec)
            output = task_output(self.definition, spec, returned)
            document, blobs = self.documents.output(self.task.thread_id, output)
        except StoreUnavailableError:
            raise
        except RetryLaterError as later:
            self._end(work, "retry", later.error)
            work.outcome.delay = later.delay
            return
        except BaseException as error:  # what users' code raises is its task's outcome
            if ends_the_process(error):
                raise
            self._end(work, "failed", error)
            return
        work.outcome.output = document
        work.outcome.blobs = list(blobs.values())
        if self.claim.width == 1:
            self._settle_alone(work, loaded, output)

    def _call(self, input: object, spec: TaskSpec) -> Any:
        def again() -> object:
            return task_input(
                self.definition, self._base(tasks=False).snapshot, dataclasses.replace(spec, arg=self._arg())
            )

        caller, node = self.runner.caller, self.definition.nodes[self.task.node]
        try:
            return caller.call(
                node,
                input,
                self._runtime(),
                failures=self._failures,
                key=f"{self.run.graph}.{node.name}",
                again=again,
            )
        finally:
            self._tries = caller.tries

    def _settle_alone(self, work: Work, loaded: Loaded, output: TaskOutput) -> None:
        """A lone task brings its settle along; where that fails, an ``advance`` will fail in its stead, output kept."""
        try:
            written = {key for key, _ in output.writes}
            base = loaded.snapshot
            if self._reads_state(written):
                base = dataclasses.replace(base, values=self.documents.fresh_values(loaded))
            self._settle(work, loaded, base, [output])
        except StoreUnavailableError:
            raise
        except BaseException as error:
            if ends_the_process(error):
                raise
            logger.debug(
                "settling after %s failed; an advance task will say why", self.task.node, exc_info=True
            )
            work.outcome.settle, work.rows, work.follow = None, None, None

    def _reads_state(self, written: set[str]) -> bool:
        """Whether settling looks at the state itself: a router does, and so does the reducer of a written key."""
        channels = self.definition.channels
        return bool(self.definition.branches_from(self.task.node)) or any(
            channels[key].reducer is not None for key in written
        )

    # ---------------------------------------------------------------- advance

    def settle_only(self, work: Work) -> None:
        try:
            if self.task.path == START_PATH:
                self._start(work)
            else:
                loaded = self._base()
                outputs = self.documents.outputs(self.task.thread_id, self.claim.outputs)
                self._settle(work, loaded, loaded.snapshot, outputs)
        except StoreUnavailableError:
            raise
        except BaseException as error:  # reducers and routers are users' code too
            if ends_the_process(error):
                raise
            work.outcome.settle, work.rows, work.follow = None, None, None
            self._end(work, "failed", error)

    def _start(self, work: Work) -> None:
        """Apply the input to the thread's head and plan the first superstep."""
        loaded = self._base() if self.claim.base is not None else None
        base = loaded.snapshot if loaded else None
        if self.run.input is None:
            if loaded is None or base is None:
                raise PetioleError(
                    f"run {self.run.run_id} has neither an input nor a checkpoint to go on from"
                )
            self._rows(work, [self._forked(base, loaded.parts)], loaded.record)
            return
        given = self.documents.value(self.task.thread_id, self.run.input)
        taken, first = begin(
            self.definition, base, given, runner=self.runner.caller.wait, runtime=self._runtime()
        )
        first = dataclasses.replace(first, control={**first.control, FIRST_STEP: taken.step})
        kept = loaded.parts if loaded else {}
        self._rows(work, [(taken, kept), (first, {})], loaded.record if loaded else None)

    def _forked(self, base: Snapshot, parts: dict[str, bytes]) -> tuple[Snapshot, dict[str, bytes]]:
        """The snapshot that a run begins with which goes on from a checkpoint: the same state, the same tasks to come."""
        control: dict[str, object] = {**base.control, FIRST_STEP: base.step}
        starts = [task for task in base.next if task.node == START]
        if starts:  # the checkpoint is an input's: what comes next is to apply it
            outputs = [task_output(self.definition, task, task.arg) for task in starts]
            first = advance(
                self.definition,
                base,
                outputs,
                stop=None,
                runner=self.runner.caller.wait,
                runtime=self._runtime(),
            )
            return dataclasses.replace(first, control={**first.control, FIRST_STEP: base.step}), {}
        return dataclasses.replace(
            base, step=base.step + 1, source="fork", control=control, writers=()
        ), parts

    def _settle(self, work: Work, loaded: Loaded, base: Snapshot, outputs: Sequence[TaskOutput]) -> None:
        snapshot = advance(
            self.definition,
            base,
            outputs,
            stop=self._stop(base),
            runner=self.runner.caller.wait,
            runtime=self._runtime(),
        )
        written = {key for output in outputs for key, _ in output.writes}
        kept = {key: part for key, part in loaded.parts.items() if key not in written}
        self._rows(work, [(snapshot, kept)], loaded.record)

    def _rows(
        self, work: Work, snapshots: Sequence[tuple[Snapshot, dict[str, bytes]]], parent: Checkpointed | None
    ) -> None:
        """Put the settle of these snapshots, one after the other, into the outcome."""
        parent_id = parent.checkpoint_id if parent else None
        checkpoints = []
        rows: Rows | None = None
        last = snapshots[-1][0]
        interrupted = self._interrupts(last)
        for snapshot, kept in snapshots:
            rows = self.documents.settle(
                self.definition,
                snapshot,
                thread_id=self.task.thread_id,
                parent_id=parent_id,
                kept=kept,
                queue=self._queue(),
                interrupted=interrupted and snapshot is last,
            )
            parent_id = rows.checkpoint.checkpoint_id
            checkpoints.append(rows.checkpoint)
            work.outcome.blobs = [*work.outcome.blobs, *rows.blobs.values()]
        assert rows is not None
        if self._config().inline:
            for task in rows.tasks:
                task.queue = self.task.queue
        status = "succeeded" if not rows.tasks else "interrupted" if interrupted else "running"
        if self.runner.may_go_on(self.claim, rows.tasks) and not interrupted:
            rows.tasks[0].token = new_id()
            work.follow = self._followed(rows)
        work.outcome.settle = Settle(checkpoints=checkpoints, tasks=rows.tasks, run_status=status)  # type: ignore[arg-type]
        work.rows = rows

    def _followed(self, rows: Rows) -> Claim:
        """The claim of the settle's only task, which this slot will hold when the settle is committed."""
        new, made = rows.tasks[0], rows.checkpoint
        fields = {name: getattr(made, name) for name in made.__struct_fields__}
        base = Checkpointed(
            **fields,
            thread_id=self.task.thread_id,
            run_id=self.run.run_id,
            created_at=self.task.created_at,
            seq=0,
        )
        task = Task(
            task_id=new.task_id,
            run_id=self.run.run_id,
            thread_id=self.task.thread_id,
            ns=new.ns,
            checkpoint_id=made.checkpoint_id,
            path=new.path,
            kind=new.kind,
            node=new.node,
            queue=new.queue,
            priority=new.priority,
            status="claimed",
            arg=new.arg,
            token=new.token,
            holder=self.runner.holder,
            slot=self.runner.slot,
            attempt=1,
            started=True,
            created_at=self.task.created_at,
        )
        return Claim(task=task, run=self.run, base=base, width=1)

    # ---------------------------------------------------------------- parts

    def _base(self, *, tasks: bool = True) -> Loaded:
        if self.claim.base is None:
            raise PetioleError(f"task {self.task.task_id} ({self.task.node}) has no checkpoint to start from")
        return self.documents.checkpoint(self.claim.base, tasks=tasks)

    def _arg(self) -> object:
        return MISSING if self.task.arg is None else self.documents.value(self.task.thread_id, self.task.arg)

    def _config(self) -> RunConfig:
        return msgspec.json.decode(self.run.config, type=RunConfig)

    def _stop(self, base: Snapshot) -> int:
        """The last step that the run may take: its first one and the recursion limit, as LangGraph counts."""
        first = base.control.get(FIRST_STEP, -1)
        assert isinstance(first, int)
        return first + self._config().recursion_limit + 1

    def _queue(self) -> str:
        return self.graph.queue or self.runner.settings.queue

    def _interrupts(self, snapshot: Snapshot) -> bool:
        """Whether the run stops here: after a node in ``interrupt_after``, or before one in ``interrupt_before``.

        Not at a fork: whoever goes on from an interrupted checkpoint means to pass it.
        """
        graph = self.definition
        return (
            bool(snapshot.next)
            and snapshot.source != "fork"
            and (
                any(name in graph.interrupt_after for name in snapshot.writers)
                or any(task.node in graph.interrupt_before for task in snapshot.next)
            )
        )

    @property
    def _attempt(self) -> int:
        """The number of the first try that is made here."""
        return self.task.attempt + self._failures - self.task.failures

    def _runtime(self) -> Runtime:
        task, base = self.task, self.claim.base
        digest = hashlib.sha256(f"{base.digest if base else ''}\n{task.arg or ''}".encode()).hexdigest()[:16]
        return Runtime(
            thread_id=task.thread_id,
            run_id=task.run_id,
            task_id=task.task_id,
            node=task.node,
            attempt=self._attempt,
            idempotency_key=f"{task.thread_id}:{task.run_id}:{task.task_id}:{digest}",
            logger=logging.getLogger(f"petiole.node.{self.run.graph}.{task.node}"),
            is_cancelled=_Watch(self.runner, task),
        )

    def _end(self, work: Work, ending: str, error: BaseException) -> None:
        node = self.task.node
        work.outcome.ending = ending  # type: ignore[assignment]
        attempt = self._attempt + max(self._tries - 1, 0)
        work.outcome.error = describe(error, node=node, attempt=attempt, tries=self._failures + self._tries)
        work.outcome.output, work.outcome.blobs = None, []
        if ending == "failed" and self.runner.on_failure is not None:
            self.runner.on_failure(self.claim, error)
        level = logging.INFO if ending == "retry" else logging.ERROR
        logger.log(
            level, "node %s of thread %s (run %s, attempt %d) %s: %s: %s",
            node, self.task.thread_id, self.run.run_id, attempt,
            "will be tried again" if ending == "retry" else "failed", type(error).__name__, error,
        )  # fmt: skip


class _Watch:
    """Tells a running node whether its claim still stands, asking the ledger at most once a beat."""

    def __init__(self, runner: Runner, task: Task) -> None:
        self._runner, self._task = runner, task
        self._next = time.monotonic() + runner.settings.beat_every
        self._lost = False

    def __call__(self) -> bool:
        if not self._lost and time.monotonic() >= self._next:
            self._next = time.monotonic() + self._runner.settings.beat_every
            try:
                with undisturbed():
                    self._lost = not self._runner.store.holds(self._task.task_id, self._task.token or "")
            except StoreUnavailableError:
                pass  # not knowing is no reason to stop: the fence will judge the output
        return self._lost


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
