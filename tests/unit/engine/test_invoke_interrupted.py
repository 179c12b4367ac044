"""``graph.invoke`` that was interrupted, cut off from its store, or forked: the next call goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from petiole_stores.errors import PetioleError, StoreUnavailableError
from petiole_stores.memory import MemoryStore
from petiole_stores.opening import open_store
from petiole_stores.records import ClaimAnswer, FinishAnswer, Outcome
from petiole_workers import inline
from petiole_workers.settings import Settings
from tests.unit.engine.bench import State, chain, says

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}}


def test_after_ctrl_c_the_same_process_can_go_on() -> None:
    presses = [KeyboardInterrupt()]

    def node(state: State) -> State:
        if presses:
            raise presses.pop()
        return {"log": ["b"]}

    graph = chain(a=says("a"), b=node, c=says("c")).compile(checkpointer=MemoryStore())
    with pytest.raises(KeyboardInterrupt):
        graph.invoke({"n": 0}, CONFIG)
    assert graph.invoke(None, CONFIG)["log"] == ["a", "b", "c"]


def test_after_an_outage_of_the_store_the_same_process_can_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(MemoryStore):
        away = False

        def _finish(
            self, holder: str, slot: str, outcomes: Sequence[Outcome], now: float | None
        ) -> list[FinishAnswer]:
            if self.away:
                raise StoreUnavailableError("cut")
            return super()._finish(holder, slot, outcomes, now)

        def _release(self, *args: Any) -> Any:
            if self.away:
                raise StoreUnavailableError("cut")
            return super()._release(*args)

    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    monkeypatch.setattr(inline, "_SETTINGS", Settings(store_timeout=0.0))
    store = Cut()

    def node(state: State) -> State:
        store.away = "b" not in ran
        ran.append("b")
        return {"log": ["b"]}

    ran: list[str] = []
    graph = chain(a=says("a"), b=node, c=says("c")).compile(checkpointer=store)
    with pytest.raises(StoreUnavailableError):
        graph.invoke({"n": 0}, CONFIG)
    store.away = False
    assert graph.invoke(None, CONFIG)["log"] == ["a", "b", "c"]


def test_a_run_that_stops_half_way_is_no_result() -> None:
    class Refusing(MemoryStore):
        def _claim(
            self, holder: str, slot: str, wants: Sequence[tuple[str, str]], *rest: Any
        ) -> list[ClaimAnswer]:
            return [
                ClaimAnswer(task_id=task_id, result="refused", reason="holder stopped")
                for task_id, _ in wants
            ]

    graph = chain(a=says("a")).compile(checkpointer=Refusing())
    with pytest.raises(PetioleError, match="stopped half-way"):
        graph.invoke({"n": 0}, CONFIG)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_forked_process_registers_itself_at_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_wait(seconds: float) -> None:
        raise AssertionError("its claims were refused: it has not registered itself")

    store = open_store("memory://" if kind == "memory" else f"sqlite:///{tmp_path / 'p.db'}")
    graph = chain(a=says("a")).compile(checkpointer=store)
    graph.invoke({"n": 0}, CONFIG)
    monkeypatch.setattr("petiole_workers.runner.time.sleep", no_wait)

    def child() -> int:
        result = graph.invoke({"n": 0}, {"configurable": {"thread_id": "child"}})
        return 0 if result["log"] == ["a"] else 1

    assert _in_a_fork(child) == 0


def _in_a_fork(work: Callable[[], int]) -> int:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 on: the process has threads
        pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
