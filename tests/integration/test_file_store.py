"""The file store by itself: what lies in its folder, and what becomes of files that crashes leave there."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.conformance import Scene
from petiole_stores.conformance.amending import amendment
from petiole_stores.errors import CorruptionError, NotFoundError, StoreUnavailableError
from petiole_stores.file import FileStore
from petiole_stores.folder import Folder, safe_name
from petiole_stores.opening import open_store
from petiole_stores.records import NewRun, Outcome, Settle
from tests.integration.sqlite_child import prepare, prepared, settled
from tests.integration.test_sqlite import start

STATE_OF = "SELECT state FROM checkpoints WHERE checkpoint_id = ?"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def store(folder: Path) -> Iterator[FileStore]:
    with open_store(f"file://{folder}") as store:
        assert isinstance(store, FileStore)
        yield store


def files(folder: Path) -> set[str]:
    """The checkpoints and blobs in the folder, hidden files too."""
    return {str(path.relative_to(folder)) for path in (folder / "threads").rglob("*") if path.is_file()}


def test_a_checkpoint_is_json_that_people_can_read(store: FileStore, folder: Path) -> None:
    state = {"n": 1, "text": "ünï", "large": "x" * 9000}
    made = Checkpoint(id="c1", thread_id="order-7", state=state, node_names=("a", "b"))
    store.save(made)
    text = (folder / "threads" / "order-7" / "c1.json").read_text()
    paper = json.loads(text)
    assert (paper["thread_id"], paper["node_names"], paper["state"]["text"]) == ("order-7", ["a", "b"], "ünï")
    assert '\n  "state": {' in text, "it is indented"
    assert "$blob" in paper["state"]["large"], "large values are files of their own"
    assert len(files(folder)) == 2
    assert store.load("c1") == made


def test_ids_never_leave_the_folder_nor_share_a_file(store: FileStore, folder: Path, tmp_path: Path) -> None:
    odd = [
        "../../up",
        "..",
        ".",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "T",
        "t",
        "t ",
        "ü",
        "x" * 255,
        "ü" * 255,
        "t~",
        "blobs",
    ]
    for thread in odd:
        for checkpoint in (f"{thread[:120]}1", f"{thread[:120]}2"):
            store.save(Checkpoint(id=f"{thread[:100]}|{checkpoint}", thread_id=thread, state={"of": thread}))
    assert len(files(folder)) == 2 * len(odd)
    assert {path.name for path in tmp_path.iterdir()} == {"files"}
    names = [safe_name(thread) for thread in odd]
    assert len({name.lower() for name in names}) == len(odd), "nor on a file system that ignores case"
    assert all(len(name) <= 100 and not set(name) & set("/\\.") for name in names)
    assert [[c.state["of"] for c in store.list(thread)] for thread in odd] == [[thread] * 2 for thread in odd]


def test_a_crash_between_file_and_commit_leaves_an_orphan_that_is_collected(
    store: FileStore, folder: Path, tmp_path: Path
) -> None:
    prepare(store)
    # Count the statements of a finish that ends well elsewhere; the last of them is the commit.
    commit = 0
    while True:
        with open_store(f"file://{tmp_path}/{commit}") as other:
            prepare(other)
            with start(other.url.text, "die", commit) as child:
                if child.wait(60) == 0:
                    break
            assert child.returncode == -signal.SIGKILL
        commit += 1
    with start(store.url.text, "die", commit - 1) as child:
        assert child.wait(60) == -signal.SIGKILL
    written = {"threads/t/r-c0.json", *(name for name in files(folder) if "blobs" in name)}
    assert files(folder) == written, "the file was there before the commit"
    assert len(written) == 2, "and so was the blob"
    assert store.list_checkpoints("t") == []
    store.validate()
    assert store.collect() == 0, "files that young may belong to a call under way"
    assert store.collect(older_than=-1) == 2
    assert files(folder) == set()
    assert store.finish("w", "0", [prepared()])[0].result == "committed"
    assert files(folder) == written
    assert store.collect(older_than=-1) == 0


def test_a_refused_outcome_leaves_no_file(store: FileStore, folder: Path) -> None:
    prepare(store)
    wrong = settled("r", 0, None)
    wrong.token = "another"
    assert store.finish("w", "0", [wrong])[0].reason == "fenced"
    assert files(folder) == set()
    good = settled("r", 0, None)
    assert [store.finish("w", "0", [good])[0].result for _ in range(2)] == ["committed", "already"]
    assert files(folder) == {"threads/t/r-c0.json"}
    assert store.load("r-c0").state == {"x": "ü", "n": 1.5}


def test_what_is_deleted_or_replaced_has_no_file(store: FileStore, folder: Path) -> None:
    for n in range(3):
        store.save(Checkpoint(id=f"c{n}", thread_id="t", state={"n": n, "large": "x" * 9000}))
    store.save(Checkpoint(id="c1", thread_id="t", state={"n": "new"}))
    assert store.load("c1").state == {"n": "new"}
    assert len([name for name in files(folder) if "/c1" in name]) == 1
    store.delete("c0")
    assert not [name for name in files(folder) if "/c0" in name]
    with pytest.raises(NotFoundError):
        store.load("c0")
    store.clear("t")
    assert files(folder) == set()
    assert not (folder / "threads" / "t").exists()


def test_a_lost_or_damaged_file_is_named(store: FileStore, folder: Path) -> None:
    store.save(Checkpoint(id="c1", thread_id="t", state={"n": 1}))
    path = folder / "threads" / "t" / "c1.json"
    text = path.read_text()
    path.write_text(text.replace('"n": 1', '"n": 2'))
    with pytest.raises(CorruptionError, match="does not match its digest"):
        store.load("c1")
    path.write_text(text[:50])
    with pytest.raises(CorruptionError, match=r"c1\.json is damaged"):
        store.load("c1")
    path.unlink()
    with pytest.raises(CorruptionError, match=r"c1\.json is missing"):
        store.load("c1")
    with pytest.raises(CorruptionError, match="1 files are missing"):
        store.validate()


def test_a_restore_writes_over_no_file(store: FileStore, folder: Path, tmp_path: Path) -> None:
    store.save(Checkpoint(id="c1", thread_id="t", state={"n": "old"}))
    store.save(Checkpoint(id="c2", thread_id="t", state={"n": 2}))
    store.backup(tmp_path / "backup.zip")
    store.clear("t")
    store.save(Checkpoint(id="c1", thread_id="t", state={"n": "new"}))
    assert store.restore(tmp_path / "backup.zip") == 2
    assert [c.state for c in store.list("t")] == [{"n": 2}, {"n": "new"}], "what is here stands"
    store.validate()
    assert store.collect(older_than=-1) == 1, "the old file of c1"


def test_a_file_that_is_removed_before_its_commit_is_written_again(
    store: FileStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(store)
    write, removed = Folder.write_checkpoint, []

    def interfere(self: Folder, thread_id: str, checkpoint_id: str, data: bytes) -> Path:
        path = write(self, thread_id, checkpoint_id, data)
        if not removed:
            removed.append(path)
            path.unlink()
        return path

    monkeypatch.setattr(Folder, "write_checkpoint", interfere)
    assert store.finish("w", "0", [prepared()])[0].result == "committed"
    assert removed
    store.validate()
    assert store.load("r-c0").state == {"x": "ü", "n": 1.5}


def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("a file")
    with pytest.raises(StoreUnavailableError, match="plain"):
        open_store(f"file://{tmp_path}/plain")


def test_the_next_run_counts_in_the_answer(store: FileStore) -> None:
    prepare(store)
    start = settled("r", 0, None).settle
    assert start is not None
    task = start.tasks[0]
    task.task_id, task.path, task.kind = "next-0", "start", "advance"
    store.submit([NewRun(run_id="next", thread_id="t", graph="g", start=task, if_busy="enqueue")])
    settle = Settle(checkpoints=start.checkpoints, run_status="succeeded")
    (answer,) = store.finish("w", "0", [Outcome(task_id="r-0", token="r-k0", ending="done", settle=settle)])
    assert (answer.run_status, answer.open) == ("succeeded", 1)
    assert [ref.task_id for ref in answer.publish] == ["next-0"]


def test_a_namespaces_files_come_and_go_with_its_rows(store: FileStore, folder: Path) -> None:
    """A nest and an amendment write files as a settle does; refused ones leave none; a trim removes the namespace's."""
    scene = Scene(store)
    scene.begin("a")
    scene.claimed("a", "k")
    begun = files(folder)
    wrong = scene.settle("x0", "elsewhere", scene.new_task("x"), ns="a:1")
    assert scene.finish("a", "k", "parked", nest=wrong).reason == "head moved"
    assert files(folder) == begun
    scene.nest("a", "k", "a:1", "i0", "x")
    assert len(files(folder) - begun) == 1
    row = store.connections.read(lambda db: db.execute(STATE_OF, (scene.id("i0"),)).fetchone())
    assert "at" not in json.loads(row[0]), "the ledger has the file's name, not the state"
    scene.take("x", settle=scene.settle("i1", "i0", ns="a:1"))
    claim = scene.claimed("a", "k2")
    assert claim.child is not None
    assert json.loads(claim.child.state) == {"at": "i1"}
    scene.finished("a", "k2", settle=scene.settle("c1", "r.c0"))

    before = files(folder)
    assert store.amend(amendment(scene, "elsewhere", "u1")).reason == "no base"
    assert files(folder) == before
    assert store.amend(amendment(scene, "c1", "u1", "u2")).result == "committed"
    assert store.amend(amendment(scene, "c1", "u1", "u2")).result == "already"
    assert len(files(folder) - before) == 2
    assert store.load(scene.id("u2")).state == {"at": "u2"}

    assert store.trim(scene.id("t"), 1).checkpoints == 4
    store.validate()
    assert len(files(folder)) == 2, "the head and its parent are left"
