"""The README's example, taken from README.md itself and run in a fresh folder: what a newcomer types has to work."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from petiole import open_store
from tests.processes import Leashed
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PETIOLE_")} | {
    "PYTHONPATH": os.pathsep.join(str(ROOT / floor) for floor in ("app", "workers", "stores"))
}

pytestmark = pytest.mark.slow


def block(language: str, *marks: str) -> str:
    """The one fenced block of a language in the README in which all of ``marks`` occur."""
    fenced = re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    found = [text for text in fenced if all(mark in text for mark in marks)]
    assert len(found) == 1, f"{len(found)} {language} blocks of README.md have {marks}"
    return str(found[0])


def commands() -> list[list[str]]:
    """The `petiole` command lines of the block for the embedded broker, as argument lists."""
    lines = block("console", "run start").splitlines()
    return [shlex.split(line.removeprefix("$ ").removesuffix("&")) for line in lines]


def run(folder: Path, *arguments: str) -> str:
    """Run Python in the folder; its standard output. The output is shown when it fails."""
    answer = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=45,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the README's `pricing.py` and nothing else."""
    (tmp_path / "pricing.py").write_text(block("python", "class State", 'name="pricing"'))
    return tmp_path


@pytest.fixture
def worker(folder: Path) -> Iterator[Leashed]:
    """The worker that the README starts in the background, with the embedded store and broker."""
    program, *arguments = commands()[0]
    assert (program, arguments[0]) == ("petiole", "worker")
    process = Leashed(
        [sys.executable, "-m", "petiole", *arguments], log=folder / "worker.log", env=ENVIRONMENT, cwd=folder
    )
    yield process
    assert process.stop() == 0, process.tail()


def test_invoke_in_this_process(folder: Path) -> None:
    (folder / "here.py").write_text(block("python", "graph.invoke(", "sqlite:///pricing.db"))
    assert run(folder, "here.py") == "{'product': 'pen', 'price': 3}\n"
    with open_store(f"sqlite:///{folder}/pricing.db") as store:
        assert store.list("1")[0].state["best"] == {"product": "pen", "price": 3}


def test_on_a_worker_from_the_command_line_and_from_python(folder: Path, worker: Leashed) -> None:
    _, start, history = commands()
    state = json.loads(run(folder, "-m", *start))
    assert state["best"] == {"product": "pen", "price": 3}
    assert [offer["product"] for offer in state["offers"]] == ["pen", "paper"]

    shown = run(folder, "-m", *history)
    assert [line.split()[2].rstrip(",") for line in shown.splitlines()[1:4]] == [
        "choose",
        "ask",
        "__start__",
    ], shown

    (folder / "client.py").write_text(block("python", "with Client()"))
    for _ in range(2):  # the same idempotency key: the same run
        assert run(folder, "client.py") == "{'product': 'pen', 'price': 3}\n"
    assert len(json.loads(run(folder, "-m", "petiole", "run", "list", "-o", "json"))) == 2
    wait_until(lambda: "attempt 1, key " in worker.tail(100_000), message=worker.tail)


def test_on_a_celery_app_that_one_has(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = re.search(r"`(petiole\.attach\(app, [^`]+\))`", README)
    assert call, "README.md shows no attach()"
    monkeypatch.setitem(ENVIRONMENT, "PETIOLE_STORE", f"sqlite:///{folder}/shop.db")
    for name in ("box", "control"):
        (folder / name).mkdir()
    (folder / "shop.py").write_text(
        f"""
import petiole
from celery import Celery

app = Celery("shop", broker="filesystem://")
app.conf.broker_transport_options = {{
    "data_folder_in": "box", "data_folder_out": "box", "control_folder": "control", "polling_interval": 0.05
}}

@app.task
def own():
    open("own", "w").close()

{call.group(1)}
"""
    )
    run(folder, "-m", *commands()[1][:-3], "--thread", "a")  # submitted before any worker is there
    run(folder, "-c", "import shop; shop.own.delay()")
    command = [sys.executable, "-m", "celery", "-A", "shop", "worker", "-P", "threads", "-c", "2"]
    worker = Leashed(command, log=folder / "shop.log", env=ENVIRONMENT, cwd=folder)
    try:
        with open_store(ENVIRONMENT["PETIOLE_STORE"]) as store:
            wait_until(lambda: any("best" in made.state for made in store.list("a")), 30, worker.tail)
        wait_until((folder / "own").exists, 30, worker.tail)
    finally:
        worker.stop()
