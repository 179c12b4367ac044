"""What SQLite and the file store do of themselves beyond the contract: a node's own tables, files that go, damage, and
the way from the first revision."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import resources
from pathlib import Path

import pytest

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.conformance import Scene
from petiole_stores.conformance.scene import snapshot
from petiole_stores.errors import (
    ConfigurationError,
    CorruptionError,
    InputError,
    SchemaError,
    StoreError,
    StoreUnavailableError,
)
from petiole_stores.file import FileStore
from petiole_stores.integrity import damage_of
from petiole_stores.memory import MemoryStore
from petiole_stores.opening import open_store, upgrade_store
from petiole_stores.records import Blob, Outcome, Worker
from petiole_stores.sql.revision import VERSION_TABLE
from petiole_stores.sql.sqlite import SQLiteStore
from petiole_stores.store import Store
from tests.integration.sqlite_child import prepare, prepared
from tests.integration.test_sqlite import start
from tests.revisions import revisions


@pytest.fixture(params=["sqlite", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.db" if request.param == "sqlite" else f"file://{tmp_path}/files"


@pytest.fixture
def store(url: str) -> Iterator[SQLiteStore]:
    with open_store(url) as store:
        assert isinstance(store, SQLiteStore)
        yield store


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[SQLiteStore]:
    with open_store(f"sqlite:///{tmp_path}/lite.db?busy_timeout=0.1") as store:
        assert isinstance(store, SQLiteStore)
        yield store


@pytest.fixture
def files(tmp_path: Path) -> Iterator[FileStore]:
    with open_store(f"file://{tmp_path}/folder") as store:
        assert isinstance(store, FileStore)
        yield store


def names(store: FileStore) -> set[str]:
    """The checkpoints and blobs in the folder, hidden files too."""
    found = (path for path in (store.folder.path / "threads").rglob("*") if path.is_file())
    return {path.name if path.parent.name != "blobs" else path.name.split(".")[0] for path in found}


# ---------------------------------------------------------------- a node's own tables


def at_a_node(store: Store) -> Scene:
    """A task ``n`` that is claimed as ``k``, and a table of the user's own."""
    scene = Scene(store)
    scene.begin("n")
    scene.claimed("n", "k")
    path = store.url.text.removeprefix("sqlite:///").partition("?")[0]
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE IF NOT EXISTS paid (amount INTEGER NOT NULL)")
    db.close()
    return scene


def ended(scene: Scene) -> Outcome:
    return scene.outcome("n", "k", settle=scene.settle("c1", "r.c0"))


def paid(store: SQLiteStore) -> list[int]:
    return store.connections.read(lambda db: [amount for (amount,) in db.execute("SELECT amount FROM paid")])


def test_a_refused_finish_undoes_what_the_node_wrote(lite: SQLiteStore) -> None:
    scene = at_a_node(lite)
    with lite.transaction() as transaction:
        transaction.connection.execute("INSERT INTO paid VALUES (7)")
        outcomes = [ended(scene), scene.outcome("none", "k")]
        answers = transaction.finish(scene.id("w"), "s", outcomes)
    assert [(a.result, a.reason) for a in answers] == [("committed", ""), ("refused", "missing")]
    assert (paid(lite), scene.head()) == ([], "r.c0")
    with lite.transaction() as transaction:
        transaction.connection.execute("INSERT INTO paid VALUES (7)")
    assert paid(lite) == [], "left without a finish"


def test_the_same_attempt_again_pays_once(lite: SQLiteStore) -> None:
    scene = at_a_node(lite)
    for result in ("committed", "already"):
        with lite.transaction() as transaction:
            transaction.connection.execute("INSERT INTO paid VALUES (7)")
            (answer,) = transaction.finish(scene.id("w"), "s", [ended(scene)])
        assert answer.result == result
    assert (paid(lite), scene.head()) == ([7], "c1")


@pytest.mark.timeout(300)
def test_a_kill_within_any_statement_leaves_both_or_none(tmp_path: Path) -> None:
    survived, died = False, 0
    while not survived:
        place = f"sqlite:///{tmp_path}/{died}.db"
        with open_store(place) as store:
            assert isinstance(store, SQLiteStore)
            prepare(store)
            store.connections.write(lambda db: db.execute("CREATE TABLE paid (amount INTEGER)").close())
            with start(place, "die", died, "pay") as child:
                survived = child.wait(60) == 0
            assert survived or child.returncode == -signal.SIGKILL
            assert (paid(store), store.head("t") is not None) == (([7], True) if survived else ([], False))
            assert store.holds("r-0", "r-k0") == (not survived), "the node may do it all again"
        died += not survived
    assert died > 8, "the kills fell before and after the node's write"


