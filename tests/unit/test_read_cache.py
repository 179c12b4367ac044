"""The read cache: never older than its reader's own writes, nor than ``max_age``; bounded; as good as its store."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petiole_stores.cache import ReadCache
from petiole_stores.checkpoint import Checkpoint
from petiole_stores.conformance import Scene, check_ledger
from petiole_stores.errors import StoreUnavailableError
from petiole_stores.faults import FaultPlan, FaultyStore, execute_and_timeout
from petiole_stores.memory import MemoryStore
from petiole_stores.opening import open_store
from petiole_stores.records import Blob, Checkpointed

T = TypeVar("T")


class Bench:
    """A memory store, a cache before it, and a count of the reads that reach the store."""

    def __init__(self, **options: float) -> None:
        self.now = 0.0
        self.asked: Counter[str] = Counter()
        self.store = MemoryStore()
        bench = self

        class Counted(FaultyStore):
            def around(self, operation: str, call: Callable[[], T]) -> T:
                bench.asked[operation] += 1
                return call()

        self.cache = ReadCache(Counted(self.store, FaultPlan()), timer=lambda: self.now, **options)  # type: ignore[arg-type]

    def save(self, name: str, thread: str = "t", size: int = 0, *, by: str = "other") -> None:
        store = self.store if by == "other" else self.cache
        store.save(Checkpoint(id=name, thread_id=thread, state={"at": name, "text": "x" * size}))


def ids(records: list[Checkpointed]) -> list[str]:
    return [record.checkpoint_id for record in records]


# ---------------------------------------------------------------- what is kept


def test_heads_and_lists_are_kept_for_a_second() -> None:
    bench = Bench()
    bench.save("c1")
    for _ in range(3):
        assert bench.cache.head("t") is not None
        assert ids(bench.cache.list_checkpoints("t")) == ["c1"]
    assert (bench.asked["head"], bench.asked["list_checkpoints"]) == (1, 1)
    bench.save("c2")
    bench.now = 0.99
    assert ids(bench.cache.list_checkpoints("t")) == ["c1"], "another's write may go unseen so long"
    bench.now = 1.0
    assert ids(bench.cache.list_checkpoints("t")) == ["c2", "c1"]
    head = bench.cache.head("t")
    assert head is not None
    assert head.checkpoint_id == "c2"


def test_checkpoints_and_blobs_are_kept_while_there_is_room() -> None:
    bench = Bench(limit=40_000)
    for n in range(4):
        bench.save(f"c{n}", size=4000)
        bench.store.replace_blobs("t", [Blob(digest=f"d{n}", codec="raw", data=bytes(100))])
    bench.now = 1e6
    for _ in range(2):
        for n in range(2):
            assert bench.cache.load(f"c{n}").state["at"] == f"c{n}"
            assert bench.cache.get_blobs("t", [f"d{n}", "none"]).keys() == {f"d{n}"}
    assert bench.asked["get_checkpoint"] == 2
    for n in range(4):
        bench.cache.get_checkpoint(f"c{n}")
    bench.cache.get_checkpoint("c0")
    assert bench.asked["get_checkpoint"] == 5, "what was used last longest ago made room"
    assert bench.cache.get_blobs("u", ["d0"]) == {}, "a blob is its thread's"
    assert bench.cache.get_checkpoint("none") is None


def test_what_is_damaged_is_asked_for_until_it_is_mended() -> None:
    bench = Bench()
    bench.save("c1")
    bench.store.quarantine("c1", "damaged")
    found = bench.cache.get_checkpoint("c1")
    assert found is not None
    assert found.quarantined == "damaged"
    bench.save("c1")
    found = bench.cache.get_checkpoint("c1")
    assert found is not None
    assert found.quarantined is None
    bad = Blob(digest="d", codec="raw", data=b"bits", checksum="other")
    bench.store.replace_blobs("t", [bad])
    assert bench.cache.get_blobs("t", ["d"]) == {"d": bad}
    good = Blob(digest="d", codec="raw", data=b"bits")
    bench.store.replace_blobs("t", [good])
    assert bench.cache.get_blobs("t", ["d"]) == {"d": good}


def test_a_list_is_its_readers_own() -> None:
    bench = Bench()
    bench.save("c1")
    bench.cache.list_checkpoints("t").clear()
    assert ids(bench.cache.list_checkpoints("t")) == ["c1"]


# ---------------------------------------------------------------- own writes


def test_own_writes_are_seen_at_once() -> None:
    store = MemoryStore()
    cache = ReadCache(store, timer=lambda: 0.0)
    scene = Scene(cache)
    scene.begin("a", "b")
    assert scene.head() == "r.c0"
    scene.save("hand", thread="u")
    assert scene.head("u") == "hand"
    cache.delete(scene.id("hand"))
    assert scene.head("u") is None
    for name in "ab":
        scene.claimed(name, f"k{name}")
        scene.finished(name, f"k{name}")
    settle = scene.settle("r.c1", "r.c0")
    scene.finished("b.adv", "kb.adv", settle=settle)
    assert scene.head() == "r.c1"
    assert cache.trim(scene.id("t"), 1).checkpoints == 0, "a head's parent stays"
    assert cache.delete_thread(scene.id("t"))
    assert scene.head() is None
    assert cache.get_checkpoint(scene.id("r.c1")) is None


def test_a_write_whose_answer_is_lost_counts_as_done() -> None:
    store = MemoryStore()
    plan = FaultPlan()
    cache = ReadCache(FaultyStore(store, plan), timer=lambda: 0.0)
    cache.save(Checkpoint(id="c1", thread_id="t", state={}))
    assert cache.head("t") is not None
    plan.add(execute_and_timeout("save"))
    with pytest.raises(StoreUnavailableError):
        cache.save(Checkpoint(id="c2", thread_id="t", state={}))
    head = cache.head("t")
    assert head is not None
    assert head.checkpoint_id == "c2"


def test_a_read_that_began_before_a_write_is_not_kept_after_it() -> None:
    bench = Bench()
    bench.save("c1")
    real = bench.store._head

    def slow(thread_id: str, ns: str) -> Checkpointed | None:
        found = real(thread_id, ns)
        bench.store._head = real  # type: ignore[method-assign]
        bench.save("c2", by="reader")
        return found

    bench.store._head = slow  # type: ignore[method-assign]
    assert bench.cache.head("t") is not None
    head = bench.cache.head("t")
    assert head is not None
    assert head.checkpoint_id == "c2"


def test_a_run_that_has_gone_on_takes_its_thread_along() -> None:
    store = MemoryStore()
    cache = ReadCache(store, timer=lambda: 0.0)
    other, mine = Scene(store), Scene(cache)
    mine.prefix = other.prefix
    other.begin("a")
    assert mine.head() == "r.c0"
    other.claimed("a", "k")
    other.finished("a", "k", settle=other.settle("r.c1", "r.c0"))
    assert mine.head() == "r.c0"
    assert mine.run().status == "succeeded"
    assert mine.head() == "r.c1", "who knows that it has ended finds its result"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["own save", "other save", "own delete", "other delete", "tick", "head", "list"]),
        st.integers(0, 3),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(steps=STEPS)
def test_a_read_shows_a_moment_since_the_last_own_write(steps: list[tuple[str, int]]) -> None:
    bench = Bench()
    moments: list[tuple[float, list[str]]] = [
        (0.0, [])
    ]  # since when the thread has been so, as the store has it
    written = 0  # the moment of the last own write
    for step, number in steps:
        who, _, what = step.rpartition(" ")
        store = bench.store if who == "other" else bench.cache
        if what == "save":
            bench.save(f"c{number}", by=who)
        elif what == "delete":
            store.delete(f"c{number}")
        elif what == "tick":
            bench.now += number / 4
        else:
            listed = ids(bench.cache.list_checkpoints("t"))
            head = bench.cache.head("t")
            oldest = max(written, *(n for n, (since, _) in enumerate(moments) if since <= bench.now - 1.0), 0)
            allowed = [shown for _, shown in moments[oldest:]]
            if what == "list":
                assert listed in allowed
            assert (head.checkpoint_id if head else None) in [
                shown[0] if shown else None for shown in allowed
            ]
        if what in ("save", "delete"):
            bench.now += 0.01
            moments.append((bench.now, ids(bench.store.list_checkpoints("t"))))
            if who == "own":
                written = len(moments) - 1


def test_threads_see_their_own_writes(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path}/store.db?synchronous=off") as store:
        cache = ReadCache(store, max_age=60.0)
        failures: list[str] = []

        def work(name: str) -> None:
            for n in range(40):
                cache.save(Checkpoint(id=f"{name}{n}", thread_id="t", state={"n": n}))
                seen = {record.checkpoint_id for record in cache.list_checkpoints("t")}
                missing = {f"{name}{m}" for m in range(n + 1)} - seen
                if missing:
                    failures.append(f"{name}{n}: {missing}")

        workers = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert failures == []
        assert len(cache.list_checkpoints("t")) == 160


# ---------------------------------------------------------------- a store like any other


def test_it_keeps_every_rule_of_a_store() -> None:
    report = check_ledger(lambda: ReadCache(MemoryStore(), timer=lambda: 0.0))
    assert not report.failed
    assert report.passed


def test_a_transaction_of_ones_own_is_a_write(tmp_path: Path) -> None:
    with ReadCache(open_store(f"sqlite:///{tmp_path}/store.db"), timer=lambda: 0.0) as cache:
        scene = Scene(cache)
        scene.begin("a")
        scene.claimed("a", "k")
        assert scene.head() == "r.c0"
        settle = scene.settle("r.c1", "r.c0")
        with cache.transaction() as transaction:
            transaction.connection.execute("CREATE TABLE mine (n)")
            (answer,) = transaction.finish(scene.id("w"), "s", [scene.outcome("a", "k", settle=settle)])
        assert answer.result == "committed"
        assert scene.head() == "r.c1"


def test_a_checkpoint_by_hand_over_an_old_one_is_seen() -> None:
    bench = Bench()
    bench.save("c1", by="reader")
    assert "text" in bench.cache.load("c1").state
    bench.cache.save(Checkpoint(id="c1", thread_id="t", state={"n": 2}))
    assert bench.cache.load("c1").state == {"n": 2}
