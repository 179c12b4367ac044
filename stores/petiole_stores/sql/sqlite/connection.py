"""Connections to one SQLite file: kept open, never shared across a fork, one writer at a time.

A write is a whole ``BEGIN IMMEDIATE`` transaction. Threads of one process queue for it at a lock; between processes it
is asked for again after short sleeps of our own: SQLite's busy handler would sleep up to 100 ms at a time, and with
gevent stop every greenlet of the process.

Query parameters of the URL:

    synchronous   FULL (default: what must last is on disk when the call returns), NORMAL (a power cut may lose the
                  newest commits, never consistency), EXTRA or OFF
    busy_timeout  for how many seconds a call waits for another's transaction (30)
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from petiole_stores.errors import (
    ConfigurationError,
    CorruptionError,
    PetioleError,
    SchemaError,
    StoreError,
    StoreUnavailableError,
    UnstorableError,
)

T = TypeVar("T")

SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")
#: Oldest SQLite with all that the statements use (RETURNING).
OLDEST = (3, 35, 0)
IDLE_KEPT = 32
SHORTEST_SLEEP, LONGEST_SLEEP = 0.0002, 0.01

BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
UNREACHABLE = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
    }
)
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class _Pool:
    """The connections of one process."""

    def __init__(self) -> None:
        self.idle: deque[sqlite3.Connection] = deque()
        self.writing = threading.Lock()
        self.closed = False


def _close(pools: dict[int, _Pool]) -> None:
    """Close this process's own."""
    pool = pools.pop(os.getpid(), None)
    if pool is not None:
        pool.closed = True
        while pool.idle:
            pool.idle.pop().close()


