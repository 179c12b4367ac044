"""The Redis store where it differs from the others: many at once, partitions, halves of what takes two scripts, and clusters.

That its answers are those of the memory store is shown in tests/contract.
"""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from petiole_stores.conformance import LEDGER_CHECKS, NotOffered, Scene
from petiole_stores.errors import StoreUnavailableError
from petiole_stores.records import Worker
from petiole_stores.redis import listing
from petiole_stores.redis.partitions import Locator, partition_of
from tests.processes import Leashed, free_port
from tests.redis_watch import Opener, broken_after, spy
from tests.servers import HOST, OwnRedis, redis_binary
from tests.waiting import wait_until

pytestmark = pytest.mark.redis

# -------------------------------------------------------------------- many at once


def test_one_of_many_claims_is_granted(redis_url: str, opened: Opener) -> None:
    scene = Scene(opened(redis_url))
    names = [f"n{i}" for i in range(20)]
    scene.begin(*names)
    stores = [opened(redis_url) for _ in range(4)]
    for number in range(4):
        scene.worker(f"w{number}")

    def claim_all(number: int) -> list[bool]:
        stores[number].clock = scene.store.clock
        wants = [(scene.id(name), scene.id(f"{name}.k{number}")) for name in names]
        return [
            stores[number].claim(scene.id(f"w{number}"), f"s{i}", [want])[0].result == "committed"
            for i, want in enumerate(wants)
        ]

    with ThreadPoolExecutor(4) as pool:
        granted = list(pool.map(claim_all, range(4)))
    assert [sum(column) for column in zip(*granted, strict=True)] == [1] * len(names)


def test_one_of_100_siblings_gets_the_advance(redis_url: str, opened: Opener) -> None:
    scene = Scene(opened(redis_url))
    names = [f"n{i}" for i in range(100)]
    scene.begin(*names)
    for name in names:
        scene.claimed(name, f"{name}.k", slot=name)
    stores = [opened(redis_url) for _ in range(4)]

    def finish(index: int) -> Any:
        store, name = stores[index % 4], names[index]
        store.clock = scene.store.clock
        return store.finish(scene.id("w"), name, [scene.outcome(name, f"{name}.k")])[0]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(finish, range(100)))
    assert {answer.result for answer in answers} == {"committed"}
    advances = [answer.advance for answer in answers if answer.advance is not None]
    assert len(advances) == 1
    assert [output.path for output in advances[0].outputs] == sorted(f"pull:{name}" for name in names)


def test_one_key_on_two_threads_is_one_run(redis_url: str, opened: Opener) -> None:
    stores = [opened(redis_url) for _ in range(4)]
    scene = Scene(stores[0])
    for store in stores:
        store.clock = scene.store.clock
    for attempt in range(10):
        barrier = threading.Barrier(4)

        def submit(number: int, run: str = f"r{attempt}", barrier: threading.Barrier = barrier) -> str:
            new = scene.new_run(run, f"t{number}-{run}", idempotency_key="k", request_digest=f"d{number}")
            stores[number].hint(new.thread_id, [new.run_id])
            barrier.wait(10)
            return stores[number].submit([new])[0].result

        with ThreadPoolExecutor(4) as pool:
            results = sorted(pool.map(submit, range(4)))
        assert results == ["committed", "refused", "refused", "refused"]


# -------------------------------------------------------------------- partitions


def test_threads_spread_over_partitions() -> None:
    counts = [0] * 16
    for i in range(16_000):
        counts[partition_of(f"thread-{i}", 16)] += 1
    assert min(counts) > 800
    assert partition_of("a", 16) == 3, "stored threads would be lost if this changed"


