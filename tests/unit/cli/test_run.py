"""``petiole run``: every verb, its JSON documents, its exit codes."""

from __future__ import annotations

import io
import json
import re
import sys
import threading
from pathlib import Path

import pytest

from petiole_stores.errors import StoreUnavailableError
from petiole_stores.memory import MemoryStore
from tests.unit.cli.conftest import Cli
from tests.unit.driving import Switch, counting, drive

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")
RUN_KEYS = [
    "run_id", "thread_id", "graph", "version", "status", "tags", "metadata", "idempotency_key", "error", "reason",
    "checkpoint_id", "base_id", "replays", "run_at", "deadline", "created_at", "started_at", "ended_at",
]  # fmt: skip
TASK_KEYS = [
    "task_id", "run_id", "thread_id", "checkpoint_id", "ns", "child", "awaits", "path", "kind", "node", "status", "queue",
    "priority", "attempt", "failures", "crashes", "recovered", "replaced", "holder", "slot", "error", "run_at", "created_at",
    "claimed_at", "ended_at", "attempts", "interrupt",
]  # fmt: skip
ENTRY_KEYS = [
    "checkpoint_id", "parent_id", "run_id", "ns", "step", "source", "node_names", "next", "state", "metadata", "created_at",
    "tasks",
]  # fmt: skip
EXPLANATION_KEYS = ["thread_id", "run_id", "graph", "status", "summary", "superstep", "waits", "now"]
WAIT_KEYS = ["kind", "subject", "detail", "since", "until", "command"]


def start(cli: Cli, *options: str, thread: str = "t") -> None:
    assert cli("run", "start", "counting", "--input", '{"n": 1}', "--thread", thread, *options).code == 0


def fail(cli: Cli, store: MemoryStore) -> Switch:
    switch = Switch()
    switch.broken = True
    start(cli)
    drive(store, counting(switch))
    return switch


def test_start_stores_a_run_and_says_which(cli: Cli) -> None:
    said = cli(
        "run",
        "start",
        "counting",
        "--input",
        '{"n": 1}',
        "--tag",
        "a",
        "--tag",
        "b",
        "--metadata",
        '{"k": 1}',
        "-o",
        "json",
    )
    assert said.code == 0
    assert list(said.json) == RUN_KEYS
    assert (said.json["status"], said.json["tags"], said.json["metadata"]) == ("queued", ["a", "b"], {"k": 1})
    assert ISO.fullmatch(said.json["created_at"])
    assert "no worker that is alive serves graph 'counting'" in said.err


def test_start_reads_input_from_a_file_and_from_standard_input(
    cli: Cli, store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.json").write_text('{"n": 7}')
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"n": 8}'))
    for text in ("@in.json", "-"):
        assert cli("run", "start", "counting", "--input", text).code == 0
    assert [json.loads(run.input or "") for run in store.list_runs().runs] == [{"n": 8}, {"n": 7}]


def test_start_keeps_context_and_configurable_values_with_the_run(cli: Cli, store: MemoryStore) -> None:
    options = ("--context", '{"user": "ada"}', "--configurable", '{"k": [1]}')
    assert cli("run", "start", "counting", "--input", "{}", *options).code == 0
    config = json.loads(store.list_runs().runs[0].config)
    assert config == {"context": {"user": "ada"}, "configurable": {"k": [1]}}
    assert cli("run", "start", "counting", "--input", "{}", "--configurable", "3").code == 2


def test_start_checks_the_input_of_a_graph_it_can_import(
    cli: Cli, store: MemoryStore, tmp_path: Path
) -> None:
    (tmp_path / "checked_flow.py").write_text(
        "from tests.unit.driving import counting\ngraph = counting(name='checked')\n"
    )
    said = cli("run", "start", "checked_flow:graph", "--input", "5")
    assert (said.code, store.list_runs().runs) == (2, [])
    assert cli("run", "start", "checked_flow:graph", "--input", '{"n": 5}').code == 0
    assert store.list_runs().runs[0].graph == "checked"


def test_start_wait_prints_the_result(cli: Cli, store: MemoryStore) -> None:
    stop = threading.Event()
    worker = threading.Thread(target=drive_until, args=(store, stop))
    worker.start()
    text = cli("run", "start", "counting", "--input", '{"n": 1}', "--wait", "--timeout", "20")
    whole = cli("run", "start", "counting", "--input", '{"n": 2}', "--wait", "--timeout", "20", "-o", "json")
    stop.set()
    worker.join()
    assert (text.code, text.json) == (0, {"n": 4, "trail": ["add", "double", "note", "last"]})
    assert list(whole.json) == [*RUN_KEYS, "result"]
    assert (whole.json["status"], whole.json["result"]["n"]) == ("succeeded", 6)


