"""One attempt at one task: what the node is given, what it gave, and the outcome that says so."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from petiole_stores.errors import CorruptionError, GraphError, PetioleError, StoreUnavailableError, UnfitError
from petiole_stores.ids import derived_id, new_id
from petiole_stores.records import START_PATH, Checkpointed, Claim, Outcome, Settle, Task
from petiole_workers.board import TakenOverError
from petiole_workers.caller import RetryLaterError, is_interruptible, next_try
from petiole_workers.compiled import CompiledGraph
from petiole_workers.damage import UnreadableError
from petiole_workers.documents import Loaded, Rows
from petiole_workers.failure import (
    MAX_EARLIER,
    MAX_EARLIER_TRACEBACK,
    Failure,
    describe,
    document_of,
    ends_the_process,
    failure_of,
    parse_failure,
)
from petiole_workers.fitting import queue_of
from petiole_workers.given import Given
from petiole_workers.graph import (
    HANDLER_PREFIX,
    MISSING,
    START,
    NodeError,
    NodeSpec,
    Runtime,
    Snapshot,
    TaskOutput,
    TaskSpec,
    advance,
    begin,
    stop_step,
    task_input,
    task_output,
)
from petiole_workers.graph import call as call_function
from petiole_workers.hop import RunConfig, Work
from petiole_workers.limits import NodeTimeoutError, first_limit, timed_out
from petiole_workers.repair import FIRST_STEP
from petiole_workers.services import AttemptServices, ParkedError
from petiole_workers.telling import Telling

if TYPE_CHECKING:
    from petiole_workers.runner import Runner

logger = logging.getLogger("petiole.runner")

#: How long after its timeout a node that can be interrupted is given to end, in seconds.
MARGIN = 1.0
TIMED_OUT = f"{NodeTimeoutError.__module__}.{NodeTimeoutError.__qualname__}"


class Attempt:
    """One attempt at one task."""

    def __init__(self, runner: Runner, graph: CompiledGraph, claim: Claim) -> None:
        self.runner, self.graph, self.claim = runner, graph, claim
        self.definition = graph.definition
        self.task, self.run = claim.task, claim.run
        self.documents = runner.documents
        known = parse_failure(self.task.error) if self.task.failures else None
        #: Earlier tries that failed: the ledger counts those that left the worker, the error has those made in it too.
        self._failures = max(self.task.failures, known.tries if known else 0)
        self._known = known
        self._tries = 0
        self._tried: deque[Failure] = deque(maxlen=MAX_EARLIER + 1)
        self._on_timeout: Outcome | None = None
        self.config = msgspec.json.decode(self.run.config, type=RunConfig)
        self.durability = runner.durability(self.config.durability or graph.durability)
        self.services = AttemptServices(runner, self.task)
        self.told = Telling(graph, claim)

    def outcome(self) -> Outcome:
        return Outcome(
            task_id=self.task.task_id,
            token=self.task.token or "",
            ending="done",
            advance_id=new_id(),
            advance_token=new_id(),
            advance_queue=self.task.queue,
            relaxed=self.config.relaxed,
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
            input = task_input(self.definition, loaded.snapshot, spec, stop=self._stop(loaded.snapshot))
            output = self._output(work, input, spec)
            document, blobs = self.documents.output(self.task.thread_id, output, node=self.task.node)
        except ParkedError as parked:
            self._put_off(work, "parked", parked.delay)
            return
        except UnreadableError as unreadable:
            self._unreadable(work, unreadable.error)
            return
        except RetryLaterError as later:
            self._end(work, "retry", later.error)
            self._put_off(work, "retry", later.delay)
            return
        except TakenOverError:
            self.services.roll_back()
            assert self._on_timeout is not None
            work.outcome, work.taken_over = self._on_timeout, True
            node = self.definition.nodes[self.task.node]
            again = work.outcome.ending == "retry"
            self.told.error(timed_out(node), self._last_attempt, will_retry=again)
            return
        except BaseException as error:  # what users' code raises is its task's outcome
            self.services.roll_back()
            if ends_the_process(error) or isinstance(error, StoreUnavailableError):
                raise
            self._end(work, "failed", error)
            return
        work.transaction = self.services.open_transaction
        work.output, work.attempt = output, self._last_attempt
        if (
            self._tried and work.outcome.error is None
        ):  # it succeeded in the end; what it failed of before is kept
            *earlier, last = self._tried
            work.outcome.error = document_of(replace(last, earlier=earlier))
        work.outcome.output = document
        work.outcome.blobs = list(blobs.values())
        if self.claim.width == 1:
            self._settle_alone(work, loaded, output)

    def _output(self, work: Work, input: object, spec: TaskSpec) -> TaskOutput:
        """What the node gives; or, once it has failed for good, its error handler."""
        node = self.definition.nodes[self.task.node]
        try:
            if node.error_handler is not None and self._is_over(node):
                raise timed_out(node)
            return task_output(self.definition, spec, self._call(input, spec))
        except Exception as error:
            if node.error_handler is None or isinstance(error, StoreUnavailableError | RetryLaterError):
                raise
            self.services.again()
            self._end(work, "failed", error, handled=True)
            work.outcome.ending = "done"
            handler = node.error_handler.bind(NodeError(node.name, error))
            fresh = dataclasses.replace(spec, arg=self._arg())
            again = self._input(fresh)
            returned = call_function(handler, again, self._runtime(), self.runner.caller.wait)
            given = task_output(self.definition, spec, returned)
            return dataclasses.replace(given, node=HANDLER_PREFIX + node.name)

    def _unreadable(self, work: Work, error: CorruptionError | UnfitError) -> None:
        """The stored data is damaged, or this worker is not fit for it: neither is a failure of the node's."""
        self.services.roll_back()
        delay = self.runner.damage.handle(self.claim, error)
        work.outcome.settle, work.rows, work.follow, work.carried = None, None, None, False
        work.outcome.error = describe(error, node=self.task.node, attempt=self._attempt)
        self._put_off(work, "parked", delay)

    def _put_off(self, work: Work, ending: str, delay: float) -> None:
        """End the attempt alone; what it leaves goes along."""
        self.services.roll_back()
        work.outcome.ending, work.outcome.delay = ending, delay  # type: ignore[assignment]
        work.outcome.progress = self.services.left_behind()

    def _call(self, input: object, spec: TaskSpec) -> Any:
        def again() -> object:
            self.services.again()
            self.told.start(self._attempt + caller.tries - 1)
            return self._input(dataclasses.replace(spec, arg=self._arg()))

        caller, node = self.runner.caller, self.definition.nodes[self.task.node]
        self.told.start(self._attempt)
        try:
            return caller.call(
                node,
                input,
                self._runtime(),
                failures=self._failures,
                key=self._key,
                again=again,
                on_retry=self._note,
                watch=self._watch,
                extend=self._extend,
            )
        finally:
            self._tries = caller.tries

    def _input(self, spec: TaskSpec) -> object:
        """What the node is given, made anew."""
        base = self._base(tasks=False).snapshot
        return task_input(self.definition, base, spec, stop=self._stop(base))

    def _note(self, error: BaseException) -> None:
        """A try has failed that another one follows."""
        tries = self.runner.caller.tries
        self.told.error(error, self._attempt + tries - 1, will_retry=True)
        failure = failure_of(
            error,
            node=self.task.node,
            attempt=self._attempt + tries - 1,
            tries=self._failures + tries,
            longest=MAX_EARLIER_TRACEBACK,
        )
        self._tried.append(failure)
        logger.log(
            logging.INFO if tries <= MAX_EARLIER else logging.DEBUG,
            "node %s of thread %s (run %s, attempt %d) will be tried again: %s: %s",
            failure.node, self.task.thread_id, self.run.run_id, failure.attempt, failure.type, failure.message,
        )  # fmt: skip

    def _watch(self, tries: int) -> AbstractContextManager[None]:
        """Post the outcome for the case that the main process has to end this try."""
        seat, node = self.runner.seat, self.definition.nodes[self.task.node]
        limit = first_limit(node)
        if seat is None or limit is None:
            return nullcontext()
        self.runner.know()
        self._on_timeout = self._timed_out(node, tries)
        return seat.limit(limit + self._margin(node), self._on_timeout)

    def _extend(self, seconds: float) -> None:
        """The node has shown progress: it may go on for so long at least."""
        if (seat := self.runner.seat) is not None:
            seat.extend(seconds + self._margin(self.definition.nodes[self.task.node]))

    @staticmethod
    def _margin(node: NodeSpec) -> float:
        return MARGIN if is_interruptible(node) else 0.0

    def _timed_out(self, node: NodeSpec, tries: int) -> Outcome:
        error, failures = timed_out(node), self._failures + tries
        delay = next_try(node, error, failures, self._key)
        if delay is None and node.error_handler is not None:
            delay = 0.0  # the next attempt calls it
        outcome = self.outcome()
        outcome.ending, outcome.delay = ("failed", 0.0) if delay is None else ("retry", delay)
        failure = failure_of(error, node=node.name, attempt=self._attempt + tries - 1, tries=failures)
        # Shortened, for it must fit on the board.
        earlier = [replace(it, traceback="", message=it.message[:200]) for it in self._tried][-MAX_EARLIER:]
        outcome.error = document_of(replace(failure, earlier=earlier))
        return outcome

    def _is_over(self, node: NodeSpec) -> bool:
        """Whether the node was ended by the main process and has no further try: its error handler's turn."""
        if self._known is None or self._known.type != TIMED_OUT:
            return False
        return next_try(node, timed_out(node), self._failures, self._key) is None

    def _settle_alone(self, work: Work, loaded: Loaded, output: TaskOutput) -> None:
        """A lone task brings its settle along; where that fails, an ``advance`` will fail in its stead, output kept."""
        try:
            written = {key for key, _ in output.writes}
            base = loaded.snapshot
            if self._reads_state(written):
                with reading():
                    base = dataclasses.replace(base, values=self.documents.fresh_values(loaded))
            self._settle(work, loaded, base, [output])
        except UnreadableError:
            raise
        except BaseException as error:  # the store may be gone, too: the node's output is not lost for that
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
            channels[key].reads_itself for key in written
        )

    # ---------------------------------------------------------------- advance

    def settle_only(self, work: Work) -> None:
        try:
            if self.task.path == START_PATH:
                self._start(work)
            else:
                loaded = self._base()
                with reading():
                    outputs = self.documents.outputs(self.task.thread_id, self.claim.outputs)
                self._settle(work, loaded, loaded.snapshot, outputs)
        except StoreUnavailableError:
            raise
        except UnreadableError as unreadable:
            self._unreadable(work, unreadable.error)
        except BaseException as error:  # reducers and routers are users' code too
            if ends_the_process(error):
                raise
            work.outcome.settle, work.rows, work.follow = None, None, None
            self._end(work, "failed", error)

    def _start(self, work: Work) -> None:
        """Apply the input to the thread's head and plan the first superstep."""
        loaded = self._base() if self.task.checkpoint_id is not None else None
        base = loaded.snapshot if loaded else None
        if self.run.input is None:
            if loaded is None or base is None:
                raise PetioleError(
                    f"run {self.run.run_id} has neither an input nor a checkpoint to go on from"
                )
            self._rows(work, [self._forked(base, loaded.parts)], loaded.record)
            return
        with reading():
            given = self.documents.value(self.task.thread_id, self.run.input)
        taken, first = begin(
            self.definition,
            base,
            given,
            runner=self.runner.caller.wait,
            runtime=self._runtime(),
            stop=stop_step(base, self.config.recursion_limit),
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
        for task in rows.tasks:
            task.queue = self.task.queue if self.config.inline else queue_of(self.graph.offer, task.queue)
        status = "succeeded" if not rows.tasks else "interrupted" if interrupted else "running"
        if not interrupted and self.services.open_transaction is None:
            work.carried = self.durability.carries and self.runner.is_lone(rows.tasks)
            if work.carried or self.runner.may_go_on(self.claim, rows.tasks):
                self._go_on(work, rows)
        work.outcome.settle = Settle(
            checkpoints=checkpoints,
            tasks=rows.tasks,
            run_status=status,  # type: ignore[arg-type]
            version=self.definition.version,
            fingerprint=self.definition.fingerprint,
        )
        work.rows = rows

    def _go_on(self, work: Work, rows: Rows) -> None:
        """Claim the settle's only task in the settle itself.

        A carried task may be run again before the ledger has heard of it: its id derives from what came before it, so
        that its idempotency key is the same then.
        """
        new = rows.tasks[0]
        if work.carried:
            new.task_id = derived_id("carried", self.task.task_id, str(work.claim.run.replays), new.path)
        new.token = new_id()
        work.follow = self._followed(rows)

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
        base = self.claim.base
        with reading():
            if base is None:
                raise CorruptionError(
                    f"the checkpoint {self.task.checkpoint_id} that {self.task.node!r} starts from is missing from the store"
                )
            return self.documents.checkpoint(base, tasks=tasks)

    def _arg(self) -> object:
        if self.task.arg is None:
            return MISSING
        with reading():
            return self.documents.value(self.task.thread_id, self.task.arg)

    def _stop(self, base: Snapshot) -> int:
        """The last step that the run may take: its first one and the recursion limit, as LangGraph counts."""
        first = base.control.get(FIRST_STEP, -1)
        assert isinstance(first, int)
        return first + self.config.recursion_limit + 1

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

    def close(self) -> None:
        """Give up what the node still holds of the store."""
        self.services.roll_back()

    @property
    def _key(self) -> str:
        """Names the node among those of all graphs."""
        return f"{self.run.graph}.{self.task.node}"

    @property
    def _last_attempt(self) -> int:
        """The number of the last try that was made here."""
        return self._attempt + max(self._tries - 1, 0)

    @property
    def _attempt(self) -> int:
        """The number of the first try that is made here."""
        return self.task.attempt + self._failures - self.task.failures

    @cached_property
    def _given(self) -> Given:
        with reading():
            kept = Given.read(self.documents, self.run, self.config)
        given = kept if self.runner.given is None else self.runner.given.over(kept)
        return given.as_of(self.graph)

    def _runtime(self) -> Runtime[Any]:
        task, base = self.task, self.claim.base
        digest = hashlib.sha256(f"{base.digest if base else ''}\n{task.arg or ''}".encode()).hexdigest()[:16]
        with reading():
            caller = self._given.caller(self.documents, self.run, self.config)
        return Runtime(
            thread_id=task.thread_id,
            run_id=task.run_id,
            task_id=task.task_id,
            node=task.node,
            attempt=self._attempt,
            idempotency_key=f"{task.thread_id}:{task.run_id}:{task.task_id}:{digest}",
            logger=logging.getLogger(f"petiole.node.{self.run.graph}.{task.node}"),
            is_cancelled=self.services.cancelled,
            services=self.services,
            context=self._given.context,
            caller=caller,
            step=base.step + 1 if base else -1,
            checkpoint_id=task.checkpoint_id or "",
            checkpoint_ns=task.ns,
            first_attempt_time=self._first_attempt_time(),
        )

    def _first_attempt_time(self) -> float:
        """When the first attempt at the task began; of one that goes on in a slot without a claim of its own: about now."""
        task = self.task
        return (task.attempts[0] if task.attempts else task).claimed_at or self.runner.store_time()

    def _end(self, work: Work, ending: str, error: BaseException, *, handled: bool = False) -> None:
        """The task or, with ``retry``, this attempt ends by an error."""
        node = self.task.node
        work.outcome.ending = ending  # type: ignore[assignment]
        attempt = self._last_attempt
        failure = failure_of(error, node=node, attempt=attempt, tries=self._failures + self._tries)
        earlier = list(self._tried)[: -1 if ending == "retry" else None]  # a retry's own error was noted too
        work.outcome.error = document_of(replace(failure, handled=handled, earlier=earlier[-MAX_EARLIER:]))
        work.outcome.output, work.outcome.blobs = None, []
        if ending == "retry":
            return
        self.told.error(error, attempt, will_retry=False)
        if self.runner.on_failure is not None:
            self.runner.on_failure(self.claim, error)
        logger.error(
            "node %s of thread %s (run %s, attempt %d) failed: %s: %s",
            node, self.task.thread_id, self.run.run_id, attempt, type(error).__name__, error,
        )  # fmt: skip


@contextmanager
def reading() -> Iterator[None]:
    """What cannot be read within is the engine's to deal with: it is no failure of users' code."""
    try:
        yield
    except (CorruptionError, UnfitError) as error:
        raise UnreadableError(error) from error
