"""``petiole dlq``, and ``run replay`` and ``run cancel`` without a thread."""

from __future__ import annotations

from petiole_stores.memory import MemoryStore
from tests.unit.cli.conftest import Cli
from tests.unit.driving import Switch, counting, drive


def failed(cli: Cli, store: MemoryStore, *threads: str) -> Switch:
    """Runs that have failed at ``double``."""
    switch = Switch()
    switch.broken = True
    for thread in threads:
        assert (
            cli("run", "start", "counting", "--input", '{"n": 1}', "--thread", thread, "--tag", thread).code
            == 0
        )
    drive(store, counting(switch))
    return switch


def test_a_failed_task_is_a_dead_letter_until_it_is_replayed(cli: Cli, store: MemoryStore) -> None:
    switch = failed(cli, store, "t1", "t2")
    letters = cli("dlq", "list", "-o", "json").json
    assert [(one["thread_id"], one["node"]) for one in letters] == [("t2", "double"), ("t1", "double")]
    assert "double is broken" in cli("dlq", "list").out
    switch.broken = False
    task = letters[1]["task_id"]
    assert cli("dlq", "replay", task, "-o", "json").code == 0
    drive(store, counting(switch))
    assert cli("run", "get", "t1", "-o", "json").json["status"] == "succeeded"
    assert [one["thread_id"] for one in cli("dlq", "list", "-o", "json").json] == ["t2"]


def test_show_has_traceback_attempts_and_input(cli: Cli, store: MemoryStore) -> None:
    failed(cli, store, "t1")
    [shown] = cli("dlq", "show", "t1", "-o", "json").json
    assert shown["input"] == {"n": 1}
    assert "ValueError: double is broken" in shown["traceback"]
    assert [one["outcome"] for one in shown["tries"]] == ["failed"]
    assert "Traceback" in cli("dlq", "show", shown["task_id"]).out


def test_filters_and_poison(cli: Cli, store: MemoryStore) -> None:
    failed(cli, store, "t1")
    for options, count in (
        (("--error-type", "ValueError"), 1), (("--error-type", "KeyError"), 0), (("--node", "double"), 1),
        (("--node", "add"), 0), (("--graph", "other"), 0), (("--poison",), 0), (("--since", "1h"), 1),
    ):  # fmt: skip
        assert len(cli("dlq", "list", *options, "-o", "json").json) == count, options


def test_a_dropped_letter_is_gone_and_its_run_can_still_be_replayed(cli: Cli, store: MemoryStore) -> None:
    switch = failed(cli, store, "t1")
    assert cli("dlq", "drop", "--all", "--node", "double", "--yes", "-o", "json").json == {
        "matched": 1,
        "dropped": 1,
    }
    assert cli("dlq", "list", "-o", "json").json == []
    assert cli("run", "get", "t1", "-o", "json").json["status"] == "failed"
    switch.broken = False
    assert cli("run", "replay", "t1").code == 0
    drive(store, counting(switch))
    assert cli("run", "get", "t1", "-o", "json").json["status"] == "succeeded"


def test_nothing_is_done_to_many_without_a_yes(cli: Cli, store: MemoryStore) -> None:
    failed(cli, store, "t1")
    for command in (
        ("dlq", "drop", "--all"),
        ("dlq", "replay", "--all"),
        ("run", "replay", "--status", "failed"),
    ):
        refused = cli(*command)
        assert refused.code == 2, command
        assert "--yes" in refused.err
    assert len(cli("dlq", "list", "-o", "json").json) == 1


def test_tasks_and_filters_do_not_go_together(cli: Cli, store: MemoryStore) -> None:
    failed(cli, store, "t1")
    assert cli("dlq", "drop", "x", "--all", "--yes").code == 2
    assert cli("dlq", "drop", "--yes").code == 2
    assert cli("dlq", "drop", "nothing", "--yes").code == 3


def test_bulk_replay_goes_by_filters_and_reports(cli: Cli, store: MemoryStore) -> None:
    switch = failed(cli, store, "t1", "t2", "t3")
    switch.broken = False
    answer = cli("run", "replay", "--status", "failed", "--error-type", "ValueError", "--tag", "t2", "--yes")
    assert answer.code == 0
    assert "1 run" in answer.err
    drive(store, counting(switch))
    assert cli("run", "get", "t2", "-o", "json").json["status"] == "succeeded"
    rest = cli("run", "replay", "--graph", "counting", "--since", "1h", "--yes", "-o", "json")
    assert rest.code == 0
    drive(store, counting(switch))
    assert len(cli("run", "list", "--status", "succeeded", "-o", "json").json) == 3


def test_bulk_cancel_takes_what_is_under_way(cli: Cli, store: MemoryStore) -> None:
    for thread in ("t1", "t2"):
        cli("run", "start", "counting", "--input", '{"n": 1}', "--thread", thread)
    assert cli("run", "cancel", "--graph", "counting", "--yes").code == 0
    assert len(cli("run", "list", "--status", "cancelled", "-o", "json").json) == 2


def test_a_thread_and_filters_are_refused(cli: Cli, store: MemoryStore) -> None:
    failed(cli, store, "t1")
    assert cli("run", "replay", "t1", "--status", "failed", "--yes").code == 2
    assert cli("run", "replay").code == 2