class Connections:
    """Connections to the file at ``path``; ``shown`` names it in messages."""

    def __init__(self, path: Path, options: dict[str, str], shown: str) -> None:
        if sqlite3.sqlite_version_info < OLDEST:
            raise ConfigurationError(
                f"this Python has SQLite {sqlite3.sqlite_version}: Petiole needs {'.'.join(map(str, OLDEST))} or newer"
            )
        self.path, self.shown = path, shown
        unknown = sorted(options.keys() - {"synchronous", "busy_timeout"})
        if unknown:
            raise ConfigurationError(
                f"{shown}: unknown option {unknown[0]!r}: known are busy_timeout, synchronous"
            )
        self.synchronous = options.get("synchronous", "FULL").upper()
        if self.synchronous not in SYNCHRONOUS:
            raise ConfigurationError(
                f"{shown}: synchronous={self.synchronous!r}: take one of {', '.join(SYNCHRONOUS)}"
            )
        try:
            self.busy_timeout = float(options.get("busy_timeout", "30"))
        except ValueError:
            raise ConfigurationError(
                f"{shown}: busy_timeout={options['busy_timeout']!r}: write a number of seconds"
            ) from None
        # By process: a child must neither use nor close (nor collect) what its parent opened, so that stays in here.
        self._pools: dict[int, _Pool] = {}
        # A store that nobody closes is dropped with the last graph that was compiled with its URL.
        weakref.finalize(self, _close, self._pools).atexit = False

    def write(self, work: Callable[[sqlite3.Connection], T], *, lasting: bool = True) -> T:
        """Run ``work`` in a transaction that it has alone, and commit; whatever it raises undoes all of it.

        One that is not ``lasting`` is not waited for until it is on disk: a power cut may undo it, with all processes
        that knew of it, unless a lasting one came after. It never undoes part of it, or an earlier one alone.
        """
        pool = self._pool()
        ends = time.monotonic() + self.busy_timeout
        if not pool.writing.acquire(timeout=self.busy_timeout):
            raise self._too_busy()
        try:
            return self._use(pool, ends, lambda db: self._transact(db, work, ends, lasting))
        finally:
            pool.writing.release()

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work``, which changes nothing; it may be run again. Each of its statements sees a moment of its own."""
        ends = time.monotonic() + self.busy_timeout
        return self._use(self._pool(), ends, lambda db: self._patient(lambda: work(db), ends))

    def close(self) -> None:
        """Close this process's connections; the next call opens new ones."""
        _close(self._pools)

    def open(self) -> sqlite3.Connection:
        """A connection of one's own, outside of the pool."""
        # The pool hands a connection to one thread at a time.
        db = sqlite3.connect(
            self.path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchone()
            db.execute(f"PRAGMA synchronous = {self.synchronous}")
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("PRAGMA temp_store = MEMORY")
        except BaseException:
            db.close()
            raise
        return db

    def begin(self) -> sqlite3.Connection:
        """A connection of one's own with a transaction that has the file for itself; closing it rolls back."""
        try:
            db = self._patient(self.open, time.monotonic() + self.busy_timeout)
        except sqlite3.Error as error:
            raise self.translate(error) from error
        try:
            self.seize(db)
        except StoreError:
            db.close()
            raise
        return db

    def seize(self, db: sqlite3.Connection) -> None:
        """Begin a transaction on ``db`` that has the file for itself, once those of others have ended."""
        try:
            self._patient(lambda: db.execute("BEGIN IMMEDIATE"), time.monotonic() + self.busy_timeout)
        except sqlite3.Error as error:
            raise self.translate(error) from error

    # ---------------------------------------------------------------- within

    def _pool(self) -> _Pool:
        pid = os.getpid()
        return self._pools.get(pid) or self._pools.setdefault(pid, _Pool())

    def _use(self, pool: _Pool, ends: float, work: Callable[[sqlite3.Connection], T]) -> T:
        db: sqlite3.Connection | None = None
        try:
            try:
                db = pool.idle.pop()
            except IndexError:
                db = self._patient(self.open, ends)
            answer = work(db)
        except BaseException as error:
            if db is not None:
                db.close()  # it may be within a transaction, or broken
            if isinstance(error, sqlite3.Error | UnicodeEncodeError | OverflowError):
                raise self.translate(error) from error
            raise
        if pool.closed or len(pool.idle) >= IDLE_KEPT:
            db.close()
        else:
            pool.idle.append(db)
        return answer

    def _transact(
        self, db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T], ends: float, lasting: bool
    ) -> T:
        relaxed = not lasting and self.synchronous in ("FULL", "EXTRA")
        if relaxed:
            db.execute("PRAGMA synchronous = NORMAL")
        self._patient(lambda: db.execute("BEGIN IMMEDIATE"), ends)
        try:
            answer = work(db)
        except PetioleError:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
        if relaxed:
            db.execute(f"PRAGMA synchronous = {self.synchronous}")
        return answer

    def _patient(self, step: Callable[[], T], ends: float) -> T:
        pause = SHORTEST_SLEEP
        while True:
            try:
                return step()
            except sqlite3.OperationalError as error:
                if code_of(error) not in BUSY or time.monotonic() >= ends:
                    raise
            time.sleep(random.uniform(pause / 2, pause))
            pause = min(pause * 1.5, LONGEST_SLEEP)

    # ---------------------------------------------------------------- errors

    def translate(self, error: sqlite3.Error | UnicodeEncodeError | OverflowError) -> StoreError:
        """The StoreError that stands for an error of the driver."""
        code, text = code_of(error), str(error)
        if code in BUSY:
            return self._too_busy()
        if code in UNREACHABLE:
            return StoreUnavailableError(
                f"{self.shown} cannot be used: {text}: check that {self.path} and its folder exist, may be written "
                "and have space left"
            )
        if code in DAMAGED:
            return CorruptionError(
                f"{self.shown} is damaged or no SQLite file: {text}: restore it from a backup"
            )
        if is_undecodable(error):
            return CorruptionError(f"{self.shown} holds damaged text: {text[:200]}: restore it from a backup")
        if text.startswith(("no such table", "no such column")):
            return SchemaError(f"{self.shown} holds no schema of Petiole ({text}): run `petiole db upgrade`")
        if isinstance(error, UnicodeEncodeError | OverflowError | sqlite3.DataError):
            return UnstorableError(
                f"{self.shown} cannot store a value ({text}): have it made by petiole_stores.serde, which keeps what "
                "SQLite's text cannot hold as blobs"
            )
        return StoreError(f"{self.shown}: {text}")

    def _too_busy(self) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"{self.shown} was held by another transaction for {self.busy_timeout:g} s: find the process that keeps it "
            "open, or raise busy_timeout in the URL"
        )


def is_undecodable(error: Exception) -> bool:
    """Did the driver meet text that is no UTF-8, as bits flipped on a disk leave it?"""
    return str(error).startswith("Could not decode to UTF-8")


def code_of(error: Exception) -> int:
    """SQLite's primary result code; 0 for what the driver raised itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
