"""Which server a test session uses, and a database, number or virtual host of its own on it.

The order for each kind: its variable (``PETIOLE_TEST_POSTGRES``, ``…_REDIS``, ``…_RABBITMQ``); a server at its standard port; a
private one. ``PETIOLE_TEST_PRIVATE=1`` leaves out the second. What a test makes on a shared server is removed after
it, and what a crashed session left is removed by the next one.
"""

from __future__ import annotations

import fcntl
import getpass
import itertools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import redis
from psycopg import sql

from tests.servers import HOST, OwnPostgres, OwnRabbitMQ, OwnRedis, OwnServer, dead, rabbitmq_answers


class NoServerError(Exception):
    """No server can be had; the message is the reason and the remedy."""


@dataclass(frozen=True)
class Found:
    """A server that answers; ``own`` is set if it is private and must be closed at the end."""

    url: str
    own: OwnServer | None = None


@dataclass(frozen=True)
class Kind:
    """How one kind of server is looked for.

    ``usual`` are the URLs to try at the standard port; ``usable`` says whether one answers and lets tests make what they
    need there; ``own`` is the private server's class and ``entry`` the URL of it that a session starts from.
    """

    name: str
    variable: str
    usual: tuple[str, ...]
    answers: Callable[[str], bool]
    usable: Callable[[str], bool]
    own: type[OwnServer]
    entry: Callable[[OwnServer], str]


def discover(kind: Kind, environ: Mapping[str, str]) -> Found:
    """Find or start a server; raises ``NoServerError``, or ``LookupError`` if the one that the variable names is silent."""
    if url := environ.get(kind.variable):
        if not kind.answers(url):
            raise LookupError(f"{kind.variable}={url}: nothing usable answers there; correct or unset it")
        return Found(url)
    tried = f"{kind.variable} is not set"
    if not environ.get("PETIOLE_TEST_PRIVATE"):
        for url in kind.usual:
            if kind.usable(url):
                return Found(url)
        tried += f", nothing usable answers at the standard port ({', '.join(kind.usual)})"
    if reason := kind.own.missing():
        raise NoServerError(f"no {kind.name} server: {tried}, and a private one cannot be started: {reason}")
    server = kind.own()
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    return Found(kind.entry(server), server)


def postgres_answers(url: str) -> bool:
    """May one log in there and make databases?"""
    try:
        with psycopg.connect(url, connect_timeout=3) as connection:
            row = connection.execute(
                "select rolcreatedb or rolsuper from pg_roles where rolname = current_user"
            ).fetchone()
            return bool(row and row[0])
    except psycopg.Error:
        return False


def redis_answers(url: str) -> bool:
    """Does it answer a PING?"""
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


POSTGRES = Kind(
    "PostgreSQL",
    "PETIOLE_TEST_POSTGRES",
    tuple(
        dict.fromkeys(
            f"postgresql://{user}@{HOST}:5432/postgres" for user in (quote(getpass.getuser()), "postgres")
        )
    ),
    postgres_answers,
    postgres_answers,
    OwnPostgres,
    lambda server: f"postgresql://postgres@{HOST}:{server.port}/postgres",
)
REDIS = Kind(
    "Redis",
    "PETIOLE_TEST_REDIS",
    (f"redis://{HOST}:6379",),
    redis_answers,
    redis_answers,
    OwnRedis,
    lambda server: f"redis://{HOST}:{server.port}",
)
RABBITMQ = Kind(
    "RabbitMQ",
    "PETIOLE_TEST_RABBITMQ",
    (f"amqp://guest:guest@{HOST}:5672//",),
    rabbitmq_answers,
    # Without the right to make virtual hosts a private node is better than tests that share one.
    lambda url: rabbitmq_answers(url) and SystemRabbitMQ.allowed(),
    OwnRabbitMQ,
    lambda server: f"amqp://guest:guest@{HOST}:{server.port}//",
)


