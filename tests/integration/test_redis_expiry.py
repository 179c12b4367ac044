"""Threads of the Redis store that expire by themselves once they have ended (the option ``ttl``)."""

from __future__ import annotations

import pytest

from petiole_stores.conformance import Scene
from petiole_stores.events import NewEvent
from petiole_stores.redis.partitions import partition_of, tag_prefix
from tests.redis_watch import Opener, keys
from tests.waiting import wait_until

pytestmark = pytest.mark.redis


def ended(scene: Scene) -> None:
    scene.begin("a")
    scene.claimed("a", "k")
    scene.finished("a", "k", settle=scene.settle("c1", "r.c0"))


def real_time(scene: Scene) -> None:
    """Expiry is the server's own: it needs the server's time."""
    scene.store.clock = None


def test_an_ended_thread_expires_with_all_its_keys(redis_url: str, opened: Opener) -> None:
    store = opened(redis_url, prefix="ttl", ttl=1)
    scene = Scene(store)
    real_time(scene)
    ended(scene)
    client = store._connection.client
    wait_until(lambda: store.get_run(scene.id("r")) is None)
    assert store.list_runs().runs == []
    assert store.list_tasks(scene.id("r")) == []
    assert store.head(scene.id("t")) is None
    assert store.get_checkpoint(scene.id("c1")) is None
    assert store.list_checkpoints(scene.id("t")) == []
    store.sweep()
    about = [key for key in keys(client, "ttl:*") if scene.prefix.encode() in key and b"holder:" not in key]
    assert [
        key for key in about if b"worker:" not in key and b":held:" not in key and b":slots:" not in key
    ] == []
    assert scene.submit("r2").result == "committed"


def test_a_thread_that_goes_on_does_not_expire(redis_url: str, opened: Opener) -> None:
    store = opened(redis_url, prefix="ttl", ttl=1000)
    scene = Scene(store)
    real_time(scene)
    ended(scene)
    client = store._connection.client
    tag = tag_prefix("ttl", partition_of(scene.id("t"), 16))
    mine = [key for key in keys(client, f"{tag}*") if client.pttl(key) > 0]
    kinds = {key.decode().removeprefix(tag).partition(":")[0] for key in mine}
    assert kinds == {"thread", "history", "runs", "run", "tasks", "task", "step", "checkpoint"}
    scene.submit("r2", base_id=scene.id("c1"))
    assert [key for key in keys(client, f"{tag}*") if client.pttl(key) > 0] == []


def test_what_nodes_said_expires_with_its_thread(redis_url: str, opened: Opener) -> None:
    store = opened(redis_url, prefix="ttl", ttl=1000)
    scene = Scene(store)
    real_time(scene)
    scene.chain("c1")
    key = f"{tag_prefix('ttl', partition_of(scene.id('t'), 16))}events:{scene.id('t')}"
    client = store._connection.client

    def say(name: str) -> None:
        store.append_events(scene.id("t"), scene.id("r"), [NewEvent(scene.id(name), "custom", b"1")])

    say("while it runs")
    assert client.pttl(key) == -1
    scene.end("c1", "c2")
    assert 0 < client.pttl(key) <= 1_000_000
    say("afterwards")
    assert 0 < client.pttl(key) <= 1_000_000
    scene.submit("r2")
    assert client.pttl(key) == -1


def test_a_checkpoint_saved_on_an_ended_thread_expires_with_it(redis_url: str, opened: Opener) -> None:
    store = opened(redis_url, prefix="ttl", ttl=1000)
    scene = Scene(store)
    real_time(scene)
    ended(scene)
    scene.save("c2", parent="c1")
    key = f"{tag_prefix('ttl', partition_of(scene.id('t'), 16))}checkpoint:{scene.id('c2')}"
    assert store._connection.client.pttl(key) > 0


def test_nothing_expires_without_the_option(redis_url: str, opened: Opener) -> None:
    store = opened(redis_url)
    scene = Scene(store)
    ended(scene)
    client = store._connection.client
    assert [key for key in keys(client, "petiole:*") if client.pttl(key) > 0] == []
