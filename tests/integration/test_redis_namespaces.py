"""Namespaces of the Redis store where it differs from the others: what scripts read, trims in pieces, expiry, schema 2.

That its answers are those of the memory store is shown in tests/contract.
"""

from __future__ import annotations

import pytest

from petiole_stores.conformance import Scene
from petiole_stores.errors import SchemaError, StoreUnavailableError
from petiole_stores.memory import MemoryStore
from petiole_stores.opening import upgrade_store
from petiole_stores.records import Amendment, Trimmed
from petiole_stores.redis import RedisStore, trimming
from petiole_stores.redis.partitions import partition_of, tag_prefix
from petiole_stores.store import Store
from tests.redis_watch import Opener, audit, broken_after, keys, spy
from tests.servers import OwnRedis

pytestmark = pytest.mark.redis


@pytest.fixture
def store(redis_url: str, opened: Opener) -> RedisStore:
    return opened(redis_url)


@pytest.fixture
def scene(store: RedisStore) -> Scene:
    return Scene(store)


def nested(scene: Scene, steps: int) -> None:
    """A run whose every superstep has one task, which waits for a namespace of its own, in which one does the same."""
    scene.begin("n0")
    parent = "r.c0"
    for i in range(steps):
        outer, inner = f"sub:n{i}", f"sub:n{i}|deep:x{i}"
        scene.claimed(f"n{i}", "k")
        scene.nest(f"n{i}", "k", outer, f"o{i}", f"x{i}")
        scene.claimed(f"x{i}", "k")
        scene.nest(f"x{i}", "k", inner, f"i{i}", f"y{i}")
        scene.take(f"y{i}", settle=scene.settle(f"i{i}.end", f"i{i}", ns=inner))
        scene.take(f"x{i}", settle=scene.settle(f"o{i}.end", f"o{i}", ns=outer))
        after = [scene.new_task(f"n{i + 1}")] if i < steps - 1 else []
        scene.take(f"n{i}", settle=scene.settle(f"s{i}", parent, *after))
        parent = f"s{i}"


def heads(store: RedisStore, scene: Scene) -> set[str]:
    """The namespaces of the thread ``t`` that have a head."""
    tag = tag_prefix(store.prefix, partition_of(scene.id("t"), store.partitions))
    names = [name.decode() for name in store._connection.client.hkeys(f"{tag}thread:{scene.id('t')}")]
    return {name[1:] for name in names if name[0] in "crowu"}


def about(store: RedisStore, scene: Scene) -> list[str]:
    """The keys with the scene's ids, but for those of its workers."""
    found = [key.decode() for key in keys(store._connection.client, f"{store.prefix}:{{p*{scene.prefix}*")]
    return [key for key in found if key.partition("}:")[2].partition(":")[0] not in ("holder", "slots")]


# -------------------------------------------------------------------- what a script reads


def test_a_claim_and_a_finish_read_the_heads_that_they_need(own_redis: OwnRedis, opened: Opener) -> None:
    """A thread has a head for each task that ever opened a namespace: no hop reads them all."""
    store = opened(own_redis.url, prefix="many")
    scene = Scene(store)
    scene.begin("a", "b")
    scene.claimed("a", "k")
    scene.nest("a", "k", "sub:a", "i0", "x")
    with own_redis.client() as client, client.monitor() as monitor:
        scene.take("x", settle=scene.settle("i1", "i0", ns="sub:a"))
        scene.take("a")
        scene.take("b")
        client.echo("over")
        commands = []
        while not (said := monitor.next_command()["command"]).startswith("ECHO"):
            commands.append(said)

    about_thread = [said for said in commands if f"thread:{scene.id('t')}" in said]
    assert {said.split()[0].upper() for said in about_thread} <= {"HMGET", "HSET", "PTTL", "EXISTS"}
    assert any(said.upper().startswith("HMGET") and "osub:a" in said for said in about_thread)


