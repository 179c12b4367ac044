"""Old checkpoints and threads are removed while runs go on: nothing that anybody needs is ever missing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from petiole_stores.opening import open_store
from petiole_stores.records import Worker
from petiole_stores.store import Store
from petiole_workers.celery.janitor import Share, delete_expired, is_workers
from petiole_workers.graph import START, StateGraph
from petiole_workers.repair import verify
from petiole_workers.settings import Settings
from tests.unit.engine.bench import State, chain, says
from tests.unit.engine.driven import Driven

BACKENDS = [
    "memory",
    "sqlite",
    "file",
    pytest.param("postgresql", marks=pytest.mark.postgres),
    pytest.param("redis", marks=pytest.mark.redis),
]
ROUNDS = 60


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    match request.param:
        case "memory":
            url = "memory://"
        case "sqlite":
            url = f"sqlite:///{tmp_path}/store.db"
        case "file":
            url = f"file://{tmp_path}/files"
        case "postgresql":
            url = str(request.getfixturevalue("postgres_url"))
        case _:
            url = str(request.getfixturevalue("redis_url"))
    opened = open_store(url)
    yield opened
    opened.close()


def loop() -> StateGraph:
    """Sixty rounds, each of which changes a large value and leaves another as it is."""
    builder = StateGraph(State)
    builder.add_node("first", lambda state: {"log": ["kept" * 3000]})
    builder.add_node("turn", lambda state: {"n": state["n"] + 1})
    builder.add_node("grow", lambda state: {"log": [f"{state['n']}" * 3000]})
    builder.add_edge(START, "first")
    builder.add_edge("first", "turn")
    builder.add_edge("turn", "grow")
    builder.add_conditional_edges("grow", lambda state: "turn" if state["n"] < ROUNDS else "__end__")
    return builder


def test_a_thread_that_is_trimmed_all_the_time_ends_as_any_other(store: Store) -> None:
    driven = Driven(store, loop())
    run_id = driven.submit()
    over = threading.Event()
    faults: list[BaseException] = []

    def trim() -> None:
        cursor = ""
        try:
            while not over.is_set():
                threads, cursor = store.recent(cursor)
                for thread_id in threads:
                    store.trim(thread_id, 3)
        except BaseException as error:  # noqa: BLE001 - the test says what it was
            faults.append(error)

    janitor = threading.Thread(target=trim)
    janitor.start()
    try:
        driven.drain()
    finally:
        over.set()
        janitor.join()
    assert not faults
    assert driven.run(run_id).status == "succeeded"
    assert len(driven.log()) == ROUNDS + 1
    assert [entry[:1] for entry in driven.log()[:3]] == ["k", "1", "2"]
    store.trim("t", 3)
    assert len(store.list_checkpoints("t")) <= 4
    assert len(store.list_tasks(run_id)) <= 6
    assert list(verify(store)) == []


def test_a_trimmed_thread_can_be_replayed_and_run_again(store: Store) -> None:
    broken = True

    def last(state: State) -> State:
        if broken:
            raise ValueError("broken")
        return {"log": ["last"]}

    driven = Driven(store, chain(**{name: says(name) for name in "abcdefgh"}, last=last))
    run_id = driven.submit()
    driven.drain()
    store.trim("t", 1)
    broken = False
    failed = driven.tasks(run_id)["last"].task_id
    driven.publish(store.replay(run_id, [(failed, "again")]).publish)
    driven.drain()
    assert driven.log() == [*"abcdefgh", "last"]
    second = driven.submit()
    driven.drain()
    assert driven.run(second).status == "succeeded"


def test_threads_past_their_time_are_deleted_and_others_stay(store: Store) -> None:
    driven = Driven(store, chain(a=says("a")))
    driven.submit()
    driven.drain()
    settings = Settings(keep_succeeded=3600.0)
    assert delete_expired(store, settings, most=100) == 0
    assert delete_expired(store, Settings(keep_failed=0.0), most=100) == 0
    assert delete_expired(store, Settings(keep_succeeded=0.0), most=100) == 1
    assert store.newest_run("t") is None
    assert store.head("t") is None


def test_what_invoke_keeps_is_not_the_workers_to_trim(store: Store) -> None:
    graph = chain(a=says("a")).compile(store)
    graph.invoke({"n": 0}, {"configurable": {"thread_id": "mine"}})
    driven = Driven(store, chain(a=says("a")))
    driven.submit()
    driven.drain()
    assert [is_workers(store, thread) for thread in ("mine", "t", "nobody's")] == [False, True, False]


def test_living_workers_share_the_threads() -> None:
    workers = [Worker(worker_id=name, name=name) for name in ("w1", "w2", "w3")]
    workers.append(Worker(worker_id="w0", name="w0", status="dead"))
    shares = [Share(name, workers) for name in ("w1", "w2", "w3")]
    for number in range(100):
        assert [share.has(f"t{number}") for share in shares].count(True) == 1
