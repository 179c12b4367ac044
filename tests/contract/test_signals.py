"""Signals on every store: once by id, oldest first, each to one wait, and gone with their thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from petiole.client.removal import remove_thread
from petiole_stores.conformance import Scene
from petiole_stores.errors import InputError
from petiole_stores.faults import FaultPlan, FaultyStore, execute_and_timeout
from petiole_stores.store import Store
from petiole_workers import signals
from petiole_workers.deletion import delete_thread
from petiole_workers.signals import put_signal, take_signal
from tests.waiting import wait_until


@pytest.fixture
def scene(store: Store) -> Scene:
    return Scene(store)


@pytest.fixture
def thread(scene: Scene) -> str:
    return scene.id("t")


def send(scene: Scene, *ids: str, name: str = "go", thread: str = "t") -> None:
    for id in ids:
        assert put_signal(scene.store, scene.id(thread), name, f'"{id}"', id)
        scene.tick(1)


def test_a_signal_is_one_by_its_id(scene: Scene, thread: str) -> None:
    assert put_signal(scene.store, thread, "go", "1", "a")
    assert put_signal(scene.store, thread, "go", "1", "a")
    assert not put_signal(scene.store, thread, "go", "2", "a")
    assert take_signal(scene.store, thread, "go", "task") == "1"
    assert put_signal(scene.store, thread, "go", "1", "a"), "sent again after it was taken"
    assert take_signal(scene.store, thread, "go", "other") is None


def test_the_oldest_comes_first_and_each_to_one_wait(scene: Scene, thread: str) -> None:
    send(scene, "b", "c", "a")
    assert take_signal(scene.store, thread, "go", "one") == '"b"'
    assert take_signal(scene.store, thread, "go", "two") == '"c"'
    assert take_signal(scene.store, thread, "go", "one", wait=1) == '"a"'
    assert take_signal(scene.store, thread, "go", "two", wait=1) is None
    send(scene, "d")
    assert [take_signal(scene.store, thread, "go", "one", wait=n) for n in (1, 0)] == ['"a"', '"b"']
    assert take_signal(scene.store, thread, "go", "two") == '"c"'
    assert take_signal(scene.store, thread, "go", "two", wait=1) == '"d"'


def test_names_and_threads_are_apart(scene: Scene, thread: str) -> None:
    send(scene, "a")
    send(scene, "b", name="stop")
    assert take_signal(scene.store, thread, "stop", "task") == '"b"'
    assert take_signal(scene.store, thread, "st", "task") is None
    assert take_signal(scene.store, scene.id("u"), "go", "task") is None
    assert take_signal(scene.store, thread, "go", "task") == '"a"', "one wait for each name"


def test_many_tasks_share_what_there_is(scene: Scene, thread: str) -> None:
    sent = [f"s{n}" for n in range(6)]
    send(scene, *sent)
    with ThreadPoolExecutor(9) as pool:
        got = list(pool.map(lambda n: take_signal(scene.store, thread, "go", f"task{n}"), range(9)))
    assert sorted(filter(None, got)) == [f'"{id}"' for id in sent]
    assert got.count(None) == 3
    assert [take_signal(scene.store, thread, "go", f"task{n}") for n in range(9)] == got


def test_attempts_that_ask_at_once_agree(scene: Scene, thread: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older signal turns up between two attempts' looks: both go by what the first took, and the other is free."""
    send(scene, "a", "b")
    look = signals._all
    calls = 0

    def overtaken(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:  # the late one has seen no taker, and now what there is: without the first signal
            assert take_signal(scene.store, thread, "go", "task") == '"a"'
            scene.tick(1)
            return iter([item for item in look(*args) if item.key != "a"])  # type: ignore[arg-type]
        return look(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(signals, "_all", overtaken)
    assert take_signal(scene.store, thread, "go", "task") == '"a"'
    monkeypatch.undo()
    assert take_signal(scene.store, thread, "go", "other") == '"b"'


def test_lost_answers_change_nothing(scene: Scene, thread: str) -> None:
    faulty = FaultyStore(scene.store, FaultPlan(execute_and_timeout("put_items", probability=0.5), seed=3))
    for id in ("a", "b", "c"):
        again(lambda id=id: put_signal(faulty, thread, "go", f'"{id}"', id))  # type: ignore[misc]
        scene.tick(1)
    got = [again(lambda n=n: take_signal(faulty, thread, "go", "task", wait=n)) for n in range(4)]  # type: ignore[misc]
    assert got == ['"a"', '"b"', '"c"', None]
    assert len(faulty.plan.struck) > 2


def again(call: Callable[[], object]) -> object:
    """The answer of a call that is made until it has one."""
    return wait_until(lambda: [call()], interval=0)[0]


@pytest.mark.parametrize("remove", [delete_thread, lambda store, id: remove_thread(store, id, force=False)])
def test_they_go_with_their_thread(scene: Scene, remove: Callable[[Store, str], bool]) -> None:
    scene.begin("a")
    send(scene, "a", "b")
    send(scene, "a", thread="other")
    take_signal(scene.store, scene.id("t"), "go", "task")
    assert not delete_thread(scene.store, scene.id("t")), "a run is active"
    assert take_signal(scene.store, scene.id("t"), "go", "task") == '"a"'
    scene.store.cancel(scene.ids("r"))
    assert remove(scene.store, scene.id("t"))
    assert take_signal(scene.store, scene.id("t"), "go", "task") is None
    assert scene.store.search_items(("petiole", "signals", scene.id("t"))) == []
    assert take_signal(scene.store, scene.id("other"), "go", "task") == '"a"'


def test_what_cannot_be_an_id_or_a_name(scene: Scene, thread: str) -> None:
    for name, id in (("", "a"), ("a\n", "a"), ("go", ""), ("go", "x" * 256)):
        with pytest.raises(InputError):
            put_signal(scene.store, thread, name, "1", id)