def drive_until(store: MemoryStore, stop: threading.Event) -> None:
    while not stop.is_set():
        drive(store, counting())
        stop.wait(0.01)


def test_start_wait_gives_up_in_time(cli: Cli) -> None:
    said = cli("run", "start", "counting", "--input", '{"n": 1}', "--wait", "--timeout", "0.05")
    assert said.code == 6
    assert "still queued" in said.err


def test_the_same_key_is_the_same_run_and_another_request_a_conflict(cli: Cli) -> None:
    first = cli(
        "run", "start", "counting", "--input", '{"n": 1}', "--idempotency-key", "k", "-o", "json"
    ).json
    again = cli(
        "run", "start", "counting", "--input", '{"n": 1}', "--idempotency-key", "k", "-o", "json"
    ).json
    assert first["run_id"] == again["run_id"]
    said = cli("run", "start", "counting", "--input", '{"n": 2}', "--idempotency-key", "k")
    assert said.code == 4
    assert first["run_id"] in said.err


def test_a_busy_thread_is_a_conflict_or_a_queue(cli: Cli) -> None:
    start(cli)
    assert cli("run", "start", "counting", "--input", "{}", "--thread", "t").code == 4
    start(cli, "--if-busy", "enqueue")


def test_start_later(cli: Cli) -> None:
    start(cli, "--in", "1h30m")
    assert cli("run", "get", "t", "-o", "json").json["status"] == "waiting"
    start(cli, "--at", "2999-01-01T00:00:00+00:00", thread="u")
    assert cli("run", "get", "u", "-o", "json").json["run_at"] == "2999-01-01T00:00:00.000+00:00"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--input", "{n: 1}"], "is no JSON"),
        (["--input", "@missing.json"], "missing.json"),
        (["--input", "{}", "--metadata", "[]"], "JSON object"),
        (["--input", "{}", "--in", "soon"], "30s, 5m"),
        (["--input", "{}", "--at", "soon"], "ISO 8601"),
        (["--input", "{}", "--at", "2999-01-01", "--in", "5m"], "one time is enough"),
        (["--input", "null"], "input is None"),
        (["--input", "{}", "--deadline", "soon"], "10m or 2h"),
        (["--input", "{}", "--deadline", "0s"], "above 0"),
        (["--input", "{}", "--durability", "interval:x"], "interval:SECONDS"),
        (["--input", "{}", "--durability", "sync", "--consistency", "strong"], "give one of them"),
    ],
)
def test_wrong_options_are_usage_errors(cli: Cli, store: MemoryStore, options: list[str], words: str) -> None:
    said = cli("run", "start", "counting", *options)
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert "Traceback" not in said.err
    assert store.list_runs().runs == []


def test_start_in_a_while_goes_by_the_clock_of_the_store(cli: Cli, store: MemoryStore) -> None:
    store.clock = lambda: 1000.0
    start(cli, "--in", "1h", "--deadline", "10m")
    run = store.list_runs().runs[0]
    assert (run.status, run.run_at, run.deadline) == ("waiting", 4600.0, 5200.0)
    assert cli("run", "get", "t", "-o", "json").json["deadline"] == "1970-01-01T01:26:40.000+00:00"


def test_start_takes_a_durability_or_a_preset(cli: Cli, store: MemoryStore) -> None:
    start(cli, "--durability", "interval:30", thread="a")
    start(cli, "--consistency", "eventual", thread="b")
    configs = [json.loads(run.config) for run in store.list_runs().runs]
    assert configs == [{"relaxed": True, "durability": "sync"}, {"durability": "interval:30"}]


def test_pause_and_unpause_are_shown_with_their_reason(cli: Cli, store: MemoryStore) -> None:
    start(cli, "--deadline", "1h")
    said = cli("run", "pause", "t", "--reason", "the bank is down", "-o", "json")
    assert (said.code, said.json["status"]) == (0, "paused")
    assert said.json["reason"] == {"type": "Paused", "message": "the bank is down"}
    assert cli("run", "pause", "t").code == 0
    for verb in ("list", "get"):
        text = cli("run", verb, *(["t"] if verb == "get" else [])).out
        assert "paused" in text
        assert "the bank is down" in text
    watched = cli("run", "watch", "t", "--timeout", "0.01")
    assert watched.out.startswith("paused (the bank is down): 1 ready")
    assert "still paused (the bank is down)" in watched.err
    drive(store, counting())
    assert cli("run", "get", "t", "-o", "json").json["status"] == "paused"
    assert cli("run", "unpause", "t", "-o", "json").json["status"] == "queued"
    drive(store, counting())
    assert cli("run", "watch", "t").code == 0
    refused = cli("run", "pause", "t")
    assert refused.code == 4
    assert "is succeeded: only a run that has not ended can be paused" in refused.err


