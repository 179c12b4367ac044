"""The demo's timeline: who ran what, who took over, in a line a try on any terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from petiole.demo import timeline
from petiole.demo.show import program
from petiole_stores.records import Attempt, Task, Worker

WORKERS = [Worker(worker_id="1", name="w1@host"), Worker(worker_id="2", name="w2@host")]


def task(path: str, holder: str, began: float, ended: float, **fields: object) -> Task:
    values: dict[str, object] = {
        "task_id": path, "run_id": "r", "thread_id": "t", "ns": "", "checkpoint_id": "c", "path": path,
        "kind": "node", "node": path.split(":")[-1] if path.startswith("pull") else "count", "queue": "q",
        "priority": "default", "status": "done", "holder": holder, "attempt": 1, "created_at": 0.0,
        "claimed_at": began, "ended_at": ended,
    }  # fmt: skip
    return Task(**(values | fields))  # type: ignore[arg-type]


def example() -> list[timeline.Span]:
    lost = Attempt(attempt=1, holder="1", slot="s", claimed_at=11.0, ended_at=15.0, outcome="lost")
    tasks = [
        task("pull:plan", "1", 10.0, 10.5),
        task("push:0000000013", "2", 15.5, 16.0, attempt=2, attempts=[lost]),
    ]
    return timeline.spans(tasks, WORKERS, {"w1": 12.0})


def test_a_lost_try_ends_with_its_worker() -> None:
    assert [(s.label, s.worker, s.attempt, s.outcome, s.began, s.ended) for s in example()] == [
        ("plan", "w1", 1, "done", 10.0, 10.5),
        ("count 13", "w1", 1, "lost", 11.0, 12.0),
        ("count 13", "w2", 2, "done", 15.5, 16.0),
    ]


def test_takeovers_pair_the_lost_try_with_the_next() -> None:
    assert [(a.worker, b.worker, b.began - a.ended) for a, b in timeline.takeovers(example())] == [
        ("w1", "w2", 3.5)
    ]


@pytest.mark.parametrize("width", [70, 80, 140])
def test_each_try_is_one_line(width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    console.print(timeline.table(example(), {}, width))

    assert isinstance(console.file, io.StringIO)
    lines = [line for line in console.file.getvalue().splitlines() if line.strip()]
    assert len(lines) == 2 + 3, lines
    assert "killed" in lines[3]
    assert "1000 ms" in lines[3]


def test_what_is_typed_to_look_further_runs_where_it_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(tmp_path / ".venv" / "bin" / "petiole"), "demo"])
    assert program() == ".venv/bin/petiole"
    (tmp_path / "petiole").touch(0o755)
    assert program() == "petiole"
