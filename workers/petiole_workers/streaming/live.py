"""Streams of runs in this process: facts as the runner makes them, handed to whoever reads the stream.

The run has a thread of its own and does not run ahead: a superstep begins when the chunks of the one before have been
taken and the next one is asked for, as in LangGraph. A stream that is closed lets the nodes that run come to their end,
keeps what they gave, and starts nothing more; ``stream(None, config)`` goes on from there.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from petiole_stores.records import Checkpointed, Task
from petiole_workers.documents import Documents
from petiole_workers.graph import Interrupt
from petiole_workers.hop import Work
from petiole_workers.streaming.deriving import Deriver
from petiole_workers.streaming.facts import (
    Fact,
)
from petiole_workers.streaming.handover import Handover, StreamClosedError
from petiole_workers.streaming.live_facts import LiveFacts
from petiole_workers.streaming.modes import SPOKEN, Modes

if TYPE_CHECKING:
    from petiole_workers.attempt import Attempt


class Watch:
    """What an engine reports the run of one stream to. Made in the thread that drives the run."""

    def __init__(self, handover: Handover, deriver: Deriver, documents: Documents) -> None:
        self._handover, self._deriver = handover, deriver
        #: The modes that nodes speak in and that are followed.
        self.heard = SPOKEN & deriver.modes.asked
        self._errors: dict[str, BaseException] = {}
        self._facts = LiveFacts(documents, self._emit, self._errors)
        self._thread = threading.get_ident()

    def resumed(
        self, record: Checkpointed, tasks: Sequence[Task], asked: Mapping[str, tuple[Interrupt, ...]]
    ) -> None:
        """As :meth:`LiveFacts.resumed`."""
        self._facts.resumed(record, tasks, asked)

    def stopped(self, record: Checkpointed, tasks: Sequence[Task]) -> None:
        """As :meth:`LiveFacts.stopped`."""
        self._facts.stopped(record, tasks)

    def failed(self, task_id: str, error: BaseException) -> None:
        """What a task has failed by; its outcome is still to come."""
        self._errors[task_id] = error

    def made(self, work: Work) -> None:
        """Report a task's outcome; where a superstep is over, wait until more is asked for.

        Raises StreamClosedError where nothing more is to be started.
        """
        self._facts.made(work)
        if work.outcome.settle is not None or work.outcome.nest is not None:
            self.pause()

    def said(self, kind: str, value: object, attempt: Attempt, about: Mapping[str, object]) -> None:
        """A node says something."""
        self._facts.said(kind, value, attempt.task, about)

    def pause(self) -> None:
        """Wait until more is asked for; threads of a pool never do, for the interpreter waits for them when it ends."""
        if threading.get_ident() == self._thread:
            self._handover.wait()
        else:
            self._handover.check()

    def _emit(self, fact: Fact) -> None:
        for chunk in self._deriver.chunks(fact):
            self._handover.put(chunk)


def stream(run: Callable[[Handover], object], modes: Modes) -> Iterator[Any]:
    """What ``run`` streams while it runs in a thread of its own, shaped."""
    handover = Handover()
    thread = _start_thread(run, handover)
    try:
        while (chunk := handover.take()) is not None:
            modes.print(chunk)
            if chunk.mode in modes.given:
                yield modes.shaped(chunk)
    finally:
        handover.close()
        thread.join()


async def astream(run: Callable[[Handover], object], modes: Modes) -> AsyncIterator[Any]:
    """As `stream`, for a coroutine."""
    handover = Handover()
    thread = _start_thread(run, handover)
    try:
        while (chunk := await handover.atake()) is not None:
            modes.print(chunk)
            if chunk.mode in modes.given:
                yield modes.shaped(chunk)
    finally:
        handover.close()
        await asyncio.to_thread(thread.join)


def _start_thread(run: Callable[[Handover], object], handover: Handover) -> threading.Thread:
    def work() -> None:
        error: BaseException | None = None
        try:
            handover.wait()
            run(handover)
        except StreamClosedError:
            pass
        except BaseException as raised:  # noqa: BLE001 - it is the reader's
            error = raised
        handover.end(error)

    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(work,), name="petiole-stream", daemon=True
    )
    thread.start()
    return thread
