"""tenacity's loop under strategies: what counts, how long it goes on, what leaves it; and calls to a store in it."""

from __future__ import annotations

import pytest

from petiole_stores.errors import StoreError, StoreUnavailableError
from petiole_stores.memory import MemoryStore
from petiole_workers.patience import STRATEGIES, Patience, patiently
from petiole_workers.retry import Adaptive, Emergency, Exponential, Fixed, RetryStrategy
from petiole_workers.retry.retrying import retrying
from petiole_workers.retry.streaks import Streaks
from petiole_workers.settings import Settings
from tests.unit.retry.clock import Clock
from tests.unit.retry.naming import named


class Failing:
    """Raises these errors, one a call, the last one for good; ``None`` lets a call succeed. A call takes ``takes`` seconds."""

    def __init__(self, clock: Clock, *errors: Exception | None, takes: float = 0.0) -> None:
        self.calls = 0
        self._clock, self._errors, self._takes = clock, [*errors], takes

    def __call__(self) -> str:
        self.calls += 1
        self._clock.now += self._takes
        error = self._errors.pop(0) if len(self._errors) > 1 else self._errors[0]
        if error is not None:
            raise error
        return "answer"


AWAY = StoreUnavailableError("cut")
DOWN = ConnectionError("down")


# ---------------------------------------------------------------- the loop


@pytest.mark.parametrize(
    ("strategy", "calls", "slept"),
    [
        (Exponential(jitter=False, max_attempts=4), 4, [0.1, 0.2, 0.4]),
        (Fixed(), 6, [1.0] * 5),
        (Fixed(max_retries=0), 1, []),
        (Adaptive(jitter=False, max_attempts=6), 6, [0.1, 0.2, 0.4, 0.8 * 1.5, 1.6 * 1.5**2]),
    ],
    ids=named,
)
def test_it_calls_and_waits_as_the_strategy_says(
    strategy: RetryStrategy, calls: int, slept: list[float], clock: Clock
) -> None:
    failing = Failing(clock, DOWN)
    with pytest.raises(ConnectionError, match="down"):
        retrying([strategy], key="k", sleep=clock.sleep)(failing)
    assert failing.calls == calls
    assert clock.slept == pytest.approx(slept)


def test_failures_made_elsewhere_count(clock: Clock) -> None:
    failing = Failing(clock, DOWN)
    with pytest.raises(ConnectionError):
        retrying([Exponential(jitter=False, max_attempts=4)], failures=2, sleep=clock.sleep)(failing)
    assert failing.calls == 2
    assert clock.slept == pytest.approx([0.4])


def test_an_emergency_s_time_runs_from_the_first_failure_here(clock: Clock) -> None:
    failing = Failing(clock, DOWN, takes=2.0)
    with pytest.raises(ConnectionError):
        retrying([Emergency(True, timeout=5.0)], failures=50, sleep=clock.sleep)(failing)
    assert failing.calls == 4, "failures 0, 2, 4 and 6 s after the first one"
    assert set(clock.slept) == {0.0}


def test_each_failure_is_judged_by_the_first_strategy_that_takes_it(clock: Clock) -> None:
    failing = Failing(clock, DOWN, KeyError("k"), DOWN, ValueError("wrong"))
    strategies = [Fixed(0.5, retry_on=ConnectionError), Fixed(0.25, max_retries=9, retry_on=KeyError)]
    with pytest.raises(ValueError, match="wrong"):
        retrying(strategies, sleep=clock.sleep)(failing)
    assert clock.slept == [0.5, 0.25, 0.5]


def test_a_success_is_told_to_every_strategy(clock: Clock, streaks: Streaks) -> None:
    strategy = Adaptive(1, jitter=False, max_attempts=9)
    retrying([strategy], key="k", sleep=clock.sleep)(Failing(clock, DOWN, DOWN, DOWN, None))
    assert streaks.stretches((strategy, "k")) == 1, "stretched twice, shrunk once"


def test_what_is_no_exception_passes(clock: Clock) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrying([Fixed(retry_on=lambda error: True)], sleep=clock.sleep)(stopped)
    assert clock.slept == []


# ---------------------------------------------------------------- a store


@pytest.mark.parametrize(("name", "longest"), [("exponential", 5.0), ("fixed", 1.0), ("adaptive", 30.0)])
def test_a_store_is_tried_until_the_limit_and_at_it(
    name: str, longest: float, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    began = clock.now
    with pytest.raises(StoreUnavailableError, match="cut"):
        patiently(Failing(clock, AWAY), limit=60.0, strategy=STRATEGIES[name])
    assert clock.now - began == pytest.approx(60.0), "the last try is made when the time is over"
    assert max(clock.slept) <= longest
    assert len(caplog.records) == 1, "said once, not once a try"


def test_in_an_emergency_a_store_is_given_up_within_its_timeout(clock: Clock) -> None:
    began = clock.now
    with pytest.raises(StoreUnavailableError):
        patiently(Failing(clock, AWAY, takes=0.5), limit=60.0, strategy=STRATEGIES["emergency"])
    assert clock.now - began == pytest.approx(0.5 + 5.0)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_store_that_is_back_answers(name: str, clock: Clock) -> None:
    failing = Failing(clock, AWAY, AWAY, None)
    assert patiently(failing, strategy=STRATEGIES[name]) == "answer"
    assert failing.calls == 3


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_second_call_is_made_without_any_patience(name: str, clock: Clock) -> None:
    failing = Failing(clock, AWAY)
    with pytest.raises(StoreUnavailableError):
        patiently(failing, limit=0.0, strategy=STRATEGIES[name])
    assert (failing.calls, sum(clock.slept)) == (2, 0.0)


@pytest.mark.parametrize("after", [0, 1])
def test_an_answer_that_is_an_error_is_never_asked_for_again(after: int, clock: Clock) -> None:
    failing = Failing(clock, *[AWAY] * after, StoreError("this cannot be held"))
    with pytest.raises(StoreError, match="held"):
        patiently(failing, strategy=Fixed(retry_on=lambda error: True))
    assert failing.calls == after + 1


def test_an_adaptive_worker_remembers_its_store(clock: Clock, streaks: Streaks) -> None:
    adaptive = STRATEGIES["adaptive"]
    with pytest.raises(StoreUnavailableError):
        patiently(Failing(clock, AWAY), limit=10.0, strategy=adaptive, key="pg")
    stretched = streaks.stretches((adaptive, "pg"))
    assert stretched > 0
    for _ in range(stretched):
        patiently(Failing(clock, None), strategy=adaptive, key="pg")
    assert len(streaks) == 0


def test_settings_name_the_strategy_and_the_limit() -> None:
    store = MemoryStore()
    assert Patience.of(Settings(), store) == Patience(store.url.shown, Settings().store_timeout)
    found = Patience.of(Settings(store_retry="emergency", store_timeout=3.0), store)
    assert (found.strategy, found.limit) == (Emergency(True, retry_on=StoreUnavailableError), 3.0)
