"""What is kept of a record, what an attempt may log, and whose records they are."""

from __future__ import annotations

import contextvars
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from petiole_workers import logs
from petiole_workers.logs import Journal, Logged, journaled, let_through, logged_of


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.getLogger("test.journal")
    made.setLevel(logging.DEBUG)
    yield made
    made.setLevel(logging.NOTSET)


def record(message: Any, *args: Any, **more: Any) -> logging.LogRecord:
    return logging.LogRecord(
        "shop", more.pop("level", logging.INFO), "f.py", 1, message, args, more.pop("exc_info", None), **more
    )


def test_a_record_has_its_arguments_filled_in() -> None:
    logged = logged_of(record("%s of %d", "two", 3, level=logging.WARNING))
    assert (logged.message, logged.level, logged.severity, logged.logger) == (
        "two of 3",
        "WARNING",
        30,
        "shop",
    )
    assert logged.at > 0
    assert (logged.exception, logged.cut) == (None, False)


def test_a_long_message_is_cut_in_the_middle_and_says_so() -> None:
    logged = logged_of(record("a" * 50_000 + "z" * 50_000))
    assert logged.cut
    assert len(logged.message) < logs.MAX_MESSAGE + 100
    assert f"{100_000 - logs.MAX_MESSAGE} characters cut" in logged.message
    assert logged.message.startswith("aaa")
    assert logged.message.endswith("zzz")
    assert not logged_of(record("a" * logs.MAX_MESSAGE)).cut


def test_an_exception_goes_along() -> None:
    try:
        raise ValueError("the card is " + "x" * 40_000)
    except ValueError:
        logged = logged_of(record("refused", exc_info=sys.exc_info()))
    assert logged.message == "refused"
    assert logged.exception is not None
    assert logged.exception.startswith("Traceback")
    assert len(logged.exception) < logs.MAX_EXCEPTION + 100
    assert logged.cut
    assert logged_of(record("x", exc_info=(None, None, None))).exception is None
    assert (
        logged_of(record("x", sinfo="Stack (most recent call last)")).exception
        == "Stack (most recent call last)"
    )


class Nasty:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("message", "args", "shown"),
    [
        ("%d", ("x",), "%d (its arguments cannot be filled in: TypeError)"),
        ("%s", (Nasty(),), "%s (its arguments"),
        ("\ud800", (), "\\ud800"),
    ],
)
def test_whatever_is_logged_can_be_kept(message: str, args: Any, shown: str) -> None:
    assert logged_of(record(message, *args)).message.startswith(shown)


def test_an_attempt_that_logs_too_much_is_told_so_once(
    monkeypatch: pytest.MonkeyPatch, logger: logging.Logger
) -> None:
    monkeypatch.setattr(logs, "MAX_RECORDS", 5)
    kept: list[Logged] = []
    with journaled(Journal(kept.append, logging.DEBUG)):
        for number in range(20):
            logger.info("%d", number)
    assert [one.message for one in kept[:5]] == ["0", "1", "2", "3", "4"]
    assert "not kept" in kept[5].message
    assert len(kept) == 6


def test_so_it_is_by_characters(monkeypatch: pytest.MonkeyPatch, logger: logging.Logger) -> None:
    monkeypatch.setattr(logs, "MAX_CHARACTERS", 250)
    kept: list[Logged] = []
    with journaled(Journal(kept.append, logging.DEBUG)):
        for _ in range(20):
            logger.info("x" * 100)
    assert len(kept) == 3
    assert kept[-1].cut


def test_records_go_to_the_attempt_within_which_they_are_made(logger: logging.Logger) -> None:
    kept: list[str] = []
    journal = Journal(lambda one: kept.append(one.message), logging.INFO)
    logger.info("before")
    with journaled(journal):
        logger.debug("too little")
        logger.info("here")
        logging.getLogger("petiole.runner").error("the worker's")
        logging.getLogger("petiole.node.shop.charge").error("the node's")
        threads = [
            threading.Thread(target=logger.info, args=("elsewhere",)),
            threading.Thread(
                target=contextvars.copy_context().run, args=(logger.info, "in a thread of its own")
            ),
        ]
        for thread in threads:
            thread.start()
            thread.join()
        late = contextvars.copy_context()
    logger.info("after")
    late.run(logger.info, "late")
    assert kept == ["here", "the node's", "in a thread of its own"]


def test_celerys_task_loggers_are_heard_and_no_record_twice(logger: logging.Logger) -> None:
    tasks = logging.getLogger("celery.task")
    before, level = tasks.propagate, tasks.level
    kept: list[str] = []
    try:
        tasks.setLevel(logging.INFO)
        with journaled(Journal(lambda one: kept.append(one.message), logging.INFO)):
            for tasks.propagate in (False, True):
                logging.getLogger("celery.task.mine").info("as a task")
    finally:
        tasks.propagate = before
        tasks.setLevel(level)
    assert kept == ["as a task"] * 2


def test_a_process_that_a_node_forks_logs_for_itself(logger: logging.Logger) -> None:
    kept: list[str] = []
    with journaled(Journal(lambda one: kept.append(one.message), logging.INFO)):
        child = os.fork()
        if child == 0:
            try:
                logger.info("in the child")
            finally:
                os._exit(len(kept))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        logger.info("in the parent")
    assert kept == ["in the parent"]


def test_where_nobody_has_set_up_logging_warnings_are_printed_once_as_ever(
    monkeypatch: pytest.MonkeyPatch, logger: logging.Logger
) -> None:
    printed: list[str] = []

    class Printer(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            printed.append(record.getMessage())

    monkeypatch.setattr(logging, "lastResort", Printer(logging.WARNING))
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    kept: list[str] = []
    with journaled(Journal(lambda one: kept.append(one.message), logging.INFO)):
        logger.info("info")
        logger.warning("within")
    logger.warning("outside")
    other = logging.NullHandler()
    logger.addHandler(other)
    logger.warning("somebody has it")
    logger.removeHandler(other)
    assert printed == ["within", "outside"]
    assert kept == ["info", "within"]


def test_a_lower_level_lets_the_other_handlers_hear_what_they_heard_before() -> None:
    class Heard(logging.Handler):
        def __init__(self) -> None:
            super().__init__()
            self.messages: list[str] = []

        def emit(self, record: logging.LogRecord) -> None:
            self.messages.append(record.getMessage())

    root, other = logging.getLogger(), Heard()
    before = root.level
    choosy, plain = logging.getLogger("shop.choosy"), logging.getLogger("shop.plain")
    filters = {handler: [*handler.filters] for handler in root.handlers}
    kept: list[str] = []
    root.addHandler(other)
    try:
        root.setLevel(logging.WARNING)
        choosy.setLevel(logging.DEBUG)
        let_through(logging.INFO)
        with journaled(Journal(lambda one: kept.append(one.message), logging.INFO)):
            plain.info("plain info")
            plain.debug("plain debug")
            plain.warning("plain warning")
            choosy.debug("choosy debug")
            choosy.info("choosy info")
        assert other.messages == ["plain warning", "choosy debug", "choosy info"]
        assert kept == ["plain info", "plain warning", "choosy info"]
        let_through(logging.ERROR)
        assert root.level == logging.INFO
    finally:
        root.removeHandler(other)
        root.setLevel(before)
        choosy.setLevel(logging.NOTSET)
        for handler, found in filters.items():
            handler.filters = found
