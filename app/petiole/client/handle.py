"""A submitted run in the hands of its submitter."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from petiole.client.answering import told
from petiole.client.reasons import reason_of
from petiole_stores.errors import (
    RunCancelledError,
    RunFailedError,
    RunInterruptedError,
    RunTimeoutError,
)
from petiole_stores.records import SETTLED, Run, RunStatus
from petiole_workers.failure import parse_failure

if TYPE_CHECKING:
    from petiole.client.answering import Question
    from petiole.client.client import Client
    from petiole.client.logs import LogEntry
    from petiole.client.streaming import RunStream
    from petiole_workers.graph import Interrupt
    from petiole_workers.streaming import StreamMode

    #: What an interrupted run asks: as it is told to people, and the questions themselves.
    Interrupts = Callable[[Run], tuple[Sequence[Question], Sequence[Interrupt]]]

#: The first and the longest pause between two looks at a run, in seconds.
FIRST_LOOK, LONGEST_LOOK = 0.02, 0.5
#: In these a run stays until somebody does something about it.
RESTING = SETTLED | {"interrupted"}


class RunHandle:
    """One run: its ids, and what can be asked of it. Cheap to make; every call asks the store anew."""

    def __init__(self, client: Client, thread_id: str, run_id: str) -> None:
        self._client = client
        self.thread_id, self.run_id = thread_id, run_id

    def __repr__(self) -> str:
        return f"<RunHandle run {self.run_id} of thread {self.thread_id!r}>"

    @property
    def run(self) -> Run:
        """The run's record as it is now. Raises NotFoundError when the store has lost it."""
        return self._client.get_run(self.run_id, thread_id=self.thread_id)

    def status(self) -> RunStatus:
        """The run's status now."""
        return self.run.status

    def wait(self, timeout: float | None = None) -> Run:
        """Wait until the run has settled or is interrupted, and return its record.

        ``timeout`` is in seconds (``None``: for ever). Raises RunTimeoutError after it; the run itself goes on.
        """
        until = None if timeout is None else time.monotonic() + timeout
        for pause in pauses(timeout):
            run = self._client._look_at(self, until)
            if run.status in RESTING:
                return run
            if pause is None:
                raise timed_out(run, timeout)
            time.sleep(pause)
        raise AssertionError("pauses() ends with None")

    def result(self, timeout: float | None = None) -> dict[str, Any]:
        """Wait for the run's end and return the final state's values.

        Raises RunFailedError (its ``failure`` has the failing node, attempt and traceback), RunCancelledError,
        RunInterruptedError when the run waits for somebody (its ``interrupts`` are the questions), RunTimeoutError after
        ``timeout`` seconds.
        """
        return self.outcome(self.wait(timeout))

    def outcome(self, run: Run) -> dict[str, Any]:
        """The final state's values of this run's record, once it has ended; raises what :meth:`result` does."""
        return self._client.outcome(run)

    def interrupts(self) -> list[Interrupt]:
        """The questions that the run waits with, as :meth:`Client.interrupts`."""
        return self._client.interrupts(self.thread_id, run=self.run_id)

    def stream(
        self,
        stream_mode: StreamMode | Sequence[StreamMode] | None = None,
        *,
        after: str | None = None,
        subgraphs: bool = False,
        output_keys: str | Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> RunStream:
        """Follow the run while workers execute it, as :meth:`Client.stream`."""
        return self._client.stream(
            self.thread_id,
            self.run_id,
            stream_mode,
            after=after,
            subgraphs=subgraphs,
            output_keys=output_keys,
            timeout=timeout,
        )

    def logs(
        self,
        *,
        task_id: str | None = None,
        node: str | None = None,
        level: str | None = None,
        follow: bool = False,
    ) -> Iterator[LogEntry]:
        """What the run's nodes have logged, as :meth:`Client.logs`."""
        return self._client.logs(self.run_id, task_id=task_id, node=node, level=level, follow=follow)

    def cancel(self, reason: str = "") -> bool:
        """Cancel the run; ``False`` when it was cancelled before. Raises ConflictError when it has ended otherwise."""
        return self._client.cancel(self.thread_id, run=self.run_id, reason=reason)

    def pause(self, reason: str = "") -> bool:
        """Hold the run back, as :meth:`Client.pause`."""
        return self._client.pause(self.thread_id, run=self.run_id, reason=reason)

    def unpause(self) -> bool:
        """Let the paused run go on, as :meth:`Client.unpause`."""
        return self._client.unpause(self.thread_id, run=self.run_id)


def pauses(timeout: float | None) -> Iterator[float | None]:
    """How long to pause after each look, growing from 20 to 500 ms; ``None`` when the time is over."""
    until = None if timeout is None else time.monotonic() + timeout
    pause = FIRST_LOOK
    while True:
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            yield None
            return
        yield pause if left is None else min(pause, left)
        pause = min(pause * 1.5, LONGEST_LOOK)


def timed_out(run: Run, timeout: float | None) -> RunTimeoutError:
    why = f" ({reason_of(run)})" if run.reason else ""
    return RunTimeoutError(
        f"run {run.run_id} of thread {run.thread_id!r} is still {run.status}{why} after {timeout or 0:g} s; it goes on: "
        f"wait longer, or see `petiole run explain {run.thread_id}`"
    )


def check_succeeded(run: Run, interrupts: Interrupts | None = None) -> None:
    """Raise the error that a run's end stands for, unless it succeeded; ``interrupts`` tells what an interrupted one asks."""
    where = f"run {run.run_id} of thread {run.thread_id!r}"
    if run.status == "failed":
        failure = parse_failure(run.error)
        raise RunFailedError(
            f"{where} failed: {failure or 'no reason is on record'}; once the cause is mended, "
            f"`petiole run replay {run.thread_id}` goes on from the failed nodes",
            failure,
        )
    if run.status == "cancelled":
        failure = parse_failure(run.error)
        raise RunCancelledError(f"{where} was cancelled" + (f": {failure.message}" if failure else ""))
    if run.status == "interrupted":
        questions, asked = interrupts(run) if interrupts else ([], [])
        said = "; ".join(told(questions)) or f"petiole run resume {shlex.quote(run.thread_id)} lets it go on"
        raise RunInterruptedError(
            f"{where} is interrupted: {said}",
            asked,
        )
