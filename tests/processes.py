"""Processes that tests start, pause, stop and kill, and that die with the test process."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

LEASH = Path(__file__).with_name("leash.py")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def answers(host: str, port: int, timeout: float = 1.0) -> bool:
    """Does anything accept connections there?"""
    try:
        with socket.create_connection((host, port), timeout):
            return True
    except OSError:
        return False


def alive(pid: int) -> bool:
    """Is the process there, and not a zombie that nobody has reaped yet?"""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        if Path("/proc/self").exists():
            return False
        # Not Linux.
        state = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
    return bool(state.strip()) and state.strip()[0] not in "ZX"


class Leashed:
    """One command in a session of its own, with its output in ``log``; it never outlives this process.

    ``pid`` is the command's own process id (not the leash's).
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
    ) -> None:
        self.command = [str(part) for part in command]
        self.log = log
        self._handle = self._life = -1
        life, self._life = os.pipe()
        answer, tell = os.pipe()
        try:
            with log.open("ab") as output:
                self._leash = subprocess.Popen(
                    [sys.executable, "-I", "-S", LEASH, str(life), str(tell), user or "-", *self.command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=None if env is None else dict(env),
                    cwd=cwd,
                    pass_fds=(life, tell),
                    start_new_session=True,
                )
        finally:
            os.close(life)
            os.close(tell)
        with os.fdopen(answer) as pipe:
            line = pipe.readline()
        if not line:
            self._leash.wait()
            self._release()
            raise RuntimeError(f"could not start {self.command[0]}: {self.tail()}")
        self.pid = int(line)
        # Becomes readable when the process has ended, be it reaped or not (Linux only).
        if hasattr(os, "pidfd_open"):
            try:
                self._handle = os.pidfd_open(self.pid)
            except ProcessLookupError:
                pass  # ended and reaped already

    def running(self) -> bool:
        """Is the command still there?"""
        return self._leash.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command alone; nothing if it has ended."""
        if self.running():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass

    def stop(self, timeout: float = 15.0, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask the command to end; kill it after ``timeout`` seconds. Gives its exit code."""
        self.send(number)
        try:
            self._leash.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.kill()
        return self._end()

    def kill(self) -> int:
        """SIGKILL to the command and everything in its process group. Gives its exit code."""
        return self._end()

    def wait(self, timeout: float) -> int:
        """Wait for the command to end by itself, at most ``timeout`` seconds."""
        self._leash.wait(timeout)
        return self._end()

    def pause(self) -> None:
        """SIGSTOP to the whole group: a process that hangs."""
        os.killpg(self._leash.pid, signal.SIGSTOP)

    def unpause(self) -> None:
        """SIGCONT to the whole group."""
        os.killpg(self._leash.pid, signal.SIGCONT)

    def tail(self, size: int = 3000) -> str:
        """The end of the command's output."""
        try:
            return self.log.read_bytes()[-size:].decode(errors="replace")
        except OSError:
            return ""

    def _end(self) -> int:
        if self._life < 0:
            return self._leash.returncode  # ended before: the group's number may be somebody else's by now
        try:
            os.killpg(self._leash.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # the group is empty
        code = self._leash.wait()
        self._await_end()
        self._release()
        return code

    def _await_end(self, timeout: float = 10.0) -> None:
        # The leash is reaped, but the command is init's child now and may still be on its way out.
        if self._handle >= 0:
            select.select([self._handle], [], [], timeout)

    def _release(self) -> None:
        if self._life >= 0:
            os.close(self._life)
            self._life = -1
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __del__(self) -> None:
        self._release()