class PostgresDatabases:
    """Fresh databases on one server, named ``petiole_test_<pid>_<n>``."""

    def __init__(self, server_url: str) -> None:
        self.server_url = server_url
        self._numbers = itertools.count(1)

    def url(self, name: str) -> str:
        """The URL of one of its databases."""
        return urlunsplit(urlsplit(self.server_url)._replace(path=f"/{name}"))

    def create(self, template: str | None = None) -> str:
        """Make an empty database, or a copy of the database at the URL ``template``; gives its URL."""
        name = f"petiole_test_{os.getpid()}_{next(self._numbers)}"
        command: sql.Composed = sql.SQL("create database {}").format(sql.Identifier(name))
        if template is not None:
            command += sql.SQL(" template {}").format(sql.Identifier(urlsplit(template).path.lstrip("/")))
        self._run(command)
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop one of its databases, whoever is connected."""
        name = urlsplit(url).path.lstrip("/")
        self._run(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def drop_leftovers(self) -> None:
        """Drop the databases of test processes that are dead and that nobody is connected to."""
        with psycopg.connect(self.server_url, connect_timeout=5, autocommit=True) as connection:
            rows = connection.execute(
                "select datname from pg_database d where datname ~ '^petiole_test_[0-9]+_[0-9]+$'"
                " and not exists (select from pg_stat_activity a where a.datname = d.datname)"
            ).fetchall()
            for (name,) in rows:
                if dead(int(name.split("_")[2])):
                    try:
                        connection.execute(sql.SQL("drop database if exists {}").format(sql.Identifier(name)))
                    except psycopg.errors.ObjectInUse:
                        pass  # another session is at it

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """A new database for the length of the block."""
        url = self.create()
        try:
            yield url
        finally:
            self.drop(url)

    def _run(self, command: sql.SQL | sql.Composed) -> None:
        with psycopg.connect(self.server_url, connect_timeout=5, autocommit=True) as connection:
            connection.execute(command)


class RedisDatabases:
    """Numbered databases of one server, each held by one test at a time.

    A number is taken by an ``flock``, so that a killed test process frees it. A database that holds keys is used only if the
    lock file says that tests had it: nobody's own data are ever flushed.
    """

    numbers = range(15, 0, -1)

    def __init__(self, server_url: str, locks: Path | None = None) -> None:
        self.server_url = urlunsplit(urlsplit(server_url)._replace(path=""))
        # One folder for all processes that share the server; a private server's goes with it.
        where = re.sub(r"\W+", "-", urlsplit(server_url).netloc.rpartition("@")[2])
        self._locks = locks or Path(tempfile.gettempdir()) / f"petiole-test-redis-{where}"

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """An empty database for the length of the block; emptied again after it."""
        self._locks.mkdir(mode=0o777, exist_ok=True)
        for number in self.numbers:
            with (self._locks / str(number)).open("a+", encoding="utf-8") as lock:
                url = f"{self.server_url}/{number}"
                if not self._take(lock, url):
                    continue
                with redis.Redis.from_url(url) as client:
                    try:
                        yield url
                    finally:
                        client.flushdb()
                        lock.truncate(0)
                return
        raise NoServerError(
            f"databases 1 to 15 of {self.server_url} are all in use or hold keys: flush one, or set PETIOLE_TEST_PRIVATE=1"
        )

    @staticmethod
    def _take(lock: IO[str], url: str) -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        lock.seek(0)
        ours = bool(lock.read())
        with redis.Redis.from_url(url) as client:
            if ours:
                client.flushdb()
            elif client.dbsize():
                return False
        if not ours:
            lock.write("tests\n")
            lock.flush()
        return True


class SystemRabbitMQ:
    """The control command of the RabbitMQ at the standard port."""

    @staticmethod
    def control(*arguments: str) -> str:
        """Run ``rabbitmqctl`` as root against the system's node."""
        command = ["rabbitmqctl", "--quiet", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    @classmethod
    def allowed(cls) -> bool:
        """May this process make virtual hosts there?"""
        if shutil.which("rabbitmqctl") is None or os.geteuid() != 0:
            return False
        try:
            cls.control("list_vhosts")
        except (subprocess.SubprocessError, OSError):
            return False
        return True


class VirtualHosts:
    """Fresh virtual hosts on one RabbitMQ, named ``petiole_test_<pid>_<n>``.

    Where none may be made (``control`` is ``None``: a server that a variable names), the given one is shared; use the
    fixture ``queue_prefix`` for names there.
    """

    def __init__(self, server_url: str, control: Callable[..., str] | None) -> None:
        self.server_url = server_url
        self.control = control
        self._numbers = itertools.count(1)

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """A virtual host for the length of the block."""
        if self.control is None:
            yield self.server_url
            return
        name = f"petiole_test_{os.getpid()}_{next(self._numbers)}"
        parts = urlsplit(self.server_url)
        self.control("add_vhost", name)
        try:
            self.control("set_permissions", "-p", name, parts.username or "guest", ".*", ".*", ".*")
            yield urlunsplit(parts._replace(path=f"/{name}"))
        finally:
            self.control("delete_vhost", name)

    def drop_leftovers(self) -> None:
        """Delete the virtual hosts of test processes that are dead."""
        if self.control is None:
            return
        for name in self.control("list_vhosts").split():
            match = re.fullmatch(r"petiole_test_(\d+)_\d+", name)
            if match and dead(int(match[1])):
                self.control("delete_vhost", name)


def control_of(found: Found, environ: Mapping[str, str]) -> Callable[..., str] | None:
    """The way to make virtual hosts on ``found``, or ``None``."""
    if isinstance(found.own, OwnRabbitMQ):
        return found.own.control
    if environ.get(RABBITMQ.variable):
        # Only the node on this machine's standard port is the one that rabbitmqctl speaks to.
        parts = urlsplit(found.url)
        here = parts.hostname in {"127.0.0.1", "localhost"} and (parts.port or 5672) == 5672
        return SystemRabbitMQ.control if here and SystemRabbitMQ.allowed() else None
    return SystemRabbitMQ.control
