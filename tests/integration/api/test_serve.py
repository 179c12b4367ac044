"""``petiole serve`` and ``petiole dev`` as processes: who is let in, what is logged, how they stop."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from petiole import Client, Settings
from petiole.access.keys import Keys
from petiole_workers.settings import environment
from tests.processes import Leashed, alive, answers, free_port
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

ROOT = Path(__file__).parents[3]
PATH = os.pathsep.join(str(ROOT / part) for part in ("app", "workers", "stores"))
PASSWORD = "broker-password-4711"
#: A broker that nobody reaches: what is submitted waits in the store.
BROKER = f"redis://:{PASSWORD}@127.0.0.1:1/0"


class Served:
    """A folder with a store of its own, and the processes that are started on it."""

    def __init__(self, folder: Path, broker: str | None) -> None:
        self.folder = folder
        self.settings = Settings(data_dir=str(folder), store=f"sqlite:///{folder}/store.db", broker=broker)
        self.client = Client(settings=self.settings)
        self.processes: list[Leashed] = []

    def run(self, *command: str) -> Leashed:
        base = {key: text for key, text in os.environ.items() if not key.startswith("PETIOLE_")}
        env = environment(self.settings, base) | {"PYTHONPATH": PATH, "PYTHONUNBUFFERED": "1"}
        log = self.folder / f"log-{len(self.processes)}"
        process = Leashed([sys.executable, "-m", "petiole", *command], log=log, env=env, cwd=self.folder)
        self.processes.append(process)
        return process

    def url(self, process: Leashed) -> str:
        """Where it serves, once it says so."""

        def look() -> str | None:
            assert process.running(), process.tail()
            found = re.search(r"serving (http://\S+) ", process.tail(20_000))
            return found[1] if found else None

        found = wait_until(look, 60, lambda: f"the server; its log ends:\n{process.tail()}")
        assert found is not None
        return found

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        self.client.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("served"), BROKER)
    yield made
    made.close()


@pytest.fixture(scope="module")
def open_server(place: Served) -> Iterator[httpx.Client]:
    """A server on loopback, before there is any key."""
    process = place.run("serve", "--port", "0", "--no-auth")
    with httpx.Client(base_url=place.url(process), timeout=30) as http:
        yield http


@pytest.fixture(scope="module")
def closed_server(place: Served, open_server: httpx.Client) -> Iterator[tuple[httpx.Client, str, Leashed]]:
    """A server that asks for keys, with the first administrator's, and its process."""
    token = Keys(place.client.store).create("admin", ["admin"])[1]
    process = place.run("serve", "--port", "0")
    with httpx.Client(base_url=place.url(process), timeout=30) as http:
        yield http, token, process


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def is_problem(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


# ---------------------------------------------------------------- without keys


def test_on_loopback_it_warns_and_lets_everybody_in(place: Served, open_server: httpx.Client) -> None:
    log = place.processes[0].tail(20_000)
    assert "WARNING: authentication is off" in log
    assert str(place.folder / "store.db") in log
    assert open_server.get("/livez").json() == {"status": "alive"}
    thread = f"t-{uuid.uuid4()}"
    made = open_server.post(
        "/api/v1/runs", json={"graph": "shop.order", "input": {"n": 1}, "thread_id": thread}
    )
    assert made.status_code in (200, 201, 202), made.text
    [entry] = open_server.get("/api/v1/audit", params={"thread_id": thread}).json()["items"]
    assert (entry["actor"], entry["action"], entry["address"]) == ("anonymous", "run.submit", "127.0.0.1")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_pages_of_other_sites_reach_nothing(
    open_server: httpx.Client, headers: dict[str, str], status: int
) -> None:
    body = {"name": "theirs", "scopes": ["admin"]}
    is_problem(open_server.post("/api/v1/keys", json=body, headers=headers), status)


def test_where_others_reach_it_it_does_not_start_without_a_key(tmp_path: Path) -> None:
    bare = Served(tmp_path, BROKER)
    process = bare.run("serve", "--host", "0.0.0.0", "--port", "0")
    try:
        assert process.wait(60) == 2
        assert "petiole key create" in process.tail()
        assert "Traceback" not in process.tail()
    finally:
        bare.close()


# ---------------------------------------------------------------- with keys


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/runs",
        "/api/v1/keys",
        "/api/v1/audit",
        "/metrics",
        "/api/v1/../../etc/passwd",
        "/%2e%2e/etc/passwd",
    ],
)
def test_strangers_get_a_problem_and_nothing_else(
    closed_server: tuple[httpx.Client, str, Leashed], path: str
) -> None:
    http, token, _ = closed_server
    is_problem(http.get(path), 401)
    is_problem(http.get(path, headers=bearer(token[:-1])), 401)
    is_problem(http.get(path, headers=bearer("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.")), 401)
    is_problem(http.get(path, headers={"Authorization": "Basic YTpi"}), 401)


