"""``graph.invoke`` in a process that is killed: the next process goes on from the last checkpoint at once."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from tests.processes import Leashed
from tests.waiting import wait_until

SCRIPT = """
import os, sys, time
from pathlib import Path
from typing import TypedDict
from petiole_stores.opening import open_store
from petiole_workers.graph import END, START, StateGraph

folder, url = Path(sys.argv[1]), sys.argv[2]

class State(TypedDict, total=False):
    log: list

def note(name):
    with (folder / "ran").open("a") as file:
        file.write(f"{name} {os.getpid()}\\n")

def first(state):
    note("first")
    return {"log": ["first"]}

def second(state):
    note("second")
    while not (folder / "go").exists():
        time.sleep(0.01)
    return {"log": [*state["log"], "second"]}

builder = StateGraph(State).add_node("first", first).add_node("second", second)
builder.add_edge(START, "first").add_edge("first", "second").add_edge("second", END)
graph = builder.compile(checkpointer=open_store(url))
config = {"configurable": {"thread_id": "t"}}
given = {"log": []} if sys.argv[3] == "start" else None
print(graph.invoke(given, config))
(folder / f"done-{sys.argv[3]}").touch()
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_killed_in_mid_node(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = (
        f"sqlite:///{tmp_path / 'p.db'}" if kind == "sqlite" else str(request.getfixturevalue("postgres_url"))
    )
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    ran = tmp_path / "ran"

    def start(how: str) -> Leashed:
        command = [sys.executable, str(script), str(tmp_path), url, how]
        path = os.pathsep.join(p for p in sys.path if p)
        return Leashed(command, log=tmp_path / f"{how}.log", env=os.environ | {"PYTHONPATH": path})

    def executions() -> list[str]:
        return [line.split()[0] for line in ran.read_text().splitlines()] if ran.exists() else []

    victim = start("start")
    wait_until(lambda: executions() == ["first", "second"], 20, "the first process in its second node")
    victim.kill()

    (tmp_path / "go").touch()
    began = time.monotonic()
    heir = start("again")
    wait_until((tmp_path / "done-again").exists, 20, lambda: f"the second process's end\n{heir.tail()}")

    heir.wait(20)
    assert executions() == ["first", "second", "second"], "the checkpointed node is not run again"
    assert "['first', 'second']" in (tmp_path / "again.log").read_text()
    assert time.monotonic() - began < 10, "no waiting for the dead process's lease of 15 s"
