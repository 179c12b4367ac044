"""With 100,000 threads in the store every operation still touches a few rows only, found by an index.

Postgres counts for each transaction what it read, and how: a sequential scan of a big table, or an index scan that
fetches more rows than the operation can need, fails the test, whatever plan was chosen for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
import pytest

from petiole_stores.conformance import Scene
from petiole_stores.events import NewEvent
from petiole_stores.items import NewItem
from petiole_stores.opening import open_store
from petiole_stores.records import Amendment, Blob, NewCheckpoint, NewTask, RunFilter, TaskFilter
from petiole_stores.sql.connection import PostgresEngine
from petiole_stores.sql.postgres import PostgresStore

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]

THREADS = 100_000
BIG = ("threads", "heads", "runs", "checkpoints", "tasks", "blobs", "items", "events")
#: 5 supersteps on each thread would be the same shape: one checkpoint and two tasks a thread make the tables big enough.
FILL = f"""
SET session_replication_role = replica;
INSERT INTO threads (thread_id, created_at) SELECT 'f' || i, i FROM generate_series(1, {THREADS}) i;
INSERT INTO heads (thread_id, ns, checkpoint_id, run_id) SELECT 'f' || i, '', 'c' || i, 'r' || i
FROM generate_series(1, {THREADS}) i;
INSERT INTO runs (run_id, thread_id, graph, status, config, tags, metadata, created_at, ended_at, deadline)
SELECT 'r' || i, 'f' || i, 'g' || i % 10, CASE i % 50 WHEN 0 THEN 'failed' ELSE 'succeeded' END, '{{}}',
    CASE i % 10 WHEN 0 THEN '["x"]'::jsonb ELSE '[]' END, '{{}}', i,
    i, i + 10
FROM generate_series(1, {THREADS}) i;
INSERT INTO checkpoints (checkpoint_id, thread_id, ns, run_id, step, source, node_names, state, next, control, metadata,
    digest, version, created_at)
SELECT 'c' || i, 'f' || i, '', 'r' || i, 1, 'loop', '[]', '{{}}', '[]', '{{}}', '{{}}', 'd', 1, i
FROM generate_series(1, {THREADS}) i;
INSERT INTO tasks (task_id, run_id, thread_id, ns, checkpoint_id, path, kind, node, queue, priority, status, holder,
    slot, token, created_at)
SELECT 't' || i || k, 'r' || i, 'f' || i, '', 'c' || i, 'p', 'node', 'n', 'q', 'default', 'done', 'h' || i % 20,
    (i % 4)::text, 'k' || i, i
