"""A schedule of one second on real workers, one of which is killed while it sweeps: no time is lost, none comes twice."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from petiole.client import Client
from petiole_stores.crashpoints import VARIABLE
from petiole_workers.settings import Settings
from tests.e2e.shell import ENVIRONMENT
from tests.processes import Leashed
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

FLOWS = """
from typing import TypedDict

from petiole import END, START, StateGraph

class State(TypedDict, total=False):
    count: int

graph = StateGraph(State).add_node("tick", lambda state: {"count": 1}).add_edge(START, "tick").add_edge("tick", END).compile(name="tick")
"""


def worker(folder: Path, url: str, name: str, crash: str = "") -> Leashed:
    return Leashed(
        [
            sys.executable,
            "-m",
            "petiole",
            "worker",
            "--graphs",
            "flows:graph",
            "--pool",
            "solo",
            "--name",
            name,
        ],
        log=folder / f"{name}.log",
        env={
            **ENVIRONMENT,
            "PETIOLE_STORE": url,
            "PETIOLE_DATA_DIR": str(folder / "data"),
            "PETIOLE_SWEEP": "0.5",
            "PETIOLE_LEASE": "3",
            **({VARIABLE: crash} if crash else {}),
        },
        cwd=folder,
    )


def test_no_time_is_lost_or_doubled(tmp_path: Path, postgres_url: str) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    with Client(postgres_url, settings=Settings()) as client:
        made = client.create_schedule("tick", "tick", {}, every=1.0, missed="all")
        assert made.anchor is not None
        # It dies when the third run is stored and its schedule is not moved on; its supervisor starts it again.
        died = tmp_path / "died"
        first = worker(tmp_path, postgres_url, "first", f"submit.after:3:{died}")
        wait_until(died.exists, 60, first.tail)
        wait_until(lambda: client.get_schedule("tick").fired >= 4, 60, first.tail)
        first.kill()
        second = worker(tmp_path, postgres_url, "second")
        wait_until(lambda: client.get_schedule("tick").fired >= 8, 60, second.tail)
        kept = client.pause_schedule("tick")
        wait_until(lambda: not [*client.list_runs(tag=made.tag, status="running")], 60, second.tail)
        starts = sorted(run.run_at or run.created_at for run in client.list_runs(tag=made.tag))
        assert [round(at - made.anchor, 3) for at in starts] == [float(n + 1) for n in range(kept.fired)]
        wait_until(
            lambda: {run.status for run in client.list_runs(tag=made.tag)} == {"succeeded"}, 60, second.tail
        )
        assert second.stop() == 0, second.tail()
