"""``worker``, ``graph``, ``db``, ``doctor``, ``version``: what needs no process of its own."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from petiole import __version__
from petiole.cli import checks, db
from petiole.cli.variadic import spread
from petiole_stores import opening
from petiole_stores.errors import SchemaError
from petiole_stores.memory import MemoryStore
from petiole_stores.records import Worker
from tests.unit.cli.conftest import Cli
from tests.unit.driving import counting, drive


@pytest.fixture(autouse=True)
def _flows(store: MemoryStore, tmp_path: Path) -> None:
    (tmp_path / "cli_flows.py").write_text(
        "from tests.unit.driving import counting\none = counting(name='one')\ntwo = counting(name='two', version='2')\n"
    )


def test_worker_list(cli: Cli, store: MemoryStore) -> None:
    assert "petiole worker --graphs" in cli("worker", "list").err
    drive(store, counting())
    [worker] = cli("worker", "list", "-o", "json").json
    assert list(worker) == [
        "worker_id", "name", "status", "host", "pid", "pool", "concurrency", "queues", "graphs", "lease", "stats",
        "started_at", "beat_at", "expires_at",
    ]  # fmt: skip
    assert "driver@test" in cli("worker", "list").out
    store.beat(
        Worker(
            worker_id=worker["worker_id"],
            name="driver@test",
            pool="solo",
            stats={"lost_slots": 17, "refused": 23},
        )
    )
    heads, row = (line.split() for line in cli("worker", "list").out.splitlines()[:2])
    assert [row[heads.index(name)] for name in ("LOST", "FENCED")] == ["17", "23"]
    store.release(worker["worker_id"], final=True)
    assert cli("worker", "list", "-o", "json").json == []
    assert cli("worker", "list", "--all", "-o", "json").json[0]["status"] == "stopped"


def test_graph_list_and_show(cli: Cli) -> None:
    listed = cli("graph", "list", "--graphs", "cli_flows:one", "cli_flows:two", "-o", "json").json
    assert [(g["graph"], g["version"], g["workers"]) for g in listed] == [("one", None, 0), ("two", "2", 0)]
    assert listed[0]["nodes"] == ["add", "double", "note", "last"]
    assert "double" in cli("graph", "show", "cli_flows:one", "--format", "mermaid").out
    assert (
        cli("graph", "show", "two", "--graphs", "cli_flows:one,cli_flows:two", "-o", "json").json["graph"]
        == "two"
    )
    missing = cli("graph", "show", "three", "--graphs", "cli_flows:one")
    assert missing.code == 3
    assert "one" in missing.err
    assert cli("graph", "show", "no_such_module:graph").code == 2


def test_graph_show_draws_a_run_on_its_graph(cli: Cli, store: MemoryStore) -> None:
    assert cli("run", "start", "one", "--input", "{}", "--thread", "t").code == 0
    drawn = cli("graph", "show", "cli_flows:one", "--format", "ascii", "--run", "t")
    assert "| double |" in drawn.out
    assert cli("graph", "show", "cli_flows:one", "--run", "t").code == 2
    assert "is of graph 'one'" in cli("graph", "show", "cli_flows:two", "--format", "dot", "--run", "t").err


def test_options_may_take_several_values() -> None:
    assert spread(["--graphs", "a:b", "c:d", "--queues", "q", "-x", "y"]) == [
        "--graphs", "a:b", "--graphs", "c:d", "--queues", "q", "-x", "y",
    ]  # fmt: skip
    assert spread(["--graphs=a:b,c:d", "e"]) == ["--graphs", "a:b", "--graphs", "c:d", "--graphs", "e"]
    assert spread(["--graphs", "a:b", "list"], {"list"}) == ["--graphs", "a:b", "list"]


def test_a_worker_refuses_wrong_options(cli: Cli) -> None:
    assert cli("worker", "--pool", "swimming").code == 2
    assert cli("worker", "frobnicate").code == 2
    said = cli("worker", "--graphs", "a:b", "--lease", "-1")
    assert said.code == 2
    assert "lease" in said.err


def test_db_upgrade(cli: Cli) -> None:
    url = f"sqlite:///{Path.cwd() / 'shop.db'}"
    assert cli("db", "verify", "--store", url).code == 5
    first = cli("db", "upgrade", "--store", url, "-o", "json").json
    assert first["store"] == url
    assert len(first["steps"]) >= 1
    assert cli("db", "upgrade", "--store", url, "-o", "json").json["steps"] == []
    assert "up to date" in cli("db", "upgrade", "--store", url).out
    assert cli("db", "verify", "--store", url).code == 0


@pytest.mark.parametrize("revision", ["9999", "0000"])
def test_db_upgrade_refuses_a_schema_it_knows_no_step_from(cli: Cli, revision: str) -> None:
    url = f"sqlite:///{Path.cwd() / 'shop.db'}"
    cli("db", "upgrade", "--store", url)
    with closing(sqlite3.connect("shop.db")) as file:
        file.execute("UPDATE petiole_alembic_version SET version_num = ?", (revision,))
        file.commit()
    said = cli("db", "upgrade", "--store", url)
    assert said.code == 5
    assert revision in said.err


def test_db_upgrade_goes_past_the_refusal_of_an_older_schema(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Old(MemoryStore):
        def connect(self) -> None:
            raise SchemaError("older: run `petiole db upgrade`")

        def migrate_schema(self) -> list[str]:
            return ["0002: what was missing"]

    monkeypatch.setattr(opening, "_factory", lambda scheme: Old)
    assert "0002: what was missing" in cli("db", "upgrade").out


def test_db_commands(cli: Cli, store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "open_store", lambda url, migrate: store)
    assert cli("db", "verify", "-o", "json").json["ok"] is True
    assert cli("run", "start", "counting", "--input", '{"n": 1}', "--thread", "t").code == 0
    drive(store, counting())
    said = cli("db", "backup", "copy.petiole")
    assert said.code == 0
    assert Path("copy.petiole").is_file()
    assert cli("db", "backup", "copy.petiole").code == 2
    assert cli("db", "restore", "missing.petiole").code == 2
    before = store.list("t")
    monkeypatch.setattr(opening, "open_store", lambda url, migrate: other)
    other = MemoryStore("memory://")
    assert cli("db", "restore", "copy.petiole").code == 0
    assert [point.state for point in other.list("t")] == [point.state for point in before]


@pytest.mark.parametrize("dialect", list(db.Dialect))
def test_db_sql_prints_the_schema(cli: Cli, dialect: db.Dialect) -> None:
    said = cli("db", "sql", "--dialect", dialect.value)
    assert said.code == 0
    assert "CREATE TABLE" in said.out


def test_doctor_finds_what_is_wrong(cli: Cli, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "open_store", lambda url: store)
    monkeypatch.setenv("PETIOLE_BROKER", "memory://")
    monkeypatch.setenv("PETIOLE_LEASE", "7")
    said = cli("doctor", "--graphs", "cli_flows:one", "-o", "json")
    found = {finding["check"]: finding for finding in said.json}
    assert said.code == 0
    assert found["setting lease"]["detail"] == "7.0 (from the environment)"
    assert found["setting graphs"]["detail"].endswith("(from the arguments)")
    assert {name: found[name]["status"] for name in ("versions", "broker", "clock", "graph cli_flows:one")} == {
        "versions": "ok", "broker": "ok", "clock": "ok", "graph cli_flows:one": "ok",
    }  # fmt: skip
    assert found["workers"]["status"] == "warn"
    broken = cli("doctor", "--graphs", "cli_flows:three", "--broker", "redis://127.0.0.1:1/0")
    assert broken.code == 1
    assert "cannot be reached" in broken.out
    assert "no attribute 'three'" in broken.out


def test_doctor_shows_no_secret(cli: Cli, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETIOLE_TOKEN", "ptl_0_hidden")
    monkeypatch.setenv("PETIOLE_SESSION_SECRET", "hidden" * 8)
    monkeypatch.setenv("PETIOLE_BACKUP_STORE", "postgresql://ann:hidden@127.0.0.1:1/backup")
    said = cli("doctor", "--broker", "redis://:hidden@127.0.0.1:1/0")
    assert "setting token" in said.out
    assert "hidden" not in said.out + said.err


def test_doctor_sees_waiting_tasks_skew_and_weak_stores(
    cli: Cli, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "open_store", lambda url: store)
    monkeypatch.setenv("PETIOLE_BROKER", "memory://")
    monkeypatch.setattr(store, "durability", lambda: ["a power cut may lose a second"], raising=False)
    cli("run", "start", "counting", "--input", '{"n": 1}')
    store.clock = lambda: 4e9
    found = {finding["check"]: finding for finding in cli("doctor", "-o", "json").json}
    assert found["queue petiole"]["detail"].startswith("1 tasks wait")
    assert found["durability"]["detail"] == "a power cut may lose a second"
    assert "ahead of this machine's" in found["clock"]["detail"]


def test_a_store_that_is_away_is_unavailable(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from petiole.client import connection as client

    monkeypatch.setattr(client, "open_store", opening.open_store)
    said = cli("run", "list", "--store", "redis://127.0.0.1:1/0")
    assert said.code == 5
    assert "127.0.0.1:1" in said.err
    assert cli("run", "list", "--store", "nonsense").code == 2
    assert cli("--store", "redis://127.0.0.1:1/0", "db", "verify").code == 5


def test_version(cli: Cli) -> None:
    assert __version__ in cli("version").out
    assert cli("--version").out == cli("version").out
    assert cli("version", "-o", "json").json["petiole"] == __version__


def test_the_nearest_setting_wins(
    cli: Cli, store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from petiole.client import connection as client

    opened: list[str] = []
    monkeypatch.setattr(client, "open_store", lambda url: opened.append(url) or store)
    (tmp_path / "pyproject.toml").write_text('[tool.petiole]\nstore = "memory://pyproject"\n')
    monkeypatch.delenv("PETIOLE_STORE")
    cli("run", "list")
    monkeypatch.setenv("PETIOLE_STORE", "memory://environment")
    cli("run", "list")
    cli("--store", "memory://before", "run", "list")
    cli("--store", "memory://before", "run", "list", "--store", "memory://after")
    assert opened == [f"memory://{place}" for place in ("pyproject", "environment", "before", "after")]
    monkeypatch.setenv("PETIOLE_STOER", "x")
    said = cli("run", "list")
    assert said.code == 2
    assert "stoer" in said.err


def test_jsonl_is_one_document_a_line(cli: Cli) -> None:
    for _ in range(2):
        cli("run", "start", "counting", "--input", '{"n": 1}')
    lines = cli("run", "list", "-o", "jsonl").out.splitlines()
    assert len([json.loads(line) for line in lines]) == 2