FROM generate_series(1, {THREADS}) i, generate_series(1, 2) k;
INSERT INTO events (thread_id, seq, run_id, event_id, kind, codec, data, created_at)
SELECT 'f' || i, k, 'r' || i, 'e' || k, 'custom', 'plain', '1', 1e10 + i
FROM generate_series(1, {THREADS}) i, generate_series(1, 2) k;
INSERT INTO items (ns, key, codec, data, checksum, created_at, updated_at, ttl, expires_at)
SELECT 'users' || chr(31) || 'u' || i || chr(31), 'k' || k, 'plain', '1', encode(sha256('1'), 'hex'), i, i, 9, CASE k WHEN 2 THEN 1e12 + i END
FROM generate_series(1, {THREADS}) i, generate_series(1, 2) k;
SET session_replication_role = origin;
"""
#: Much of everything that the partial indexes hold.
WAITING = """
UPDATE runs SET status = CASE seq % 2 WHEN 0 THEN 'queued' ELSE 'running' END, ended_at = NULL, deadline = 1e12
WHERE seq % 5 = 0;
UPDATE tasks SET status = 'ready', token = NULL, holder = NULL, next_publish = 1e12
WHERE seq IN (SELECT min(seq) FROM tasks WHERE run_id IN (SELECT run_id FROM runs WHERE seq % 5 = 0) GROUP BY run_id);
UPDATE tasks SET status = 'parked', token = NULL, holder = NULL, run_at = 1e12 WHERE seq % 17 = 0 AND status = 'done';
"""
COUNTS = """
SELECT relname, seq_tup_read, coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = ANY (%s)"""


class Watched(PostgresEngine):
    """Runs each statement in a transaction of its own and keeps what it read."""

    def __init__(self, store: PostgresStore, url: str) -> None:
        super().__init__(store.url)
        self.connection = psycopg.connect(url, autocommit=True)
        self.read: dict[str, tuple[int, ...]] = {}
        self.last = ""

    def counts(self) -> dict[str, tuple[int, ...]]:
        """By table: rows that sequential scans read, rows that index scans fetched."""
        return {name: tuple(counts) for name, *counts in self.connection.execute(COUNTS, (list(BIG),))}

    def rows(self, statement: str, parameters: Sequence[object]) -> list[Any]:
        with self.connection.transaction():
            before = self.counts()  # of transactions that are not reported yet
            self.last = statement
            found = self.connection.execute(statement, parameters).fetchall()
            for name, read in self.counts().items():
                self.read[name] = tuple(
                    have + now - then
                    for have, now, then in zip(
                        self.read.get(name, (0, 0)), read, before.get(name, (0, 0)), strict=True
                    )
                )
        return found


@pytest.fixture(scope="module", params=["without statistics", "with statistics"])
def filled(request: pytest.FixtureRequest, module_postgres_url: str) -> str:
    """Right after the rows came, when the planner knows nothing of them, and later."""
    if request.param == "without statistics":
        open_store(module_postgres_url).close()
        with psycopg.connect(module_postgres_url, autocommit=True) as connection:
            for table in BIG:
                connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
            connection.execute(FILL)
    else:
        with psycopg.connect(module_postgres_url, autocommit=True) as connection:
            connection.execute("ANALYZE")
    return module_postgres_url


@pytest.fixture(params=["force_generic_plan", "force_custom_plan"])
def watched(request: pytest.FixtureRequest, filled: str) -> Iterator[PostgresStore]:
    store = PostgresStore(filled)
    engine = Watched(store, filled)
    with engine.connection:
        engine.connection.execute(f"SET plan_cache_mode = {request.param}")
        store.connections = engine
        yield store


def reads(store: PostgresStore, what: Callable[[], object], limit: int) -> None:
    engine = store.connections
    assert isinstance(engine, Watched)
    engine.read.clear()
    what()
    assert engine.read, "no statement was watched"
    scanned = {name: read[0] for name, read in engine.read.items() if read[0]}
    assert not scanned, f"{engine.last}: rows read by sequential scans: {scanned}"
    fetched = {name: read[1] for name, read in engine.read.items() if read[1] > limit}
    assert not fetched, f"{engine.last}: rows fetched by indexes, more than {limit}: {fetched}"


def work(store: PostgresStore, *, waiting: int = 0) -> None:
    """Every operation once, each within its limit; ``waiting`` tasks are ready that it has nothing to do with."""
    scene = Scene(store)
    holder = scene.worker()
    start = (scene.id("r.start"), scene.id("k"))
    few = 20
    reads(store, lambda: store.submit([scene.new_run()]), few)
    reads(store, lambda: store.claim(holder, "0", [start]), few)
    tasks = [scene.new_task(name) for name in "abcdef"]
    settle = scene.settle("c0", None, *tasks)
    reads(store, lambda: store.finish(holder, "0", [scene.outcome("r.start", "k", settle=settle)]), few)
    wants = [(task.task_id, scene.id("k2")) for task in tasks]
    reads(store, lambda: store.claim(holder, "0", wants, published=[wants[0][0]]), 60)
    done = [scene.outcome(name, "k2") for name in "abc"]
    reads(store, lambda: store.finish(holder, "0", done), 60)
    reads(store, lambda: store.beat(plain_worker(holder), published=[wants[0][0]]), few)
    reads(store, lambda: store.release(holder, crashed=True), 60)
    scene.tick(30)
    reads(store, lambda: store.due(limit=3, queue=scene.queue), 60)
    reads(store, lambda: store.due(limit=3, published_before=scene.now), 60)
    reads(store, store.sweep, 60 + waiting)  # it counts them
    reads(store, lambda: store.postpone([wants[0][0]], 0), few)
    reads(store, lambda: store.cancel([scene.id("r")]), 60)
    reads(store, lambda: store.replay("r50", [("none", "new")]), few)
    reads(store, lambda: store.resume("r50"), few)
    keep(store, scene, waiting)
    decide(store, scene)


def decide(store: PostgresStore, scene: Scene) -> None:
    """A namespace within a run, a signal, and a change of the state by hand."""
    few = 20
    scene.worker()
    scene.begin("na", run="nr", thread="nt")
    thread = scene.id("nt")
    scene.claimed("na", "nk")
    nested = scene.settle("ni", None, scene.new_task("nx"), ns="na:1")
    nesting = scene.outcome("na", "nk", "parked", nest=nested)
    reads(store, lambda: store.finish(scene.id("w"), "0", [nesting]), few)
    scene.claimed("nx", "nkx")
    parked = scene.outcome("nx", "nkx", "parked", awaits="sig")
    reads(store, lambda: store.finish(scene.id("w"), "0", [parked]), few)
    reads(store, lambda: store.wake(thread, "sig"), few)
    reads(store, lambda: store.wake("f777", "sig"), few)
    reads(store, lambda: store.head(thread, "na:1"), few)
    scene.claimed("nx", "nky")
    settled = scene.outcome("nx", "nky", settle=scene.settle("ni1", "ni", ns="na:1"))
    reads(store, lambda: store.finish(scene.id("w"), "0", [settled]), few)
    reads(store, lambda: store.amend(amended("f780", "c780", scene.new_checkpoint("u1", None))), few)
    scene.begin("ma", run="mr", thread="mt")
    store.pause([scene.id("mr")])
    change = amended(
        scene.id("mt"), scene.id("mr.c0"), scene.new_checkpoint("u2", None), scene.new_task("mb")
    )
    reads(store, lambda: store.amend(change), few)


def amended(thread_id: str, head_id: str, checkpoint: NewCheckpoint, *tasks: NewTask) -> Amendment:
    checkpoint.parent_id = head_id
    return Amendment(thread_id=thread_id, ns="", head_id=head_id, checkpoints=[checkpoint], tasks=list(tasks))


def keep(store: PostgresStore, scene: Scene, waiting: int) -> None:
    """Holding back, a deadline and every operation of upkeep once."""
    few = 20
    run, task, token = scene.ids("held", "held.start", "k3")
    scene.worker()
    ended: list[str] = []
    reads(store, lambda: store.submit([scene.new_run("held", "u", lifetime=5)]), few)
    reads(store, lambda: store.pause([run]), few)
    reads(store, lambda: store.unpause([run]), few)
    reads(store, lambda: store.claim(scene.id("w"), "0", [(task, token)]), few)
    reads(store, lambda: store.note(task, token, "{}"), few)
    scene.tick(6)
    reads(store, lambda: ended.extend(store.sweep().expired), 60 + waiting)
    assert ended == [run]
    reads(store, lambda: store.drop([task]), few)
    reads(store, lambda: store.quarantine("c777", "torn"), few)
    blob = Blob(digest="d", codec="c", data=b"x", checksum="")
    reads(store, lambda: store.replace_blobs("f777", [blob]), few)
    reads(store, lambda: store.recent("", limit=10), 70)  # a cursor fetches some ahead
    reads(store, lambda: store.recent(store.recent("", limit=3)[1], limit=3), 140)
    reads(store, lambda: store.trim("f777", 1), few)
    reads(store, lambda: store.trim(scene.id("t"), 1), 60)
    reads(store, lambda: store.expired({"failed": 5, "succeeded": 5}, limit=10), 100)
    reads(store, lambda: store.delete_thread("f778"), 30)
    event = NewEvent(scene.id("e"), "custom", b"1")
    reads(
        store,
        lambda: store.append_events("f779", "r779", [event, event, NewEvent("e1", "custom", b"1")]),
        few,
    )
    reads(store, lambda: store.purge_events(10.0, limit=5), few)
    known, new = ("users", "u777"), ("users", scene.id("u"))
    reads(store, lambda: store.put_items([NewItem(known, "k1", "1"), NewItem(new, "k", "1", ttl=9.0)]), few)
    reads(store, lambda: store.put_items([NewItem(known, "k1", "1", if_absent=True)]), few)
    reads(store, lambda: store.get_items([(known, "k2"), (new, "k")], refresh=True), few)
    reads(store, lambda: store.put_items([NewItem(known, "k1", None)]), few)
    scene.tick(10)
    reads(store, lambda: store.purge_items(10), few)
    reads(store, lambda: store.remove_items(new), few)


def test_every_operation_reads_a_few_rows(watched: PostgresStore) -> None:
    work(watched)


def test_plans_of_an_empty_database_stay_good(postgres_url: str) -> None:
    """A worker that connects first and stays keeps its plans until statistics come; they must serve till then."""
    open_store(postgres_url).close()
    store = PostgresStore(postgres_url)
    engine = Watched(store, postgres_url)
    with engine.connection:
        store.connections = engine
        with psycopg.connect(postgres_url, autocommit=True) as other:
            for table in BIG:
                other.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
            for _ in range(2):
                work(store)
            other.execute(FILL)
            other.execute(WAITING)
        work(store, waiting=20_000)


def test_every_look_reads_a_few_rows(watched: PostgresStore) -> None:
    store = watched
    few = 20
    reads(store, lambda: store.head("f777"), few)
    reads(store, lambda: store.get_run("r777"), few)
    reads(store, lambda: store.holds("t7771", "k777"), few)
    reads(store, lambda: store.get_checkpoint("c777"), few)
    reads(store, lambda: store.list_checkpoints("f777", limit=5), few)
    reads(store, lambda: store.list_checkpoints("f777", ns=None, before=10**9, limit=5), few)
    reads(store, lambda: store.list_checkpoints("f777", limit=5, brief=True), few)
    reads(store, lambda: store.list_tasks("r777"), few)
    reads(store, lambda: store.tasks_page("r777"), few)
    ready = TaskFilter(status=["ready"], node="n", ns="", kind="node", cursor="7", limit=5, brief=True)
    reads(store, lambda: store.tasks_page("r777", ready), few)
    reads(store, lambda: store.tasks_page("r777", TaskFilter(checkpoint_id="c777")), few)
    reads(store, lambda: store.task_counts("r777"), few)
    reads(store, lambda: store.newest_run("f777"), few)
    reads(store, lambda: store.list_runs(RunFilter(limit=5)), few)
    reads(store, lambda: store.list_runs(RunFilter(graph="g7", limit=5)), 100)
    reads(store, lambda: store.list_runs(RunFilter(status=["failed"], limit=5)), 400)
    reads(store, lambda: store.list_runs(RunFilter(status=["failed", "succeeded"], limit=5)), 400)
    reads(store, lambda: store.list_runs(RunFilter(limit=5, cursor="777")), few)
    reads(store, lambda: store.list_runs(RunFilter(limit=5, brief=True)), few)
    reads(store, lambda: store.list_runs(RunFilter(graphs=["g7", "g8"], limit=5)), 100)
    reads(store, lambda: store.list_runs(RunFilter(graph="g0", status=["failed"], limit=5)), 2500)
    # No index knows these: the newest runs are looked through until a page is full.
    reads(store, lambda: store.list_runs(RunFilter(tag="x", limit=5)), 100)
    reads(store, lambda: store.list_runs(RunFilter(text="F9999", limit=5)), 100)
    reads(store, lambda: store.list_runs(RunFilter(namespaces=["f99990", "f99991"], limit=1)), 100)
    reads(store, lambda: store.count_runs(RunFilter(thread_id="f777")), few)


def test_every_look_at_items_and_events_reads_a_few_rows(watched: PostgresStore) -> None:
    store = watched
    few = 20
    reads(store, lambda: store.get_blobs("f777", ["a", "b"]), few)
    reads(store, lambda: store.read_events("f777", 1), few)
    reads(store, lambda: store.newest_event("f777"), few)
    reads(store, lambda: store.get_items([(("users", f"u{n}"), "k1") for n in range(5)]), few)
    reads(store, lambda: store.search_items(("users", "u778")), few)
    reads(store, lambda: store.list_namespaces(("users", "u779")), few)


def plain_worker(worker_id: str) -> Any:
    from petiole_stores.records import Worker

    return Worker(worker_id=worker_id, name="w")