def test_every_key_of_a_script_is_in_its_slot(
    own_redis: OwnRedis, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole life of runs, overheard: what a script touches has the hash slot of the key that it was given."""
    store = opened(own_redis.url, prefix="overheard", ttl=1000)
    seen = spy(store, monkeypatch)
    with own_redis.client() as client, client.monitor() as monitor:
        for check in LEDGER_CHECKS:
            try:
                LEDGER_CHECKS[check].run(Scene(store))
            except NotOffered:
                continue
        store.sweep()
        store.list_runs()
        store._index_threads()
        store._index_runs()
        store._connection.ask(lambda client: client.echo("that-is-all"))
        slot, touched = -1, 0
        while True:
            heard = monitor.next_command()
            words = heard["command"].split(" ")
            if words[0] == "ECHO":
                break
            if words[0] in ("EVALSHA", "EVAL"):
                given = re.search(r"(overheard:\{\w+\}:)", heard["command"])
                assert given is not None
                slot = key_slot(given[1].encode())
            elif heard["client_type"] == "lua" and words[0].upper() != "TIME":
                touched += 1
                assert key_slot(words[1].encode()) == slot, heard["command"]
    assert touched > 1000
    folder = Path(listing.__file__).with_name("lua")
    texts = {path.stem: path.read_text() for path in folder.glob("*.lua")}
    assert {call.name for calls in seen for call in calls} == {
        name for name, text in texts.items() if "KEYS[1] prefix" in text or "KEYS[1] the prefix" in text
    }, "every script was run"


def test_an_id_is_found_without_a_hint(
    redis_url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(opened(redis_url))
    scene.begin("a")
    other = opened(redis_url)
    other.clock = scene.store.clock
    seen = spy(other, monkeypatch)

    answer = other.claim(scene.id("w"), "s", [(scene.id("a"), scene.id("k"))])[0]

    assert answer.result == "committed"
    assert [len(calls) for calls in seen] == [16, 16], (
        "a look into every partition, then every slot's first claim"
    )


def test_a_claim_with_a_hint_is_one_script(
    redis_url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(opened(redis_url))
    scene.begin("a", "b")
    other = opened(redis_url)
    other.clock = scene.store.clock
    other.claim(scene.id("w"), "s", [(scene.id("none"), scene.id("k"))])
    seen = spy(other, monkeypatch)

    other.hint(scene.id("t"), [scene.id("a")])
    answer = other.claim(scene.id("w"), "s", [(scene.id("a"), scene.id("k"))])[0]

    assert answer.result == "committed"
    assert [len(calls) for calls in seen] == [1]


def test_a_wrong_hint_is_forgotten(redis_url: str, opened: Opener) -> None:
    scene = Scene(opened(redis_url))
    scene.begin("a")
    other = opened(redis_url)
    other.clock = scene.store.clock
    elsewhere = next(
        f"x{i}" for i in range(99) if partition_of(f"x{i}", 16) != partition_of(scene.id("t"), 16)
    )
    other.hint(elsewhere, [scene.id("a")])
    other.hint(elsewhere, [scene.id("r")])
    assert other.get_run(scene.id("r")) is not None
    other.hint(elsewhere, [scene.id("r")])
    assert len(other.list_tasks(scene.id("r"))) == 2
    want = (scene.id("a"), scene.id("k"))
    assert other.claim(scene.id("w"), "s", [want])[0].reason == "missing"
    assert other.claim(scene.id("w"), "s", [want])[0].result == "committed"


def test_a_slot_gives_up_claims_in_other_partitions(redis_url: str, opened: Opener) -> None:
    """A claim names what its slot holds: claims that an earlier process left in any partition end."""
    scene = Scene(opened(redis_url))
    names = [f"t{i}" for i in range(6)]
    for name in names:
        scene.begin(f"{name}.a", run=f"{name}.r", thread=name)
    assert len({partition_of(scene.id(name), 16) for name in names}) > 1
    for name in names:
        scene.claimed(f"{name}.a", f"{name}.k", holds=[f"{other}.k" for other in names])
    successor = opened(redis_url)
    successor.clock = scene.store.clock
    successor.claim(scene.id("w"), "s", [(scene.id("t0.a"), scene.id("k2"))], holds=[scene.id("t1.k")])
    statuses = [scene.task(f"{name}.a", run=f"{name}.r").status for name in names]
    assert statuses == ["claimed", "claimed", "ready", "ready", "ready", "ready"]
    assert scene.task("t0.a", run="t0.r").token == scene.id("k2")


def test_the_locator_forgets_the_oldest() -> None:
    locator = Locator(size=2)
    for number, id in enumerate("abc"):
        locator.learn("task", [id], number)
    assert locator.find("task", ["a", "b", "c"]) == ({"b": 1, "c": 2}, ["a"])
    assert locator.find("run", ["b"]) == ({}, ["b"])


# -------------------------------------------------------------------- workers in halves


def test_half_a_beat_claims_nothing_and_the_next_heals(
    redis_url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(redis_url)
    scene = Scene(store)
    scene.submit()
    with monkeypatch.context() as patch:
        broken_after(store, patch, 1)
        with pytest.raises(StoreUnavailableError):
            store.beat(Worker(worker_id=scene.id("w"), name="w"))
    assert [worker.status for worker in store.list_workers()] == ["alive"]
    assert scene.claim("r.start", "k").reason == "holder unknown"
    scene.worker()
    assert scene.claim("r.start", "k").result == "committed"


def test_half_a_sweep_frees_nothing_and_the_next_does(
    redis_url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(redis_url)
    scene = Scene(store)
    scene.begin("a")
    scene.claimed("a", "k")
    scene.tick(100)
    with monkeypatch.context() as patch:
        broken_after(store, patch, 1)
        with pytest.raises(StoreUnavailableError):
            store.sweep()
    assert [worker.status for worker in store.list_workers()] == ["dead"]
    assert scene.task("a").status == "claimed"
    report = store.sweep()
    assert report.died == [], "it was named by the sweep that was cut"
    assert scene.task("a").status == "ready"


def test_a_beat_after_half_a_sweep_keeps_the_claims(
    redis_url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(redis_url)
    scene = Scene(store)
    scene.begin("a")
    scene.claimed("a", "k")
    scene.tick(100)
    with monkeypatch.context() as patch:
        broken_after(store, patch, 1)
        with pytest.raises(StoreUnavailableError):
            store.sweep()
    answer = store.beat(Worker(worker_id=scene.id("w"), name="w"))
    assert (answer.revived, answer.claims) == (True, scene.ids("a"))
    store.sweep()
    assert scene.task("a").status == "claimed"


def test_half_a_final_release_ends_with_the_lease(
    redis_url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(redis_url)
    scene = Scene(store)
    scene.begin("a")
    scene.claimed("a", "k")
    with monkeypatch.context() as patch:
        broken_after(store, patch, 1)
        with pytest.raises(StoreUnavailableError):
            store.release(scene.id("w"), final=True)
    assert scene.task("a").status == "claimed"
    scene.tick(100)
    store.sweep()
    assert scene.task("a").status == "ready"


# -------------------------------------------------------------------- cluster


class OwnCluster(OwnRedis):
    """A private cluster of one node that owns every slot."""

    kind = "redis-cluster"

    def _launch(self) -> Leashed:
        binary = redis_binary()
        assert binary is not None
        settings = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.folder),
            "save": "",
            "cluster-enabled": "yes",
            "cluster-port": str(free_port()),  # else 10,000 above the port, which may be too high
        }
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return Leashed([binary, *options], log=self.log, cwd=self.folder)

    def form(self) -> None:
        with self.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: self._takes_writes(client))

    @staticmethod
    def _takes_writes(client: redis.Redis) -> bool:
        try:
            return bool(client.set("ready", 1))
        except redis.ResponseError:
            return False


def test_on_a_cluster(opened: Opener) -> None:
    if reason := OwnCluster.missing():
        pytest.skip(reason)
    with OwnCluster() as server:
        server.form()
        store = opened(server.url, cluster=1)
        names = list(LEDGER_CHECKS)
        for name in [*names[::3], *(name for name in names if name.startswith("item"))]:
            try:
                LEDGER_CHECKS[name].run(Scene(store))
            except NotOffered:
                continue
        store.clock = None
