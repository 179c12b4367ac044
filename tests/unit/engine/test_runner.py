"""The runner by hand: what it does with failures of nodes, of the store, of the broker, and with claims it has lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from greenlet import GreenletExit

from petiole_stores.errors import StoreError, StoreUnavailableError
from petiole_stores.memory import MemoryStore
from petiole_stores.records import Claim, FinishAnswer, Outcome
from petiole_workers.failure import parse_failure
from petiole_workers.graph import END, START, RetryPolicy, Runtime, Send, StateGraph
from petiole_workers.graph.snapshot import TaskSpec
from petiole_workers.hop import Hint
from tests.unit.engine.bench import HOLDER, Bench, State, chain, says


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries at the store take no time."""
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)


# ---------------------------------------------------------------- what nodes raise


class Uncommon(BaseException):
    """Not an Exception, as time-outs and cancellations of some libraries are not."""


@pytest.mark.parametrize(
    "error",
    [asyncio.CancelledError(), Uncommon("x"), SystemExit(3), GeneratorExit("x"), ValueError("x")],
    ids=repr,
)
@pytest.mark.parametrize("where", ["node", "router"])
def test_whatever_users_code_raises_fails_its_task_and_not_the_worker(
    error: BaseException, where: str
) -> None:
    def broken(state: State) -> Any:
        raise error

    builder = StateGraph(State)
    builder.add_node("a", broken if where == "node" else says("a"))
    builder.add_edge(START, "a")
    if where == "router":
        builder.add_conditional_edges("a", broken, ["a", END])
    bench = Bench(builder)
    run_id = bench.submit()
    bench.drain()
    run = bench.run(run_id)
    assert run.status == "failed"
    failure = parse_failure(run.error)
    assert failure is not None
    assert failure.type.endswith(type(error).__name__)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GreenletExit(), SystemExit(-241)], ids=repr)
def test_what_ends_the_worker_is_no_failure_of_the_node(error: BaseException) -> None:
    def broken(state: State) -> State:
        raise error

    bench = Bench(chain(a=broken))
    run_id = bench.submit()
    with pytest.raises(type(error)):
        bench.drain()
    assert bench.run(run_id).status == "running"


def test_the_store_cannot_hold_one_output_of_a_batch(no_waiting: None) -> None:
    class Picky(MemoryStore):
        def _finish(
            self, holder: str, slot: str, outcomes: Sequence[Outcome], now: float | None
        ) -> list[FinishAnswer]:
            if any("poison" in (outcome.output or "") for outcome in outcomes):
                raise StoreError("this cannot be held")
            return super()._finish(holder, slot, outcomes, now)

    builder = StateGraph(State)
    builder.add_node("good", says("good")).add_node("bad", says("poison"))
    builder.add_edge(START, "good").add_edge(START, "bad")
    bench = Bench(builder, store=Picky())
    run_id = bench.submit()
    bench.runner.run([bench.hint()])
    for node in ("good", "bad"):
        bench.runner._seconds["g", node] = 0.0  # known as short: both are claimed and committed together
    hints = [bench.hint(), bench.hint()]
    assert bench.runner.run(hints) == 2
    tasks = bench.tasks(run_id)
    assert (tasks["good"].status, tasks["bad"].status) == ("done", "failed")
    assert "cannot be held" in (tasks["bad"].error or "")
    assert bench.run(run_id).status == "failed"


# ---------------------------------------------------------------- retries


def test_tries_made_in_one_worker_count_when_the_next_is_made_in_another() -> None:
    tries: list[int] = []

    def flaky(state: State, runtime: Runtime) -> State:
        tries.append(runtime.attempt)
        raise ConnectionError("not there")

    builder = chain(a=says("a"))
    policy = RetryPolicy(initial_interval=0.01, backoff_factor=10.0, jitter=False, max_attempts=4)
    builder.add_node("b", flaky, retry_policy=policy)
    builder.add_edge(START, "b")
    bench = Bench(builder, in_process_wait=0.05)
    run_id = bench.submit()
    bench.drain()
    assert tries == [1, 2], "the third is due in 0.1 s: too long to wait for here"
    for _ in range(4):
        bench.now += 60
        bench.beat()
        bench.store.sweep(observed=0.0)
        bench.publish(bench.store.due())
        bench.drain()
    assert tries == [1, 2, 3, 4]
    task = bench.tasks(run_id)["b"]
    assert task.status == "failed"
    failure = parse_failure(task.error)
    assert failure is not None
    assert failure.attempt == 4


