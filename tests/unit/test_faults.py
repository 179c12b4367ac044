"""The store that fails on demand: which calls fail, how, and that it is else the store before which it stands."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from petiole_stores.conformance import LEDGER_CHECKS, Scene, check_ledger
from petiole_stores.errors import ConfigurationError, InputError, StoreUnavailableError
from petiole_stores.faults import (
    OPERATIONS,
    Fault,
    FaultPlan,
    FaultyStore,
    delay,
    execute_and_timeout,
    fail_before,
)
from petiole_stores.memory import MemoryStore
from petiole_stores.records import Worker
from petiole_stores.store import Store

W = Worker(worker_id="w", name="w")


def names(store: Store) -> list[str]:
    return [worker.worker_id for worker in store.list_workers()]


def test_without_faults_it_is_the_store_itself() -> None:
    report = check_ledger(lambda: FaultyStore(MemoryStore(), FaultPlan()))
    assert report.passed == list(LEDGER_CHECKS)


def test_fail_before_does_nothing() -> None:
    store = FaultyStore(MemoryStore(), FaultPlan(fail_before("beat", nth=1)))
    with pytest.raises(StoreUnavailableError, match="beat was made to fail before it was done"):
        store.beat(W)
    assert names(store) == []
    store.beat(W)
    assert names(store) == ["w"]


def test_execute_and_timeout_does_it() -> None:
    store = FaultyStore(MemoryStore(), FaultPlan(execute_and_timeout("beat")))
    with pytest.raises(StoreUnavailableError, match="beat was done and made to lose its answer"):
        store.beat(W)
    assert names(store) == ["w"]


def test_delay_waits_before_the_call() -> None:
    inner = MemoryStore()
    waited: list[tuple[float, list[str]]] = []
    plan = FaultPlan(
        delay("beat", 2.5), delay("*", 0.5), sleep=lambda seconds: waited.append((seconds, names(inner)))
    )
    FaultyStore(inner, plan).beat(W)
    assert waited == [(3.0, [])]
    assert names(inner) == ["w"]


def test_the_nth_call_alone() -> None:
    plan = FaultPlan(fail_before("beat", nth=2), fail_before("*", nth=4))
    store = FaultyStore(MemoryStore(), plan)
    store.beat(W)
    with pytest.raises(StoreUnavailableError):
        store.beat(W)
    store.beat(W)
    with pytest.raises(StoreUnavailableError):
        store.sweep()
    assert plan.struck == [("beat", 2, "fail_before"), ("sweep", 1, "fail_before")]
    assert plan.calls["beat"] == 3


def test_chance_comes_from_the_seed() -> None:
    def struck(seed: int) -> list[int]:
        plan = FaultPlan(fail_before("beat", probability=0.3), seed=seed)
        store = FaultyStore(MemoryStore(), plan)
        for _ in range(100):
            try:
                store.beat(W)
            except StoreUnavailableError:
                pass
        return [number for _, number, _ in plan.struck]

    assert struck(1) == struck(1) != struck(2)
    assert 10 < len(struck(1)) < 60


def test_threads_share_a_plan() -> None:
    plan = FaultPlan(fail_before("beat", nth=50))
    store = FaultyStore(MemoryStore(), plan)

    def beat(_: int) -> int:
        try:
            store.beat(W)
        except StoreUnavailableError:
            return 1
        return 0

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(beat, range(200))) == 1
    assert plan.calls["beat"] == 200


def test_faults_come_and_go() -> None:
    plan = FaultPlan()
    store = FaultyStore(MemoryStore(), plan)
    plan.add(fail_before("sweep"))
    with pytest.raises(StoreUnavailableError):
        store.sweep()
    plan.clear()
    store.sweep()


def test_holding_back_goes_by_its_public_names() -> None:
    plan = FaultPlan()
    scene = Scene(FaultyStore(MemoryStore(), plan))
    scene.begin("a")
    scene.store.pause(scene.ids("r"))
    scene.store.unpause(scene.ids("r"))
    scene.store.block(scene.ids("r"), kind="Unserved", reason="")
    scene.store.unblock(scene.ids("r"))
    assert [plan.calls[name] for name in ("pause", "unpause", "block", "unblock")] == [1, 1, 1, 1]


def test_a_bad_argument_is_no_call() -> None:
    plan = FaultPlan(fail_before("trim"))
    with pytest.raises(InputError):
        FaultyStore(MemoryStore(), plan).trim("t", 0)
    assert plan.calls["trim"] == 0


def test_settings_are_the_stores_own() -> None:
    inner = MemoryStore()
    store = FaultyStore(inner, FaultPlan())
    store.clock, store.grace, store.max_backoff, store.max_crashes = (lambda: 7.0), 1.0, 2.0, 3
    assert inner.clock is not None
    assert (inner.clock(), inner.grace, inner.max_backoff, inner.max_crashes) == (7.0, 1.0, 2.0, 3)
    assert (store.shared, store.url, store.serde, store.durability()) == (False, inner.url, inner.serde, [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"operation": "finnish"},
        {"operation": "finish", "nth": 0},
        {"operation": "finish", "probability": 1.5},
        {"operation": "finish", "seconds": -1.0},
    ],
)
def test_a_fault_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Fault(**{"kind": "delay", **wrong})  # type: ignore[arg-type]


def test_operations_are_public_methods() -> None:
    assert all(callable(getattr(Store, name)) for name in OPERATIONS)
