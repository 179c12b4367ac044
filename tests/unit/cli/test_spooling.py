"""``petiole worker spool``: what waits for the store, and sending it by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from petiole_stores.memory import MemoryStore
from petiole_stores.records import Outcome, TaskRef, Worker
from petiole_workers.spool import SpoolFolder, entry_of
from tests.unit.cli.conftest import Cli


@pytest.fixture
def task(cli: Cli, store: MemoryStore, tmp_path: Path) -> TaskRef:
    """A task that a dead worker has failed, as its spool alone knows."""
    cli("run", "start", "counting", "--input", '{"n": 1}', "--thread", "t1")
    [ref] = store.due(published_before=4e9)
    store.beat(Worker(worker_id="w1", name="w1"))
    store.claim("w1", "1", [(ref.task_id, "token")])
    failed = Outcome(
        task_id=ref.task_id, token="token", ending="failed", error='{"type": "T", "message": "m"}', advance_id="a",
        advance_token="at",
    )  # fmt: skip
    SpoolFolder(".petiole").of("w1").put(entry_of("w1", "1", [failed], [ref]))
    return ref


def test_what_waits_is_listed(cli: Cli, task: TaskRef) -> None:
    [waiting] = cli("worker", "spool", "-o", "json").json["waiting"]
    assert (waiting["holder"], waiting["task_id"], waiting["thread_id"]) == ("w1", task.task_id, "t1")
    assert "counting" in cli("worker", "spool").out


def test_it_is_sent_by_hand_and_a_report_is_kept(cli: Cli, task: TaskRef, store: MemoryStore) -> None:
    assert "1 outcomes were committed" in cli("worker", "spool", "--send").out
    assert store.list_tasks(task.run_id)[0].status == "failed"
    shown = cli("worker", "spool", "-o", "json").json
    assert shown["waiting"] == []
    assert [(kept["holder"], kept["report"]["committed"]) for kept in shown["reports"]] == [("w1", 1)]
    assert "nothing waits" in cli("worker", "spool").err


def test_what_another_worker_has_taken_is_refused(cli: Cli, task: TaskRef, store: MemoryStore) -> None:
    store.release("w1", crashed=True, final=True)
    assert "1 were refused" in cli("worker", "spool", "--send").out
    assert store.list_tasks(task.run_id)[0].status == "ready"


def test_the_backup_store_s_spools_are_among_them(
    cli: Cli, task: TaskRef, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from petiole_stores.opening import open_store
    from petiole_workers.spool import BackupSpool

    url = f"sqlite:///{tmp_path}/backup.db"
    [(_, entry)] = SpoolFolder(".petiole").of("w1").entries()
    assert entry is not None
    with open_store(url) as backup:
        BackupSpool(backup, "w2").put(entry)
    monkeypatch.setenv("PETIOLE_BACKUP_STORE", url)
    assert [one["holder"] for one in cli("worker", "spool", "-o", "json").json["waiting"]] == ["w1", "w2"]
    assert "1 outcomes were committed, 1 had been" in cli("worker", "spool", "--send").out