def test_a_retry_sees_the_state_as_it_was_before_the_failed_try() -> None:
    seen: list[list[str]] = []

    def flaky(state: State) -> State:
        seen.append(list(state["log"]))
        state["log"].append("half done")
        if len(seen) == 1:
            raise ConnectionError("not there")
        return {"n": 1}

    builder = StateGraph(State)
    builder.add_node("a", flaky, retry_policy=RetryPolicy(initial_interval=0.001, jitter=False))
    builder.add_edge(START, "a")
    bench = Bench(builder)
    bench.submit({"log": ["first"]})
    bench.drain()
    assert seen == [["first"], ["first"]]
    assert bench.values() == {"log": ["first"], "n": 1}


# ---------------------------------------------------------------- the store is away


class Cut(MemoryStore):
    """Loses its connection at chosen calls, before or after it did what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.cuts: dict[str, list[bool]] = {}  # operation -> for each cut, whether it did its work before

    def _pass(self, name: str, work: Callable[[], Any]) -> Any:
        cuts = self.cuts.get(name)
        if not cuts:
            return work()
        if cuts.pop(0):
            work()
        raise StoreUnavailableError(f"cut in {name}")

    def _claim(self, *args: Any) -> Any:
        return self._pass("claim", lambda: super(Cut, self)._claim(*args))

    def _finish(self, *args: Any) -> Any:
        return self._pass("finish", lambda: super(Cut, self)._finish(*args))


@pytest.mark.parametrize("operation", ["claim", "finish"])
@pytest.mark.parametrize("done_before", [False, True], ids=["lost call", "lost answer"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_cut_connection_runs_no_node_twice(
    operation: str, done_before: bool, nth: int, no_waiting: None
) -> None:
    calls: list[str] = []

    def node(name: str) -> Callable[[State], State]:
        return lambda state: calls.append(name) or {"log": [name]}  # type: ignore[func-returns-value]

    builder = StateGraph(State)
    for name in ("left", "right", "last"):
        builder.add_node(name, node(name))
    builder.add_edge(START, "left").add_edge(START, "right").add_edge(["left", "right"], "last").add_edge(
        "last", END
    )
    store = Cut()
    bench = Bench(builder, store=store)
    run_id = bench.submit()
    if nth == 2:
        bench.runner.run([bench.hint()])
    store.cuts[operation] = [done_before, done_before]
    bench.drain()
    assert bench.run(run_id).status == "succeeded"
    assert sorted(calls) == ["last", "left", "right"]
    assert bench.values()["log"] == ["left", "right", "last"]


def test_after_its_patience_the_store_s_error_leaves_and_the_next_claim_of_the_slot_frees_the_task(
    no_waiting: None,
) -> None:
    store = Cut()
    bench = Bench(chain(a=says("a"), b=says("b")), store=store, store_timeout=0.0)
    run_id = bench.submit()
    store.cuts["finish"] = [False] * 2
    with pytest.raises(StoreUnavailableError):
        bench.drain()
    assert bench.tasks(run_id)[START].status == "claimed"
    bench.submit(thread_id="other")
    bench.runner.run([bench.hint()])
    bench.publish(bench.store.due(published_before=4e9))
    bench.drain()
    assert bench.run(run_id).status == "succeeded"


# ---------------------------------------------------------------- the right to work


def test_a_slow_worker_s_output_is_dropped_once_another_has_claimed() -> None:
    bench = Bench(chain(a=says("a"), b=says("b")))
    run_id = bench.submit()
    bench.runner.run([bench.hint()])
    slow = bench.hint()
    claim = bench.store.claim(HOLDER, "1", [(slow.task_id, "slow")])[0].claim
    assert claim is not None
    work = bench.runner.execute(claim)
    bench.now += 20  # its lease is over
    bench.beat("worker-2")
    assert bench.store.sweep().died == [HOLDER]
    fast = bench.another("worker-2")
    assert fast.run([slow]) == 1
    assert bench.runner.commit([work]) == []
    assert bench.runner.stats.refused == 1
    assert bench.run(run_id).status == "succeeded"
    assert bench.values()["log"] == ["a", "b"]


def test_a_lost_lease_alone_does_not_cost_the_output() -> None:
    bench = Bench(chain(a=says("a"), b=says("b")))
    bench.submit()
    bench.runner.run([bench.hint()])
    claim = bench.store.claim(HOLDER, "1", [(bench.hint().task_id, "slow")])[0].claim
    assert claim is not None
    work = bench.runner.execute(claim)
    bench.now += 20
    bench.store.sweep()
    bench.runner.commit([work])
    assert (bench.runner.stats.refused, bench.values()["log"]) == (0, ["a", "b"])


def test_a_dead_holder_waits_for_its_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(chain(a=says("a")))
    run_id = bench.submit()
    bench.now += 20
    bench.store.sweep()
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            bench.beat()

    monkeypatch.setattr("petiole_workers.runner.time.sleep", sleep)
    bench.drain()
    assert len(waits) == 3
    assert bench.run(run_id).status == "succeeded"


def test_a_stopped_holder_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(seconds: float) -> None:
        raise AssertionError("a worker that has stopped is never alive again")

    bench = Bench(chain(a=says("a")))
    run_id = bench.submit()
    bench.store.release(HOLDER, final=True)
    monkeypatch.setattr("petiole_workers.runner.time.sleep", sleep)
    assert bench.runner.run([bench.hint()]) == 0
    assert bench.run(run_id).status == "queued", "another worker will take it"


def test_every_message_twice_changes_nothing() -> None:
    calls: list[str] = []
    bench = Bench(
        chain(
            a=lambda s: calls.append("a") or {"log": ["a"]}, b=lambda s: calls.append("b") or {"log": ["b"]}
        )
    )
    run_id = bench.submit()
    for _ in range(6):
        bench.messages = [ref for ref in bench.messages for _ in range(2)]
        bench.drain()
    assert calls == ["a", "b"]
    assert bench.run(run_id).status == "succeeded"


def test_a_broker_that_is_away_costs_no_commit() -> None:
    bench = Bench(chain(a=says("a"), b=says("b")))
    run_id = bench.submit()
    hint = bench.hint()
    bench.runner._publish = lambda refs: []
    assert bench.runner.run([hint]) == 2, "the start, and its first node"
    bench.now += 1
    refs = bench.store.due(published_before=bench.now)
    assert [ref.node for ref in refs] == ["b"], "the sweep finds what was not published"
    bench.runner.run([Hint.of(refs[0])])
    assert bench.run(run_id).status == "succeeded"


# ---------------------------------------------------------------- chains and batches


@pytest.mark.parametrize("chain_mode", ["broker", "inline"])
def test_inline_goes_on_and_broker_does_not(chain_mode: str) -> None:
    bench = Bench(chain(a=says("a"), b=says("b"), c=says("c")), chain=chain_mode, inline_slice=60.0)
    run_id = bench.submit()
    attempts = bench.runner.run([bench.hint()])
    assert attempts == (2 if chain_mode == "broker" else 4)
    assert len(bench.messages) == (1 if chain_mode == "broker" else 0)
    bench.drain()
    assert bench.values()["log"] == ["a", "b", "c"]
    assert [task.attempt for task in bench.store.list_tasks(run_id)] == [1] * 4


def test_inline_hands_over_when_its_slice_is_over() -> None:
    def slow(state: State) -> State:
        until = time.monotonic() + 0.02
        while time.monotonic() < until:
            pass
        return {"log": ["slow"]}

    bench = Bench(chain(a=slow, b=says("b"), c=says("c")), chain="inline", inline_slice=0.01)
    bench.submit()
    assert bench.runner.run([bench.hint()]) == 2
    assert [ref.node for ref in bench.messages] == ["b"]


def test_a_process_that_dies_with_an_inline_claim_leaves_a_task_that_others_can_take() -> None:
    bench = Bench(chain(a=says("a"), b=says("b")))
    run_id = bench.submit()
    hint = bench.hint()
    claim = bench.store.claim(HOLDER, "1", [(hint.task_id, "tok")])[0].claim
    assert claim is not None
    followed: list[Claim] = bench.runner.commit([bench.runner.execute(claim)])
    assert [claim.task.node for claim in followed] == ["a"]
    assert bench.messages == []
    refs = bench.store.release(HOLDER, slots=["1"], crashed=True)
    assert [ref.node for ref in refs] == ["a"]
    assert bench.tasks(run_id)["a"].crashes == 1
    bench.publish(refs)
    bench.drain()
    assert bench.run(run_id).status == "succeeded"


def test_hints_that_are_to_run_alone_or_are_not_known_as_short_are_claimed_one_by_one() -> None:
    bench = Bench(chain(a=says("a")))
    short = Hint("t", "r", "1", "g", "a")
    bench.runner._seconds["g", "a"] = 0.001
    assert bench.runner._split([short, short, short._replace(alone=True), short]) == (
        [short, short], [short._replace(alone=True), short]
    )  # fmt: skip
    assert bench.runner._split([short._replace(alone=True), short])[0] == [short._replace(alone=True)]
    assert len(bench.runner._split([short._replace(node="new"), short])[0]) == 1


class HintedStore(MemoryStore):
    """Writes down where it was told that tasks belong."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, set[str]] = {}

    def hint(self, thread_id: str, ids: Iterable[str]) -> None:
        for id in ids:
            self.told.setdefault(id, set()).add(thread_id)