def test_a_key_that_is_revoked_is_refused_within_seconds(
    place: Served, closed_server: tuple[httpx.Client, str, Leashed]
) -> None:
    http, admin, _ = closed_server
    made = http.post("/api/v1/keys", json={"name": "n", "scopes": ["read"]}, headers=bearer(admin)).json()
    reader = bearer(made["token"])
    assert http.get("/api/v1/runs", headers=reader).status_code == 200
    revoke = place.run("key", "revoke", made["key_id"])
    assert revoke.wait(60) == 0, revoke.tail()
    answer = wait_until(
        lambda: found if (found := http.get("/api/v1/runs", headers=reader)).status_code != 200 else None, 15
    )
    assert answer is not None
    is_problem(answer, 401)
    assert "revoked" in answer.json()["detail"]
    [entry] = http.get("/api/v1/audit", params={"action": "key.revoke"}, headers=bearer(admin)).json()[
        "items"
    ]
    assert entry["actor"].startswith("cli:")


def test_readiness_names_the_broker_and_keeps_its_password(
    closed_server: tuple[httpx.Client, str, Leashed],
) -> None:
    http, token, _ = closed_server
    answer = http.get("/readyz", headers=bearer(token))
    is_problem(answer, 503)
    assert answer.json()["checks"] == {"store": "ok", "schema": "ok", "broker": "failed"}
    assert PASSWORD not in answer.text


@pytest.mark.parametrize(
    "body",
    [b"{", b"\xff\xfe", b"[" * 5000, b"null", b'{"graph": 1}', b'{"graph": "g", "input": ' + b"9" * 5000],
)
def test_malformed_bodies_get_a_problem(
    closed_server: tuple[httpx.Client, str, Leashed], body: bytes
) -> None:
    http, token, _ = closed_server
    headers = bearer(token) | {"Content-Type": "application/json"}
    answer = http.post("/api/v1/runs", content=body, headers=headers)
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_in_pieces_that_never_ends_is_cut_off(
    closed_server: tuple[httpx.Client, str, Leashed],
) -> None:
    http, token, _ = closed_server

    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 65536
            yield b" " * 65536

    headers = bearer(token) | {"Content-Type": "application/json"}
    try:
        answer = http.post("/api/v1/runs", content=endless(), headers=headers)
    except httpx.TransportError:
        pass  # the connection was closed while this side still wrote, and what had come back was lost with it
    else:
        is_problem(answer, 413)
    assert sent < 4 * Settings().max_body
    assert http.get("/livez").status_code == 200


def test_no_key_token_or_password_is_in_the_log_and_sigterm_ends_it(
    place: Served, closed_server: tuple[httpx.Client, str, Leashed]
) -> None:
    """The last test of this server."""
    http, token, process = closed_server
    http.post("/login", data={"key": token})
    http.post("/api/v1/runs", json={"graph": "g", "input": {}}, headers=bearer(token))
    http.get("/api/v1/runs", params={"text": token}, headers=bearer(token[:-1] + "x"))
    http.close()
    assert process.stop(30) == 0
    log = process.tail(1_000_000)
    assert token not in log
    assert token.rpartition("_")[2] not in log
    assert PASSWORD not in log


# ---------------------------------------------------------------- petiole dev

FLOW = """
from typing import TypedDict
from petiole import END, START, StateGraph

class State(TypedDict, total=False):
    n: int

graph = (
    StateGraph(State).add_node("one", lambda state: {}).add_edge(START, "one").add_edge("one", END).compile(name="g")
)
"""


def test_dev_has_the_server_beside_its_workers_and_takes_it_along(tmp_path: Path) -> None:
    place = Served(tmp_path, None)
    (tmp_path / "flows.py").write_text(FLOW)
    port = free_port()
    process = place.run(
        "dev", "--graphs", "flows:graph", "--concurrency", "1", "--no-reload", "--port", str(port)
    )
    try:
        url = place.url(process)
        assert url.endswith(f":{port}")
        wait_until(lambda: httpx.get(f"{url}/readyz", timeout=10).status_code == 200, 60, process.tail)
        [server] = [pid for pid in children(process.pid) if b"serve" in command_of(pid)]

        process.send(signal.SIGKILL)

        wait_until(lambda: not alive(server) and not answers("127.0.0.1", port), 30)
    finally:
        place.close()


def test_dev_ends_at_once_where_its_port_is_taken(tmp_path: Path) -> None:
    place = Served(tmp_path, None)
    (tmp_path / "flows.py").write_text(FLOW)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = place.run("dev", "--graphs", "flows:graph", "--port", str(port))
        try:
            started: set[int] = set()
            wait_until(lambda: started.update(children(process.pid)) or not process.running(), 60)
            assert process.wait(1) == 2
            log = process.tail(20_000)
            assert (
                f"cannot listen at 127.0.0.1:{port}: Address already in use; give another --host or --port"
                in log
            )
            assert "waits for the next change" not in log
            wait_until(lambda: not any(alive(pid) for pid in started), 30, lambda: str(started))
        finally:
            place.close()


def test_dev_without_a_graph_does_not_wait_for_changes_of_files_that_it_has_not(tmp_path: Path) -> None:
    place = Served(tmp_path, None)
    process = place.run("dev", "--no-ui")
    try:
        assert process.wait(60) == 2
        assert "no graph is named" in process.tail()
    finally:
        place.close()


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found


def command_of(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