def test_the_transaction_is_not_the_nodes_to_end(lite: SQLiteStore) -> None:
    scene = at_a_node(lite)

    def inside(connection: sqlite3.Connection) -> None:
        with connection:
            connection.execute("INSERT INTO paid VALUES (1)")

    def at_the_end_of(connection: sqlite3.Connection) -> None:
        connection.commit()

    def script(connection: sqlite3.Connection) -> None:
        connection.executescript("INSERT INTO paid VALUES (2);")

    def words(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")

    def node(meddle: Callable[[sqlite3.Connection], None]) -> None:
        with lite.transaction() as transaction:
            transaction.connection.execute("INSERT INTO paid VALUES (3)")
            meddle(transaction.connection)

    meddling: list[Callable[[sqlite3.Connection], None]] = [inside, at_the_end_of, script, words]
    for meddle in meddling:
        with pytest.raises(InputError, match="SAVEPOINT"):
            node(meddle)
    assert paid(lite) == []
    with lite.transaction() as transaction:
        connection = transaction.connection
        connection.row_factory = sqlite3.Row
        connection.execute("SAVEPOINT part")
        connection.execute("INSERT INTO paid VALUES (4)")
        connection.execute("ROLLBACK TO part")
        connection.execute("INSERT INTO paid VALUES (5)")
        connection.execute("RELEASE part")
        (answer,) = transaction.finish(scene.id("w"), "s", [ended(scene)])
    assert (answer.result, paid(lite)) == ("committed", [5])
    with pytest.raises(StoreError, match="is over"):
        transaction.finish(scene.id("w"), "s", [ended(scene)])


def test_it_has_the_file_for_itself(lite: SQLiteStore, tmp_path: Path) -> None:
    scene = at_a_node(lite)
    with lite.transaction() as transaction:
        with pytest.raises(StoreUnavailableError, match="held by another"):
            lite.note(scene.id("n"), scene.id("k"), "1")
        with pytest.raises(StoreUnavailableError, match="held by another"), lite.transaction():
            pass
        assert lite.holds(scene.id("n"), scene.id("k")), "readers are not in its way"
        with pytest.raises(InputError):
            transaction.finish(scene.id("w"), "s", [scene.outcome("n", "k", advance_id="")])
        (answer,) = transaction.finish(scene.id("w"), "s", [ended(scene)])
        assert answer.result == "committed"
    lite.beat(Worker(worker_id="w2", name="w2"))


def test_only_sqlite_has_tables_for_others(files: FileStore) -> None:
    for store in (files, MemoryStore()):
        with pytest.raises(ConfigurationError, match=r"runtime\.transaction\(\) needs"):
            store.transaction()


# ---------------------------------------------------------------- commits and numbers


def test_a_batch_is_relaxed_if_all_of_it_is(lite: SQLiteStore) -> None:
    scene = Scene(lite)
    scene.begin("a", "b", "c")
    for name in "abc":
        scene.claimed(name, f"k{name}", slot=name)
    (db,) = lite.connections._pool().idle
    said: list[str] = []
    db.set_trace_callback(said.append)
    for batch, relaxed in (("a", [True]), ("bc", [True, False])):
        said.clear()
        outcomes = [
            scene.outcome(name, f"k{name}", relaxed=soft) for name, soft in zip(batch, relaxed, strict=True)
        ]
        answers = lite.finish(scene.id("w"), "s", outcomes)
        assert {answer.result for answer in answers} == {"committed"}
        assert ("PRAGMA synchronous = NORMAL" in said) == all(relaxed)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)


@pytest.mark.parametrize("remove", ["delete", "clear", "delete_thread"])
def test_no_number_is_given_twice(store: SQLiteStore, remove: str) -> None:
    for n in range(3):
        store.save(Checkpoint(id=f"old{n}", thread_id="old", state={}))
    store.save(Checkpoint(id="new", thread_id="new", state={}))
    _, cursor = store.recent()
    if remove == "delete":
        store.delete("new")
    else:
        getattr(store, remove)("new")
    store.save(Checkpoint(id="again", thread_id="again", state={}))
    assert store.recent(cursor)[0] == ["again"]
    assert [c.checkpoint_id for c in store.list_checkpoints("old")] == ["old2", "old1", "old0"]
    store.delete_thread("old")
    store.delete_thread("again")
    _, cursor = store.recent(cursor)
    store.save(Checkpoint(id="last", thread_id="last", state={}))
    assert store.recent(cursor)[0] == ["last"], "though there was none left"


