"""One attempt at one task: what the node is given, what it gave, and the outcome that says so."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import logging
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from petiole_stores.errors import (
    CorruptionError,
    GraphError,
    InvalidUpdateError,
    StoreUnavailableError,
    UnfitError,
)
from petiole_stores.ids import new_id
from petiole_stores.records import Claim, Outcome
from petiole_workers.board import TakenOverError
from petiole_workers.caller import RetryLaterError, is_interruptible, next_try
from petiole_workers.compiled import CompiledGraph
from petiole_workers.damage import UnreadableError
from petiole_workers.documents import Loaded, read_timeout
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
from petiole_workers.given import Given
from petiole_workers.graph import (
    HANDLER_PREFIX,
    MISSING,
    GraphDefinition,
    GraphInterrupt,
    NodeError,
    NodeSpec,
    Runtime,
    TaskOutput,
    TaskSpec,
    task_input,
    task_output,
)
from petiole_workers.graph import call as call_function
from petiole_workers.hop import Work, read_config
from petiole_workers.limits import NodeTimeoutError, first_limit, limited, timed_out
from petiole_workers.logs import Journal, journaled
from petiole_workers.nesting import Nesting, namespace
from petiole_workers.parking import ParkedError
from petiole_workers.services import AttemptServices
from petiole_workers.settling import Settling, reading
from petiole_workers.streaming.messages import Hearing, is_there
from petiole_workers.streaming.speaking import Spoken, metadata_of
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
        self.task, self.run = claim.task, claim.run
        #: Of the graph that the task is of: ``graph``, or one of its subgraphs.
        self.definition = graph.definition
        self._unknown: GraphError | None = None
        try:
            self.definition = self.definition_of(claim.task.ns)
        except GraphError as error:
            self._unknown = error
        self.documents = runner.documents
        known = parse_failure(self.task.error) if self.task.failures else None
        #: Earlier tries that failed: the ledger counts those that left the worker, the error has those made in it too.
        self._failures = max(self.task.failures, known.tries if known else 0)
        self._known = known
        self._tries = 0
        self._tried: deque[Failure] = deque(maxlen=MAX_EARLIER + 1)
        self._on_timeout: Outcome | None = None
        self.config = read_config(self.run.config)
        self.durability = runner.durability(self.config.durability or graph.durability)
        self.services = AttemptServices(runner, self.task, failed=self._failures)
        self.told = Telling(graph, claim)
        self._hearing: Hearing | None = None
        self._said = itertools.count(1)

    # Made anew for each use: kept, they and the attempt would hold each other, and each hop would leave work to the cycle
    # collector, whose runs took a tenth of a pool process's time.

    @property
    def settling(self) -> Settling:
        """The settles of this attempt."""
        return Settling(self)

    @property
    def nesting(self) -> Nesting:
        """The namespace of this attempt's task."""
        return Nesting(self)

    def definition_of(self, ns: str) -> GraphDefinition:
        """The graph of a namespace."""
        return self.graph.definition.within(ns) if ns else self.graph.definition

    def check(self) -> None:
        """Raises GraphError when this version of the graph does not have the task's subgraph."""
        if self._unknown is not None:
            raise self._unknown

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
            self.check()
            if self.task.node not in self.definition.nodes:
                known = ", ".join(self.definition.nodes)
                raise GraphError(
                    f"graph {self.run.graph!r} has no node {self.task.node!r} in this worker's version; it has: {known}. "
                    "Bring the node back, or replay the run from a checkpoint before it"
                )
            loaded = self.base(tasks=self.claim.width == 1)
            self.settling.check_limit(loaded.snapshot)
            spec = TaskSpec(path=self.task.path, node=self.task.node, arg=self._arg())
            input = task_input(
                self.definition, loaded.snapshot, spec, stop=self.settling.stop(loaded.snapshot)
            )
            if self._node.subgraph is None:
                with journaled(self._journal()):
                    output = self._output(work, input, spec)
                    self.services.steps.close()
            elif self.task.child:
                output = self.nesting.output(spec)
            else:
                self.nesting.open(work, loaded, spec, input)
                return
            if output.to_parent and not self.task.ns:
                raise InvalidUpdateError(
                    f"node {spec.node!r} returned a Command for its parent graph, but graph {self.run.graph!r} is no other "
                    "graph's node here: leave graph=Command.PARENT out"
                )
            document, blobs = self.documents.output(self.task.thread_id, output, node=self.task.node)
        except GraphInterrupt:
            self.services.roll_back()
            work.outcome.ending, work.outcome.progress = "interrupted", self.services.progress.text()
            return
        except ParkedError as parked:
            self._put_off(work, "parked", parked.delay)
            work.outcome.awaits = parked.awaits
            return
        except UnreadableError as unreadable:
            self.unreadable(work, unreadable.error)
            return
        except RetryLaterError as later:
            self.end(work, "retry", later.error)
            self._put_off(work, "retry", later.delay)
            return
        except TakenOverError:
            self.services.roll_back()
            assert self._on_timeout is not None
            work.outcome, work.taken_over = self._on_timeout, True
            node = self._node
            again = work.outcome.ending == "retry"
            self.told.error(timed_out(node), self._last_attempt, will_retry=again)
            return
        except BaseException as error:  # what users' code raises is its task's outcome
            self.services.roll_back()
            if ends_the_process(error) or isinstance(error, StoreUnavailableError):
                raise
            self.end(work, "failed", error)
            return
        work.transaction, work.forget = self.services.open_transaction, self.services.steps.forget
        work.output, work.attempt = output, self._last_attempt
        if (
            self._tried and work.outcome.error is None
        ):  # it succeeded in the end; what it failed of before is kept
            *earlier, last = self._tried
            work.outcome.error = document_of(replace(last, earlier=earlier))
        work.outcome.output = document
        work.outcome.blobs = list(blobs.values())
        if self.claim.width == 1:
            self.settling.alone(work, loaded, output)

    def _output(self, work: Work, input: object, spec: TaskSpec) -> TaskOutput:
        """What the node gives; or, once it has failed for good, its error handler."""
        node = self._node
        try:
            if node.error_handler is not None and self._is_over(node):
                raise timed_out(node)
            return self._cached(node, input, spec)
        except Exception as error:
            if node.error_handler is None or isinstance(error, StoreUnavailableError | RetryLaterError):
                raise
            self.services.again()
            self.end(work, "failed", error, handled=True)
            work.outcome.ending = "done"
            handler = node.error_handler.bind(NodeError(node.name, error))
            fresh = dataclasses.replace(spec, arg=self._arg())
            again = self._input(fresh)
            returned = call_function(handler, again, self.runtime(), self.runner.caller.wait)
            given = task_output(self.definition, spec, returned)
            return dataclasses.replace(given, node=HANDLER_PREFIX + node.name)

    def _cached(self, node: NodeSpec, input: object, spec: TaskSpec) -> TaskOutput:
        """What the node gave for this input before, if it may be used again; else what it gives now."""
        if node.cache_policy is None:
            return task_output(self.definition, spec, self._call(input, spec))
        cache, definition = self.runner.cache, self.definition
        name = namespace(self.task.ns, node.name, "", persistent=True)
        place = cache.place(
            node.cache_policy, input, graph=self.run.graph, node=name, version=self.graph.definition.version
        )
        if (kept := cache.find(place, spec)) is not None:
            return dataclasses.replace(kept, cached=True)
        output = task_output(definition, spec, self._call(input, spec))
        # What a person or the world has said was said to this thread alone.
        if self.services.open_transaction is None and not self.services.was_answered:
            cache.keep(place, output)
        return output

    def unreadable(self, work: Work, error: CorruptionError | UnfitError) -> None:
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

        caller, node = self.runner.caller, self._node
        self.told.start(self._attempt)
        try:
            returned = caller.call(
                node,
                input,
                self.runtime(),
                failures=self._failures,
                key=self._key,
                again=again,
                on_retry=self._note,
                watch=self._watch,
                extend=self._extend,
                hear=self._hear,
            )
            if self._hearing is not None:
                self._hearing.returned(returned)
            return returned
        finally:
            self._tries = caller.tries

    def _input(self, spec: TaskSpec) -> object:
        """What the node is given, made anew."""
        base = self.base(tasks=False).snapshot
        return task_input(self.definition, base, spec, stop=self.settling.stop(base))

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
        seat, node = self.runner.seat, self._node
        limit = first_limit(node)
        if seat is None or limit is None:
            return nullcontext()
        self.runner.know()
        self._on_timeout = self._timed_out(node, tries)
        return seat.limit(limit + self._margin(node), self._on_timeout)

    def _extend(self, seconds: float) -> None:
        """The node has shown progress: it may go on for so long at least."""
        if (seat := self.runner.seat) is not None:
            seat.extend(seconds + self._margin(self._node))

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

    # ---------------------------------------------------------------- parts

    def base(self, *, tasks: bool = True) -> Loaded:
        base = self.claim.base
        with reading():
            if base is None:
                raise CorruptionError(
                    f"the checkpoint {self.task.checkpoint_id} that {self.task.node!r} starts from is missing from the store"
                )
            return self.documents.checkpoint(base, tasks=tasks)

    @cached_property
    def _node(self) -> NodeSpec:
        """The task's node, under the task's own timeout if it has one."""
        node, timeout = self.definition.nodes[self.task.node], self.task.timeout
        if timeout is None:
            return node
        with reading():
            return limited(node, read_timeout(timeout))

    def _arg(self) -> object:
        if self.task.arg is None:
            return MISSING
        with reading():
            return self.documents.value(self.task.thread_id, self.task.arg)

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

    def runtime(self) -> Runtime[Any]:
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
            store=self.runner.memory if self.graph.store is None else self.graph.store,
            stream_writer=self._write,
            first_attempt_time=self._first_attempt_time(),
        )

    def _first_attempt_time(self) -> float:
        """When the first attempt at the task began; of one that goes on in a slot without a claim of its own: about now."""
        task = self.task
        return (task.attempts[0] if task.attempts else task).claimed_at or self.runner.store_time()

    # ---------------------------------------------------------------- what the node says

    def _write(self, value: Any) -> None:
        """What ``runtime.stream_writer`` of this attempt does."""
        self.runner.say("custom", value, self)

    def _journal(self) -> Journal | None:
        """Where what the node logs goes; ``None``: it is not kept."""
        severity = self.runner.logs
        return None if severity is None else Journal(lambda logged: self.runner.log(logged, self), severity)

    def _hear(self, input: object) -> AbstractContextManager[None]:
        """Listen to the chat models of one try, where somebody follows them."""
        self._hearing = None
        if "messages" not in self.runner.heard or not is_there():
            return nullcontext()
        self._hearing = Hearing(self._say_message, metadata_of(self.spoken))
        return self._hearing.listening(input)

    def _say_message(self, message: object, metadata: Mapping[str, object]) -> None:
        self.runner.say("messages", message, self, metadata)

    @property
    def spoken(self) -> Spoken:
        """What goes with all that the node says."""
        task, base = self.task, self.claim.base
        attempt = self._attempt + max(self.runner.caller.tries - 1, 0)
        step = -1 if base is None else base.step + 1
        return Spoken(task.task_id, task.node, task.ns, task.path, step, attempt, task.thread_id)

    def utterance(self) -> str:
        """An id for the next thing that the node says; no two attempts have the same."""
        return f"{self.task.token}:{next(self._said)}"

    def end(self, work: Work, ending: str, error: BaseException, *, handled: bool = False) -> None:
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
