"""``graph check``, ``db prune`` and ``run delete``: before a deployment, and what is kept no longer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from petiole_stores.memory import MemoryStore
from petiole_workers.graph import END, START, StateGraph
from tests.unit.cli.conftest import Cli
from tests.unit.driving import Count, counting, drive


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Gives the import path of a graph that a deployment would bring."""

    def make(*nodes: str, **options: Any) -> str:
        builder = StateGraph(Count)
        for name in nodes:
            builder.add_node(name, lambda state: {})
        for before, after in zip((START, *nodes), (*nodes, END), strict=True):
            builder.add_edge(before, after)
        module: Any = ModuleType("deployment")
        module.graph = builder.compile(name="counting", **options)
        monkeypatch.setitem(sys.modules, "deployment", module)
        return "deployment:graph"

    return make


def start(cli: Cli, thread: str) -> None:
    assert cli("run", "start", "counting", "--input", '{"n": 1}', "--thread", thread).code == 0


def under_way(cli: Cli, store: MemoryStore) -> None:
    """A run whose next nodes are ``double`` and ``note``."""
    start(cli, "t1")
    drive(store, counting(version="1"), until=lambda: len(store.list_checkpoints("t1")) > 2)


def test_a_deployment_without_a_pending_node_would_block_its_threads(
    cli: Cli, store: MemoryStore, deploy: Callable[..., str]
) -> None:
    under_way(cli, store)
    said = cli("graph", "check", "--graphs", deploy("add", "note", "last"), "-o", "json")
    assert said.code == 1
    [found] = said.json
    assert (found["thread_id"], found["version"], len(found["reasons"])) == ("t1", "1", 1)
    assert "'double'" in found["reasons"][0]


def test_one_that_has_them_blocks_nothing(cli: Cli, store: MemoryStore, deploy: Callable[..., str]) -> None:
    under_way(cli, store)
    said = cli("graph", "check", "--graphs", deploy("double", "note", version="2"))
    assert (said.code, said.out) == (0, "")
    assert "no thread" in said.err


def test_a_pinned_version_blocks_the_threads_of_others(
    cli: Cli, store: MemoryStore, deploy: Callable[..., str]
) -> None:
    under_way(cli, store)
    other = deploy("add", "double", "note", "last", version="2", versions="pin")
    assert cli("graph", "check", "--graphs", other).code == 1
    same = deploy("add", "double", "note", "last", version="1", versions="pin")
    assert cli("graph", "check", "--graphs", same).code == 0


def test_prune_counts_first_and_removes_with_yes(cli: Cli, store: MemoryStore) -> None:
    for thread in ("t1", "t2"):
        start(cli, thread)
    drive(store, counting())
    start(cli, "t3")
    assert cli("db", "prune", "--older-than", "0s", "-o", "json").json == {"done": False, "threads": 2}
    assert cli("run", "get", "t1").code == 0
    assert cli("db", "prune", "--older-than", "1h", "--yes", "-o", "json").json == {
        "done": True,
        "threads": 0,
    }
    assert cli("db", "prune", "--older-than", "0s", "--status", "failed", "-o", "json").json["threads"] == 0
    assert "2 threads are removed" in cli("db", "prune", "--older-than", "0s", "--yes").out
    assert (cli("run", "get", "t1").code, cli("run", "get", "t3").code) == (3, 0)


def test_prune_trims_checkpoints(cli: Cli, store: MemoryStore) -> None:
    start(cli, "t1")
    drive(store, counting())
    before = len(store.list_checkpoints("t1"))
    counted = cli("db", "prune", "--max-checkpoints", "2", "--thread", "t1", "-o", "json").json
    assert counted == {"done": False, "checkpoints": before - 2}
    assert len(store.list_checkpoints("t1")) == before
    cli("db", "prune", "--max-checkpoints", "2", "--yes")
    assert len(store.list_checkpoints("t1")) == 2


@pytest.mark.parametrize(
    "options", [(), ("--status", "failed"), ("--older-than", "0s", "--status", "running")]
)
def test_prune_wants_to_be_told_what(options: tuple[str, ...], cli: Cli) -> None:
    assert cli("db", "prune", *options).code == 2


def test_an_active_thread_is_deleted_by_force_alone(cli: Cli, store: MemoryStore) -> None:
    under_way(cli, store)
    assert cli("run", "delete", "t1").code != 0
    assert cli("run", "get", "t1").code == 0
    assert cli("run", "delete", "t1", "--force").code == 0
    assert cli("run", "get", "t1").code == 3
    assert store.list_checkpoints("t1") == []
