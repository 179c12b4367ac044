"""A TCP proxy that can fall silent: connections stay open, bytes are taken, and nothing comes through."""

from __future__ import annotations

import selectors
import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

HOST = "127.0.0.1"


class Proxy:
    """Forwards a port of 127.0.0.1 to a server.

    While it is silent, peers see what a half-open connection shows them: the kernel takes what they send, and accepts new
    connections too, but there is never an answer.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server((HOST, 0))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._speaking, self._closing = threading.Event(), False
        self._speaking.set()
        self._thread = threading.Thread(target=self._run, name="test-proxy", daemon=True)
        self._thread.start()

    @classmethod
    def before(cls, url: str, default_port: int) -> Self:
        """A proxy before the server of a URL."""
        parts = urlsplit(url)
        return cls(parts.hostname or HOST, parts.port or default_port)

    def url(self, url: str) -> str:
        """The URL, led through this proxy."""
        parts = urlsplit(url)
        login, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login}{at}{HOST}:{self._listener.getsockname()[1]}"))

    def fall_silent(self) -> None:
        """Forward nothing from now on."""
        self._speaking.clear()

    def speak(self) -> None:
        """Go on, with what was held back."""
        self._speaking.set()

    def speak_in(self, seconds: float) -> None:
        """Go on after so many seconds."""
        threading.Timer(seconds, self.speak).start()

    def close(self) -> None:
        """Close every connection."""
        self._closing = True
        self.speak()
        self._thread.join()
        for key in [*self._selector.get_map().values()]:
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select(0.02):
                self._speaking.wait()
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fd >= 0 and key.fileobj.fileno() >= 0:  # type: ignore[union-attr]
                    self._forward(key.fileobj, key.data)  # type: ignore[arg-type]

    def _accept(self) -> None:
        one, _ = self._listener.accept()
        try:
            other = socket.create_connection(self._target, timeout=5)
        except OSError:
            one.close()
            return
        self._selector.register(one, selectors.EVENT_READ, other)
        self._selector.register(other, selectors.EVENT_READ, one)

    def _forward(self, one: socket.socket, other: socket.socket) -> None:
        try:
            data = one.recv(65536)
            if data:
                other.sendall(data)
        except OSError:
            data = b""
        if not data:
            for end in (one, other):
                self._selector.unregister(end)
                end.close()
