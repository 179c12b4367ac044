"""A run of one store's production, reproduced on another store from the command line's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from petiole.cli import main
from petiole.testing import LocalWorker
from petiole_stores.opening import open_store
from tests.unit.driving import Switch, counting

pytestmark = pytest.mark.postgres


def test_from_sqlite_to_postgres_and_back(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    switch = Switch()
    switch.broken = True
    origin, file = f"sqlite:///{tmp_path}/origin.db", tmp_path / "t.json"
    with LocalWorker([counting(switch)], origin) as worker:
        worker.client.submit("counting", {"n": 1, "trail": ["x" * 10_000]}, thread_id="t")
        worker.run_until_idle()
    assert main(["run", "export", "t", "-f", str(file), "--store", origin]) == 0
    open_store(postgres_url).close()
    for store, thread in ((postgres_url, "there"), (origin, "back")):
        arguments = ["run", "import", str(file), "--thread", thread, "--store", store, "-o", "json"]
        assert main(arguments) == 0
        switch.broken = False
        with LocalWorker([counting(switch)], store) as worker:
            worker.client.unpause(thread)
            worker.run_through_timers()
            state = worker.client.state(thread)
            assert (state["n"], state["trail"][0]) == (4, "x" * 10_000)
            for point in worker.client.list_checkpoints(thread):
                assert worker.client.load_checkpoint(point.id).state == point.state
    assert main(["run", "import", str(file), "--thread", "back", "--store", origin]) != 0
    file.write_bytes(file.read_bytes()[:-9])
    capsys.readouterr()
    assert main(["run", "import", str(file), "--store", origin]) != 0
    assert "exported thread" in capsys.readouterr().err
