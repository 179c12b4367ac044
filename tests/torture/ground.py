"""Store and broker of one torture run: private servers that may be killed, and a link to them for each process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import redis

from petiole.defaults import ground as embedded_ground
from petiole_workers.settings import Settings
from tests.cluster.backends import delete_queues
from tests.servers import OwnPostgres, OwnRabbitMQ, OwnRedis, OwnServer
from tests.torture.proxy import HOST, Proxy, ProxyLoop

STORES = ("postgresql", "redis", "sqlite", "file")
BROKERS = ("redis", "rabbitmq", "embedded")
#: Ports that a URL leaves out.
PORTS = {"postgresql": 5432, "postgres": 5432, "redis": 6379, "amqp": 5672}


class UnavailableError(Exception):
    """This machine cannot run what was asked for."""


class Link:
    """The way of one process to its store and broker; ``None`` where there is nothing to stand between."""

    def __init__(self, name: str, store_url: str, broker_url: str, loop: ProxyLoop) -> None:
        self.name = name
        self.store, self.store_url = _proxied(loop, f"{name}-store", store_url)
        self.broker, self.broker_url = _proxied(loop, f"{name}-broker", broker_url)

    @property
    def proxies(self) -> list[Proxy]:
        return [proxy for proxy in (self.store, self.broker) if proxy is not None]

    def heal(self) -> None:
        for proxy in self.proxies:
            proxy.heal()


class TortureGround:
    """Servers for ``store`` and ``broker`` (a name of STORES or BROKERS, or a URL of somebody's), started at once.

    ``store_url`` and ``broker_url`` are direct; workers and clients take a :meth:`link` of their own.
    Raises UnavailableError when this machine has no such server.
    """

    def __init__(self, store: str, broker: str, folder: Path) -> None:
        self.store_name, self.broker_name, self.folder = store, broker, folder
        self.environment: Mapping[str, str] = {}
        self.store_server: OwnServer | None = None
        self.broker_server: OwnServer | None = None
        self.flush_broker: Callable[[], None] | None = None
        self.restart_embedded: Callable[[], None] | None = None
        self._stack = ExitStack()
        self._loop = ProxyLoop()
        self._stack.callback(self._loop.close)
        self.links: list[Link] = []
        try:
            self.store_url = self._open_store(store)
            self.broker_url = self._open_broker(broker)
        except BaseException:
            self.close()
            raise

    def link(self, name: str) -> Link:
        """A new way to both."""
        link = Link(name, self.store_url, self.broker_url, self._loop)
        self.links.append(link)
        return link

    def heal(self) -> None:
        """Every server runs, every link works."""
        for server in (self.store_server, self.broker_server):
            if server is not None:
                server.start()
        for link in self.links:
            link.heal()

    def close(self) -> None:
        for link in self.links:
            for proxy in link.proxies:
                proxy.close()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---------------------------------------------------------------- opening

    def _open_store(self, name: str) -> str:
        if name == "sqlite":
            return f"sqlite:///{self.folder / 'petiole.db'}"
        if name == "file":
            return f"file://{self.folder / 'store'}"
        if "://" in name:
            return name
        self.store_server = self._own({"postgresql": OwnPostgres, "redis": OwnRedis}[name])
        return self.store_server.url

    def _open_broker(self, name: str) -> str:
        if name == "embedded":
            return self._open_embedded()
        if "://" in name:
            return name
        server = self.broker_server = self._own({"redis": OwnRedis, "rabbitmq": OwnRabbitMQ}[name])
        self.flush_broker = (
            (lambda: delete_queues(server.url)) if isinstance(server, OwnRabbitMQ) else server.flush
        )
        return server.url

    def _open_embedded(self) -> str:
        place = self._stack.enter_context(embedded_ground(Settings(data_dir=str(self.folder))))
        embedded = place.embedded
        assert embedded is not None
        assert place.settings.broker is not None
        self.environment = place.environment
        if embedded.is_server:

            def flush() -> None:
                with redis.Redis(unix_socket_path=str(embedded.socket_path)) as client:
                    client.flushall()

            def restart() -> None:
                """Kill it: its guard starts it again."""
                if (pid := embedded.server_pid()) is not None:
                    os.kill(pid, signal.SIGKILL)

            self.flush_broker, self.restart_embedded = flush, restart
        return place.settings.broker

    def _own(self, kind: type[OwnServer]) -> OwnServer:
        if reason := kind.missing():
            raise UnavailableError(f"no private {kind.kind}: {reason}")
        server = kind()
        self._stack.callback(server.close)
        return server.start()


def restart(server: OwnServer, *, gently: bool, pause: float) -> None:
    """End a server (Postgres by its "immediate" shutdown, where ``gently``) and start it after a pause in seconds."""
    if gently and isinstance(server, OwnPostgres) and server.process is not None:
        server.process.stop(number=signal.SIGQUIT)
        server.process = None
    elif gently:
        server.stop()
    else:
        server.kill()
    time.sleep(pause)
    server.start()


def _proxied(loop: ProxyLoop, name: str, url: str) -> tuple[Proxy | None, str]:
    """A proxy before the server of this URL, and the URL that leads to it."""
    parts = urlsplit(url)
    port = parts.port or PORTS.get(parts.scheme)
    if parts.scheme not in PORTS or not parts.hostname or port is None:
        return None, url
    proxy = Proxy(loop, name, (parts.hostname, port))
    user, at, _ = parts.netloc.rpartition("@")
    return proxy, urlunsplit(parts._replace(netloc=f"{user}{at}{HOST}:{proxy.port}"))
