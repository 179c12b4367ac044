"""Settings: which place wins, what is refused, and what the message says."""

from __future__ import annotations

from pathlib import Path

import pytest

from petiole_stores.errors import ConfigurationError
from petiole_workers.settings import Settings, environment, load_settings, origins


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.petiole]\nlease = 9\nqueue-type = "quorum"\ngraphs = ["a:b"]\n'
    )
    return tmp_path


def test_flags_win_over_environment_over_pyproject(folder: Path) -> None:
    environ = {"PETIOLE_LEASE": "12", "PETIOLE_GRAPHS": "c:d, e:f,", "PETIOLE_TEST_X": "1", "PATH": "x"}
    flags = {"lease": 20, "store": None}
    found = load_settings(flags, environ=environ, folder=folder)
    assert (found.lease, found.graphs, found.queue_type, found.sweep) == (20.0, ["c:d", "e:f"], "quorum", 2.0)
    assert origins(flags, environ=environ, folder=folder) == {
        "lease": "the arguments", "graphs": "the environment", "queue_type": "[tool.petiole] in pyproject.toml",
    }  # fmt: skip


def test_the_nearest_pyproject_counts(folder: Path) -> None:
    (folder / "sub").mkdir()
    assert load_settings(environ={}, folder=folder / "sub").lease == 9.0
    (folder / "sub" / "pyproject.toml").write_text("")
    assert load_settings(environ={}, folder=folder / "sub").lease == 15.0


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"PETIOLE_LAESE": "3"}, "the environment sets 'laese', which is no setting"),
        ({"PETIOLE_LEASE": "soon"}, "the environment sets lease to 'soon'"),
        ({"PETIOLE_LEASE": "nan"}, "lease is nan s"),
        ({"PETIOLE_LEASE": "0"}, "lease is 0.0 s: take 0.05"),
        ({"PETIOLE_SWEEP": "-1"}, "sweep is -1"),
        ({"PETIOLE_BEAT": "10", "PETIOLE_LEASE": "15"}, "beat at least twice in a lease"),
        ({"PETIOLE_BATCH": "0"}, "batch is 0: take at least 1"),
        ({"PETIOLE_CONCURRENCY": "0"}, "concurrency is 0: take at least 1"),
        ({"PETIOLE_MAX_TASKS_PER_CHILD": "-1"}, "max_tasks_per_child is -1: take at least 1"),
        ({"PETIOLE_POOL": "processes"}, "sets pool to 'processes'"),
        ({"PETIOLE_QUEUES": "a,@b"}, "queue '@b'"),
        ({"PETIOLE_QUEUE": ""}, "queue ''"),
    ],
)
def test_what_is_wrong_is_named(environ: dict[str, str], words: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ=environ, folder=tmp_path)
    assert words in str(caught.value)


def test_a_broken_pyproject_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.petiole\n")
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml cannot be read"):
        load_settings(environ={}, folder=tmp_path)


def test_a_child_loads_what_its_parent_has_whatever_lies_in_its_folder(folder: Path) -> None:
    settings = Settings(lease=3.0, graphs=["x:y", "z:w"], publisher_confirms=True)
    assert (
        load_settings(environ=environment(settings, {"PETIOLE_LEASE": "99", "HOME": "/"}), folder=folder)
        == settings
    )


@pytest.mark.parametrize(("lease", "grace"), [(0.5, 1.0), (15.0, 5.0), (300.0, 10.0)])
def test_a_lost_message_is_missed_after_a_third_of_a_lease_within_bounds(lease: float, grace: float) -> None:
    assert Settings(lease=lease).publish_grace == grace


@pytest.mark.parametrize("name", ["PETIOLE_TEST_REDIS", "PETIOLE_TORTURE_SECONDS", "PETIOLE_WORKER_ID"])
def test_what_tests_and_workers_are_told_by_the_environment_is_no_setting(name: str, tmp_path: Path) -> None:
    assert load_settings(environ={name: "20"}, folder=tmp_path) == load_settings(environ={}, folder=tmp_path)


def test_what_kubernetes_tells_of_services_of_that_name_is_no_setting(tmp_path: Path) -> None:
    told = {
        "PETIOLE_SERVICE_HOST": "10.0.0.1",
        "PETIOLE_SERVICE_PORT": "8642",
        "PETIOLE_SERVICE_PORT_HTTP": "8642",
        "PETIOLE_PORT": "tcp://10.0.0.1:8642",
        "PETIOLE_PORT_8642_TCP": "tcp://10.0.0.1:8642",
        "PETIOLE_PORT_8642_TCP_PROTO": "tcp",
        "PETIOLE_PORT_8642_TCP_PORT": "8642",
        "PETIOLE_PORT_8642_TCP_ADDR": "10.0.0.1",
        "PETIOLE_REDIS_PORT": "tcp://10.0.0.2:6379",
        "PETIOLE_REDIS_SERVICE_HOST": "10.0.0.2",
    }
    assert load_settings(environ=told, folder=tmp_path) == load_settings(environ={}, folder=tmp_path)
    assert load_settings(environ=told | {"PETIOLE_PORT": "8700"}, folder=tmp_path).port == 8700
    with pytest.raises(ConfigurationError, match="redis_port"):
        load_settings(environ={"PETIOLE_REDIS_PORT": "6379"}, folder=tmp_path)
