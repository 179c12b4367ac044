"""The polling helper itself, on a clock of its own."""

from __future__ import annotations

import pytest

from tests.waiting import wait_until


class Clock:
    """A clock that only a sleep moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.naps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


def test_gives_what_the_condition_gave() -> None:
    clock = Clock()
    answers = iter([None, "", "ready"])
    assert wait_until(lambda: next(answers), 5, interval=0.5, clock=clock, sleep=clock.sleep) == "ready"
    assert clock.naps == [0.5, 0.5]


def test_a_true_condition_costs_no_sleep() -> None:
    clock = Clock()
    assert wait_until(lambda: True, 0, clock=clock, sleep=clock.sleep) is True
    assert clock.naps == []


def test_says_what_it_waited_for_and_what_it_saw() -> None:
    clock = Clock()
    with pytest.raises(
        AssertionError, match=r"waited 3\.0 s in vain for three rows \(asked 4 times; it last gave 0\)"
    ):
        wait_until(lambda: 0, 3, "three rows", interval=1, clock=clock, sleep=clock.sleep)


def test_asks_once_more_after_the_deadline() -> None:
    clock = Clock()

    def slow_machine(seconds: float) -> None:
        clock.now += 60

    answers = iter([False, True])
    assert wait_until(lambda: next(answers), 5, clock=clock, sleep=slow_machine)


def test_a_refused_connection_or_failed_assertion_means_not_yet() -> None:
    clock = Clock()
    faults: list[Exception] = [ConnectionRefusedError("port 1"), AssertionError("2 != 3")]

    def condition() -> bool:
        if faults:
            raise faults.pop(0)
        return True

    assert wait_until(condition, 5, clock=clock, sleep=clock.sleep)


def test_other_errors_end_the_wait_at_once() -> None:
    clock = Clock()
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 // 0, 5, clock=clock, sleep=clock.sleep)
    assert clock.naps == []


def test_the_last_error_is_in_the_message() -> None:
    clock = Clock()

    def condition() -> bool:
        raise TimeoutError("no answer from port 7")

    with pytest.raises(AssertionError, match="it last raised TimeoutError: no answer from port 7"):
        wait_until(condition, 1, lambda: "the server", interval=1, clock=clock, sleep=clock.sleep)
