"""A folder in which commands of ``petiole`` are typed, and a real worker on its embedded store and broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.processes import Leashed
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PETIOLE_")} | {
    "PYTHONPATH": os.pathsep.join(str(ROOT / floor) for floor in ("app", "workers", "stores"))
}
PETIOLE = [sys.executable, "-m", "petiole"]


class Shell:
    """A folder in which commands are typed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str, code: int = 0) -> str:
        """What a command of ``petiole`` prints; it has to end with this code."""
        answer = subprocess.run(
            [*PETIOLE, *arguments],
            cwd=self.folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert answer.returncode == code, f"{arguments}: {answer.returncode}\n{answer.stdout}{answer.stderr}"
        return answer.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "-o", "json"))

    def questions(self, thread: str, *, count: int = 1) -> list[Any]:
        """What a thread asks, once it asks so much."""

        def asked() -> list[Any]:
            found = self.json("run", "interrupts", thread)
            return found if len(found) == count else []

        return wait_until(asked, 60, f"{count} questions of {thread}")


@contextmanager
def serving(folder: Path, module: str, text: str) -> Iterator[Shell]:
    """A folder with this module and a worker that serves its ``graph``."""
    (folder / f"{module}.py").write_text(text)
    worker = Leashed(
        [*PETIOLE, "worker", "--graphs", f"{module}:graph"],
        log=folder / "worker.log",
        env=ENVIRONMENT,
        cwd=folder,
    )
    yield Shell(folder)
    assert worker.stop() == 0, worker.tail()
