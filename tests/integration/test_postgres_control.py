"""Postgres: holding back, deadlines, trimming and deleting while others work on the same rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from petiole_stores.conformance import Scene
from petiole_stores.conformance.scene import plain
from petiole_stores.opening import open_store
from petiole_stores.records import Blob, Offer
from petiole_stores.sql import connection
from petiole_stores.sql.parameters import as_json
from petiole_stores.sql.postgres import PostgresStore
from petiole_stores.sql.transaction import FINISH, finish_parameters
from tests.discovery import PostgresDatabases
from tests.waiting import wait_until

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def url(module_postgres_url: str) -> str:
    open_store(module_postgres_url).close()
    return module_postgres_url


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    with PostgresStore(url) as found:
        yield found


Statement = tuple[str, *tuple[Any, ...]]


def while_open(
    store: PostgresStore,
    statements: Sequence[Statement],
    work: Callable[[], Any],
    then: Sequence[Statement] = (),
) -> Any:
    """The answer of ``work``, which waits for a transaction that has made ``statements``, makes ``then`` and commits."""
    answers: list[Any] = []
    with (
        psycopg.connect(store.url.text) as other,
        psycopg.connect(store.url.text, autocommit=True) as third,
    ):
        for statement, *parameters in statements:
            other.execute(statement, parameters)
        thread = threading.Thread(target=lambda: answers.append(work()))
        thread.start()
        waits = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
        wait_until(lambda: third.execute(waits, (other.info.backend_pid,)).rowcount, 10, "the call to wait")
        for statement, *parameters in then:
            other.execute(statement, parameters)
        other.commit()
        thread.join(20)
    return answers[0]


# ---------------------------------------------------------------- held back


def test_a_claim_and_a_pause_at_the_same_time(store: PostgresStore) -> None:
    """The run stays paused, and has started: it is not queued again while a worker has a task of it."""
    scene = Scene(store)
    scene.worker()
    scene.submit()
    pause = "SELECT petiole_hold_back(ARRAY[%s], 'paused', 'Paused', '')"
    answer = while_open(store, [(pause, scene.id("r"))], lambda: scene.claim("r.start", "k"))
    assert answer.result == "committed", "it counts as made before"
    assert (scene.run().status, scene.run().started_at) == ("paused", scene.now)
    settled = scene.finished("r.start", "k", settle=scene.settle("c0", None, scene.new_task("n")))
    assert settled.run_status == "paused"
    store.unpause([scene.id("r")])
    assert scene.run().status == "running"


def test_an_unpause_waits_for_the_sweep_that_wakes_its_timer(store: PostgresStore) -> None:
    scene = Scene(store)
    scene.submit(delay=5.0)
    store.pause([scene.id("r")])
    scene.tick(6)
    sweep = "SELECT petiole_sweep(0, %s, 5, 1e9)"
    (answer,) = while_open(store, [(sweep, scene.now)], lambda: store.unpause([scene.id("r")]))
    assert scene.names(answer.publish) == ["r.start"]
    assert scene.run().status == "queued", "waiting, it would be claimed by nobody and woken by no sweep"


# ---------------------------------------------------------------- durability of one commit


@pytest.mark.parametrize(("relaxed", "setting"), [("yy", "off"), ("yn", "on"), ("y", "off"), ("n", "on")])
def test_a_batch_is_relaxed_if_all_of_it_is(store: PostgresStore, relaxed: str, setting: str) -> None:
    scene = Scene(store)
    scene.begin(*relaxed[1:], "z")
    names = [*scene.tasks()][1:]
    outcomes = []
    for name, letter in zip(names, relaxed, strict=True):
        scene.claimed(name, "k")
        outcomes.append(scene.outcome(name, "k", "retry", relaxed=letter == "y"))
    with psycopg.connect(store.url.text) as open_one:
        parameters = finish_parameters(scene.id("w"), "s", outcomes, scene.now, 5)
        open_one.execute("SET LOCAL synchronous_commit = 'on'")
        open_one.execute(FINISH, parameters)
        assert open_one.execute("SHOW synchronous_commit").fetchone() == (setting,)
    assert store.connections.call("SHOW synchronous_commit", ()) != "off", "the next commit waits again"


# ---------------------------------------------------------------- what is new


def test_recent_passes_by_no_commit_that_is_under_way(store: PostgresStore) -> None:
    """A checkpoint that got its seq earlier may be committed later."""
    scene = Scene(store)
    scene.save("old", "a")
    cursor = ""
    while news := store.recent(cursor):
        cursor = news[1]
        if not news[0]:
            break
    save = "SELECT petiole_save(%s::jsonb, %s, NULL, 1, '{}', '{}', '{}', '{}')"
    checkpoint = as_json(scene.new_checkpoint("slow", None))
    with psycopg.connect(store.url.text) as other:
        other.execute(save, (checkpoint, scene.id("b")))
        scene.save("fast", "c")
        assert store.recent(cursor) == ([], cursor), "it waits a little, then says nothing"
    assert store.recent(cursor)[0] == [scene.id("b"), scene.id("c")]


# ---------------------------------------------------------------- removing

REMOVE = "SELECT petiole_delete_thread(%s)"
LOCK = "SELECT FROM heads WHERE thread_id = %s FOR UPDATE"
#: Where a call meets the removal: it is done and not committed, or has the head and goes on.
STAGES = pytest.mark.parametrize("first", [REMOVE, LOCK])


@STAGES
def test_a_thread_is_removed_under_a_submit(store: PostgresStore, first: str) -> None:
    scene = Scene(store)
    scene.begin("n")
    store.cancel([scene.id("r")])
    answer = while_open(
        store, [(first, scene.id("t"))], lambda: scene.submit("r2"), [(REMOVE, scene.id("t"))]
    )
    assert answer.result == "committed"
    assert store.get_run(scene.id("r")) is None
    assert [task.status for task in store.list_tasks(scene.id("r2"))] == ["ready"]
    assert store.list_tasks(scene.id("r2"))[0].checkpoint_id is None, "it begins on a new thread"


def test_a_thread_is_removed_and_made_anew_under_a_submit(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that waited for the old head holds no lock: it begins again, and does not go on with the new thread."""
    scene = Scene(store)
    scene.save("a")
    anew = [
        (REMOVE, scene.id("t")),
        ("INSERT INTO threads VALUES (%s, NULL, 1)", scene.id("t")),
        ("INSERT INTO heads (thread_id, ns) VALUES (%s, '')", scene.id("t")),
    ]
    again: list[float] = []
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=again.append)
    monkeypatch.setattr(connection, "time", clock)
    answer = while_open(store, [(LOCK, scene.id("t"))], lambda: scene.submit("r2"), anew)
    assert answer.result == "committed"
    assert len(again) == 1


