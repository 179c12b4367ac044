"""The order in which a test session looks for a server, and whose data it may touch; with fakes for the servers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.discovery import RABBITMQ, Found, Kind, NoServerError, VirtualHosts, control_of, discover
from tests.processes import Leashed
from tests.servers import OwnRedis, OwnServer, rabbitmq_answers, scratch


class FakeServer(OwnServer):
    """A private server without a process."""

    kind = "fake"
    reason: str | None = None
    fails = False
    closed = 0

    @staticmethod
    def missing() -> str | None:
        return FakeServer.reason

    @property
    def url(self) -> str:
        return "fake://private"

    def start(self) -> FakeServer:
        if FakeServer.fails:
            raise RuntimeError("no memory")
        return self

    def close(self) -> None:
        FakeServer.closed += 1
        super().close()

    def _launch(self) -> Leashed:
        raise AssertionError("a fake is never launched")

    def _ping(self) -> bool:
        return True

    def flush(self) -> None:
        raise AssertionError("a fake is never flushed")


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Found]:
    """Discover a fake kind; ``up`` are the URLs that answer, ``missing`` why none can be started."""

    def run(environ: dict[str, str], up: set[str], missing: str | None = None, fails: bool = False) -> Found:
        monkeypatch.setattr(FakeServer, "reason", missing)
        monkeypatch.setattr(FakeServer, "fails", fails)
        monkeypatch.setattr(FakeServer, "closed", 0)
        kind = Kind(
            "Fake",
            "PETIOLE_TEST_FAKE",
            ("fake://a", "fake://b"),
            up.__contains__,
            up.__contains__,
            FakeServer,
            lambda s: s.url,
        )
        found = discover(kind, environ)
        if found.own is not None:
            found.own.close()
        return found

    return run


def test_the_variable_comes_first(look: Callable[..., Found]) -> None:
    found = look({"PETIOLE_TEST_FAKE": "fake://named"}, up={"fake://named", "fake://a"})
    assert found == Found("fake://named")


def test_a_silent_server_in_the_variable_is_an_error_and_no_fallback(look: Callable[..., Found]) -> None:
    with pytest.raises(LookupError, match="PETIOLE_TEST_FAKE=fake://named: nothing usable answers there"):
        look({"PETIOLE_TEST_FAKE": "fake://named"}, up={"fake://a"})


def test_the_usual_urls_are_tried_in_turn(look: Callable[..., Found]) -> None:
    assert look({}, up={"fake://b"}) == Found("fake://b")
    assert look({}, up={"fake://a", "fake://b"}) == Found("fake://a")


def test_else_a_private_one_is_started(look: Callable[..., Found]) -> None:
    found = look({}, up=set())
    assert found.url == "fake://private"
    assert isinstance(found.own, FakeServer)


def test_private_on_request_although_one_runs(look: Callable[..., Found]) -> None:
    assert look({"PETIOLE_TEST_PRIVATE": "1"}, up={"fake://a"}).url == "fake://private"


def test_no_way_is_left_and_every_reason_is_named(look: Callable[..., Found]) -> None:
    with pytest.raises(
        NoServerError, match=r"PETIOLE_TEST_FAKE is not set.*standard port.*apt-get install fake"
    ):
        look({}, up=set(), missing="apt-get install fake")


def test_a_private_server_that_fails_to_start_is_removed(look: Callable[..., Found]) -> None:
    with pytest.raises(RuntimeError, match="no memory"):
        look({}, up=set(), fails=True)
    assert FakeServer.closed == 1


@pytest.mark.parametrize(("ci", "outcome"), [(None, "skipped"), ("true", "errors")])
def test_without_a_server_tests_skip_here_and_fail_in_ci(
    tmp_path: Path, ci: str | None, outcome: str
) -> None:
    # A session of its own, in which no PostgreSQL can be had: no binaries are found and nothing listens.
    (tmp_path / "conftest.py").write_text(
        "import dataclasses, tests.conftest as suite\n"
        "from tests.conftest import postgres_databases, postgres_url\n"
        "from tests.servers import OwnPostgres\n"
        "OwnPostgres.missing = staticmethod(lambda: 'nothing installed')\n"
    )
    (tmp_path / "test_it.py").write_text("def test_it(postgres_url): assert postgres_url\n")
    environment = {
        name: value for name, value in os.environ.items() if name not in {"CI", "PETIOLE_TEST_POSTGRES"}
    }
    environment |= {"PETIOLE_TEST_PRIVATE": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    if ci:
        environment["CI"] = ci
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:celery",
        "-rs",
        str(tmp_path),
    ]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert "nothing installed" in done.stdout, done.stdout + done.stderr
    assert f"1 {outcome[:5]}" in done.stdout.splitlines()[-1]
    assert (done.returncode == 0) is (ci is None)


def test_virtual_hosts_are_made_named_and_removed() -> None:
    calls: list[tuple[str, ...]] = []

    def control(*arguments: str) -> str:
        calls.append(arguments)
        return ""

    with VirtualHosts("amqp://me:secret@host:5672//", control).fresh() as url:
        name = f"petiole_test_{os.getpid()}_1"
        assert url == f"amqp://me:secret@host:5672/{name}"
    assert calls == [
        ("add_vhost", name),
        ("set_permissions", "-p", name, "me", ".*", ".*", ".*"),
        ("delete_vhost", name),
    ]


def test_virtual_hosts_of_dead_processes_only_are_leftovers() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    deleted: list[str] = []

    def control(command: str, *arguments: str) -> str:
        deleted.extend(arguments)
        names = [
            "/",
            "shop",
            f"petiole_test_{os.getpid()}_1",
            f"petiole_test_{ended.pid}_4",
            "petiole_test_x_1",
        ]
        return "\n".join(names) if command == "list_vhosts" else ""

    VirtualHosts("amqp://host//", control).drop_leftovers()
    assert deleted == [f"petiole_test_{ended.pid}_4"]


def test_a_named_remote_rabbitmq_is_used_as_it_is() -> None:
    url = "amqp://me@elsewhere.example:5672/shared"
    control = control_of(Found(url), {RABBITMQ.variable: url})
    assert control is None
    with VirtualHosts(url, control).fresh() as given:
        assert given == url


def test_a_wrong_amqp_url_names_the_right_form() -> None:
    with pytest.raises(ValueError, match="write amqp://user:password@host:port/virtual_host"):
        rabbitmq_answers("http://host")


def test_folders_of_dead_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    stale, other = tmp_path / f"petiole-redis-{ended.pid}-abc", tmp_path / "petiole-redis-notes"
    stale.mkdir()
    other.mkdir()
    mine = scratch("redis")
    assert sorted(tmp_path.iterdir()) == sorted([mine, other])


def test_without_binaries_the_reason_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.redis_binary", lambda: None)
    assert "apt-get install redis-server" in str(OwnRedis.missing())
