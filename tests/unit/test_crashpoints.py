"""Crash points: off by default, checked names, and a real SIGKILL at the time and in the process that were asked for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from petiole_stores import crashpoints
from petiole_stores.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
LOOP = """
import sys
from petiole_stores.crashpoints import reach
for turn in range(3):
    reach("finish.before")
    reach("finish.after")
    print(turn, flush=True)
"""


def run(spec: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, crashpoints.VARIABLE: spec, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", LOOP],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )


def test_every_point_is_in_the_code_and_every_one_in_the_code_is_known() -> None:
    used = {
        name
        for folder in ("stores", "workers", "app")
        for file in (ROOT / folder).rglob("*.py")
        for name in re.findall(r'\breach\("([^"]+)"\)', file.read_text(encoding="utf-8"))
    }
    assert used == set(crashpoints.POINTS)


def test_nothing_is_armed_in_a_process_that_was_not_asked() -> None:
    assert crashpoints._armed is None
    crashpoints.reach("finish.after")


def test_the_process_dies_at_the_nth_time() -> None:
    done = run("finish.after:2")
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "0\n")


def test_only_the_one_that_makes_the_file_dies(tmp_path: Path) -> None:
    mark = tmp_path / "once"
    first, second = run(f"finish.after:1:{mark}"), run(f"finish.after:1:{mark}")
    assert (first.returncode, first.stdout) == (-signal.SIGKILL, "")
    assert (second.returncode, second.stdout) == (0, "0\n1\n2\n")


@pytest.mark.parametrize("spec", ["finish.soon", "finish.after:0", "finish.after:x", "finish.after:1::all"])
def test_a_misspelt_one_is_an_error(spec: str) -> None:
    with pytest.raises(ConfigurationError, match=crashpoints.VARIABLE):
        crashpoints.Armed.parse(spec)
