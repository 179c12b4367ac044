"""Workers in this process: time that is moved, crashes, zombies, a broker that loses and doubles, stores that fail."""

from __future__ import annotations

import operator
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypedDict

import pytest

from petiole import END, START, CompiledGraph, InputError, RetryPolicy, RunFailedError, Runtime, StateGraph
from petiole.testing import POINTS, Clock, FaultPlan, FaultyStore, LocalWorker, execute_and_timeout
from petiole_stores.memory import MemoryStore


class Order(TypedDict, total=False):
    trail: Annotated[list[str], operator.add]


class Shop:
    """``reserve`` -> ``charge`` -> ``ship``, with what each call of a node is to do."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.during: Callable[[str, Runtime], None] = lambda node, runtime: None

    def graph(self, retry: RetryPolicy | None = None) -> CompiledGraph:
        builder = StateGraph(Order)
        names = ("reserve", "charge", "ship")
        for name in names:
            builder.add_node(name, self._node(name), retry_policy=retry)
        for before, after in zip((START, *names), (*names, END), strict=True):
            builder.add_edge(before, after)
        return builder.compile(name="shop")

    def _node(self, name: str) -> Callable[[Order, Runtime], Order]:
        def node(state: Order, runtime: Runtime) -> Order:
            self.calls.append(name)
            self.during(name, runtime)
            return {"trail": [name]}

        return node


TRAIL = ["reserve", "charge", "ship"]


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def worker(shop: Shop) -> Iterator[LocalWorker]:
    with LocalWorker([shop.graph()]) as worker:
        yield worker


# ---------------------------------------------------------------- working


def test_a_run_goes_message_by_message(worker: LocalWorker, shop: Shop) -> None:
    run = worker.client.submit("shop", {})
    assert worker.step()
    assert shop.calls == ["reserve"]
    assert worker.messages.nodes == ["charge"]
    assert worker.run_until_idle() == 2
    assert run.result(0)["trail"] == TRAIL
    assert not worker.step()


def test_a_store_by_url_is_opened_and_closed(shop: Shop, tmp_path: Path) -> None:
    with LocalWorker([shop.graph()], f"sqlite:///{tmp_path}/shop.db") as worker:
        run = worker.client.submit("shop", {})
        worker.run_until_idle()
        assert run.result(0)["trail"] == TRAIL


def test_a_worker_leaves_what_it_does_not_serve_to_another(worker: LocalWorker) -> None:
    builder = StateGraph(Order)
    builder.add_node("only", lambda state: {"trail": ["only"]})
    builder.add_edge(START, "only")
    builder.add_edge("only", END)
    other = worker.another([builder.compile(name="other")])
    run = worker.client.submit("other", {})
    worker.run_until_idle()
    assert run.status() == "queued"
    worker.clock.tick(10)
    worker.sweep()
    other.run_until_idle()
    assert run.result(0)["trail"] == ["only"]


# ---------------------------------------------------------------- time


def test_a_retry_in_ten_minutes_takes_none(shop: Shop) -> None:
    def fail_once(node: str, runtime: Runtime) -> None:
        if runtime.attempt == 1:
            raise ConnectionError(node)

    shop.during = fail_once
    patient = RetryPolicy(initial_interval=600, max_interval=600, jitter=False)
    began = time.monotonic()
    with LocalWorker([shop.graph(patient)]) as worker:
        run = worker.client.submit("shop", {})
        worker.run_until_idle()
        [wait] = worker.client.explain(run.thread_id).waits
        assert (wait.kind, wait.until) == ("retry", pytest.approx(worker.clock() + 600))
        worker.clock.tick(599)
        worker.run_until_idle()
        assert shop.calls == ["reserve"]
        worker.clock.tick(2)
        worker.run_until_idle()
        assert shop.calls[:2] == ["reserve", "reserve"]
        assert worker.run_through_timers() == pytest.approx(1200, abs=1)
        assert run.result(0)["trail"] == TRAIL
    assert time.monotonic() - began < 30


def test_a_node_sleeps_for_a_month(worker: LocalWorker, shop: Shop) -> None:
    shop.during = lambda node, runtime: runtime.sleep(30 * 86400) if node == "charge" else None
    run = worker.client.submit("shop", {})
    assert worker.run_through_timers() == pytest.approx(30 * 86400, abs=1)
    assert run.result(0)["trail"] == TRAIL
    assert shop.calls == ["reserve", "charge", "charge", "ship"]


def test_a_delayed_start_and_a_deadline(worker: LocalWorker, shop: Shop) -> None:
    run = worker.client.submit("shop", {}, at=worker.clock() + 3600, deadline=60)
    shop.during = lambda node, runtime: runtime.sleep(300)
    worker.run_until_idle()
    assert run.status() == "waiting"
    worker.clock.advance_to(datetime.fromtimestamp(worker.clock() + 3601, UTC))
    worker.run_until_idle()
    assert run.status() == "running"
    worker.clock.tick(60)
    worker.run_until_idle()
    with pytest.raises(RunFailedError, match="DeadlineExceeded"):
        run.result(0)


def test_the_clock_never_goes_back() -> None:
    clock = Clock(100.0)
    assert clock.tick(5) == 105.0
    with pytest.raises(InputError, match="cannot go back"):
        clock.advance_to(104.0)


# ---------------------------------------------------------------- crashes


def test_a_crash_loses_the_attempt_and_the_lease_holds_the_task(worker: LocalWorker, shop: Shop) -> None:
    run = worker.client.submit("shop", {})
    worker.crash_at("node.after", node="charge")
    worker.run_until_idle()
    assert worker.crashes == 1
    assert shop.calls == ["reserve", "charge"]
    worker.clock.tick(14)
    worker.run_until_idle()
    assert shop.calls == ["reserve", "charge"]
    worker.clock.tick(2)
    worker.run_until_idle()
    assert run.result(0)["trail"] == TRAIL
    assert shop.calls == ["reserve", "charge", "charge", "ship"]


def test_a_killed_worker_stays_away_and_another_takes_over(worker: LocalWorker, shop: Shop) -> None:
    other = worker.another()
    run = worker.client.submit("shop", {})
    worker.at("node.before", worker.kill, node="charge")
    assert worker.step()
    assert worker.step()
    with pytest.raises(InputError, match="was killed"):
        worker.step()
    other.run_until_idle()
    assert shop.calls == ["reserve"]
    worker.clock.tick(16)
    other.run_until_idle()
    assert run.result(0)["trail"] == TRAIL
    worker.restart()
    assert not worker.step()


@pytest.mark.parametrize(
    "point",
    [
        "claim.before", "claim.after", "node.before", "node.after", "finish.before", "finish.after", "publish.after",
        "beat.before", "beat.after", "sweep.before", "sweep.after", "due.before", "due.after",
    ],
)  # fmt: skip
def test_a_crash_at_any_point_changes_no_result(worker: LocalWorker, shop: Shop, point: str) -> None:
    run = worker.client.submit("shop", {})
    worker.messages.drop_all()  # so that something is due, too
    worker.crash_at(point, times=2)
    for _ in range(6):
        worker.run_until_idle()
        worker.clock.tick(16)
    assert worker.crashes == 2
    assert run.result(0)["trail"] == TRAIL
    assert [task.node for task in worker.client.tasks(run.run_id) if task.status == "done"][1:] == TRAIL


def test_a_crash_between_commit_and_publish_loses_nothing(worker: LocalWorker, shop: Shop) -> None:
    run = worker.client.submit("shop", {})
    worker.crash_at("finish.after", node="reserve")
    worker.step()
    assert worker.crashes == 1
    assert worker.messages.nodes == []
    worker.run_until_idle()
    assert run.result(0)["trail"] == TRAIL
    assert shop.calls == TRAIL


def test_a_poison_node_fails_after_so_many_dead_processes(worker: LocalWorker, shop: Shop) -> None:
    run = worker.client.submit("shop", {})
    worker.crash_at("node.before", node="charge", times=99, process="child")
    worker.run_until_idle()
    assert worker.crashes == worker.settings.max_crashes
    with pytest.raises(RunFailedError, match="WorkerLost"):
        run.result(0)
    [letter] = worker.client.dead_letters(poison=True)
    assert letter.task.crashes == worker.settings.max_crashes


def test_a_point_that_does_not_exist_is_refused(worker: LocalWorker) -> None:
    with pytest.raises(InputError, match=r"'node\.during' is no point"):
        worker.crash_at("node.during")
    with pytest.raises(InputError, match="times is 0"):
        worker.crash_at("node.after", times=0)
    assert "node.before" in POINTS


# ---------------------------------------------------------------- zombies


def test_a_zombie_s_output_is_refused(worker: LocalWorker, shop: Shop) -> None:
    other = worker.another()
    run = worker.client.submit("shop", {})

    def freeze() -> None:
        worker.pause()
        worker.clock.tick(16)
        other.run_until_idle()
        worker.unpause()

    worker.at("finish.before", freeze, node="charge")
    worker.run_until_idle()
    assert run.result(0)["trail"] == TRAIL
    assert shop.calls.count("charge") == 2
    assert (worker.stats.refused, other.stats.refused) == (1, 0)


def test_a_paused_worker_does_nothing(worker: LocalWorker) -> None:
    worker.client.submit("shop", {})
    worker.pause()
    assert not worker.step()
    assert worker.run_until_idle() == 0
    worker.unpause()
    assert worker.run_until_idle() == 3


def test_a_worker_whose_lease_nobody_took_finishes_late(worker: LocalWorker, shop: Shop) -> None:
    run = worker.client.submit("shop", {})
    worker.at("finish.before", lambda: worker.clock.tick(3600), node="charge")
    worker.run_until_idle()
    assert run.result(0)["trail"] == TRAIL
    assert shop.calls == TRAIL


# ---------------------------------------------------------------- the broker


def test_lost_doubled_and_shuffled_messages_change_nothing(worker: LocalWorker, shop: Shop) -> None:
    runs = [worker.client.submit("shop", {}) for _ in range(5)]
    assert worker.messages.drop_all() == 5
    assert worker.sweep()
    assert len(worker.messages) == 5
    assert worker.messages.duplicate_all() == 10
    worker.messages.shuffle(seed=7)
    worker.run_until_idle()
    assert [run.result(0)["trail"] for run in runs] == [TRAIL] * 5
    assert len(shop.calls) == 15


def test_a_broker_that_is_down_loses_nothing(worker: LocalWorker, shop: Shop) -> None:
    worker.messages.is_up = False
    run = worker.client.submit("shop", {})
    assert worker.run_until_idle() == 0
    worker.messages.is_up = True
    worker.run_until_idle()
    assert run.result(0)["trail"] == TRAIL


# ---------------------------------------------------------------- the store


def test_a_commit_in_doubt_runs_no_node_twice(shop: Shop) -> None:
    plan = FaultPlan(execute_and_timeout("finish", nth=2), execute_and_timeout("claim", nth=1))
    with LocalWorker([shop.graph()], FaultyStore(MemoryStore(), plan)) as worker:
        run = worker.client.submit("shop", {})
        worker.run_until_idle()
        assert run.result(0)["trail"] == TRAIL
    assert len(plan.struck) == 2
    assert shop.calls == TRAIL


# ---------------------------------------------------------------- the module


def test_the_module_imports_nothing_before_it_is_asked() -> None:
    code = "import sys, petiole.testing; print([m for m in sys.modules if 'petiole_' in m or m == 'pytest'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.strip() == "[]"
