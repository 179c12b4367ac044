"""The proxy of the torture harness, before a server that answers each line in upper case."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.torture.proxy import HOST, Proxy, ProxyLoop
from tests.waiting import wait_until

QUIET = 0.2  # seconds in which an answer would have come several times over


class Upper(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.server.lines.append(line)  # type: ignore[attr-defined]
            self.wfile.write(line.upper())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), Upper)
        self.lines: list[bytes] = []


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    loop = ProxyLoop()
    made = Proxy(loop, "test", (HOST, server.server_address[1]))
    yield made
    made.close()
    loop.close()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with connect(proxy) as made:
        assert ask(made, b"hello\n") == b"HELLO\n"
        yield made


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), 5)


def ask(client: socket.socket, line: bytes) -> bytes:
    client.sendall(line)
    return client.recv(100)


def silent(client: socket.socket) -> bool:
    """Does nothing come, not even an end?"""
    client.settimeout(QUIET)
    try:
        return client.recv(100) is None
    except TimeoutError:
        return True
    finally:
        client.settimeout(5)


def test_a_cut_resets_what_is_open_and_takes_new_connections(proxy: Proxy, client: socket.socket) -> None:
    assert proxy.cut() == 1
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with connect(proxy) as other:
        assert ask(other, b"a\n") == b"A\n"


def test_refused_until_healed_on_the_same_port(proxy: Proxy, client: socket.socket) -> None:
    port = proxy.port
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.heal()
    assert proxy.port == port
    with connect(proxy) as other:
        assert ask(other, b"a\n") == b"A\n"


def test_what_was_stalled_goes_on_after_healing(proxy: Proxy, client: socket.socket, server: Server) -> None:
    proxy.hold("stall")
    client.sendall(b"late\n")
    assert silent(client)
    assert server.lines == [b"hello\n"]
    proxy.heal()
    assert client.recv(100) == b"LATE\n"


def test_what_was_swallowed_is_gone_and_its_connection_reset(
    proxy: Proxy, client: socket.socket, server: Server
) -> None:
    proxy.hold("swallow")
    client.sendall(b"gone\n")
    with connect(proxy) as other:
        other.sendall(b"gone too\n")
        assert silent(client)
        assert silent(other)
        proxy.heal()
        for end in (client, other):
            with pytest.raises(ConnectionResetError):
                end.recv(1)
    assert server.lines == [b"hello\n"]


def test_one_way_lets_requests_through_and_loses_answers(
    proxy: Proxy, client: socket.socket, server: Server
) -> None:
    proxy.hold("swallow", ["down"])
    client.sendall(b"done\n")
    wait_until(lambda: server.lines[1:] == [b"done\n"], 5, "the request")
    assert silent(client)


def test_forgotten_connections_stay_silent_and_new_ones_work(proxy: Proxy, client: socket.socket) -> None:
    proxy.hold("swallow")
    client.sendall(b"gone\n")
    assert silent(client)
    proxy.heal(forget=True)
    client.sendall(b"again\n")
    assert silent(client)
    with connect(proxy) as other:
        assert ask(other, b"a\n") == b"A\n"


def test_in_doubt_the_request_is_done_and_its_answer_cut_off(
    proxy: Proxy, client: socket.socket, server: Server
) -> None:
    proxy.put_in_doubt(1.0)
    client.sendall(b"done\n")
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert server.lines == [b"hello\n", b"done\n"]
    assert proxy.cuts == 1


def test_a_slow_way_keeps_the_order(proxy: Proxy, client: socket.socket) -> None:
    proxy.slow(0.05)
    began = time.monotonic()
    for number in range(5):
        client.sendall(b"line %d\n" % number)
        time.sleep(0.005)
    proxy.slow(0.0)
    client.sendall(b"last\n")
    expected = b"".join(b"LINE %d\n" % number for number in range(5)) + b"LAST\n"
    found = b""
    while len(found) < len(expected):
        found += client.recv(100)
    assert found == expected
    assert time.monotonic() - began >= 0.05
