"""Named points at which a test can kill a process with SIGKILL, to see that nothing is lost just there.

Off unless ``PETIOLE_TEST_CRASHPOINT`` is set when the process starts; reaching a point then costs one comparison with
``None``. Its form is ``name[:nth[:once-file[:group]]]``: die at the ``nth`` time (from 1) that this process gets there; with a
``once-file`` only the process that creates that file dies, so that of a whole cluster one does; with ``group`` its whole
process group goes with it (a pool process takes its worker along).
"""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from petiole_stores.errors import ConfigurationError

VARIABLE = "PETIOLE_TEST_CRASHPOINT"

#: Every point, and what is true when it is reached. Each writing operation of the ledger has one before it and one after.
POINTS = {
    "submit.before": "a run is about to be accepted",
    "submit.after": "it is accepted, nothing is published",
    "claim.before": "messages are taken, nothing is claimed",
    "claim.after": "tasks are claimed, no node has started",
    "node.after": "a node has returned, its output is in memory alone",
    "note.before": "a heartbeat's details are about to be kept",
    "note.after": "a heartbeat's details are kept",
    "finish.before": "outcomes are complete, nothing is committed",
    "finish.after": "outcomes are committed, what comes next is not published",
    "timeout.before": "a node past its timeout is ended, nothing is committed in its place",
    "timeout.after": "its timeout is committed, nothing is published",
    "publish.after": "what comes next is published, the next claim has not told the ledger",
    "beat.before": "the lease is about to be renewed",
    "beat.after": "the lease is renewed",
    "sweep.before": "a sweep is about to begin",
    "sweep.after": "dead holders' tasks are ready, nothing is published",
    "due.before": "tasks are about to be picked for publishing",
    "due.after": "tasks are picked for publishing and their next_publish is pushed on, no message is out",
    "refill.after": "the picked tasks are published",
    "postpone.before": "tasks of other workers' graphs are about to be put off",
    "postpone.after": "tasks of other workers' graphs are put off",
    "release.before": "a stop or a dead child is about to be told to the ledger",
    "release.after": "claims are given back, their tasks are not published",
    "cancel.before": "a run is about to be cancelled",
    "cancel.after": "a run is cancelled, its thread's next one is not published",
    "replay.before": "a failed run is about to be replayed",
    "replay.after": "a failed run is replayed, its new tasks are not published",
    "resume.before": "an interrupted run is about to be resumed",
    "resume.after": "an interrupted run is resumed, its tasks are not published",
    "amend.before": "checkpoints made by hand are about to be put at a head",
    "amend.after": "checkpoints made by hand are at a head, what comes after them is not published",
    "wake.before": "a signal is kept, its waits are about to end",
    "wake.after": "waits for a signal have ended, their tasks are not published",
    "pause.before": "a run is about to be paused",
    "pause.after": "a run is paused",
    "unpause.before": "a run is about to be let go",
    "unpause.after": "a run is let go, its tasks are not published",
    "block.before": "a run that cannot go on is about to be held back",
    "block.after": "a run that cannot go on is held back",
    "unblock.before": "a run that can go on again is about to be let go",
    "unblock.after": "a run that can go on again is let go, its tasks are not published",
    "drop.before": "dead letters are about to be dropped",
    "drop.after": "dead letters are dropped",
    "mend.before": "a damaged checkpoint is about to be rebuilt",
    "mend.after": "a damaged checkpoint is rebuilt, its task is still claimed",
    "quarantine.before": "a checkpoint is damaged beyond repair, nothing says so yet",
    "quarantine.after": "a checkpoint is quarantined, its run is not held back yet",
    "spool.before": "a spooled entry is about to be sent",
    "spool.after": "a spooled entry is sent, and still in the spool",
    "trim.before": "a thread's old checkpoints are about to be removed",
    "trim.after": "a thread's old checkpoints are removed",
    "delete.before": "a thread is about to be removed",
    "delete.after": "a thread is removed",
}


@dataclass
class Armed:
    """One point at which this process is to die."""

    point: str
    nth: int = 1
    once_file: str = ""
    group: bool = False
    _reached: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def parse(cls, text: str) -> Armed:
        """Raises ConfigurationError for an unknown point, or a form that is none."""
        point, _, rest = text.partition(":")
        nth, _, rest = rest.partition(":")
        once_file, _, group = rest.partition(":")
        if point not in POINTS:
            raise ConfigurationError(
                f"{VARIABLE} names {point!r}, which is no crash point; there are {', '.join(POINTS)}"
            )
        if (nth and not (nth.isdecimal() and int(nth))) or group not in ("", "group"):
            raise ConfigurationError(
                f"{VARIABLE} is {text!r}: write name[:nth[:once-file[:group]]], nth from 1"
            )
        return cls(point, int(nth or 1), once_file, group == "group")

    def reach(self, point: str) -> None:
        if point != self.point:
            return
        with self._lock:
            self._reached += 1
            if self._reached == self.nth and self._is_first():
                self._die()

    def _is_first(self) -> bool:
        if not self.once_file:
            return True
        try:
            os.close(os.open(self.once_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        return True

    def _die(self) -> NoReturn:
        if self.group:
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("SIGKILL cannot be outlived")


class Watcher(Protocol):
    """Whoever is told of the points that are reached."""

    def reach(self, point: str) -> None: ...


def arm(armed: Watcher | None) -> None:
    """Arm this process for a point, or for none."""
    global _armed
    _armed = armed


_armed: Watcher | None = Armed.parse(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def reach(point: str) -> None:
    """Say that this point is reached: the process ends here when it is armed for it."""
    if _armed is not None:
        _armed.reach(point)
