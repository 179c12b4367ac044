"""Checkpoints of the Redis store that somebody has damaged: they are handed up as they are, found out and mended."""

from __future__ import annotations

import pytest

from petiole_stores.conformance import Scene
from petiole_stores.integrity import damage_of, seal_of
from petiole_stores.records import NewCheckpoint, Settle
from petiole_stores.redis import RedisStore
from petiole_stores.redis.partitions import partition_of, tag_prefix
from tests.redis_watch import Opener, audit, keys

pytestmark = pytest.mark.redis


@pytest.fixture
def store(redis_url: str, opened: Opener) -> RedisStore:
    return opened(redis_url)


@pytest.fixture
def scene(store: RedisStore) -> Scene:
    return Scene(store)


def damaged(store: RedisStore, scene: Scene, name: str, field: str, value: bytes | None) -> None:
    tag = tag_prefix(store.prefix, partition_of(scene.id("t"), store.partitions))
    key = f"{tag}checkpoint:{scene.id(name)}"
    client = store._connection.client
    client.hdel(key, field) if value is None else client.hset(key, field, value)


def sealed(scene: Scene, name: str, parent: str | None) -> NewCheckpoint:
    made = scene.new_checkpoint(name, parent)
    made.seal = seal_of(made)
    return made


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("state", b""), ("state", None), ("state", b'{"at": "\xff\xfe"}'), ("state", b"\x93\xa1"),
        ("node_names", b""), ("node_names", b"\xc1\xff"), ("node_names", b"\x81\xa1a\xa1b"), ("node_names", b"\x91\x05"),
        ("node_names", b"\x91\xa2\xff\xff"), ("node_names", None), ("step", b"x"), ("step", b"1.5"), ("step", None),
        ("digest", None), ("digest", b"\xff"), ("next", b"\x00\xff"), ("metadata", b"[]"), ("source", None),
        ("parent_id", b"\xf0"), ("ns", b"x"),
    ],
)  # fmt: skip
def test_a_damaged_base_is_handed_up(
    store: RedisStore, scene: Scene, field: str, value: bytes | None
) -> None:
    scene.worker()
    for run, thread in (("r", "t"), ("ok", "u")):
        scene.submit(run, thread)
        scene.claimed(f"{run}.start", f"{run}.k")
        settle = Settle(checkpoints=[sealed(scene, f"{run}.c0", None)], tasks=[scene.new_task(f"{run}.a")])
        scene.finished(f"{run}.start", f"{run}.k", settle=settle)
    damaged(store, scene, "r.c0", field, value)

    wants = [(scene.id("r.a"), "k1"), (scene.id("ok.a"), "k2")]
    answers = store.claim(scene.id("w"), "s", wants)

    assert [answer.result for answer in answers] == ["committed", "committed"]
    base, sound = (answer.claim.base if answer.claim else None for answer in answers)
    assert base is not None
    assert (base.checkpoint_id, base.thread_id) == tuple(scene.ids("r.c0", "t"))
    assert damage_of(base)
    assert sound is not None
    assert damage_of(sound) is None
    for found in (
        store.get_checkpoint(scene.id("r.c0")), store.head(scene.id("t")), *store.list_checkpoints(scene.id("t"), ns=None)
    ):  # fmt: skip
        assert found is not None
        assert damage_of(found)
    assert store.quarantine(scene.id("r.c0"), "damaged")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("thread_id", None),
        ("checkpoint_id", b"\xff"),
        ("seq", b"?"),
        ("created_at", b"nan"),
        ("version", None),
    ],
)
def test_what_no_digest_covers_is_read_round(
    store: RedisStore, scene: Scene, field: str, value: bytes | None
) -> None:
    scene.begin("a")
    before = scene.claimed("a", "k").base
    damaged(store, scene, "r.c0", field, value)
    base = scene.claimed("a", "k").base
    assert base is not None
    assert before is not None
    assert (base.checkpoint_id, base.thread_id, base.state) == (
        before.checkpoint_id, before.thread_id, before.state
    )  # fmt: skip


def test_a_missing_base_is_null(store: RedisStore, scene: Scene) -> None:
    scene.begin("a")
    for key in keys(store._connection.client, f"*checkpoint:{scene.id('r.c0')}"):
        store._connection.client.delete(key)
    claim = scene.claimed("a", "k")
    assert claim.base is None
    assert claim.task.checkpoint_id == scene.id("r.c0")
    assert store.head(scene.id("t")) is None
    assert not store.quarantine(scene.id("r.c0"), "gone")


@pytest.mark.parametrize("field", ["seq", "thread_id", "ns", "node_names"])
def test_a_damaged_checkpoint_is_saved_anew_in_its_place(store: RedisStore, scene: Scene, field: str) -> None:
    for name, parent in (("c0", None), ("c1", "c0"), ("c2", "c1")):
        scene.save(name, parent=parent)
    store.quarantine(scene.id("c1"), "damaged")
    damaged(store, scene, "c1", field, None)
    scene.save("c1", parent="c0")
    found = store.list_checkpoints(scene.id("t"))
    assert [scene.name(checkpoint) for checkpoint in found] == ["c2", "c1", "c0"]
    assert found[1].quarantined is None
    assert audit(store._connection.client) == []