def test_upkeep_uses_indexes(lite: SQLiteStore) -> None:
    scene = Scene(lite)
    scene.begin("a", lifetime=5.0)
    (db,) = lite.connections._pool().idle
    said: list[str] = []
    db.set_trace_callback(said.append)
    lite.note(scene.id("a"), "k", "1")
    lite.pause([scene.id("r")])
    lite.unpause([scene.id("r")])
    lite.replace_blobs(scene.id("t"), [Blob(digest="d", codec="raw", data=b"d")])
    lite.trim(scene.id("t"), 1)
    scene.tick(10)
    assert lite.sweep(observed=60.0).expired == [scene.id("r")]
    lite.drop([scene.id("a")])
    lite.recent()
    lite.expired({"failed": 1.0, "succeeded": 1.0})
    lite.delete_thread(scene.id("t"))
    db.set_trace_callback(None)
    asked = [
        text for text in said if text.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "WITH", "INSERT"))
    ]
    assert len(asked) > 30
    tables = [
        "t",
        "r",
        "c",
        "h",
        "th",
        "newer",
        "old",
        "threads",
        "heads",
        "runs",
        "checkpoints",
        "tasks",
        "blobs",
    ]
    for text in asked:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {text}")]
        slow = [line for line in plan if line.startswith("SCAN") and " USING " not in line]
        assert not [line for line in slow if line.split()[1] in tables], (text, plan)


# ---------------------------------------------------------------- files that go


def test_what_is_trimmed_has_no_file(files: FileStore) -> None:
    for n in range(4):
        state = {"large": f"{n}" * 9000, "same": "s" * 9000}
        parent = f"c{n - 1}" if n else None
        files.save(Checkpoint(id=f"c{n}", thread_id="t", state=state, parent_id=parent))
    assert len(names(files)) == 4 + 5
    done = files.trim("t", 1)
    assert (done.checkpoints, done.blobs) == (2, 2), "the head's parent stays"
    assert {name for name in names(files) if name.startswith("c")} == {"c2.json", "c3.json"}
    assert len(names(files)) == 2 + 3
    assert files.load("c3").state["same"] == "s" * 9000
    files.validate()
    assert files.collect(older_than=-1) == 0


def test_blobs_stay_while_a_file_that_may_name_them_is_lost(files: FileStore) -> None:
    files.save(Checkpoint(id="c0", thread_id="t", state={"large": "0" * 9000}))
    files.save(Checkpoint(id="c1", thread_id="t", state={}, parent_id="c0"))
    path = files.folder.path / "threads" / "t" / "c0.json"
    text = path.read_text()
    path.write_text(text[:50])
    assert files.trim("t", None).blobs == 0
    path.write_text(text)
    assert files.trim("t", None).blobs == 0, "it is named"
    assert files.load("c0").state["large"] == "0" * 9000
    files.delete("c0")
    assert files.trim("t", None).blobs == 1
    assert names(files) == {"c1.json"}


def test_a_blob_is_replaced_with_its_file(files: FileStore) -> None:
    files.save(Checkpoint(id="c0", thread_id="t", state={"large": "0" * 9000}))
    (path,) = (files.folder.path / "threads" / "t" / "blobs").iterdir()
    good = files.get_blobs("t", [path.name.split(".")[0]])
    (blob,) = good.values()
    path.write_bytes(b"damaged")
    with pytest.raises(CorruptionError):
        files.load("c0")
    files.replace_blobs("t", [blob])
    assert files.load("c0").state["large"] == "0" * 9000
    other = Blob(digest=blob.digest, codec=blob.codec, data=blob.data + b" ")
    files.replace_blobs("t", [other])
    assert files.get_blobs("t", [blob.digest]) == {blob.digest: other}
    assert not path.exists(), "the old file is gone"
    files.replace_blobs("nobody", [other])
    assert not (files.folder.path / "threads" / "nobody").exists()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("call", ["trim", "delete_thread"])