def test_a_signal_and_an_amendment_are_one_script(
    store: RedisStore, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.begin("a")
    scene.claimed("a", "k")
    scene.finished("a", "k", "parked", awaits="go")
    seen = spy(store, monkeypatch)
    assert scene.names(store.wake(scene.id("t"), "go")) == ["a"]
    store.pause(scene.ids("r"))
    amendment = Amendment(
        thread_id=scene.id("t"),
        head_id=scene.id("r.c0"),
        checkpoints=[scene.new_checkpoint("by-hand", "r.c0")],
        tasks=[scene.new_task("b")],
    )
    assert scene.names(store.amend(amendment).publish) == ["b"]
    assert [call.name for calls in seen for call in calls] == ["wake", "hold_back", "amend"]
    assert audit(store._connection.client) == []


# -------------------------------------------------------------------- trim


def trimmed(store: Store, steps: int, most: int) -> tuple[Trimmed, object]:
    scene = Scene(store)
    nested(scene, steps)
    answer = store.trim(scene.id("t"), most)
    left = [scene.name(checkpoint) for checkpoint in store.list_checkpoints(scene.id("t"), ns=None)]
    return answer, (left, sorted(scene.tasks()))


@pytest.mark.parametrize("most", [1, 2, 3])
def test_namespaces_are_trimmed_in_pieces(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(trimming, "PAGE", 3)
    monkeypatch.setattr(trimming, "REMOVE", 2)
    expected = trimmed(MemoryStore(), 6, most)
    assert expected[0].tasks > 0
    assert trimmed(store, 6, most) == expected
    assert audit(store._connection.client) == []


def test_a_trim_that_is_cut_off_is_finished_by_the_next(
    store: RedisStore, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "PAGE", 3)
    monkeypatch.setattr(trimming, "REMOVE", 2)
    nested(scene, 5)
    assert len(heads(store, scene)) == 11
    for batches in range(1, 60):
        with monkeypatch.context() as patch:
            broken_after(store, patch, batches)
            try:
                store.trim(scene.id("t"), 2)
            except StoreUnavailableError:
                pass
        assert audit(store._connection.client) == []
        store._connection.client.delete(*keys(store._connection.client, "*:trimming:*") or [b"none"])
    assert heads(store, scene) == {"", "sub:n4", "sub:n4|deep:x4"}
    assert scene.history(ns=None) == ["s4", "o4.end", "i4.end", "i4", "o4", "s3"]
    assert store.trim(scene.id("t"), 2) == Trimmed()


# -------------------------------------------------------------------- ends of threads


def test_a_thread_with_namespaces_leaves_nothing(store: RedisStore, scene: Scene) -> None:
    nested(scene, 2)
    assert store.delete_thread(scene.id("t"))
    assert about(store, scene) == []


def test_a_cleared_thread_forgets_its_namespaces(store: RedisStore, scene: Scene) -> None:
    nested(scene, 2)
    store.clear(scene.id("t"))
    assert heads(store, scene) == set()
    scene.begin("a", run="r2")
    scene.claimed("a", "k")
    assert scene.nest("a", "k", "sub:n0", "again", "b").result == "committed"


def test_an_amended_thread_expires_when_it_would_have(redis_url: str, opened: Opener) -> None:
    store = opened(redis_url, prefix="ttl", ttl=1000)
    scene = Scene(store)
    store.clock = None
    nested(scene, 1)
    made = scene.new_checkpoint("by-hand", "o0.end", ns="sub:n0")
    amendment = Amendment(
        thread_id=scene.id("t"), ns="sub:n0", head_id=scene.id("o0.end"), checkpoints=[made]
    )
    assert store.amend(amendment).result == "committed"
    mine = about(store, scene)
    assert any("by-hand" in key for key in mine)
    lasting = [key for key in mine if not 0 < store._connection.client.pttl(key) <= 1_000_000]
    assert lasting == []


# -------------------------------------------------------------------- schema 2


def test_a_store_of_schema_2_is_refused_until_it_is_migrated(
    redis_url: str, opened: Opener, store: RedisStore, scene: Scene
) -> None:
    scene.begin("a", "b")
    scene.claimed("a", "k")
    store._connection.client.hset(store._meta_key, "schema", 2)
    with pytest.raises(SchemaError, match="petiole db upgrade"):
        opened(redis_url)

    assert [step.partition(":")[0] for step in upgrade_store(redis_url)] == ["schema 2 to 3", "schema 3 to 4"]
    assert upgrade_store(redis_url) == []

    task = scene.task("a")
    assert (task.child, task.awaits, task.woken, task.timeout) == ("", "", False, None)
    scene.nest("a", "k", "sub:a", "i0", "x")
    scene.take("x", settle=scene.settle("i1", "i0", ns="sub:a"))
    child = scene.claimed("a", "k2").child
    assert child is not None
    assert scene.name(child) == "i1"
