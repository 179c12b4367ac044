"""A run is accepted without a broker: soon, and with a word on what comes next."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from petiole_stores.opening import open_store
from tests.cluster.worker import IMPORTS
from tests.processes import free_port

#: A refused connection is known at once; the rest is for a busy machine to start Python and import Celery.
SOON = 20.0


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_run_start_with_a_dead_broker(scheme: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    open_store(url).close()
    base = {key: text for key, text in os.environ.items() if not key.startswith("PETIOLE_")}
    began = time.monotonic()
    said = subprocess.run(
        [
            sys.executable, "-m", "petiole", "run", "start", "anything", "--input", "{}", "--thread", "t1",
            "--store", url, "--broker", f"{scheme}://127.0.0.1:{free_port()}/",
        ],
        env=base | {"PYTHONPATH": IMPORTS}, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    took = time.monotonic() - began
    assert said.returncode == 0, said.stderr
    assert took < SOON
    assert "the sweep will publish them" in said.stderr
    with open_store(url) as store:
        run = store.newest_run("t1")
        assert run is not None
        assert run.status == "queued"