def test_a_kill_while_files_go_leaves_no_name_without_its_file(tmp_path: Path, call: str) -> None:
    survived, died = False, 0
    while not survived:
        place = f"file://{tmp_path}/{died}"
        with open_store(place) as store:
            assert isinstance(store, FileStore)
            for n in range(4):
                parent = f"c{n - 1}" if n else None
                state = {"large": f"{n}" * 9000}
                store.save(Checkpoint(id=f"c{n}", thread_id="t", state=state, parent_id=parent))
            with start(place, "die", died, call) as child:
                survived = child.wait(60) == 0
            assert survived or child.returncode == -signal.SIGKILL
            store.validate()
            for record in store.list_checkpoints("t"):
                store.load(record.checkpoint_id)
            getattr(store, call)(*(("t", 1) if call == "trim" else ("t",)))
            store.collect(older_than=-1)
            assert len(names(store)) == (4 if call == "trim" else 0)
        died += not survived
    assert died > 5


# ---------------------------------------------------------------- damage


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda data: None,
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "flipped": lambda data: data.replace(b'"at": "', b'"at": "\xf2', 1),
    "another state": lambda data: data.replace(b"r.c0", b"r.cX"),
    "no checkpoint": lambda data: b"{}",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_claim_hands_out_a_damaged_file_as_damaged(files: FileStore, damage: str) -> None:
    scene = Scene(files)
    scene.begin("n")
    record = files.head(scene.id("t"))
    assert record is not None
    (path,) = (files.folder.path / "threads").rglob(files.folder.usual(record.checkpoint_id))
    data = DAMAGES[damage](path.read_bytes())
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    base = scene.claimed("n", "k").base
    assert base is not None
    assert damage_of(base) is not None
    assert damage in ("another state",) or str(path) in (base.quarantined or "")
    found = files.get_checkpoint(record.checkpoint_id)
    assert found == base
    assert files.list_checkpoints(scene.id("t")) == [base]
    with pytest.raises(CorruptionError, match=r"db verify"):
        files.load(record.checkpoint_id)
    files._save(record, record.thread_id, record.run_id, record.created_at, [])
    healed = files.get_checkpoint(record.checkpoint_id)
    assert healed is not None
    assert damage_of(healed) is None
    assert healed.quarantined is None
    files.validate()


@pytest.mark.parametrize(
    "marker", ['{"$file": "../../ledger.db"}', '{"$file": 7}', "none", '{"$file": "x.json"']
)
def test_a_damaged_marker_costs_no_checkpoint(files: FileStore, marker: str) -> None:
    files.save(Checkpoint(id="c0", thread_id="t", state={"n": 1}))
    files.connections.write(lambda db: db.execute("UPDATE checkpoints SET state = ?", (marker,)).close())
    assert files.load("c0").state == {"n": 1}, "the digest proves the file of its usual name"
    assert files.collect(older_than=-1) == 0
    files.validate()
    files.delete("c0")
    assert names(files) == set()
    assert (files.folder.path / "ledger.db").exists()


@pytest.mark.parametrize(
    ("field", "bits"),
    [("state", b'{"at": "\xff"}'), ("next", b"[\xfe]"), ("node_names", b"[\xff"), ("node_names", b"x")],
)
def test_a_claim_hands_out_a_damaged_row_as_damaged(lite: SQLiteStore, field: str, bits: bytes) -> None:
    lite.save(Checkpoint(id="c0", thread_id="t", state={"at": "x"}, node_names=("n",)))
    scene = Scene(lite)
    scene.worker()
    run = scene.new_run(base_id="c0")
    run.thread_id = "t"
    assert lite.submit([run])[0].result == "committed"
    lite.connections.write(
        lambda db: db.execute(f"UPDATE checkpoints SET {field} = CAST(? AS TEXT)", (bits,)).close()
    )
    base = scene.claimed("r.start", "k").base
    assert base is not None
    assert damage_of(base) is not None
    assert lite.head("t") == base
    with pytest.raises(CorruptionError, match="checkpoint 'c0'"):
        lite.load("c0")
    assert lite.trim("t", 1).checkpoints == 0
    lite.connections.write(
        lambda db: db.execute("UPDATE tasks SET arg = CAST(? AS TEXT)", (b'"\xff"',)).close()
    )
    with pytest.raises(CorruptionError, match="holds damaged text"):
        lite.list_tasks(scene.id("r"))


# ---------------------------------------------------------------- revisions


