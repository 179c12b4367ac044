"""The parent of the embedded broker's server: starts it, starts it again if it dies, ends it when nobody uses it.

Run by ``EmbeddedBroker`` as ``python -m petiole.embedded_guard FOLDER SOCKET BINARY``. It has no thread and polls nothing: it
sleeps in the wait for an exclusive lock on ``broker.users``, which the kernel grants when the last user's process has
let go of it or has died; the death of the server wakes it by SIGCHLD.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

# <linux/prctl.h>
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> Callable[[], None] | None:
    """What the server's process must do between fork and exec so that it never outlives its guard (Linux only)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask


class Guard:
    """Keeps one server alive in ``folder`` until nobody holds ``broker.users``."""

    def __init__(self, folder: Path, socket: Path, binary: Path) -> None:
        self.folder = folder
        self.socket = socket
        self.binary = binary
        self.server: subprocess.Popen[bytes] | None = None
        self.launched = 0.0

    def run(self) -> None:
        """Guard the server; returns when it has been ended, or at once if the folder has a guard."""
        with (
            (self.folder / "broker.guard").open("a") as turn,
            (self.folder / "broker.users").open("a") as users,
        ):
            try:
                fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            signal.signal(signal.SIGTERM, self._leave)
            signal.signal(signal.SIGCHLD, self._look)
            try:
                self.launch()
                fcntl.flock(users, fcntl.LOCK_EX)
            finally:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                self.end()

    def launch(self) -> None:
        """Start the server and write down its process id."""
        settings = {
            "dir": str(self.folder),
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        self.launched = time.monotonic()
        self.server = subprocess.Popen(
            [self.binary, *(part for name, value in settings.items() for part in (f"--{name}", value))],
            stdin=subprocess.DEVNULL,
            preexec_fn=_die_with_parent(),
        )
        state = self.folder / "broker.json.new"
        state.write_text(
            json.dumps({"guard": os.getpid(), "server": self.server.pid, "socket": str(self.socket)})
        )
        state.replace(self.folder / "broker.json")

    def end(self) -> None:
        """Stop the server in good order, by force after 10 s."""
        if self.server is not None:
            self.server.terminate()
            try:
                self.server.wait(10)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
        for path in (self.socket, self.folder / "broker.json"):
            path.unlink(missing_ok=True)

    def _look(self, _number: int, _frame: FrameType | None) -> None:
        if self.server is None or self.server.poll() is None:
            return
        print(
            f"petiole: the embedded broker ended with code {self.server.returncode}",
            file=sys.stderr,
            flush=True,
        )
        # One that dies at once (a full disk, a damaged file) must not be started in a busy loop.
        lived = time.monotonic() - self.launched
        if lived < 1.0:
            time.sleep(1.0 - lived)
        self.launch()

    def _leave(self, _number: int, _frame: FrameType | None) -> None:
        sys.exit(0)


if __name__ == "__main__":
    Guard(*map(Path, sys.argv[1:4])).run()
