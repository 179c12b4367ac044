"""``petiole run stream``: chunks as lines, from any place on."""

from __future__ import annotations

import json

from petiole_stores.memory import MemoryStore
from tests.unit.cli.conftest import Cli
from tests.unit.driving import Switch, counting, drive


def start(cli: Cli) -> None:
    assert cli("run", "start", "counting", "--input", '{"n": 1}', "--thread", "t").code == 0


def test_chunks_are_json_lines_with_ids_to_go_on_from(cli: Cli, store: MemoryStore) -> None:
    start(cli)
    drive(store, counting())

    said = cli("run", "stream", "t", "--mode", "updates", "--mode", "values", "--json")
    assert said.code == 0
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert {line["mode"] for line in lines} == {"updates", "values"}
    assert all(line["ns"] == [] for line in lines)
    assert len({line["id"] for line in lines}) == len(lines) > 2

    rest = cli(
        "run", "stream", "t", "--mode", "updates", "--mode", "values", "--json", "--after", lines[1]["id"]
    )
    assert [json.loads(line) for line in rest.out.splitlines()] == lines[2:]


def test_without_json_chunks_are_readable(cli: Cli, store: MemoryStore) -> None:
    start(cli)
    drive(store, counting())
    said = cli("run", "stream", "t")
    assert said.out.splitlines()[0].startswith("[updates] {")


def test_a_failed_run_is_an_exit_code_after_its_chunks(cli: Cli, store: MemoryStore) -> None:
    start(cli)
    switch = Switch()
    switch.broken = True
    drive(store, counting(switch))
    said = cli("run", "stream", "t", "--mode", "tasks", "--json")
    assert said.code == cli("run", "watch", "t").code != 0
    errors = [json.loads(line)["data"].get("error") for line in said.out.splitlines()]
    assert "ValueError('double is broken')" in errors


def test_an_unknown_mode_or_id_is_refused(cli: Cli, store: MemoryStore) -> None:
    start(cli)
    assert "'everything'" in cli("run", "stream", "t", "--mode", "everything").err
    assert "event id" in cli("run", "stream", "t", "--after", "nonsense").err
    assert cli("run", "stream", "t", "--timeout", "0").code == 6