def test_list_names_errors_and_finds_by_them(cli: Cli, store: MemoryStore) -> None:
    fail(cli, store)
    start(cli, "--in", "1h", thread="later")
    listed = cli("run", "list").out
    assert "ValueError: double is broken" in listed
    assert re.search(r"starts in (1h|59m)", listed)
    for error_type, found in (("ValueError", 1), ("KeyError", 0)):
        assert len(cli("run", "list", "--error-type", error_type, "-o", "json").json) == found


def test_list_filters_and_limits(cli: Cli, store: MemoryStore) -> None:
    assert cli("run", "list").err == "no run matches\n"
    start(cli, "--tag", "x", thread="a")
    drive(store, counting())
    start(cli, thread="b")
    listed = cli("run", "list", "-o", "json").json
    assert [run["thread_id"] for run in listed] == ["b", "a"]
    assert all(list(run) == RUN_KEYS for run in listed)
    for options, threads in (
        (("--status", "succeeded"), ["a"]),
        (("--status", "succeeded", "--status", "queued"), ["b", "a"]),
        (("--tag", "x"), ["a"]),
        (("--text", "X"), ["a"]),
        (("--thread", "b"), ["b"]),
        (("--graph", "other"), []),
        (("--since", "1h"), ["b", "a"]),
        (("--until", "1h"), []),
        (("--limit", "1"), ["b"]),
    ):
        assert [run["thread_id"] for run in cli("run", "list", *options, "-o", "json").json] == threads, (
            options
        )
    lines = cli("run", "list", "-o", "jsonl").out.splitlines()
    assert [json.loads(line)["thread_id"] for line in lines] == ["b", "a"]
    assert "succeeded" in cli("run", "list").out
    assert cli("run", "list", "--status", "nice").code == 2


def test_get_shows_the_run_and_its_tasks(cli: Cli, store: MemoryStore) -> None:
    fail(cli, store)
    said = cli("run", "get", "t", "-o", "json")
    assert list(said.json) == [*RUN_KEYS, "tasks", "interrupts", "parent", "children"]
    assert said.json["error"]["message"] == "double is broken"
    assert said.json["tasks"] == {"done": 3, "failed": 1}
    text = cli("run", "get", "t")
    assert "ValueError in double: double is broken" in text.out
    assert "petiole run replay t" in text.err
    assert cli("run", "get", said.json["run_id"], "-o", "json").json == said.json
    assert cli("run", "get", "t", "--run", said.json["run_id"], "-o", "json").json == said.json


def test_a_run_of_another_thread_is_not_found(cli: Cli) -> None:
    start(cli)
    start(cli, thread="u")
    other = cli("run", "get", "u", "-o", "json").json["run_id"]
    for verb in ("get", "tasks", "replay", "cancel", "resume", "watch", "pause", "unpause", "explain"):
        assert cli("run", verb, "t", "--run", other).code == 3, verb


@pytest.mark.parametrize(
    "verb",
    [
        "get",
        "watch",
        "tasks",
        "state",
        "history",
        "replay",
        "resume",
        "cancel",
        "pause",
        "unpause",
        "explain",
    ],
)
def test_an_unknown_thread_is_not_found(cli: Cli, verb: str) -> None:
    said = cli("run", verb, "nobody")
    assert said.code == 3
    assert "'nobody'" in said.err
    assert "Traceback" not in said.err


def test_tasks_state_and_history(cli: Cli, store: MemoryStore) -> None:
    start(cli)
    drive(store, counting())
    listed = cli("run", "tasks", "t", "-o", "json").json
    assert all(list(task) == TASK_KEYS for task in listed)
    assert "driver@test" in cli("run", "tasks", "t").out
    assert cli("run", "state", "t").json == {"n": 4, "trail": ["add", "double", "note", "last"]}
    assert "trail" in cli("run", "state", "t", "-o", "text").out
    entries = cli("run", "history", "t", "-o", "json").json
    assert all(list(entry) == ENTRY_KEYS for entry in entries)
    assert entries[0]["state"]["n"] == 4
    assert len(cli("run", "history", "t", "--limit", "1", "-o", "jsonl").out.splitlines()) == 1
    assert "double done" in cli("run", "history", "t").out
    first = next(e for e in entries if e["next"] == ["add"])
    assert cli("run", "state", "t", "--checkpoint", first["checkpoint_id"]).json["n"] == 1
    assert cli("run", "state", "t", "--run", entries[0]["run_id"]).json["n"] == 4


