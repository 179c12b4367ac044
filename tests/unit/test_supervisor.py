"""The supervisor's words, commands and pauses, without a process."""

from __future__ import annotations

import queue
import signal
from pathlib import Path

import pytest

from petiole import Settings, load_settings
from petiole.defaults import Ground
from petiole.supervisor import Event, WorkerProcess, command, reason
from petiole_workers.settings import environment


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
