"""Upkeep of the Redis store in pieces: what happens between two scripts, and what is left when the second never comes.

That a whole trim or delete does what the memory store's does is shown in tests/contract.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petiole_stores.conformance import Scene
from petiole_stores.errors import SchemaError, StoreUnavailableError
from petiole_stores.memory import MemoryStore
from petiole_stores.opening import upgrade_store
from petiole_stores.records import Blob, Outcome, RunFilter, Settle, Trimmed
from petiole_stores.redis import RedisStore, fleet, trimming, upkeep
from petiole_stores.redis.partitions import partition_of, tag_prefix
from petiole_stores.store import Store
from tests.redis_watch import Opener, audit, broken_after, keys, spy
from tests.waiting import wait_until

pytestmark = pytest.mark.redis


def blob(digest: str) -> Blob:
    return Blob(digest=digest, codec="raw", data=digest.encode(), checksum=digest)


def naming(digest: str) -> str:
    return f'{{"v": {{"$blob": "{digest}"}}}}'


def lived(scene: Scene, steps: int, *, run: str = "r", thread: str = "t", **fields: Any) -> None:
    """A run that has settled ``steps`` times and is over; its checkpoint ``<run>.ci`` names the blob ``di``."""
    scene.begin(f"{run}.n0", run=run, thread=thread, **fields)
    for i in range(steps):
        scene.claimed(f"{run}.n{i}", f"{run}.k{i}")
        made = scene.new_checkpoint(f"{run}.s{i}", f"{run}.c0" if i == 0 else f"{run}.s{i - 1}")
        made.state = naming(f"d{i}")
        last = i == steps - 1
        settle = Settle(
            checkpoints=[made],
            tasks=[] if last else [scene.new_task(f"{run}.n{i + 1}")],
            run_status="succeeded" if last else "running",
        )
        scene.finished(f"{run}.n{i}", f"{run}.k{i}", settle=settle, blobs=[blob(f"d{i}")])


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts of a few records each."""
    monkeypatch.setattr(trimming, "PAGE", 3)
    monkeypatch.setattr(trimming, "REMOVE", 2)
    monkeypatch.setattr(upkeep, "MOST", 4)
    monkeypatch.setattr(fleet, "MOST", 4)


@pytest.fixture
def store(redis_url: str, opened: Opener) -> RedisStore:
    return opened(redis_url)


@pytest.fixture
def scene(store: RedisStore) -> Scene:
    return Scene(store)


# -------------------------------------------------------------------- trim


def trimmed(store: Store, most: int | None) -> tuple[Trimmed, object]:
    """Two runs on a thread, trimmed: the answer and what is left."""
    scene = Scene(store)
    lived(scene, 7)
    scene.submit("other", "t", base_id=scene.id("r.s2"))
    store.cancel(scene.ids("other"))
    lived(scene, 5, run="r2", parent="r.s2")
    answer = store.trim(scene.id("t"), most)
    left = [scene.name(checkpoint) for checkpoint in store.list_checkpoints(scene.id("t"))]
    tasks = [sorted(scene.tasks(run)) for run in ("r", "other", "r2")]
    return answer, (left, tasks, sorted(store.get_blobs(scene.id("t"), [f"d{i}" for i in range(9)])))


@pytest.mark.parametrize("most", [None, 1, 4, 9, 99])
def test_a_trim_in_pieces_is_a_trim(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, most: int | None
) -> None:
    small(monkeypatch)
    expected = trimmed(MemoryStore(), most)
    assert trimmed(store, most) == expected
    assert audit(store._connection.client) == []