def test_watch_follows_to_the_end(cli: Cli, store: MemoryStore) -> None:
    start(cli)
    worker = threading.Timer(0.1, drive, (store, counting()))
    worker.start()
    said = cli("run", "watch", "t", "--timeout", "20")
    worker.join()
    assert said.code == 0
    assert said.out.splitlines()[-1].startswith("succeeded: ")
    last = json.loads(cli("run", "watch", "t", "-o", "jsonl").out.splitlines()[-1])
    assert (last["status"], last["tasks"]["done"]) == ("succeeded", len(store.list_tasks(last["run_id"])))


def test_watch_tells_failure_by_its_exit_code(cli: Cli, store: MemoryStore) -> None:
    fail(cli, store)
    said = cli("run", "watch", "t")
    assert said.code == 1
    assert "double is broken" in said.err


def test_watch_gives_up_in_time(cli: Cli) -> None:
    start(cli)
    assert cli("run", "watch", "t", "--timeout", "0.05").code == 6


def test_watch_outlives_the_store_s_absence(
    cli: Cli, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(cli)
    looks = []
    whole = store.list_tasks

    def list_tasks(run_id: str) -> object:
        looks.append(run_id)
        if len(looks) == 2:
            raise StoreUnavailableError("the store is away")
        if len(looks) == 3:
            monkeypatch.setattr(store, "list_tasks", whole)
            drive(store, counting())
        return whole(run_id)

    monkeypatch.setattr(store, "list_tasks", list_tasks)
    said = cli("run", "watch", "t", "--timeout", "20")
    assert said.code == 0
    assert "the store is away" in said.out


def test_replay_goes_on_from_the_failed_node(cli: Cli, store: MemoryStore) -> None:
    switch = fail(cli, store)
    switch.broken = False
    said = cli("run", "replay", "t", "-o", "json")
    assert (said.code, said.json["replays"], said.json["status"]) == (0, 1, "queued")
    drive(store, counting(switch))
    assert cli("run", "get", "t", "-o", "json").json["status"] == "succeeded"
    assert switch.calls.count("note") == 1
    assert cli("run", "replay", "t").code == 4
    assert cli("run", "replay", "t", "--from", "last", "-o", "json").json["status"] == "queued"


def test_cancel_and_resume(cli: Cli, store: MemoryStore) -> None:
    start(cli)
    assert cli("run", "cancel", "t", "--reason", "enough", "-o", "json").json["status"] == "cancelled"
    assert cli("run", "cancel", "t").code == 0
    assert cli("run", "resume", "t").code == 4
    graph = counting(interrupt_after=["add"])
    start(cli)
    drive(store, graph)
    assert cli("run", "watch", "t").code == 1
    assert cli("run", "resume", "t").code == 0
    drive(store, graph)
    assert cli("run", "watch", "t").code == 0
    assert cli("run", "cancel", "t").code == 4


def test_an_error_shows_its_traceback_on_request(cli: Cli) -> None:
    with pytest.raises(LookupError):
        cli("--debug", "run", "get", "nobody")


def test_the_reason_of_a_cancel_is_told_without_a_node(cli: Cli, store: MemoryStore) -> None:
    start(cli)
    cli("run", "cancel", "t", "--reason", "enough")
    assert "Cancelled: enough" in cli("run", "get", "t").out


def test_explain_says_what_a_run_waits_for(cli: Cli, store: MemoryStore) -> None:
    start(cli, "--in", "1h", "--deadline", "2h")
    drive(store, counting())
    said = cli("run", "explain", "t", "-o", "json")
    assert (said.code, list(said.json)) == (0, EXPLANATION_KEYS)
    assert [list(wait) for wait in said.json["waits"]] == [WAIT_KEYS, WAIT_KEYS]
    assert [wait["kind"] for wait in said.json["waits"]] == ["start", "deadline"]
    assert ISO.fullmatch(said.json["waits"][0]["until"])
    text = cli("run", "explain", "t").out
    assert "is waiting: the run is not to start before its time" in text
    assert re.search(r"until (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d \(in (59m|1h)", text)
    cli("run", "pause", "t", "--reason", "maintenance")
    assert "$ petiole run unpause t" in cli("run", "explain", "t").out
