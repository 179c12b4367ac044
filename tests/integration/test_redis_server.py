"""The Redis store and its server: what a server may do to it, settings of both, what is set up, and backups."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from petiole_stores.conformance import Scene
from petiole_stores.errors import ConfigurationError, SchemaError, StoreError, StoreUnavailableError
from petiole_stores.records import Worker
from petiole_stores.redis import RedisStore
from tests.redis_watch import Opener, keys
from tests.servers import OwnRedis

pytestmark = pytest.mark.redis

# -------------------------------------------------------------------- the server


def test_scripts_are_sent_again_to_a_server_that_forgot_them(own_redis: OwnRedis, opened: Opener) -> None:
    store = opened(own_redis.url)
    scene = Scene(store)
    scene.begin("a")
    with own_redis.client() as client:
        client.script_flush()
    scene.claimed("a", "k")
    with own_redis.client() as client:
        client.script_flush()
    assert store.beat(Worker(worker_id=scene.id("w"), name="w")).claims == scene.ids("a")


def test_commits_outlive_the_server(own_redis: OwnRedis, opened: Opener) -> None:
    store = opened(own_redis.url)
    scene = Scene(store)
    scene.begin("a", "b")
    scene.claimed("a", "k")
    scene.finished("a", "k")
    before = scene.snapshot()

    own_redis.kill()
    with pytest.raises(StoreUnavailableError, match=str(own_redis.port)):
        store.head(scene.id("t"))
    own_redis.start()

    assert scene.snapshot() == before
    scene.claimed("b", "kb")
    assert scene.finished("b", "kb").advance is not None


def test_a_server_that_may_evict_is_refused(own_redis: OwnRedis, opened: Opener) -> None:
    with own_redis.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(ConfigurationError, match="noeviction"):
                opened(own_redis.url)
        finally:
            client.config_set("maxmemory-policy", "noeviction")


def test_a_full_server_says_so_and_takes_nothing(own_redis: OwnRedis, opened: Opener) -> None:
    store = opened(own_redis.url)
    scene = Scene(store)
    scene.begin("a")
    scene.claimed("a", "k")
    before = scene.snapshot()
    with own_redis.client() as client:
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(StoreError, match="out of memory"):
                scene.finish("a", "k", settle=scene.settle("c1", "r.c0"))
            assert scene.snapshot() == before
        finally:
            client.config_set("maxmemory", 0)
    scene.finished("a", "k", settle=scene.settle("c1", "r.c0"))


def test_what_a_power_cut_may_lose_is_said(own_redis: OwnRedis, opened: Opener) -> None:
    store = opened(own_redis.url)
    assert store.durability() == []
    with own_redis.client() as client:
        try:
            client.config_set("appendfsync", "everysec")
            assert "2 seconds" in store.durability()[0]
            client.config_set("appendfsync", "no")
            assert "kernel" in store.durability()[0]
            client.config_set("appendonly", "no")
            assert "restart" in store.durability()[0]
        finally:
            client.config_set("appendonly", "yes")
            client.config_set("appendfsync", "always")


def test_a_server_that_hides_its_settings_is_taken_with_a_warning(
    own_redis: OwnRedis, opened: Opener
) -> None:
    with own_redis.client() as client:
        client.acl_setuser(
            "shy", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-config"]
        )
        try:
            url = own_redis.url.replace("redis://", "redis://shy:secret@")
            with pytest.warns(UserWarning, match="noeviction"):
                store = opened(url)
            assert "does not show its settings" in store.durability()[0]
            with pytest.raises(ConfigurationError, match="refuses the login") as refused:
                opened(url.replace("secret", "wrong"))
            assert "wrong" not in str(refused.value)
        finally:
            client.acl_deluser("shy")


def test_nobody_there(opened: Opener) -> None:
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:1"):
        opened("redis://127.0.0.1:1/0")


def test_a_child_process_opens_connections_of_its_own(
    redis_url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = opened(redis_url)._connection
    parents = connection.client
    assert connection.client is parents
    with monkeypatch.context() as patch:
        patch.setattr("petiole_stores.redis.connection.os.getpid", lambda: -1)
        childs = connection.client
        assert childs is not parents
        assert childs.ping()
        childs.close()
    parents.close()


# -------------------------------------------------------------------- meta


def test_connecting_creates_nothing_but_meta(redis_url: str, opened: Opener) -> None:
    store = opened(redis_url, prefix="fresh", partitions=4)
    assert keys(store._connection.client, "*") == [b"fresh:{w}:meta"]
    assert store.partitions == 4


def test_the_number_of_partitions_is_fixed(redis_url: str, opened: Opener) -> None:
    opened(redis_url, partitions=4)
    assert opened(redis_url).partitions == 4
    with pytest.raises(ConfigurationError, match="partitions=8"):
        opened(redis_url, partitions=8)


def test_a_newer_schema_is_refused(redis_url: str, opened: Opener) -> None:
    store = opened(redis_url)
    store._connection.client.hset("petiole:{w}:meta", "schema", 99)
    with pytest.raises(SchemaError, match="99"):
        store.migrate_schema()


@pytest.mark.parametrize(
    "option", ["prefix=a{b}", "prefix=a*", "partitions=0", "partitions=x", "ttl=-1", "ttl=nan"]
)
def test_options_that_cannot_be_taken(option: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(option.partition("=")[0])):
        RedisStore(f"redis://localhost/0?{option}")


def test_two_prefixes_do_not_meet(redis_url: str, opened: Opener) -> None:
    one, other = opened(redis_url, prefix="one"), opened(redis_url, prefix="other")
    scene = Scene(one)
    scene.begin("a")
    assert other.get_run(scene.id("r")) is None
    assert other.list_runs().runs == []


# -------------------------------------------------------------------- backup


def test_a_backup_is_restored_under_another_prefix(redis_url: str, opened: Opener, tmp_path: Path) -> None:
    store = opened(redis_url, prefix="from")
    scene = Scene(store)
    scene.begin("a", "b")
    scene.claimed("a", "k")
    scene.save("c9", thread="t9")
    before = scene.snapshot(["t", "t9"])

    count = store.backup(tmp_path / "copy")
    copy = opened(redis_url, prefix="to")
    assert copy.restore(tmp_path / "copy") == count > 10

    copy.clock, scene.store = store.clock, copy
    assert scene.snapshot(["t", "t9"]) == before
    scene.finished("a", "k")
    with pytest.raises(StoreError, match="holds data already"):
        copy.restore(tmp_path / "copy")
    with pytest.raises(ConfigurationError, match="16 partitions"):
        opened(redis_url, prefix="four", partitions=4).restore(tmp_path / "copy")


def test_a_backup_that_is_cut_short_is_refused(redis_url: str, opened: Opener, tmp_path: Path) -> None:
    store = opened(redis_url)
    Scene(store).begin("a")
    path = tmp_path / "copy"
    store.backup(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(StoreError, match="cut short"):
        opened(redis_url, prefix="to").restore(path)
    path.write_bytes(b"something else")
    with pytest.raises(StoreError, match="no backup"):
        opened(redis_url, prefix="to2").restore(path)
