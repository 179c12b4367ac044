"""Many at once: ``run replay`` and ``run cancel`` without a thread, and ``dlq``."""

from __future__ import annotations

import io
import json
import sys

import pytest

from petiole_stores.memory import MemoryStore
from petiole_stores.records import Worker
from tests.unit.cli.conftest import Cli
from tests.unit.driving import Switch, counting, drive

LETTER_KEYS = [
    "task_id", "thread_id", "run_id", "graph", "ns", "node", "error_type", "message", "poison", "attempts", "crashes",
    "failed_at",
]  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def start(cli: Cli, *threads: str) -> None:
    for thread in threads:
        assert cli("run", "start", "counting", "--input", '{"n": 1}', "--thread", thread).code == 0


def fail(cli: Cli, store: MemoryStore, *threads: str) -> Switch:
    switch = Switch()
    switch.broken = True
    start(cli, *threads)
    drive(store, counting(switch))
    return switch


def statuses(cli: Cli) -> dict[str, str]:
    return {run["thread_id"]: run["status"] for run in cli("run", "list", "-o", "json").json}


def test_replay_of_many_asks_on_a_terminal(
    cli: Cli, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(cli, store, "a")
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    said = cli("run", "replay", "--graph", "counting")
    assert said.code == 1
    assert "nothing was changed" in said.err
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert cli("run", "replay", "--graph", "counting").out == "1 of 1 replayed\n"
    assert statuses(cli) == {"a": "queued"}


def test_replay_of_many_goes_on_over_refusals_and_counts_them(cli: Cli, store: MemoryStore) -> None:
    switch = fail(cli, store, "a", "b", "c")
    start(cli, "b")
    said = cli("run", "replay", "--status", "failed", "--yes", "-o", "json")
    assert said.code == 1
    assert said.json == {
        "matched": 3,
        "done": 2,
        "already": 0,
        "refused": {"another run of its thread is active": 1},
    }
    switch.broken = False
    drive(store, counting(switch))
    lines = cli("run", "replay", "--status", "failed", "--yes", "-o", "jsonl").out.splitlines()
    assert [json.loads(line)["reason"] for line in lines] == ["its thread has gone on since"]


@pytest.mark.parametrize(
    ("options", "threads"),
    [
        (["--error-type", "ValueError"], ["a", "b"]),
        (["--error-type", "KeyError"], []),
        (["--graph", "other"], []),
        (["--tag", "x"], []),
        (["--text", "OUNT"], ["a", "b"]),
        (["--text", "x_y"], []),
        (["--since", "1h"], ["a", "b"]),
        (["--until", "1h"], []),
    ],
)
def test_filters_choose_what_is_replayed(
    cli: Cli, store: MemoryStore, options: list[str], threads: list[str]
) -> None:
    fail(cli, store, "a", "b")
    assert cli("run", "replay", *options, "--yes").code == 0
    assert [thread for thread, status in sorted(statuses(cli).items()) if status == "queued"] == threads


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["replay"], "name a THREAD"),
        (["replay", "--yes"], "name a THREAD"),
        (["replay", "t", "--status", "failed"], "name one thread, or filter"),
        (["replay", "--status", "succeeded"], "only runs that are failed"),
        (["replay", "--graph", "g", "--wait"], "--wait is for one THREAD"),
        (["cancel", "--status", "failed"], "have ended are not cancelled"),
        (["cancel", "--status", "nice"], "take one of"),
    ],
)
def test_what_is_meant_must_be_clear(cli: Cli, arguments: list[str], words: str) -> None:
    said = cli("run", *arguments)
    assert said.code == 2
    assert words in said.err


def test_a_thread_without_dead_letters_says_so(cli: Cli, store: MemoryStore) -> None:
    start(cli, "a")
    said = cli("dlq", "show", "a")
    assert said.code == 3
    assert "is queued and has no dead letter" in said.err


def test_poison_tasks_are_found_by_it(cli: Cli, store: MemoryStore) -> None:
    fail(cli, store, "ordinary")
    start(cli, "poisoned")
    for _ in range(store.max_crashes):
        store.beat(Worker(worker_id="w", name="w@host"))
        [ref] = store.due(published_before=4e9)
        store.claim("w", "1", [(ref.task_id, "token")])
        store.release("w", crashed=True)
    [letter] = cli("dlq", "list", "--poison", "-o", "json").json
    assert (letter["thread_id"], letter["crashes"]) == ("poisoned", store.max_crashes)
    [whole] = cli("dlq", "show", "poisoned", "-o", "json").json
    assert [one["outcome"] for one in whole["tries"]] == ["crashed"] * store.max_crashes


def test_dead_letters_are_replayed(cli: Cli, store: MemoryStore) -> None:
    switch = fail(cli, store, "a", "b", "c")
    first = cli("dlq", "list", "-o", "json").json[0]
    switch.broken = False
    assert cli("dlq", "replay", first["task_id"]).out == "1 of 1 replayed\n"
    assert cli("dlq", "replay", "--all", "--node", "double").code == 2
    assert cli("dlq", "replay", "--all", "--node", "double", "--yes").out == "2 of 2 replayed\n"
    assert cli("dlq", "list", "-o", "json").json == []
    drive(store, counting(switch))
    assert set(statuses(cli).values()) == {"succeeded"}


@pytest.mark.parametrize(
    "arguments", [["replay"], ["drop"], ["drop", "task", "--all"], ["replay", "task", "--node", "n"]]
)
def test_which_dead_letters_are_meant_must_be_clear(cli: Cli, arguments: list[str]) -> None:
    assert cli("dlq", *arguments).code == 2


def test_a_store_that_goes_away_in_the_middle_is_reported(
    cli: Cli, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from petiole_stores.errors import StoreUnavailableError

    fail(cli, store, "a", "b")
    whole, calls = store.replay, []

    def replay(run_id: str, replacements: object) -> object:
        calls.append(run_id)
        if len(calls) > 1:
            raise StoreUnavailableError("the store is away")
        return whole(run_id, replacements)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "replay", replay)
    said = cli("run", "replay", "--status", "failed", "--yes")
    assert (said.code, said.out) == (5, "1 of 2 replayed\n")
