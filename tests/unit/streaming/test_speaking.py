"""The speaker: batches, what it drops, and that it gets in nobody's way."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from petiole_stores.errors import StoreUnavailableError
from petiole_stores.events import NewEvent
from petiole_stores.memory import MemoryStore
from petiole_workers.streaming import speaking
from petiole_workers.streaming.speaking import Speaker, Spoken, unpack_event
from tests.waiting import wait_until


class Pen(MemoryStore):
    """Writes down what is appended, as fast as it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[list[Any]] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.broken = 0

    def append_events(self, thread_id: str, run_id: str, events: Sequence[NewEvent]) -> None:
        assert self.go_on.wait(20)
        if self.broken:
            self.broken -= 1
            raise StoreUnavailableError("away")
        self.written.append([unpack_event(self.serde, event.value)[1] for event in events])


def attempt(thread: str = "t") -> Any:
    ids = iter(range(10_000))
    return SimpleNamespace(
        task=SimpleNamespace(thread_id=thread, run_id="r"),
        spoken=Spoken("id", "node", "", "pull:node", 1, 1, thread),
        utterance=lambda: f"{thread}:{next(ids)}",
    )


def say(speaker: Speaker, *values: Any, by: Any = None) -> None:
    by = by or attempt()
    for value in values:
        speaker.say("custom", value, by)


def test_events_are_written_together_in_order_and_by_thread() -> None:
    pen = Pen()
    speaker = Speaker(pen)
    say(speaker, *range(150))
    say(speaker, "other", by=attempt("u"))
    speaker.drain()
    assert [value for batch in pen.written for value in batch] == [*range(150), "other"]
    assert max(map(len, pen.written)) == speaking.BATCH
    assert len(pen.written) == 4


def test_a_lone_event_is_written_soon_and_the_thread_ends() -> None:
    pen = Pen()
    speaker = Speaker(pen)
    for number in range(3):
        say(speaker, number)
        wait_until(lambda number=number: [number] in pen.written, 5, "the event")  # type: ignore[misc]
        wait_until(lambda: speaker._thread is None, 5, "the end of the thread")


def test_a_slow_store_is_waited_for_so_long_and_not_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    pen = Pen()
    pen.go_on.clear()
    speaker = Speaker(pen)
    say(speaker, "slow")
    began = time.monotonic()
    speaker.drain(0.2)
    assert 0.2 <= time.monotonic() - began < 5
    pen.go_on.set()
    speaker.drain(20)
    assert pen.written == [["slow"]]


def test_a_write_is_tried_again_and_given_up(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(speaking, "PAUSE", 0.001)
    pen = Pen()
    pen.broken = speaking.TRIES - 1
    speaker = Speaker(pen)
    say(speaker, "again")
    speaker.drain(20)
    assert pen.written == [["again"]]
    pen.broken = speaking.TRIES
    with caplog.at_level(logging.WARNING, "petiole.stream"):
        say(speaker, "lost")
        speaker.drain(20)
    assert "1 events of nodes were dropped so far: away" in caplog.text
    say(speaker, "fine")
    speaker.drain(20)
    assert pen.written == [["again"], ["fine"]]


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(speaking, "MOST", 5_000)
    pen = Pen()
    pen.go_on.clear()
    speaker = Speaker(pen)
    with caplog.at_level(logging.WARNING, "petiole.stream"):
        say(speaker, *("x" * 1000 for _ in range(20)))
    assert "too much waits" in caplog.text
    pen.go_on.set()
    speaker.drain(20)
    assert 1 <= sum(map(len, pen.written)) <= 10
    say(speaker, "later")
    speaker.drain(20)
    assert pen.written[-1] == ["later"]


def test_a_closed_speaker_has_written_all_and_touches_the_store_no_more(caplog: Any) -> None:
    pen = Pen()
    pen.go_on.clear()
    speaker = Speaker(pen)
    say(speaker, "first")
    wait_until(lambda: speaker._writing, 5, "the write")
    say(speaker, "second")
    closing = threading.Thread(target=speaker.close)
    closing.start()
    wait_until(lambda: speaker._closed, 5, "the close")
    assert closing.is_alive()  # for the store is still written to
    with caplog.at_level(logging.WARNING, "petiole.stream"):
        say(speaker, "late")
    assert "their worker has ended" in caplog.text
    pen.go_on.set()
    closing.join(20)
    assert speaker._thread is None
    assert pen.written == [["first"], ["second"]]


def test_a_store_that_is_away_is_not_tried_again_by_one_that_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaking, "TRIES", 1_000_000)
    monkeypatch.setattr(speaking, "PAUSE", 0.0)
    pen = Pen()
    pen.broken = 2**62
    speaker = Speaker(pen)
    say(speaker, "lost")
    wait_until(lambda: speaker._writing, 5, "the write")
    speaker.close()
    assert speaker._thread is None
    assert pen.written == []


def test_one_that_is_given_up_drops_what_waits() -> None:
    pen = Pen()
    pen.go_on.clear()
    speaker = Speaker(pen)
    say(speaker, "first")
    wait_until(lambda: speaker._writing, 5, "the write")
    say(speaker, "second")
    threading.Timer(0.1, pen.go_on.set).start()
    speaker.abandon()
    assert speaker._thread is None
    assert pen.written == [["first"]]