@STAGES
def test_a_thread_is_removed_under_a_save(store: PostgresStore, first: str) -> None:
    scene = Scene(store)
    scene.save("a")
    while_open(store, [(first, scene.id("t"))], lambda: scene.save("b"), [(REMOVE, scene.id("t"))])
    assert [scene.name(found) for found in store.list_checkpoints(scene.id("t"))] == ["b"]
    assert scene.head() == "b"


def test_a_thread_that_goes_on_keeps_its_blobs_under_a_trim(store: PostgresStore) -> None:
    """Each step names the blob of the step before and sends its own; trims run all the while."""
    scene = Scene(store)
    scene.begin("n0")
    over = threading.Event()
    trimmed = [0, 0]

    def trim() -> None:
        while not over.is_set():
            done = store.trim(scene.id("t"), 2)
            trimmed[0] += done.checkpoints
            trimmed[1] += done.blobs

    thread = threading.Thread(target=trim)
    thread.start()
    try:
        parent, digests = "r.c0", ["none"]
        for step in range(150):
            digests.append(f"d{step}")
            state = f'{{"now": {{"$blob": "{digests[-1]}"}}, "before": {{"$blob" : "{digests[-2]}"}}}}'
            settle = scene.settle(f"c{step + 1}", parent, scene.new_task(f"n{step + 1}"))
            settle.checkpoints[0].state = state
            blob = Blob(digest=digests[-1], codec="plain", data=b"x" * 9000, checksum="")
            scene.claimed(f"n{step}", "k")
            scene.finished(f"n{step}", "k", settle=settle, blobs=[blob])
            parent = f"c{step + 1}"
            assert store.get_blobs(scene.id("t"), digests[-2:]).keys() == {*digests[-2:]} - {"none"}
    finally:
        over.set()
        thread.join(20)
    store.trim(scene.id("t"), 2)
    assert trimmed[0] > 20
    kept = store.list_checkpoints(scene.id("t"))
    assert [scene.name(found) for found in kept] == ["c150", "c149"]
    assert store.get_blobs(scene.id("t"), digests).keys() == {"d149", "d148", "d147"}
    assert [task for task in scene.tasks() if task != "r.start"] == ["n149", "n150"]


# ---------------------------------------------------------------- backup


def test_a_backup_keeps_what_is_held_back_and_what_is_noted(
    postgres_databases: PostgresDatabases, tmp_path: Path
) -> None:
    file = tmp_path / "store.zip"
    with postgres_databases.fresh() as one, postgres_databases.fresh() as two:
        with open_store(one) as source:
            scene = Scene(source)
            scene.begin("n", deadline=scene.now + 100)
            scene.worker(offers={"g": Offer(version="2", nodes=["n"])})
            scene.claimed("n", "k")
            source.note(scene.id("n"), scene.id("k"), '{"half": 1}')
            source.pause([scene.id("r")], reason="lunch")
            source.quarantine(scene.id("r.c0"), "torn")
            assert isinstance(source, PostgresStore)
            source.backup(file)
            wanted = scene.snapshot(), [plain(worker) for worker in source.list_workers()]
            assert source.list_workers()[0].offers["g"].nodes == ["n"]
        with PostgresStore(two) as target:
            target.restore(file)
            scene.store, target.clock = target, lambda: scene.now
            assert (scene.snapshot(), [plain(worker) for worker in target.list_workers()]) == wanted
            assert scene.task("n").progress == '{"half": 1}'
            found = target.get_checkpoint(scene.id("r.c0"))
            assert found is not None
            assert found.quarantined == "torn"
