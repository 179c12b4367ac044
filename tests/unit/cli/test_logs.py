"""``petiole run logs``: what nodes have logged, for people and as JSON lines."""

from __future__ import annotations

import json

import pytest

from petiole.testing import LocalWorker
from petiole_stores.memory import MemoryStore
from tests.unit.chatty import chatty
from tests.unit.cli.conftest import Cli
from tests.unit.driving import counting, drive


@pytest.fixture(autouse=True)
def shipped(cli: Cli, store: MemoryStore) -> None:
    assert cli("run", "start", "chatty", "--input", '{"n": 7}', "--thread", "t").code == 0
    with LocalWorker([chatty()], store) as worker:
        worker.run_until_idle()


def lines(cli: Cli, *args: str) -> list[dict[str, object]]:
    said = cli("run", "logs", "t", "--json", *args)
    assert said.code == 0, said.err
    return [json.loads(line) for line in said.out.splitlines()]


def test_records_are_json_lines(cli: Cli) -> None:
    found = lines(cli)
    assert [(it["node"], it["attempt"], it["level"], it["logger"]) for it in found] == [
        ("charge", 1, "INFO", "shop.bank"),
        ("charge", 1, "ERROR", "shop.bank"),
        ("charge", 2, "INFO", "shop.bank"),
        ("ship", 1, "WARNING", "shop.bank"),
    ]
    assert found[0]["message"] == "charging 7 cents"
    assert "ConnectionError: the bank is away" in str(found[1]["exception"])
    assert str(found[0]["at"]).endswith("+00:00")
    assert lines(cli, "--follow") == found


def test_one_node_one_task_one_level(cli: Cli) -> None:
    [warning] = lines(cli, "--node", "ship")
    assert lines(cli, "--task", str(warning["task_id"])) == [warning]
    assert [it["level"] for it in lines(cli, "--level", "warning")] == ["ERROR", "WARNING"]
    assert [it["level"] for it in lines(cli, "--level", "ERROR")] == ["ERROR"]
    refused = cli("run", "logs", "t", "--level", "loud")
    assert refused.code == 2
    assert "'loud'" in refused.err
    assert cli("run", "logs", "nothing").code == 3


def test_for_people_tracebacks_are_set_in_and_no_terminal_is_steered(cli: Cli) -> None:
    said = cli("run", "logs", "t")
    assert said.code == 0
    first, second, *trace = said.out.splitlines()
    assert first.endswith("INFO     charge shop.bank: charging 7 cents")
    assert second.endswith("ERROR    charge shop.bank: refused")
    assert trace[0] == "    Traceback (most recent call last):"
    assert "charge (attempt 2) shop.bank: charging 7 cents" in said.out
    assert "\\x1b[31mred" in said.out
    assert "\x1b" not in said.out


def test_a_run_that_logged_nothing_says_what_to_do(cli: Cli, store: MemoryStore) -> None:
    assert cli("run", "start", "counting", "--input", '{"n": 1}', "--thread", "quiet").code == 0
    drive(store, counting())
    said = cli("run", "logs", "quiet")
    assert (said.code, said.out) == (0, "")
    assert "logging.getLogger(__name__)" in said.err
    assert "node_logs" in said.err
