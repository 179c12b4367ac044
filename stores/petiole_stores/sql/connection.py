"""Connections to Postgres: pooled, one pool a process, and calls that outlive a cut connection.

Query parameters of the URL that are Petiole's; all others go to libpq (``sslmode``, ``connect_timeout`` …):

    schema              search_path: several Petioles can share a database, each in a schema of its own
    synchronous_commit  ``off``: commits return before they are on disk; a power cut or a crash of the server may
                        lose the newest, never consistency
    pool_size           connections kept open in each process (5)
    max_overflow        how many more may be opened for a while (10)
    answer_timeout      seconds of silence after which a server that owes an answer counts as gone (10); ``none``: no limit.
                        Migrations and backups may take longer
    prepare_threshold   after how many executions a statement is prepared (5); ``none`` for PgBouncer below 1.21 in
                        transaction mode, which also refuses ``schema`` and ``synchronous_commit`` (they travel as
                        startup options): set those for the role with ALTER ROLE
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from petiole_stores.errors import (
    ConfigurationError,
    PetioleError,
    SchemaError,
    StoreError,
    StoreUnavailableError,
    UnstorableError,
)
from petiole_stores.keepalive import COUNT, IDLE, INTERVAL, USER_TIMEOUT
from petiole_stores.sql.silence import PromptConnection
from petiole_stores.store import StoreUrl

T = TypeVar("T")

#: Connection settings that the URL may override: a server that is gone is noticed within seconds.
LIBPQ = {
    "application_name": "petiole",
    "connect_timeout": "5",
    "keepalives_idle": str(IDLE),
    "keepalives_interval": str(INTERVAL),
    "keepalives_count": str(COUNT),
    "tcp_user_timeout": str(USER_TIMEOUT),
}
#: Deadlock, serialization failure, lock not available, thread removed meanwhile (foreign key): made again at once, a few
#: times.
CONTENTION = frozenset({"40P01", "40001", "55P03", "23503"})
#: Shutdown and start of the server, too many connections: made again like a cut connection.
OUTAGE = frozenset({"57P01", "57P02", "57P03", "53300", "25006"})
MISSING = frozenset({"42P01", "42883", "3F000"})
MOST_CONTENDED = 10


class PostgresEngine:
    """The engine behind one URL, made anew in every process, and calls on it.

    ``patience`` is for how many seconds a call that lost its connection is made again before StoreUnavailableError.
    Every call is made at least twice, for a pooled connection may have died while it was idle.
    """

    patience: float = 2.0

    def __init__(self, url: StoreUrl) -> None:
        self.shown = url.shown
        options = dict(url.options)
        self.schema = options.pop("schema", None)
        self._pool_size = _number("pool_size", options.pop("pool_size", "5"))
        self._max_overflow = _number("max_overflow", options.pop("max_overflow", "10"))
        silence = options.pop("answer_timeout", "10")
        self._answer_timeout = None if silence == "none" else _seconds("answer_timeout", silence)
        threshold = options.pop("prepare_threshold", "5")
        self._threshold = None if threshold == "none" else _number("prepare_threshold", threshold)
        # A plan never needs compiling here, and each would cost a hundred statements.
        settings = {"jit": "off"}
        if self.schema is not None:
            settings["search_path"] = '"{}"'.format(self.schema.replace('"', '""'))
        if "synchronous_commit" in options:
            settings["synchronous_commit"] = options.pop("synchronous_commit")
        flags = [f"-c{name}={_escaped(value)}" for name, value in settings.items()]
        self._arguments = {**LIBPQ, **options}
        self._arguments["options"] = " ".join([*filter(None, [options.get("options")]), *flags])
        try:
            self._target = make_url(url.text).set(drivername="postgresql+psycopg", query={})
        except (sa.exc.ArgumentError, ValueError) as error:
            raise ConfigurationError(f"store URL {url.shown!r} cannot be read: {error}") from None
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._pid = 0

    @property
    def engine(self) -> Engine:
        """The engine of this process. After a fork the parent's connections are left alone and new ones opened."""
        if self._engine is not None and self._pid == os.getpid():
            return self._engine
        with self._lock:
            if self._engine is None or self._pid != os.getpid():
                if self._engine is not None:
                    self._engine.dispose(close=False)
                self._engine, self._pid = self._make(), os.getpid()
            return self._engine

    def _make(self) -> Engine:
        engine = sa.create_engine(
            self._target,
            connect_args=self._arguments,
            isolation_level="AUTOCOMMIT",
            pool_size=self._pool_size,
            max_overflow=self._max_overflow,
            pool_timeout=30,
            pool_use_lifo=True,
            pool_reset_on_return=None,  # nothing is open: every call is a statement of its own, or ends its transaction
            use_native_hstore=False,  # saves a look-up in every new connection
        )

        @event.listens_for(engine, "do_connect")
        def connect(dialect: object, record: object, args: list[Any], options: dict[str, Any]) -> Any:
            connection = PromptConnection.connect(*args, **options)
            connection.answer_timeout = self._answer_timeout
            connection.prepare_threshold = self._threshold
            return connection

        return engine

    def alone(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A new connection that is nobody else's, in no pool, as psycopg makes it; the caller closes it.

        Raises psycopg.Error.
        """
        target = self._target
        named = {
            "host": target.host,
            "port": target.port,
            "user": target.username,
            "password": target.password,
            "dbname": target.database,
        }
        given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        return psycopg.connect(**given | self._arguments, prepare_threshold=self._threshold)

    def close(self) -> None:
        """Close this process's connections; the next call opens new ones."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose(close=self._pid == os.getpid())
                self._engine = None

    def call(self, statement: str, parameters: Sequence[object]) -> str | None:
        """Run one statement, its own transaction and one round trip, and return the first column of its row.

        The statement must be idempotent: it is made again when its connection broke under it.
        """

        rows = self.rows(statement, parameters)
        return None if not rows else rows[0][0]

    def rows(self, statement: str, parameters: Sequence[object]) -> list[Any]:
        """As :meth:`call`, with all rows as tuples. Bytes come as they are."""

        def run() -> list[Any]:
            connection = self.engine.raw_connection()
            try:
                driver: Any = connection.driver_connection
                found: list[Any] = driver.execute(statement, parameters).fetchall()
            except BaseException as error:
                _discard(connection, error)
                raise
            connection.close()
            return found

        return self.again(run)

    def transact(self, work: Callable[[Connection], T], *, isolation: str = "READ COMMITTED") -> T:
        """Run ``work`` in one transaction; it must be idempotent as a whole."""

        def run() -> T:
            with (
                self.engine.connect().execution_options(isolation_level=isolation) as connection,
                connection.begin(),
            ):
                return work(connection)

        return self.again(run)

    def again(self, run: Callable[[], T]) -> T:
        """``run()``, made again after deadlocks and cut connections, with its errors translated."""
        ends = time.monotonic() + self.patience
        cuts = contended = 0
        while True:
            try:
                return run()
            except PetioleError:
                raise
            except (DBAPIError, psycopg.Error, PoolTimeout) as error:
                cause = error.orig if isinstance(error, DBAPIError) else error
                state = getattr(cause, "sqlstate", None) or ""
                if state in CONTENTION and contended < MOST_CONTENDED:
                    contended += 1
                    time.sleep(random.uniform(0, 0.002 * 2 ** min(contended, 6)))
                elif is_cut(error, cause, state):
                    cuts += 1
                    if cuts > 1 and time.monotonic() >= ends:
                        raise self.translate(error) from error
                    if cuts > 1:
                        time.sleep(random.uniform(0.5, 1) * min(0.02 * 2**cuts, 0.5))
                else:
                    raise self.translate(error) from error

    def translate(self, error: Exception) -> StoreError:
        """The StoreError that stands for an error of the driver or the pool."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        state = getattr(cause, "sqlstate", None) or ""
        text = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        if isinstance(error, PoolTimeout):
            return StoreUnavailableError(
                f"{self.shown}: no connection became free within 30 s: raise pool_size in the URL, or run fewer threads"
            )
        if state in MISSING:
            return SchemaError(f"{self.shown} holds no schema of Petiole ({text}): run `petiole db upgrade`")
        if is_cut(error, cause, state):
            return StoreUnavailableError(f"{self.shown} cannot be reached: {text}")
        if state[:2] == "22":
            return UnstorableError(
                f"{self.shown} cannot store a value ({text}): have it made by petiole_stores.serde, which keeps what "
                "JSONB cannot hold (NUL, lone surrogates, NaN) as blobs"
            )
        if state[:2] == "28" or state == "3D000":
            return StoreUnavailableError(
                f"{self.shown} refuses the connection: {text}: check user, password and database"
            )
        return StoreError(f"{self.shown}: {text}" + (f" (SQLSTATE {state})" if state else ""))


def is_cut(error: Exception, cause: BaseException | None, state: str) -> bool:
    """Did the connection fail, rather than the statement?"""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if state:
        return state[:2] == "08" or state in OUTAGE
    return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)


def _discard(connection: Any, error: BaseException) -> None:
    """Give a connection back after an error; a broken one leaves the pool, and with it all that were opened before."""
    if connection.dbapi_connection.closed or not isinstance(error, Exception):
        connection.invalidate()
    else:
        connection.close()


def _number(name: str, text: str) -> int:
    if not text.isdigit():
        raise ConfigurationError(f"{name}={text!r} in the store URL: write a whole number")
    return int(text)


def _seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise ConfigurationError(
            f"{name}={text!r} in the store URL: write a number of seconds above 0, or none"
        )
    return value


def _escaped(value: str) -> str:
    """For the ``options`` parameter, which splits at spaces."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