def test_a_trim_that_is_cut_off_leaves_a_whole_thread(
    store: RedisStore, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    lived(scene, 9)
    expected = 10
    for batches in range(1, 40):
        with monkeypatch.context() as patch:
            broken_after(store, patch, batches)
            try:
                store.trim(scene.id("t"), 2)
            except StoreUnavailableError:
                pass
        assert audit(store._connection.client) == []
        left = store.list_checkpoints(scene.id("t"))
        assert len(left) <= expected
        expected = len(left)
        store._connection.client.delete(*keys(store._connection.client, "*:trimming:*") or [b"none"])
    assert [scene.name(checkpoint) for checkpoint in left] == ["r.s8", "r.s7"]
    assert sorted(store.get_blobs(scene.id("t"), [f"d{i}" for i in range(9)])) == ["d7", "d8"]


def between(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, step: str, action: Callable[[], object]
) -> None:
    """Do something before the first ``step`` of the next trim."""
    wait = [action]
    on = store._on

    def watched(partition: int, name: str, request: Any, decode: Any) -> Any:
        if name == "trim" and request["step"] == step and wait:
            wait.pop()()
        return on(partition, name, request, decode)

    monkeypatch.setattr(store, "_on", watched)


def test_a_blob_that_is_put_during_a_trim_stays(
    store: RedisStore, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(scene, 4)
    scene.begin("a", run="r2", parent="r.s3")
    scene.claimed("a", "k")
    between(store, monkeypatch, "collect", lambda: scene.finished("a", "k", "failed", blobs=[blob("d0")]))

    answer = store.trim(scene.id("t"), 2)

    assert answer.blobs == 2, "d1 and d2"
    assert sorted(store.get_blobs(scene.id("t"), [f"d{i}" for i in range(4)])) == ["d0", "d3"]


def test_a_blob_that_a_checkpoint_names_during_a_trim_stays(
    store: RedisStore, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(scene, 4)
    scene.begin("a", run="r2", parent="r.s3")
    scene.claimed("a", "k")
    made = scene.new_checkpoint("late", "r2.c0")
    made.state = naming("d1")
    settle = Settle(checkpoints=[made], run_status="succeeded")
    between(store, monkeypatch, "collect", lambda: scene.finished("a", "k", settle=settle))

    store.trim(scene.id("t"), 2)

    assert "d1" in store.get_blobs(scene.id("t"), ["d1"])


def test_a_checkpoint_that_a_run_is_based_on_during_a_trim_stays(
    store: RedisStore, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(scene, 6)
    scene.begin("a", run="r2", parent="r.s5")
    base = scene.id("r.s1")
    between(store, monkeypatch, "remove", lambda: scene.submit("r3", if_busy="enqueue", base_id=base))
    store.trim(scene.id("t"), 1)
    left = [scene.name(checkpoint) for checkpoint in store.list_checkpoints(scene.id("t"))]
    assert left == ["r2.c0", "r.s5", "r.s1"]
    store.cancel(scene.ids("r2"))
    assert scene.claimed("r3.start", "k").base is not None


def test_one_trims_a_thread_at_a_time(
    store: RedisStore, scene: Scene, monkeypatch: pytest.MonkeyPatch, redis_url: str, opened: Opener
) -> None:
    lived(scene, 6)
    second = opened(redis_url)
    answers: list[Trimmed] = []
    between(store, monkeypatch, "remove", lambda: answers.append(second.trim(scene.id("t"), 2)))
    assert store.trim(scene.id("t"), 2).checkpoints == 5
    assert answers == [Trimmed()]
    assert second.trim(scene.id("t"), 1) == Trimmed(), "the head and its parent stay"


def test_a_thread_that_is_deleted_during_a_trim_is_gone(
    store: RedisStore, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(scene, 6)
    between(store, monkeypatch, "remove", lambda: store.delete_thread(scene.id("t")))
    assert store.trim(scene.id("t"), 2) == Trimmed()
    assert audit(store._connection.client) == []
    assert about(store, scene, "t") == []


def test_a_trim_with_nothing_to_do_is_two_scripts(
    store: RedisStore, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.begin("a")
    seen = spy(store, monkeypatch)
    store.trim(scene.id("t"), 10)
    assert [call.name for calls in seen for call in calls] == ["trim", "trim"]


# -------------------------------------------------------------------- delete


def about(store: RedisStore, scene: Scene, thread: str) -> list[bytes]:
    """Keys of the thread's partition that are not a worker's and not the last seq."""
    tag = tag_prefix(store.prefix, partition_of(scene.id(thread), store.partitions))
    found = keys(store._connection.client, f"{tag}*")
    kinds = [key.decode().removeprefix(tag).partition(":")[0] for key in found]
    workers = {"holder", "holders", "slots", "claimants", "seq", "queues"}
    return [key for key, kind in zip(found, kinds, strict=True) if kind not in workers]


def test_a_thread_is_deleted_in_pieces(
    store: RedisStore, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    lived(scene, 9)
    lived(scene, 3, run="r2", parent="r.s8")
    seen = spy(store, monkeypatch)
    assert store.delete_thread(scene.id("t"))
    assert len(seen) > 8
    assert about(store, scene, "t") == []


@pytest.mark.parametrize("finisher", ["delete", "sweep"])
def test_a_delete_that_is_cut_off_is_finished_later(
    store: RedisStore, scene: Scene, monkeypatch: pytest.MonkeyPatch, finisher: str
) -> None:
    small(monkeypatch)
    lived(scene, 9)
    with monkeypatch.context() as patch:
        broken_after(store, patch, 3)
        with pytest.raises(StoreUnavailableError):
            store.delete_thread(scene.id("t"))

    assert audit(store._connection.client) == []
    assert store.head(scene.id("t")) is None
    assert store.newest_run(scene.id("t")) is None
    assert store.list_checkpoints(scene.id("t"), ns=None) == []
    assert about(store, scene, "t") != [], "the rest"
    if finisher == "delete":
        assert store.delete_thread(scene.id("t"))
    else:
        for _ in range(9):
            store.sweep()
            assert audit(store._connection.client) == []
    assert about(store, scene, "t") == []


def test_a_thread_may_come_back_before_its_old_records_are_gone(
    store: RedisStore, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    lived(scene, 9)
    with monkeypatch.context() as patch:
        broken_after(store, patch, 2)
        with pytest.raises(StoreUnavailableError):
            store.delete_thread(scene.id("t"))
    scene.begin("b", run="new")
    scene.save("kept", thread="t")
    assert not store.delete_thread(scene.id("t")), "a run is active"
    for _ in range(9):
        store.sweep()
    assert audit(store._connection.client) == []
    assert scene.task("b", run="new").status == "ready"
    assert store.get_checkpoint(scene.id("kept")) is not None
    assert store.get_run(scene.id("r")) is None


def test_a_deleted_run_may_be_submitted_on_another_thread(store: RedisStore, scene: Scene) -> None:
    """This process remembers where the run was: it must not put the new one there."""
    here = partition_of(scene.id("t"), store.partitions)
    other = next(f"o{i}" for i in range(99) if partition_of(scene.id(f"o{i}"), store.partitions) != here)
    lived(scene, 1)
    assert store.delete_thread(scene.id("t"))
    assert scene.submit("r", other).result == "committed"
    assert [run.run_id for run in store.list_runs().runs] == scene.ids("r")
    assert store.newest_run(scene.id(other)) is not None
    scene.save("r.c0", thread=other)
    assert audit(store._connection.client) == []


# -------------------------------------------------------------------- threads to look at


def test_a_touched_thread_is_told_of_once(
    store: RedisStore, scene: Scene, redis_url: str, opened: Opener
) -> None:
    for i in range(30):
        scene.save(f"c{i}", thread=f"t{i}")
    other = opened(redis_url)
    first, cursor = store.recent(limit=7)
    second, _ = other.recent(limit=100)
    assert len(first) == 7
    assert sorted(first + second) == sorted(scene.ids(*(f"t{i}" for i in range(30))))
    assert store.recent(cursor) == ([], "")
    scene.save("more", thread="t3")
    assert store.recent(cursor)[0] == scene.ids("t3")


def test_a_thread_without_a_checkpoint_left_is_not_told_of(store: RedisStore, scene: Scene) -> None:
    scene.save("c1", thread="t1")
    scene.save("c2", thread="t2")
    scene.save("c3", parent="c2", thread="t2")
    store.delete(scene.id("c1"))
    store.delete(scene.id("c2"))
    assert audit(store._connection.client) == []
    assert store.recent()[0] == [scene.id("t2")]


def test_ended_threads_that_went_on_leave_the_index(store: RedisStore, scene: Scene) -> None:
    for thread in ("t1", "t2", "t3"):
        lived(scene, 1, run=f"r.{thread}", thread=thread)
    scene.begin("a", run="again", thread="t1", parent="r.t1.s0")
    scene.claimed("a", "k")
    store.delete_thread(scene.id("t2"))
    scene.tick(100)
    assert store.expired({"succeeded": 50}) == scene.ids("t3")
    assert store.expired({"failed": 50, "cancelled": 50}) == []
    scene.finished("a", "k", "failed")
    scene.tick(100)
    assert store.expired({"succeeded": 50}) == scene.ids("t3")
    assert store.expired({"failed": 50}) == scene.ids("t1")


def test_threads_that_expire_by_themselves_leave_no_entries(redis_url: str, opened: Opener) -> None:
    store = opened(redis_url, ttl=1)
    scene = Scene(store)
    store.clock = None
    lived(scene, 1)
    store.recent()
    wait_until(lambda: store.get_run(scene.id("r")) is None)
    tag = tag_prefix("petiole", partition_of(scene.id("t"), 16))
    index = f"{tag}ended:succeeded"
    client = store._connection.client
    assert client.zrange(index, 0, -1) == [scene.id("t").encode()]
    beside = next(
        f"o{i}" for i in range(999) if partition_of(scene.id(f"o{i}"), 16) == partition_of(scene.id("t"), 16)
    )
    lived(scene, 1, run="r2", thread=beside)
    assert client.zrange(index, 0, -1) == [scene.id(beside).encode()]


# -------------------------------------------------------------------- deadlines


def test_many_deadlines_are_over_in_pieces(
    store: RedisStore, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    for i in range(40):
        scene.submit(f"r{i}", f"t{i % 5}", if_busy="enqueue", lifetime=10.0 + i / 100)
    seen = spy(store, monkeypatch)
    scene.tick(20)
    report = store.sweep()
    assert report.expired == sorted(scene.ids(*(f"r{i}" for i in range(40))))
    assert {scene.run(f"r{i}").status for i in range(40)} == {"failed"}
    assert len(seen) > 3
    assert audit(store._connection.client) == []
    assert store.sweep().expired == []


# -------------------------------------------------------------------- finish


def test_a_finish_of_what_it_has_made_is_one_script(
    store: RedisStore, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.begin("a")
    scene.claimed("a", "ka")
    store.pause(scene.ids("r"))
    outcomes: list[Outcome] = []
    for name, after in (("a", "b"), ("b", "c"), ("c", None)):
        made = [scene.new_task(after, token=scene.id(f"k{after}"))] if after else []
        parent = "r.c0" if name == "a" else f"c.{'a' if name == 'b' else 'b'}"
        outcomes.append(scene.outcome(name, f"k{name}", settle=scene.settle(f"c.{name}", parent, *made)))
    seen = spy(store, monkeypatch)

    answers = store.finish(scene.id("w"), "s", outcomes)

    assert [(answer.result, answer.run_status) for answer in answers] == [
        ("committed", "paused"), ("committed", "paused"), ("committed", "succeeded")
    ]  # fmt: skip
    assert [call.name for calls in seen for call in calls] == ["finish"]
    again = store.finish(scene.id("w"), "s", outcomes)
    assert {answer.result for answer in again} == {"already"}


# -------------------------------------------------------------------- schema 1


def as_schema_1(store: RedisStore) -> None:
    """Take away what schema 1 had not."""
    client = store._connection.client
    for kind in ("ended:*", "touched", "deadlines", "open", "labels"):
        for key in keys(client, f"{store.prefix}:{{p*}}:{kind}"):
            client.delete(key)
    client.hset(store._meta_key, "schema", 1)


def test_a_store_of_schema_1_is_refused_until_it_is_migrated(
    redis_url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petiole_stores.redis.base.BATCH", 2)
    store = opened(redis_url)
    scene = Scene(store)
    for i in range(20):
        lived(scene, 1, run=f"r{i}", thread=f"t{i}")
    scene.begin("a", run="active", thread="busy")
    scene.save("by-hand", thread="saved")
    threads = scene.ids(*(f"t{i}" for i in range(20)))
    as_schema_1(store)
    with pytest.raises(SchemaError, match="petiole db upgrade"):
        opened(redis_url)

    old = RedisStore(redis_url)
    with monkeypatch.context() as patch:
        broken_after(old, patch, 3)
        with pytest.raises(StoreUnavailableError):
            old.migrate_schema()
    with pytest.raises(SchemaError, match="petiole db upgrade"):
        old.connect()
    old.close()
    steps = [step.partition(":")[0] for step in upgrade_store(redis_url)]
    assert steps == ["schema 1 to 2", "schema 2 to 3", "schema 3 to 4"]
    assert upgrade_store(redis_url) == []

    scene.tick(100)
    assert store.expired({"succeeded": 10}) == threads
    assert sorted(store.recent()[0]) == sorted([*threads, *scene.ids("busy", "saved")])
    assert [run.run_id for run in store.list_runs(RunFilter(status=["queued", "running"])).runs] == scene.ids(
        "active"
    )
    assert audit(store._connection.client) == []


def test_a_backup_of_schema_1_is_restored_with_its_indexes(
    redis_url: str, opened: Opener, tmp_path: Path
) -> None:
    store = opened(redis_url, prefix="from")
    scene = Scene(store)
    lived(scene, 2)
    as_schema_1(store)
    store.backup(tmp_path / "copy")

    copy = opened(redis_url, prefix="to")
    copy.restore(tmp_path / "copy")

    scene.tick(100)
    copy.clock = store.clock
    assert copy.expired({"succeeded": 10}) == scene.ids("t")
    assert copy.recent()[0] == scene.ids("t")
    assert audit(copy._connection.client, "to") == []
