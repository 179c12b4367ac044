"""The four strategies as values: waits, ends, what they take, what they refuse."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import petiole
from petiole_stores.errors import InputError, StoreUnavailableError
from petiole_workers.graph import RetryPolicy
from petiole_workers.retry import (
    Adaptive,
    Emergency,
    Exponential,
    Fixed,
    RetryStrategy,
    default_retry_on,
    strategy_for,
)
from petiole_workers.retry.streaks import Streaks
from tests.unit.retry.naming import named

ALL: list[Callable[..., Any]] = [Exponential, Fixed, Adaptive, Emergency, RetryPolicy]
KEY = "g.node"

#: The `streaks` fixture is made once for all examples of one test; examples use keys of their own.
quick = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
keys = itertools.count()

seconds = st.floats(0.001, 1000.0)
randoms = st.floats(0.0, 1.0, exclude_max=True)
failures = st.integers(1, 100_000)


def largest() -> float:
    return math.nextafter(1.0, 0.0)


@st.composite
def waits(draw: st.DrawFn) -> dict[str, float]:
    base, more, multiplier = draw(seconds), draw(seconds), draw(st.floats(1.0, 10.0))
    return {"base_delay": base, "max_delay": base + more, "multiplier": multiplier}


# ---------------------------------------------------------------- defaults


def test_the_defaults_are_the_design_s() -> None:
    expected = {
        Exponential: {"base_delay": 0.1, "max_delay": 30.0, "multiplier": 2.0, "jitter": True, "max_attempts": 3},
        Fixed: {"interval": 1.0, "max_retries": 5},
        Adaptive: {
            "threshold": 3, "backoff_factor": 1.5, "base_delay": 0.1, "max_delay": 30.0, "multiplier": 2.0, "jitter": True,
            "max_attempts": 3,
        },
        Emergency: {"emergency_mode": False, "timeout": 5.0},
    }  # fmt: skip
    for kind, values in expected.items():
        assert dataclasses.asdict(kind()) == values | {"retry_on": default_retry_on}
        assert getattr(petiole, kind.__name__) is kind


@pytest.mark.parametrize("kind", ALL)
def test_each_takes_the_same_seat(kind: Callable[..., Any]) -> None:
    strategy = kind(retry_on=[KeyError, ConnectionError])
    assert isinstance(strategy, RetryStrategy)
    assert strategy.retries(KeyError())
    assert strategy.retries(ConnectionResetError())
    assert not strategy.retries(ValueError())
    assert kind(retry_on=lambda error: "again" in str(error)).retries(ValueError("again"))
    assert kind().retries(StoreUnavailableError("away"))
    assert not kind().retries(ValueError())
    with pytest.raises(dataclasses.FrozenInstanceError):
        strategy.retry_on = ValueError


def test_the_first_that_takes_an_exception_decides() -> None:
    first, second = Fixed(retry_on=OSError), Exponential(retry_on=(ConnectionError, KeyError))
    assert strategy_for([first, second], ConnectionError()) is first
    assert strategy_for([first, second], KeyError()) is second
    assert strategy_for([first, second], ValueError()) is None
    assert strategy_for([Fixed(retry_on=lambda error: True)], KeyboardInterrupt()) is None


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Exponential(base_delay=0), "Exponential: base_delay is 0: give a number of 0.001 s or more"),
        (lambda: Exponential(max_delay=math.inf), "max_delay is inf"),
        (lambda: Exponential(base_delay=2, max_delay=1), "max_delay is 1, below base_delay (2)"),
        (lambda: Exponential(multiplier=0.5), "multiplier is 0.5: give a number of 1 or more"),
        (lambda: Exponential(multiplier=math.nan), "multiplier is nan"),
        (lambda: Exponential(jitter=1), "jitter is 1: give True or False"),  # type: ignore[arg-type]
        (lambda: Exponential(max_attempts=0), "max_attempts is 0: give a whole number of 1 or more, or None"),
        (lambda: Exponential(max_attempts=True), "max_attempts is True"),
        (lambda: Exponential(max_attempts=2.5), "max_attempts is 2.5"),  # type: ignore[arg-type]
        (lambda: Exponential(retry_on="OSError"), "retry_on is 'OSError': give an exception class"),  # type: ignore[arg-type]
        (lambda: Exponential(retry_on=[]), "retry_on is []"),
        (lambda: Exponential(retry_on=[OSError, 3]), "retry_on is [<class 'OSError'>, 3]"),  # type: ignore[list-item]
        (lambda: Exponential(retry_on=KeyboardInterrupt), "retry_on is <class 'KeyboardInterrupt'>"),  # type: ignore[arg-type]
        (lambda: Fixed(interval=-1), "Fixed: interval is -1: give a number of 0 s or more"),
        (lambda: Fixed(max_retries=-1), "max_retries is -1"),
        (lambda: Adaptive(threshold=0), "Adaptive: threshold is 0: give a whole number of 1 or more"),
        (lambda: Adaptive(threshold=None), "threshold is None"),  # type: ignore[arg-type]
        (lambda: Adaptive(backoff_factor=0.9), "backoff_factor is 0.9"),
        (lambda: Emergency(emergency_mode="on"), "Emergency: emergency_mode is 'on': give True or False"),  # type: ignore[arg-type]
        (lambda: Emergency(timeout="5"), "timeout is '5'"),  # type: ignore[arg-type]
    ],
)
def test_what_is_out_of_range_is_named(make: Callable[[], object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value)


# ---------------------------------------------------------------- waits


@quick
@given(waits(), failures, randoms)
def test_full_jitter_takes_any_part_of_the_wait(it: dict[str, float], count: int, number: float) -> None:
    whole = Exponential(**it, jitter=False).delay(count, lambda: number)
    part = Exponential(**it).delay(count, lambda: number)
    assert 0.0 <= part <= whole
    assert part == pytest.approx(number * whole)


@quick
@given(waits(), st.integers(1, 2000))
def test_waits_grow_up_to_their_cap(it: dict[str, float], count: int) -> None:
    strategy = Exponential(**it, jitter=False)
    one, next_one = (strategy.delay(n, largest) for n in (count, count + 1))
    assert it["base_delay"] <= one <= next_one <= it["max_delay"]
    if next_one < it["max_delay"]:
        assert next_one == pytest.approx(one * it["multiplier"])


@pytest.mark.parametrize("strategy", [Exponential(), Adaptive(), RetryPolicy(), Emergency()], ids=named)
def test_no_count_of_failures_is_too_large(strategy: RetryStrategy) -> None:
    longest = 129.0 if isinstance(strategy, RetryPolicy) else 30.0
    assert 29.0 < strategy.delay(10**6, largest, KEY) <= longest


@quick
@given(st.floats(0.0, 1000.0), failures, randoms)
def test_a_fixed_wait_is_always_the_same(interval: float, count: int, number: float) -> None:
    assert Fixed(interval).delay(count, lambda: number) == interval


# ---------------------------------------------------------------- ends


@quick
@given(st.integers(1, 1000), st.floats(0.0, 1e6))
def test_attempts_end_after_exactly_so_many(most: int, elapsed: float) -> None:
    kinds = (Exponential(max_attempts=most), Adaptive(max_attempts=most), RetryPolicy(max_attempts=most))
    for strategy in (*kinds, Fixed(max_retries=most - 1)):
        made = next(n for n in itertools.count(1) if strategy.exhausted(n, elapsed))
        assert made == most
    for endless in (Exponential(max_attempts=None), Adaptive(max_attempts=None), Fixed(max_retries=None)):
        assert not endless.exhausted(10**9, elapsed)


# ---------------------------------------------------------------- Emergency


@quick
@given(st.floats(0.0, 100.0), st.floats(0.0, 200.0), failures, randoms)
def test_in_an_emergency_time_alone_counts(timeout: float, elapsed: float, count: int, number: float) -> None:
    strategy = Emergency(emergency_mode=True, timeout=timeout)
    assert strategy.delay(count, lambda: number) == 0.0
    assert strategy.exhausted(count, elapsed) is (elapsed >= timeout)


@quick
@given(st.floats(0.0, 200.0), failures, randoms)
def test_without_an_emergency_it_is_exponential(elapsed: float, count: int, number: float) -> None:
    calm, like = Emergency(timeout=0.5), Exponential()
    assert calm.exhausted(count, elapsed) is like.exhausted(count, elapsed)
    assert calm.delay(count, lambda: number) == like.delay(count, lambda: number)


# ---------------------------------------------------------------- Adaptive


def test_each_failure_above_the_threshold_stretches_and_each_success_shrinks() -> None:
    strategy = Adaptive(jitter=False)
    seen = []
    for _ in range(6):
        strategy.failed(KEY)
        seen.append(strategy.delay(1, largest, KEY))
    assert seen == pytest.approx([0.1, 0.1, 0.1, 0.15, 0.225, 0.3375])
    assert strategy.delay(2, largest, KEY) == pytest.approx(2 * 0.3375)
    strategy.succeeded(KEY)
    assert strategy.delay(1, largest, KEY) == pytest.approx(0.225)
    strategy.failed(KEY)  # the row was broken: the next three stretch nothing
    assert strategy.delay(1, largest, KEY) == pytest.approx(0.225)
    for _ in range(3):
        strategy.succeeded(KEY)
    assert strategy.delay(1, largest, KEY) == pytest.approx(0.1)


@quick
@given(
    waits(),
    st.integers(1, 5),
    st.floats(1.0, 4.0),
    st.lists(st.booleans(), max_size=60),
    st.integers(1, 50),
    randoms,
)
def test_whatever_happened_a_stretched_wait_is_between_the_plain_one_and_the_cap(
    it: dict[str, float], threshold: int, factor: float, past: list[bool], count: int, number: float
) -> None:
    key = f"node-{next(keys)}"
    strategy = Adaptive(threshold, factor, **it, jitter=False)
    row = stretched = 0
    for success in past:
        if success:
            strategy.succeeded(key)
            row, stretched = 0, max(stretched - 1, 0)
        else:
            strategy.failed(key)
            row += 1
            stretched = min(stretched + (row > threshold), strategy._most)
    plain = Exponential(**it, jitter=False).delay(count, largest)
    whole = strategy.delay(count, largest, key)
    assert plain <= whole <= it["max_delay"]
    assert whole == pytest.approx(min(it["max_delay"], plain * factor**stretched))
    assert 0.0 <= dataclasses.replace(strategy, jitter=True).delay(count, lambda: number, key) <= whole


@quick
@given(waits(), st.floats(1.01, 4.0), st.integers(0, 3000))
def test_after_any_row_of_failures_as_many_successes_as_it_takes_to_the_cap_mend_all(
    it: dict[str, float], factor: float, row: int
) -> None:
    key = f"node-{next(keys)}"
    strategy = Adaptive(1, factor, **it, jitter=False)
    for _ in range(row):
        strategy.failed(key)
    for _ in range(math.ceil(math.log(it["max_delay"] / it["base_delay"], factor)) + 1):
        strategy.succeeded(key)
    assert strategy.delay(1, largest, key) == it["base_delay"]


def test_nodes_and_strategies_are_told_apart() -> None:
    one, like, other = (
        Adaptive(jitter=False),
        Adaptive(jitter=False),
        Adaptive(backoff_factor=2.0, jitter=False),
    )
    for _ in range(4):
        one.failed(KEY)
    assert like.delay(1, largest, KEY) == pytest.approx(0.15), "equal ones share what is known"
    assert one.delay(1, largest, "g.another") == 0.1
    assert other.delay(1, largest, KEY) == 0.1


def test_what_is_remembered_is_bounded_and_forgotten_when_it_is_mended() -> None:
    streaks = Streaks(most=3)
    for key in "abcd":
        streaks.failed(key, 0, 9)
    assert len(streaks) == 3
    assert [streaks.stretches(key) for key in "abcd"] == [0, 1, 1, 1]
    streaks.failed("b", 0, 9)
    streaks.failed("e", 0, 9)
    assert [streaks.stretches(key) for key in "bcde"] == [2, 0, 1, 1], "the one tried longest ago goes"
    streaks.succeeded("d")
    streaks.succeeded("unknown")
    assert len(streaks) == 2


def test_threads_lose_no_failure() -> None:
    streaks = Streaks()
    threads = [
        threading.Thread(target=lambda: [streaks.failed(KEY, 0, 10**6) for _ in range(500)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert streaks.stretches(KEY) == 4000


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_starts_anew_even_if_the_lock_was_held() -> None:
    streaks = Streaks()
    streaks.failed(KEY, 0, 9)
    with streaks._lock:
        child = os.fork()
        if not child:
            try:
                streaks.failed(KEY, 5, 9)  # would wait for good for the parent's lock
                os._exit(streaks.stretches(KEY))
            finally:
                os._exit(99)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert streaks.stretches(KEY) == 1
