"""Lists and counts of the Redis store: walks along its indexes in stretches, over partitions, past what has expired.

That its answers are those of the memory store is shown in tests/contract.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from petiole_stores.conformance import Scene
from petiole_stores.ids import new_id
from petiole_stores.memory import MemoryStore
from petiole_stores.records import SETTLED, Run, RunFilter, RunPage, TaskFilter, Worker
from petiole_stores.redis import RedisStore, listing
from petiole_stores.redis.partitions import partition_of, tag_prefix
from petiole_stores.store import Store
from tests.redis_watch import Opener, keys

pytestmark = pytest.mark.redis

# -------------------------------------------------------------------- every filter

#: Among them what may pass for another when bytes are looked at: a length that is a letter, statuses and times.
TAGS = [
    "two\x1fvip",
    "vip",
    "VIP",
    "Order 5",
    "order",
    "über",
    "Über",
    "queued",
    "x" * 97,
    "x" * 65,
    "200",
    "é\x7f",
    "a",
    "ab",
    "cd",
]
GRAPHS, ERRORS = ["bills", "Bills.late", "g"], ["shop.Declined", "Declined", "odd name"]
START = 2_000_000_000.0

FILTERS = st.builds(
    RunFilter,
    graph=st.none() | st.sampled_from([*GRAPHS, "none"]),
    status=st.lists(st.sampled_from(["queued", "running", "failed", "cancelled", "succeeded"]), max_size=2),
    thread_id=st.none() | st.none() | st.sampled_from(["acme:1", "acme", "Zeta:2", "none"]),
    tag=st.none() | st.sampled_from([*TAGS, "", "none", "vi", "bills"]),
    error_type=st.none() | st.none() | st.sampled_from([*ERRORS, "name", "Unheard"]),
    text=st.none() | st.sampled_from([*TAGS, "", "\x1f", "1\x1fA", "A", "X", "\xa2", "\x90", "bCd", "b\xa2cd", "acme:", "R1", "ills", "ueue", "0000"]),
    since=st.none() | st.none() | st.integers(0, 80).map(lambda second: START + second),
    until=st.none() | st.none() | st.integers(0, 80).map(lambda second: START + second),
    graphs=st.just([]) | st.lists(st.sampled_from([*GRAPHS, "none"]), max_size=2),
    namespaces=st.just([]) | st.lists(st.sampled_from(["acme", "Zeta", "ac", "none"]), max_size=2),
    limit=st.integers(1, 9) | st.sampled_from([40, 1000]),
    brief=st.booleans(),
)  # fmt: skip


def filled(stores: list[Store]) -> list[str]:
    """The same 80 runs in each store, one a second; returns threads whose runs are over."""
    for store in stores:
        store.beat(Worker(worker_id="w", name="w", lease=1000.0))
    scene = Scene(stores[0])
    settled: dict[str, bool] = {}
    for i in range(80):
        thread = ["acme:1", "acme", "Zeta:2", f"acme:{i}", f"Zeta:{i}"][i % 5]
        tags = [TAGS[(i * step) % len(TAGS)] for step in range(1, 1 + i % 4)]
        run = scene.new_run(f"R{i}", tags=tags, graph=GRAPHS[i % 3], if_busy="enqueue")
        run.run_id, run.thread_id, over, token = f"R{i}", thread, i % 7 < 3, f"k{i}"
        for store in stores:
            store.clock = lambda now=START + i: now  # type: ignore[misc]
            store.submit([run])
            if i % 7 == 0:
                store.cancel([run.run_id])
            elif over:
                store.claim("w", "s", [(run.start.task_id, scene.id(token))])
                error = f'{{"type": "{ERRORS[i % 3]}", "message": "vip Declined"}}'
                store.finish("w", "s", [scene.outcome(f"R{i}.start", token, "failed", error=error)])
        settled[thread] = over
    return [thread for thread, over in settled.items() if over and thread.partition(":")[2] > "2"]


def expire(store: RedisStore, thread_id: str, run_id: str) -> None:
    """Leave of the run what is left when its thread has expired by itself: its entry in the index."""
    tag = tag_prefix(store.prefix, partition_of(thread_id, store.partitions))
    store._connection.client.delete(f"{tag}run:{run_id}")


def walked(store: Store, filter: RunFilter) -> Iterator[RunPage]:
    """All pages of a list."""
    while True:
        page = store.list_runs(filter)
        yield page
        if page.next is None:
            return
        filter = replace(filter, cursor=page.next)


def shown(run: Run) -> Run:
    return replace(run, seq=0)


@pytest.mark.parametrize("sorts", [True, False])
def test_every_filter_means_what_it_means_in_memory(
    redis_url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch, sorts: bool
) -> None:
    """Whatever the stretches and partitions, also beside runs that have expired; and what a page counts are the counts."""
    model = MemoryStore()
    admin = opened(redis_url)
    for thread in filled([admin, model]):
        for run in model.list_runs(RunFilter(thread_id=thread)).runs:
            expire(admin, thread, run.run_id)
        model.delete_thread(thread)

    user = f"narrow-{new_id()}"
    client = admin._connection.client
    entries = {
        key: dict(client.zrange(key, 0, -1, withscores=True))
        for index in ("runs", "labels", "open")
        for key in keys(client, f"petiole:{{p*}}:{index}")
    }
    client.execute_command("ACL", "SETUSER", user, "on", ">secret", "~*" if sorts else "~petiole:*", "+@all")
    store = opened(redis_url.replace("redis://", f"redis://{user}:secret@"))

    @settings(max_examples=100, deadline=None)
    @given(filter=FILTERS, look=st.sampled_from([1, 3, 500]), spare=st.sampled_from([1, 8]))
    @example(filter=RunFilter(), look=500, spare=8)
    @example(filter=RunFilter(text="r1"), look=500, spare=8)
    @example(filter=RunFilter(text=""), look=500, spare=8)
    @example(filter=RunFilter(namespaces=["acme"]), look=500, spare=8)
    @example(filter=RunFilter(graph="bills", limit=40), look=500, spare=1)
    @example(filter=RunFilter(tag=TAGS[0], limit=9), look=500, spare=1)
    def agree(filter: RunFilter, look: int, spare: int) -> None:
        for key, members in entries.items():
            client.zadd(key, members)
        with monkeypatch.context() as patch:
            patch.setattr(listing, "LOOK", look)
            patch.setattr(listing, "SPARE", spare)
            found, wanted = [*walked(store, filter)], [*walked(model, filter)]
            counts = store.count_runs(filter)
        assert [[*map(shown, page.runs)] for page in found] == [[*map(shown, page.runs)] for page in wanted]
        assert counts == model.count_runs(filter)
        open_alone = bool(filter.status) and SETTLED.isdisjoint(filter.status)
        assert len(found) > 1 or open_alone or found[0].counts is not None
        assert all(page.counts in (None, counts) for page in found)

    try:
        agree()
    finally:
        client.execute_command("ACL", "DELUSER", user)


# -------------------------------------------------------------------- stretches


def test_runs_are_paged_over_partitions(
    redis_url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "LOOK", 3)
    store = opened(redis_url)
    scene = Scene(store)
    for i in range(40):
        scene.submit(f"r{i}", f"t{i}", tags=["odd"] if i % 2 else [])
    found: list[str] = []
    cursor: str | None = None
    for _ in range(10):
        page = store.list_runs(RunFilter(tag="odd", limit=3, cursor=cursor))
        found += [run.run_id for run in page.runs]
        cursor = page.next
        if cursor is None:
            break
    assert found == scene.ids(*(f"r{i}" for i in range(39, 0, -2)))
    assert store.count_runs(RunFilter(tag="odd"))["queued"] == 20


def test_runs_that_have_expired_hide_no_other(redis_url: str, opened: Opener) -> None:
    store = opened(redis_url, partitions=1)
    scene = Scene(store)
    names = [f"r{i}" for i in range(250)]
    scene.store.submit([scene.new_run(name, f"t.{name}", tags=[name[-1]]) for name in names])
    gone = names[::7]
    left = [name for name in names if name not in gone]
    store.cancel(scene.ids(*(name for name in left if name.endswith("3"))))
    for name in gone:
        expire(store, scene.id(f"t.{name}"), scene.id(name))

    def shown(**fields: object) -> list[str]:
        filter = RunFilter(limit=1000, **fields)  # type: ignore[arg-type]
        return [run.run_id.removeprefix(f"{scene.prefix}-") for run in store.list_runs(filter).runs]

    newest = left[::-1]
    assert shown(status=["cancelled"]) == [name for name in newest if name.endswith("3")]
    assert shown(tag="4") == [name for name in newest if name.endswith("4")]
    assert shown() == newest
    assert sum(store.count_runs().values()) == len(left)
    tag, open_runs = tag_prefix(store.prefix, 0), [name for name in left if not name.endswith("3")]
    sizes = [store._connection.client.zcard(f"{tag}{index}") for index in ("runs", "labels", "open")]
    assert sizes == [len(left), len(left), len(open_runs)]


def test_runs_are_listed_for_a_user_who_may_not_read_every_key(redis_url: str, opened: Opener) -> None:
    """Such a user is refused SORT with patterns, as everybody is in a cluster."""
    scene = Scene(opened(redis_url))
    scene.submit("r", tags=["a"])
    user = f"narrow-{scene.prefix}"
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("ACL", "SETUSER", user, "on", ">secret", "~petiole:*", "+@all")
        try:
            store = opened(redis_url.replace("redis://", f"redis://{user}:secret@"))
            assert [run.run_id for run in store.list_runs(RunFilter(tag="a")).runs] == scene.ids("r")
            assert store.count_runs(RunFilter(text=scene.prefix))["queued"] == 1
        finally:
            client.execute_command("ACL", "DELUSER", user)


def test_tasks_are_paged_in_stretches(
    redis_url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stretch may hold nothing that matches, or tasks whose records are gone."""
    monkeypatch.setattr(listing, "LOOK", 2)
    store = opened(redis_url)
    scene = Scene(store)
    scene.begin(*"abcdefgh")
    client = store._connection.ask(lambda client: client)
    for name in ("r.start", "c", "d"):
        client.delete(
            f"{tag_prefix(store.prefix, partition_of(scene.id('t'), store.partitions))}task:{scene.id(name)}"
        )

    def pages(limit: int, **filters: str) -> list[list[str]]:
        found: list[list[str]] = []
        cursor: str | None = None
        while not found or cursor is not None:
            page = store.tasks_page(scene.id("r"), TaskFilter(limit=limit, cursor=cursor, **filters))  # type: ignore[arg-type]
            found.append([task.node for task in page.tasks])
            cursor = page.next
        return found

    assert pages(3) == [["a", "b", "e"], ["f", "g", "h"]]
    assert pages(1, node="h") == [["h"]]
    assert [(it.node, it.count) for it in store.task_counts(scene.id("r"))] == [
        (node, 1) for node in "abefgh"
    ]
