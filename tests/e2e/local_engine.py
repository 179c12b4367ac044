"""What pytest-celery asks of a Docker engine, answered with processes of this machine, for machines where none runs.

A container is a private server (tests/servers.py) or a worker in a process group of its own; a volume is a folder; a network
is a name. Its ports are the ones that the process listens on, so a host's name is ``127.0.0.1:<port>``.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
import tarfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.worker import IMPORTS
from tests.processes import Leashed, answers
from tests.servers import HOST, OwnRabbitMQ, OwnRedis, OwnServer

#: The servers that stand in for images, by the image's name.
SERVERS: dict[str, type[OwnServer]] = {"redis": OwnRedis, "rabbitmq": OwnRabbitMQ}
#: What every other image runs: Petiole's command line, as deploy/Dockerfile has it.
ENTRYPOINT = [sys.executable, "-m", "petiole"]


@dataclass
class Named:
    """A volume, network or image."""

    name: str
    folder: Path = Path()
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.name

    def remove(self, force: bool = False) -> None:
        if self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=force)


class Container:
    """One process or server; ``run`` starts it."""

    def __init__(self, volumes: Mapping[str, Path], options: Mapping[str, Any], folder: Path) -> None:
        self.id = uuid.uuid4().hex
        self.name = f"local-{self.id[:12]}"
        self._volumes, self._folder = volumes, folder
        self._image = str(options["image"]).partition(":")[0]
        self._command = [str(part) for part in options.get("command") or ()]
        self._environment = {
            key: self._mapped(str(text)) for key, text in (options.get("environment") or {}).items()
        }
        self._server: OwnServer | None = None
        self._process: Leashed | None = None
        self._exposed = next(iter(options.get("ports") or {}), "")

    def _mapped(self, text: str) -> str:
        """Paths inside the container as they are on this machine."""
        for inside, folder in self._volumes.items():
            text = text.replace(inside, str(folder))
        return text

    # ---------------------------------------------------------------- life

    def start(self) -> None:
        if self._image in SERVERS:
            self._server = self._server or SERVERS[self._image]()
            self._server.start()
            return
        base = {key: text for key, text in os.environ.items() if not key.startswith("PETIOLE_")}
        paths = os.pathsep.join(part for part in (IMPORTS, self._environment.get("PYTHONPATH")) if part)
        self._process = Leashed(
            [*ENTRYPOINT, *self._command],
            log=self._folder / f"{self.name}.log",
            env=base | self._environment | {"PYTHONPATH": paths},
            cwd=next(iter(self._volumes.values()), self._folder),
        )

    @property
    def status(self) -> str:
        running = (
            self._server.running() if self._server else self._process is not None and self._process.running()
        )
        return "running" if running else "exited"

    def kill(self, signal: str | int | None = None) -> None:
        """SIGKILL to the whole process group, or another signal to its first process."""
        number = _number(signal)
        one = self._server.process if self._server else self._process
        if one is not None and number != _number("SIGKILL"):
            one.send(number)
        elif self._server is not None:
            self._server.kill()
        elif self._process is not None:
            self._process.kill()

    def restart(self, timeout: int = 10) -> None:
        if self._server is not None:
            self._server.stop()
        elif self._process is not None:
            self._process.stop(timeout)
        self.start()

    def remove(self, force: bool = False) -> bool:
        if self._server is not None:
            self._server.close()
        elif self._process is not None:
            self._process.kill()
        return True

    def wait(self, timeout: int = 10) -> None:
        """Nothing is left to wait for: ``remove`` does."""

    # ---------------------------------------------------------------- looking

    @property
    def attrs(self) -> dict[str, Any]:
        port = self._server.port if self._server else 0
        exposed = {self._exposed: [{"HostIp": HOST, "HostPort": str(port)}]} if self._exposed and port else {}
        return {
            "Config": {"Hostname": f"{HOST}:{port}", "Env": [f"{k}={v}" for k, v in self._environment.items()], "Labels": {}},
            "HostConfig": {"PortBindings": exposed},
            "NetworkSettings": {"Networks": {"local": {"IPAddress": HOST}}, "Ports": exposed},
        }  # fmt: skip

    @property
    def labels(self) -> dict[str, str]:
        return {}

    def reload(self) -> None:
        """Everything here is asked anew each time."""

    def logs(self) -> bytes:
        files = [self._process.log] if self._process else []
        if self._server is not None:
            files = [self._server.log, *sorted(self._server.folder.glob("logs/*.log"))]
        return b"".join(file.read_bytes() for file in files if file.exists())

    def exec_run(self, command: str, **_: object) -> tuple[int, bytes]:
        """Answers the one question that is asked of servers: which ports they listen on, as the kernel lists them."""
        assert command.startswith("cat /proc/net/tcp"), (
            f"no command can be run in a local container: {command}"
        )
        port = self._server.port if self._server else 0
        if not port or not answers(HOST, port):
            return 0, b""
        return 0, f"0: 00000000:{int(self._exposed.partition('/')[0]):04X} 00000000:0000 0A".encode()

    def put_archive(self, path: str, data: io.BytesIO) -> bool:
        with tarfile.open(fileobj=data) as archive:
            archive.extractall(self._volumes[path], filter="data")
        return True


class Containers:
    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine

    def create(self, **options: Any) -> Container:
        volumes = {
            bind["bind"]: self._engine.volumes.folder(name)
            for name, bind in (options.get("volumes") or {}).items()
        }
        return Container(volumes, options, self._engine.folder)

    def run(self, **options: Any) -> Container:
        container = self.create(**options)
        container.start()
        return container


class Volumes:
    def __init__(self, base: Path) -> None:
        self._base = base

    def folder(self, name: str) -> Path:
        return self._base / name

    def create(self, name: str, **_: object) -> Named:
        self.folder(name).mkdir(parents=True)
        return Named(name, self.folder(name))


class Networks:
    def create(self, name: str, **_: object) -> Named:
        return Named(name)


class Images:
    def build(self, *, tag: str = "scratch", **_: object) -> tuple[Named, Iterator[str]]:
        empty: Iterable[str] = ()
        return Named(tag), iter(empty)


class LocalEngine:
    """In place of ``docker.DockerClient``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.containers, self.volumes = Containers(self), Volumes(folder / "volumes")
        self.networks, self.images = Networks(), Images()


def _number(name: str | int | None) -> signal.Signals:
    if name is None:
        return signal.SIGKILL
    return signal.Signals[name] if isinstance(name, str) else signal.Signals(name)


__all__: Sequence[str] = ["LocalEngine"]
