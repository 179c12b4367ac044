"""Calling nodes: time-outs of sync and async ones, nested, in threads and beside store calls; retries here or later."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from petiole_stores.errors import StoreUnavailableError
from petiole_workers.caller import NodeCaller, RetryLaterError, undisturbed
from petiole_workers.graph import NodeSpec, RetryPolicy, Runtime, StateGraph, TimeoutPolicy
from petiole_workers.limits import NodeTimeoutError
from tests.unit.engine.bench import State


def spec(node: Callable[..., Any], **options: Any) -> NodeSpec:
    return (
        StateGraph(State)
        .add_node("n", node, **options)
        .add_edge("__start__", "n")
        .compile()
        .definition.nodes["n"]
    )


@pytest.fixture
def caller() -> Iterator[NodeCaller]:
    caller = NodeCaller(in_process_wait=0.05)
    yield caller
    caller.close()


def spin(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def forever(state: State) -> State:
    spin(30)
    return {}


async def forever_async(state: State) -> State:
    await asyncio.sleep(30)
    return {}


@pytest.mark.parametrize("node", [forever, forever_async])
def test_a_node_that_runs_too_long_is_interrupted(node: Callable[..., Any], caller: NodeCaller) -> None:
    began, handler = time.monotonic(), signal.getsignal(signal.SIGALRM)
    left = signal.getitimer(signal.ITIMER_REAL)[0]  # the test runner's own alarm, if it has one
    with pytest.raises(NodeTimeoutError, match=r"'n' ran longer than its timeout of 0\.05 s"):
        caller.call(spec(node, timeout=0.05), {}, Runtime())
    assert time.monotonic() - began < 5
    assert signal.getsignal(signal.SIGALRM) == handler
    now_left = signal.getitimer(signal.ITIMER_REAL)[0]
    assert left - 5 < now_left < left if left else now_left == 0, "an alarm that was set before goes on"


def test_in_another_thread_the_error_comes_when_the_node_is_over(caller: NodeCaller) -> None:
    errors: list[BaseException] = []

    def target() -> None:
        try:
            caller.call(spec(lambda state: spin(0.03), timeout=0.01), {}, Runtime())
        except NodeTimeoutError as error:
            errors.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    assert "longer than its timeout of 0.01 s" in str(errors[0])


def test_a_node_s_own_timeout_error_is_its_own(caller: NodeCaller) -> None:
    async def node(state: State) -> State:
        raise TimeoutError("the other side is slow")

    with pytest.raises(TimeoutError, match="the other side") as caught:
        caller.call(spec(node, timeout=5), {}, Runtime())
    assert not isinstance(caught.value, NodeTimeoutError)


def test_a_limit_within_a_limit_leaves_the_outer_one_in_force(caller: NodeCaller) -> None:
    inner = NodeCaller()

    def outer(state: State) -> State:
        inner.call(spec(lambda state: {}, timeout=20), {}, Runtime())
        return forever(state)

    with pytest.raises(NodeTimeoutError, match=r"0\.1 s"):
        caller.call(spec(outer, timeout=0.1), {}, Runtime())


def test_an_alarm_waits_for_the_end_of_a_call_to_the_store(caller: NodeCaller) -> None:
    """Clients of stores take the time-out for one of their own, and would swallow it."""
    finished: list[bool] = []

    def node(state: State) -> State:
        with undisturbed():
            try:
                spin(0.1)
            except Exception:  # noqa: BLE001 - as a client of a store might
                raise StoreUnavailableError("cut") from None
            finished.append(True)
        return forever(state)

    with pytest.raises(NodeTimeoutError):
        caller.call(spec(node, timeout=0.03), {}, Runtime())
    assert finished == [True]


IDLE = TimeoutPolicy(run_timeout=20, idle_timeout=0.2)


def beating(
    caller: NodeCaller, *, heartbeat: bool, then: Callable[[float], None]
) -> Callable[[State], State]:
    """A node that shows progress for three times its idle limit, and then does ``then``."""

    def node(state: State) -> State:
        for _ in range(12):
            spin(0.05)
            caller.progress(heartbeat=heartbeat)
        then(30)
        return {}

    return node


def test_progress_sets_the_idle_limit_back_and_its_end_is_an_error(caller: NodeCaller) -> None:
    it = spec(beating(caller, heartbeat=False, then=lambda seconds: None), timeout=IDLE)
    assert caller.call(it, {}, Runtime()) == {}
    began = time.monotonic()
    with pytest.raises(NodeTimeoutError, match=r"no progress for longer than its idle_timeout of 0\.2 s"):
        caller.call(spec(beating(caller, heartbeat=False, then=spin), timeout=IDLE), {}, Runtime())
    assert 0.6 < time.monotonic() - began < 10


def test_an_async_node_is_ended_when_it_idles_and_not_before(caller: NodeCaller) -> None:
    made: list[int] = []

    async def node(state: State) -> State:
        for number in range(12):
            await asyncio.sleep(0.05)
            caller.progress(heartbeat=True)
            made.append(number)
        await asyncio.sleep(30)
        return {}

    policy = TimeoutPolicy(idle_timeout=0.2, refresh_on="heartbeat")
    with pytest.raises(NodeTimeoutError, match="idle_timeout"):
        caller.call(spec(node, timeout=policy), {}, Runtime())
    assert len(made) == 12


def test_only_heartbeats_count_where_the_policy_says_so(caller: NodeCaller) -> None:
    policy = TimeoutPolicy(idle_timeout=0.2, refresh_on="heartbeat")
    kept = beating(caller, heartbeat=True, then=lambda seconds: None)
    assert caller.call(spec(kept, timeout=policy), {}, Runtime()) == {}
    with pytest.raises(NodeTimeoutError, match="idle_timeout"):
        caller.call(spec(beating(caller, heartbeat=False, then=spin), timeout=policy), {}, Runtime())


def test_the_run_limit_is_not_set_back_by_progress(caller: NodeCaller) -> None:
    policy = TimeoutPolicy(run_timeout=0.3, idle_timeout=0.2)
    with pytest.raises(NodeTimeoutError, match=r"ran longer than its timeout of 0\.3 s"):
        caller.call(spec(beating(caller, heartbeat=True, then=spin), timeout=policy), {}, Runtime())


def test_a_pause_that_is_announced_is_no_idling(caller: NodeCaller) -> None:
    def node(state: State) -> State:
        caller.progress(heartbeat=False, pause=0.4)
        spin(0.4)
        return {}

    assert caller.call(spec(node, timeout=IDLE), {}, Runtime()) == {}


def test_in_another_thread_any_idle_stretch_is_found_when_the_node_is_over(caller: NodeCaller) -> None:
    errors: list[BaseException] = []

    def node(state: State) -> None:
        spin(0.05)
        caller.progress(heartbeat=True)

    def target() -> None:
        try:
            caller.call(spec(node, timeout=TimeoutPolicy(idle_timeout=0.02)), {}, Runtime())
        except NodeTimeoutError as error:
            errors.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    assert "idle_timeout of 0.02 s" in str(errors[0])


def test_a_timeout_is_retried_by_default_as_in_langgraph(caller: NodeCaller) -> None:
    errors = pytest.importorskip("langgraph.errors", reason="langgraph is not installed")
    types = pytest.importorskip("langgraph.types", reason="langgraph is not installed")
    theirs = errors.NodeTimeoutError("n", 1.0, kind="run", run_timeout=0.5)
    assert RetryPolicy().retries(NodeTimeoutError("late")) is types.RetryPolicy().retry_on(theirs) is True


def test_async_nodes_share_one_loop_and_may_be_called_from_within_another(caller: NodeCaller) -> None:
    loops: list[object] = []

    async def node(state: State) -> State:
        loops.append(asyncio.get_running_loop())
        return {"n": 1}

    it = spec(node)
    assert [caller.call(it, {}, Runtime()) for _ in range(2)] == [{"n": 1}, {"n": 1}]
    assert loops[0] is loops[1]

    async def within() -> Any:
        return caller.call(it, {}, Runtime())

    assert asyncio.run(within()) == {"n": 1}


def test_a_cancelled_async_node_leaves_the_loop_usable(caller: NodeCaller) -> None:
    async def cancelled(state: State) -> State:
        raise asyncio.CancelledError

    async def fine(state: State) -> State:
        return {"n": 2}

    with pytest.raises(asyncio.CancelledError):
        caller.call(spec(cancelled), {}, Runtime())
    assert caller.call(spec(fine), {}, Runtime()) == {"n": 2}


def test_a_short_wait_is_slept_through_and_a_long_one_leaves_the_slot(caller: NodeCaller) -> None:
    attempts: list[int] = []

    def node(state: State, runtime: Runtime) -> State:
        attempts.append(runtime.attempt)
        raise ConnectionError("down")

    policy = RetryPolicy(initial_interval=0.001, backoff_factor=100, jitter=False, max_attempts=5)
    with pytest.raises(RetryLaterError, match=r"0\.1 s after ConnectionError: down") as caught:
        caller.call(spec(node, retry_policy=policy), {}, Runtime(attempt=1))
    assert (attempts, caller.tries, caught.value.delay) == ([1, 2], 2, pytest.approx(0.1))
    assert type(caught.value.delay) is float  # else it cannot be encoded on its way to the store
    with pytest.raises(ConnectionError):
        caller.call(spec(node, retry_policy=policy), {}, Runtime(attempt=5), failures=4)
    assert (attempts, caller.tries) == ([1, 2, 5], 1)


def test_the_first_policy_that_takes_the_error_decides(caller: NodeCaller) -> None:
    tries: list[int] = []

    def node(state: State) -> State:
        tries.append(1)
        raise KeyError("k")

    policies = [
        RetryPolicy(retry_on=OSError, max_attempts=9),
        RetryPolicy(retry_on=KeyError, max_attempts=2, initial_interval=0.001, jitter=False),
    ]
    with pytest.raises(KeyError):
        caller.call(spec(node, retry_policy=policies), {}, Runtime())
    assert len(tries) == 2
