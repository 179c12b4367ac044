"""What nodes log through Python's ``logging`` while they run, kept with their attempts as events of kind ``log``.

One handler on the root logger takes the records; a context variable names the attempt within which they are made, so that it
does not matter in which thread, greenlet or coroutine that is. The records go the way of all that nodes say
(`petiole_workers.streaming.speaking`): in batches, beside the node.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec

KIND = "log"
#: Characters that are kept of a message and of an exception's text, records and characters of one attempt.
MAX_MESSAGE, MAX_EXCEPTION = 8_000, 16_000
MAX_RECORDS, MAX_CHARACTERS = 5_000, 4_000_000

#: The names of levels, for settings and filters.
LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}

#: Loggers of the engine are those of the worker; these alone are the nodes'.
ENGINE, NODES = "petiole.", "petiole.node"

_formatter = logging.Formatter()


class Logged(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record as it is kept. ``at`` is when it was made by the worker's clock; ``cut``: it was too long."""

    message: str
    level: str
    severity: int
    logger: str
    at: float
    exception: str | None = None
    cut: bool = False


class Journal:
    """Takes the records of one attempt.

    Parameters
        say       called with each record that is kept
        severity  of the least record that is kept
    """

    def __init__(self, say: Callable[[Logged], None], severity: int) -> None:
        self._say, self._severity = say, severity
        self._records = self._characters = 0
        self._closed = False
        self._pid = os.getpid()

    def take(self, record: logging.LogRecord) -> None:
        """Keep a record, unless it is too little, too much, or the worker's own."""
        name = record.name
        if self._closed or record.levelno < self._severity:
            return
        if (
            os.getpid() != self._pid
        ):  # a process that the node has forked: the store's connections are not for it
            return
        if name.startswith(ENGINE) and name != NODES and not name.startswith(f"{NODES}."):
            return
        if (logged := self._within(logged_of(record))) is not None:
            self._say(logged)

    def close(self) -> None:
        """The node has returned: what is left of it is not heard any more."""
        self._closed = True

    def _within(self, logged: Logged) -> Logged | None:
        """The record, a last one that says that there were too many, or nothing."""
        if self._records > MAX_RECORDS:
            return None
        self._records += 1
        self._characters += len(logged.message) + len(logged.exception or "")
        if self._records <= MAX_RECORDS and self._characters <= MAX_CHARACTERS:
            return logged
        self._records = MAX_RECORDS + 1
        return Logged(
            f"what this attempt logs from here on is not kept: {MAX_RECORDS} records or {MAX_CHARACTERS} characters are the most",
            "WARNING",
            logging.WARNING,
            "petiole.logs",
            logged.at,
            cut=True,
        )


_journal: ContextVar[Journal | None] = ContextVar("petiole_journal", default=None)


class NodeLogs(logging.Handler):
    """Hands records to the attempt within which they are made. It has no lock, for it changes nothing."""

    def createLock(self) -> None:
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        journal = _journal.get()
        if journal is not None and not hasattr(record, "_petiole_kept"):
            record._petiole_kept = True  # by way of a logger above, it would come again
            journal.take(record)
        # Where nobody has set up any logging, Python itself prints warnings; our being there must not change that.
        last = logging.lastResort
        if last is not None and record.levelno >= last.level and _is_alone(record):
            last.handle(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        self.handle(record)


_handler = NodeLogs()


@contextmanager
def journaled(journal: Journal | None) -> Iterator[None]:
    """Let what is logged within the block go to a journal; ``None``: to the one around, if there is one."""
    if journal is None:
        yield
        return
    listen()
    token = _journal.set(journal)
    try:
        yield
    finally:
        _journal.reset(token)
        journal.close()


def listen() -> None:
    """Put the handler on the loggers that all others hand their records on to."""
    for logger in _highest():
        if _handler not in logger.handlers:
            logger.addHandler(_handler)


def let_through(severity: int) -> None:
    """Let records of this level come to the journals; other handlers get what they got before."""
    for logger in _highest():
        before = logger.level
        if before <= severity:
            continue
        logger.setLevel(severity)
        for handler in logger.handlers:
            if handler is not _handler:
                handler.addFilter(_AsBefore(logger, before))


def _highest() -> tuple[logging.Logger, logging.Logger]:
    """The root logger, and Celery's of tasks, which hands nothing on to it."""
    return logging.getLogger(), logging.getLogger("celery.task")


class _AsBefore(logging.Filter):
    """Lets through what a logger of another level would have, for one of its handlers."""

    def __init__(self, logger: logging.Logger, level: int) -> None:
        super().__init__()
        self._logger, self._level = logger, level

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= self._level:
            return True
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None and logger is not self._logger:
            if logger.level:  # it, or one above it, has chosen for itself
                return True
            logger = logger.parent
        return False


def _is_alone(record: logging.LogRecord) -> bool:
    """Whether a record comes to no handler but this one."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        if any(handler is not _handler for handler in logger.handlers):
            return False
        logger = logger.parent if logger.propagate else None
    return True


def severity_of(level: str) -> int | None:
    """The number of a level in a setting or filter; ``None`` for ``off``."""
    return LEVELS.get(level.upper())


def logged_of(record: logging.LogRecord) -> Logged:
    """A record with its arguments filled in, as text, cut where it is too long."""
    message, cut = _cut(_message(record), MAX_MESSAGE)
    exception = _exception(record)
    if exception is not None:
        exception, exception_cut = _cut(exception, MAX_EXCEPTION)
        cut = cut or exception_cut
    return Logged(
        message,
        _clean(str(record.levelname))[:50],
        int(record.levelno),
        _clean(record.name)[:200],
        round(record.created, 3),
        exception,
        cut,
    )


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - the arguments are the user's
        return f"{record.msg!s:.1000} (its arguments cannot be filled in: {type(error).__name__})"


def _exception(record: logging.LogRecord) -> str | None:
    if record.exc_text:
        return str(record.exc_text)
    if not isinstance(record.exc_info, tuple) or record.exc_info[0] is None:
        return record.stack_info
    try:
        return _formatter.formatException(record.exc_info)
    except Exception as error:  # noqa: BLE001 - an exception's text is the user's
        return f"{record.exc_info[0].__name__} (its text cannot be made: {type(error).__name__})"


def _cut(text: str, longest: int) -> tuple[str, bool]:
    """A text that can be stored; of one that is too long its beginning and end, with what is missing between them."""
    text = _clean(text)
    if len(text) <= longest:
        return text, False
    head, tail = longest * 3 // 4, longest // 4
    return f"{text[:head]}\n[... {len(text) - head - tail} characters cut ...]\n{text[-tail:]}", True


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
