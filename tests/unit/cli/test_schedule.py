"""``petiole schedule`` on a memory store."""

from __future__ import annotations

from tests.unit.cli.conftest import Cli


def test_the_life_of_a_schedule(cli: Cli) -> None:
    made = cli(
        "schedule", "create", "poll", "g", "--every", "5m", "--thread", "poller", "--if-busy", "enqueue",
        "--tag", "x", "--metadata", '{"by": "ann"}', "--catch-up", "2h", "--jitter", "10s", "-o", "json",
    )  # fmt: skip
    assert made.code == 0, made.err
    assert made.json["every"] == 300.0
    assert (made.json["catch_up"], made.json["jitter"], made.json["thread_id"]) == (7200.0, 10.0, "poller")
    assert made.json["metadata"] == {"by": "ann"}
    assert "every 300 s" in cli("schedule", "list").out
    assert cli("schedule", "list", "-o", "json").json == [cli("schedule", "show", "poll", "-o", "json").json]
    assert cli("schedule", "pause", "poll", "-o", "json").json["status"] == "paused"
    assert cli("schedule", "unpause", "poll", "-o", "json").json["status"] == "active"
    assert cli("schedule", "trigger", "poll", "--idempotency-key", "k").code == 0
    assert cli("run", "list", "--tag", "schedule:poll", "-o", "json").json[0]["thread_id"] == "poller"
    assert "schedule:poll" in cli("schedule", "show", "poll").out
    assert cli("schedule", "delete", "poll").code == 0
    assert cli("schedule", "delete", "poll").code == 3
    assert "no schedule" in cli("schedule", "list").err


def test_what_is_refused(cli: Cli) -> None:
    assert cli("schedule", "create", "a", "g").code == 2
    wrong = cli("schedule", "create", "a", "g", "--cron", "0 25 * * *")
    assert (wrong.code, "Bad hour" in wrong.err) == (2, True)
    assert cli("schedule", "create", "a", "g", "--cron", "0 3 * * *").code == 0
    assert cli("schedule", "create", "a", "g", "--cron", "0 3 * * *").code == 4
    assert cli("schedule", "show", "b").code == 3
