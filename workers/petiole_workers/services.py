"""What the engine does for a running node: timers, heartbeats, transactions, and telling that it is not wanted any more."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from petiole_stores.errors import SignalTimeoutError, StoreUnavailableError
from petiole_stores.store import StoreTransaction
from petiole_workers.caller import undisturbed
from petiole_workers.children import Child
from petiole_workers.graph import GraphInterrupt, Interrupt
from petiole_workers.graph.children import ChildCall
from petiole_workers.graph.steps import StepFuture
from petiole_workers.parking import ParkedError
from petiole_workers.progress import Awaited, ChildSeen, Packed, Progress
from petiole_workers.retry import RetryStrategy
from petiole_workers.signals import take_signal
from petiole_workers.stepping import Steps, taker_of

if TYPE_CHECKING:
    from petiole_stores.records import Task
    from petiole_workers.runner import Runner

#: How often a node of ``graph.invoke`` looks for its signal, in seconds.
LOOK = 0.05
#: Heartbeats closer together than this are kept with the next one, in seconds.
TOGETHER = 0.1


class AttemptServices:
    """The services of one attempt at one task; ``failed``: how many tries of it failed before."""

    def __init__(self, runner: Runner, task: Task, *, failed: int = 0) -> None:
        self._runner, self._task, self._failed = runner, task, failed
        self._serde = runner.store.serde
        self._known = Progress.read(task.progress)
        self.progress = self._seen = self._known
        self._timer = self._question = self._signal = 0
        self._noted = float("-inf")
        self._pending = False
        self._asked = time.monotonic() + runner.settings.beat_every
        self._lost = False
        self._stack = ExitStack()
        self.open_transaction: StoreTransaction | None = None
        self._answered_beyond = False
        self.steps = Steps(runner.store, task)

    @cached_property
    def _taker(self) -> str:
        """Who takes signals."""
        return taker_of(self._task)

    # ---------------------------------------------------------------- is it still wanted?

    def cancelled(self) -> bool:
        """Whether the claim has ended, as the main process says; where it cannot tell, the ledger is asked, at most once a
        beat."""
        seat = self._runner.seat
        if seat is not None and seat.sees_claim:
            return self._lost or seat.cancelled
        if not self._lost and time.monotonic() >= self._asked:
            self._asked = time.monotonic() + self._runner.settings.beat_every
            task_id, token = self._runner.anchor(self._task)
            try:
                with undisturbed():
                    self._lost = not self._runner.store.holds(task_id, token)
            except StoreUnavailableError:
                pass  # not knowing is no reason to stop: the fence will judge the output
        return self._lost

    # ---------------------------------------------------------------- timers

    def pause(self, seconds: float) -> float:
        """How long to wait here for the attempt's next timer. Raises ParkedError where that is too long."""
        index, self._timer = self._timer, self._timer + 1
        now = self._runner.store_time()
        timers = list(self.progress.timers)
        if index == len(timers):
            timers.append(now + seconds)
            self.progress = self.progress.with_timer(now + seconds)
        left = max(0.0, timers[index] - now)
        if left > self._runner.caller.in_process_wait:
            raise ParkedError(left)
        self._runner.caller.progress(heartbeat=False, pause=left)
        return left

    def again(self) -> None:
        """A further try begins in this process."""
        self._timer = self._question = self._signal = 0
        self.steps.again()
        self._seen = self.progress
        self.roll_back()

    def _beyond(self, ask: Callable[[], Any]) -> Any:
        """Let the node ask or wait within which this graph runs; where it is put away, so is this one."""
        try:
            answer = ask()
        except (GraphInterrupt, ParkedError) as error:
            self._runner.beyond = error
            raise
        self._answered_beyond = True
        return answer

    @property
    def was_answered(self) -> bool:
        """Whether an interrupt or a wait of the task has got an answer."""
        had = self.progress.answers or any(signal.value is not None for signal in self.progress.signals)
        return bool(had) or self._answered_beyond

    # ---------------------------------------------------------------- signals

    def wait_signal(self, name: str, timeout: float | None) -> Any:
        """The payload of the attempt's next signal. Raises ParkedError while there is none, SignalTimeoutError when its time
        is over."""
        if (around := self._runner.around) is not None:
            return self._beyond(lambda: around.wait_signal(name, timeout))
        index, self._signal = self._signal, self._signal + 1
        thread_id, store, now = self._task.thread_id, self._runner.store, self._runner.store_time
        if index == len(self.progress.signals):
            until = None if timeout is None else now() + timeout
            self.progress = self.progress.with_signal(index, Awaited(name, until))
        awaited = self.progress.signals[index]
        if awaited.value is not None:
            return awaited.value.value(self._serde, thread_id)
        with undisturbed():
            self._runner.commit_carried()  # so that the ledger knows who is to be woken
        while True:
            with undisturbed():
                document = take_signal(store, thread_id, name, self._taker, index)
            if document is not None:
                payload = self._serde.load_whole(document)
                value = Packed.of(payload, self._serde, thread_id)
                self.progress = self.progress.with_signal(index, Awaited(name, awaited.until, value))
                return payload
            left = None if awaited.until is None else awaited.until - now()
            if left is not None and left <= 0:
                raise SignalTimeoutError(f"no signal {name!r} came to thread {thread_id!r} in time")
            if self._runner.published_elsewhere:
                raise ParkedError(left or 0.0, name)
            time.sleep(min(LOOK, left or LOOK))

    # ---------------------------------------------------------------- children

    def child(self, call: ChildCall) -> Any:
        """The result of the attempt's child run, see `Child.result`."""
        with undisturbed():
            self._runner.commit_carried()  # so that the ledger knows who is to be woken
        return Child(self._runner, self._task, self._taker, self._keep_child).result(
            call, self.progress.child
        )

    def _keep_child(self, seen: ChildSeen, at_once: bool) -> bool:
        """Keep what is known of the child, for the next attempt; ``at_once``: in the ledger now. Whether the claim stands."""
        self.progress = self.progress.with_child(seen)
        if not at_once:
            return True
        with undisturbed():
            return self._runner.patiently(
                lambda: self._runner.store.note(
                    self._task.task_id, self._task.token or "", self.progress.text()
                )
            )

    # ---------------------------------------------------------------- interrupts

    def interrupt(self, value: object) -> Any:
        """The answer to the attempt's next interrupt. Raises GraphInterrupt where there is none yet."""
        if (around := self._runner.around) is not None:
            return self._beyond(lambda: around.interrupt(value))
        index, self._question = self._question, self._question + 1
        thread_id = self._task.thread_id
        if index < len(self.progress.answers):
            return self.progress.answers[index].value.value(self._serde, thread_id)
        question = Interrupt(value, hashlib.sha256(f"{self._task.task_id}:{index}".encode()).hexdigest()[:32])
        self.progress = self.progress.with_question(question.id, value, self._serde, thread_id)
        raise GraphInterrupt((question,))

    def answers(self) -> list[Any]:
        """The answers that the task's interrupts have got so far, in the order asked."""
        thread_id = self._task.thread_id
        return [it.value.value(self._serde, thread_id) for it in self.progress.answers]

    # ---------------------------------------------------------------- steps

    def step(self, name: str, call: Callable[[], Any], policies: Sequence[RetryStrategy]) -> StepFuture[Any]:
        """Begin the attempt's next step, see `Steps.begin`."""
        return self.steps.begin(name, call, policies)

    # ---------------------------------------------------------------- tries

    def failures(self) -> int:
        """How many tries of the task have failed so far, in this attempt and in those before."""
        return self._failed + max(self._runner.caller.tries - 1, 0)

    # ---------------------------------------------------------------- heartbeats

    def details(self) -> Any:
        return self._seen.value(self._serde, self._task.thread_id)

    def heartbeat(self, details: object) -> None:
        self._runner.caller.progress(heartbeat=True)
        self.progress = self.progress.with_details(details, self._serde, self._task.thread_id)
        if time.monotonic() - self._noted < TOGETHER:
            self._pending = True
            return
        self._pending = False
        with undisturbed():
            self._runner.commit_carried()
            try:
                kept = self._runner.store.note(
                    self._task.task_id, self._task.token or "", self.progress.text()
                )
                self._lost = self._lost or not kept
            except StoreUnavailableError:
                self._pending = True  # the next heartbeat, or the attempt's end, brings it
        self._noted = time.monotonic()

    def left_behind(self) -> str | None:
        """The progress that the ledger does not have yet."""
        waited = (self.progress.timers, self.progress.signals, self.progress.child)
        return (
            self.progress.text()
            if self._pending or waited != (self._known.timers, self._known.signals, self._known.child)
            else None
        )

    # ---------------------------------------------------------------- transactions

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with undisturbed():
            if self.open_transaction is None:
                self._runner.commit_carried()
                self.open_transaction = self._stack.enter_context(self._runner.store.transaction())
        try:
            yield self.open_transaction.connection
        except BaseException:
            self.roll_back()
            raise

    def roll_back(self) -> None:
        """Undo what the node did in its transaction; its steps that still run come to their end."""
        self.steps.close()
        self.open_transaction = None
        with undisturbed():
            self._stack.close()
