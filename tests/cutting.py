"""A TCP proxy in this process that cuts a connection at the very message a test names."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit


class CuttingProxy:
    """Stands before a server. Armed with ``cut``, it breaks the connection on which a message comes that holds ``word``.

    ``delivered``: the server gets that message and its answer is lost; otherwise the message itself is.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        user = f"{parts.username}@" if parts.username else ""
        netloc = f"{user}127.0.0.1:{self._listener.getsockname()[1]}"
        query = "&".join(filter(None, [parts.query, "sslmode=disable&gssencmode=disable"]))
        self.url = urlunsplit(parts._replace(netloc=netloc, query=query))
        self.cuts = 0
        self._word: bytes | None = None
        self._delivered = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, word: bytes, *, delivered: bool) -> None:
        """Break the next connection that says ``word``; only that one."""
        self._delivered, self._word = delivered, word

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                threading.Thread(target=self._up, args=(client, server), daemon=True).start()
                threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), client, server:
            while data := client.recv(65536):
                if self._word is not None and self._word in data:
                    self._word = None
                    self.cuts += 1
                    client.shutdown(socket.SHUT_RDWR)  # whatever the server answers is lost
                    if self._delivered:
                        server.sendall(data)
                        server.shutdown(socket.SHUT_WR)
                    else:
                        server.shutdown(socket.SHUT_RDWR)
                    return
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
