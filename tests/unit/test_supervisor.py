"""The supervisor's words, commands and pauses, without a process."""

from __future__ import annotations

import os
import queue
import signal
from pathlib import Path

import pytest

from petiole import Settings, load_settings
from petiole.defaults import Ground, ground
from petiole.supervisor import Estates, Event, ServerProcess, Supervisor, WorkerProcess, command, reason
from petiole_stores.opening import open_store
from petiole_stores.records import START_PATH, NewRun, NewTask, Outcome, Worker
from petiole_workers.launch import HOLDER_VARIABLE, SERVER_SUPERVISOR_VARIABLE
from petiole_workers.settings import environment
from petiole_workers.spool import SpoolFolder, entry_of


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "without being asked"),
        (1, "exit code 1"),
        (69, "could not reach"),
        (-signal.SIGKILL, "SIGKILL, by somebody or by the kernel"),
        (-signal.SIGSEGV, "SIGSEGV"),
        (-99, "signal 99"),
    ],
)
def test_an_end_is_said_in_words(code: int, words: str) -> None:
    assert words in reason(code)


def test_the_command_has_what_the_settings_say() -> None:
    line = command(Settings(pool="threads", concurrency=3, max_tasks_per_child=9, log_level="WARNING"), "w")
    text = " ".join(line[1:])
    assert text.startswith(
        "-m celery -A petiole_workers --quiet worker --without-gossip --without-mingle --without-heartbeat"
    )
    assert text.endswith("-P threads -n w@%h --loglevel WARNING -c 3 --max-tasks-per-child 9")
    assert "-c" not in command(Settings(), "w")


def test_the_server_is_a_process_of_the_family_that_holds_no_tasks(tmp_path: Path) -> None:
    place = ground(Settings(store="sqlite:///x", data_dir=str(tmp_path), port=8700, session_secret="s" * 32))
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    server = ServerProcess("http", place, events)
    assert server._command()[1:] == ["-m", "petiole", "serve"]
    environ = server._environment()
    assert (environ["PETIOLE_PORT"], environ[SERVER_SUPERVISOR_VARIABLE]) == ("8700", str(os.getpid()))
    assert HOLDER_VARIABLE not in environ
    assert "PETIOLE_SESSION_SECRET" in environ
    assert "PETIOLE_SESSION_SECRET" not in WorkerProcess("w", place, events)._environment()
    kinds = [type(process) for process in Supervisor(place, ["w"], server=True).workers]
    assert kinds == [WorkerProcess, ServerProcess]


def test_waits_double_to_30_s_and_begin_anew_after_a_healthy_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    from petiole import supervisor

    now = [1000.0]
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: now[0])
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    worker = WorkerProcess("w", Ground(Settings()), events)
    worker._started = now[0]
    assert [worker.wait_before_start() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert worker.start_at == now[0] + 30
    now[0] += 60
    assert worker.wait_before_start() == 1


def test_a_child_loads_the_very_settings_that_its_parent_has(tmp_path: Path) -> None:
    """Defaults too: what its environment and pyproject.toml say otherwise must not come through."""
    folder = tmp_path
    (folder / "pyproject.toml").write_text('[tool.petiole]\nlease = 3\nqueues = ["x"]\n')
    chosen = Settings(
        store="sqlite:///x", broker="redis://y", graphs=["a:b", "c:d"], publisher_confirms=True, beat=2.5
    )
    environ = environment(
        chosen, {"PETIOLE_LEASE": "4", "PETIOLE_BATCH": "1", "PATH": "/bin", "PETIOLE_WORKER_ID": "kept"}
    )
    assert load_settings(environ=environ, folder=folder) == chosen
    assert (environ["PATH"], environ["PETIOLE_WORKER_ID"]) == ("/bin", "kept")


def test_what_a_dead_worker_spooled_is_sent_before_its_claims_are_given_back(tmp_path: Path) -> None:
    """Giving them back voids the tokens that its outputs were spooled under."""
    url = f"sqlite:///{tmp_path}/store.db"
    place = ground(Settings(store=url, broker="memory://", data_dir=str(tmp_path)))
    start = NewTask(task_id="task", path=START_PATH, node="__start__", kind="advance")
    with open_store(url) as store:
        [answer] = store.submit([NewRun(run_id="run", thread_id="t", graph="g", start=start, input="{}")])
        store.beat(Worker(worker_id="dead", name="dead"))
        store.claim("dead", "1", [("task", "token")])
        failed = Outcome(
            task_id="task", token="token", ending="failed", error='{"type": "T", "message": ""}', advance_id="a",
            advance_token="at",
        )  # fmt: skip
        SpoolFolder(tmp_path).of("dead").put(entry_of("dead", "1", [failed], answer.publish))
        estates = Estates(place, print)
        estates.add("dead", True)
        estates.settle()
        [task] = store.list_tasks("run")
        assert (task.status, task.crashes, estates.pending) == ("failed", 0, {})
        assert SpoolFolder(tmp_path).holders() == []