def test_tasks_of_several_threads_that_are_committed_together_stay_each_on_its_own() -> None:
    store = HintedStore()
    bench = Bench(chain(a=says("a"), b=says("b")), store=store)
    runs = [bench.submit(thread_id=f"t{number}") for number in range(3)]
    bench.runner._seconds.update({("g", "a"): 0.0, ("g", START): 0.0})
    bench.runner.run([bench.hint() for _ in runs])
    tasks = {task.task_id: {task.thread_id} for run in runs for task in store.list_tasks(run)}
    assert {id: threads for id, threads in store.told.items() if threads != tasks.get(id, threads)} == {}
    assert {bench.tasks(run)["a"].status for run in runs} == {"done"}


def test_two_finishes_under_one_token_commit_once() -> None:
    bench = Bench(chain(a=says("a")))
    bench.submit()
    claim = bench.store.claim(HOLDER, "1", [(bench.hint().task_id, "tok")])[0].claim
    assert claim is not None
    first, second = bench.runner.execute(claim), bench.runner.execute(claim)
    bench.runner.commit([first])
    before = bench.store.head("t")
    bench.runner.commit([second])
    assert bench.store.head("t") == before


def test_a_fan_out_reads_its_list_of_tasks_once_and_not_once_for_each_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = []

    def counted(path: str, **fields: Any) -> TaskSpec:
        read.append(path)
        return TaskSpec(path, **fields)

    monkeypatch.setattr("petiole_workers.documents.TaskSpec", counted)
    builder = StateGraph(State)
    builder.add_node("a", says("a"))
    builder.add_conditional_edges(START, lambda state: [Send("a", {}) for _ in range(30)], ["a"])
    bench = Bench(builder)
    run_id = bench.submit()
    bench.drain()
    assert bench.run(run_id).status == "succeeded"
    assert len(read) == 30