def downgraded(path: Path) -> None:
    """Make a store's file what the first revision had made of it."""
    old = path.with_suffix(".old")
    db = sqlite3.connect(old)
    script = (resources.files("petiole_stores.migrations") / "v0001_sqlite.sql").read_text()
    db.executescript(script)
    db.execute("ATTACH DATABASE ? AS new", (str(path),))
    for table in ("threads", "heads", "runs", "checkpoints", "tasks", "blobs", "workers"):
        columns = ", ".join(row[1] for row in db.execute(f"PRAGMA main.table_info({table})"))
        db.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")
    db.execute(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    db.execute(f"INSERT INTO {VERSION_TABLE} VALUES ('0001')")
    db.commit()
    db.close()
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)
    old.rename(path)


def filled(store: Store) -> None:
    prepare(store)
    store.finish("w", "0", [prepared()])


def test_a_file_of_the_first_revision_goes_on(url: str) -> None:
    with open_store(url) as store:
        assert isinstance(store, SQLiteStore)
        filled(store)
        path = store.connections.path
        before = snapshot(store, ["t"])
    downgraded(path)
    with open_store(url, migrate=False) as store, pytest.raises(SchemaError, match="petiole db upgrade"):
        store.validate()
    assert [step.partition(":")[0] for step in upgrade_store(url)] == revisions("0001")
    with open_store(url) as store:
        store.validate()
        assert snapshot(store, ["t"]) == before
        assert store.load("r-c0").state == {"x": "ü", "n": 1.5}
        (claimed,) = store.claim("w", "0", [("r-1", "k")])
        assert claimed.claim is not None
        assert (claimed.claim.task.progress, claimed.claim.run.deadline) == (None, None)
        assert store.note("r-1", "k", '{"at": 3}')
        assert store.pause(["r"], reason="lunch")[0].result == "committed"
        assert store.quarantine("r-c0", "damaged")
        assert [worker.offers for worker in store.list_workers()] == [{}]


def test_a_file_without_timeouts_of_tasks_goes_on(url: str) -> None:
    with open_store(url) as store:
        assert isinstance(store, SQLiteStore)
        filled(store)
        path = store.connections.path
        before = snapshot(store, ["t"])
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("ALTER TABLE tasks DROP COLUMN timeout")
        db.execute(f"UPDATE {VERSION_TABLE} SET version_num = '0004'")
    assert [step.partition(":")[0] for step in upgrade_store(url)] == ["0005"]
    with open_store(url) as store:
        assert snapshot(store, ["t"]) == before
        scene = Scene(store)
        scene.begin("a")
        scene.claimed("a", "k")
        new = scene.new_task("b", timeout='{"run_timeout":2.5}')
        scene.finished("a", "k", settle=scene.settle("c1", "r.c0", new))
        assert scene.claimed("b", "kb").task.timeout == '{"run_timeout":2.5}'


def test_a_backup_of_the_first_revision_is_restored(tmp_path: Path, lite: SQLiteStore) -> None:
    with open_store(f"sqlite:///{tmp_path}/old.db") as store:
        filled(store)
        before = snapshot(store, ["t"])
    downgraded(tmp_path / "old.db")
    size = (tmp_path / "old.db").read_bytes()
    assert lite.restore(tmp_path / "old.db") == 1
    assert snapshot(lite, ["t"]) == before
    assert (tmp_path / "old.db").read_bytes() == size, "the backup is as it was"


def test_a_backup_keeps_what_is_held_back_and_what_is_noted(url: str, tmp_path: Path) -> None:
    with open_store(url) as store:
        scene = Scene(store)
        scene.begin("a", lifetime=100.0)
        scene.claimed("a", "k")
        store.note(scene.id("a"), scene.id("k"), '{"at": 3}')
        store.pause([scene.id("r")], reason="lunch")
        store.quarantine(scene.id("r.c0"), "damaged")
        before = scene.snapshot()
        store.backup(tmp_path / "backup")
    with open_store(url.replace("store.db", "new.db").replace("/files", "/new")) as other:
        other.restore(tmp_path / "backup")
        scene.store = other
        assert scene.snapshot() == before
        assert scene.task("a").progress == '{"at": 3}'
        assert (scene.run().status, scene.run().reason) == (
            "paused",
            '{"type": "Paused", "message": "lunch"}',
        )
        found = other.get_checkpoint(scene.id("r.c0"))
        assert found is not None
        assert found.quarantined == "damaged"
