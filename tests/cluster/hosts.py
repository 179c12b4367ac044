"""Hosts with addresses of their own: network namespaces on one bridge, whose ways to a server can be cut.

Needs root, ``ip`` and ``nft``. Interfaces and namespaces carry the process id in their names; what processes that are
dead have left is removed first.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Self

from tests.servers import dead

#: Which packets of a host are dropped: those that it sends, those that it is sent, or all.
Way = Literal["out", "in", "both"]
TABLE = "partition"
NAMES = re.compile(r"(?:pt|petiole-)(\d+)[bv-]")


def missing() -> str | None:
    """Why this machine cannot have such hosts, or ``None``."""
    if os.geteuid() != 0:
        return "hosts of their own need root"
    for command, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(command) is None:
            return f"no {command} (apt-get install {package})"
    try:
        with Hosts(1) as hosts:
            hosts[0].cut_off(1, "both")
    except subprocess.CalledProcessError as error:
        return f"{' '.join(error.cmd)} failed: {error.stderr.strip()}"
    return None


class Host:
    """One namespace with its address."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address

    @property
    def prefix(self) -> Sequence[str]:
        """What makes a command run here, when it goes before it."""
        return ("ip", "netns", "exec", self.name)

    def cut_off(self, port: int, way: Way) -> None:
        """Drop silently, from now on, what goes to and comes from this TCP port of the other side."""
        rules = [
            f"add table ip {TABLE}",
            f"add chain ip {TABLE} out {{ type filter hook output priority 0; }}",
            f"add chain ip {TABLE} in {{ type filter hook input priority 0; }}",
        ]
        if way in ("out", "both"):
            rules.append(f"add rule ip {TABLE} out tcp dport {port} drop")
        if way in ("in", "both"):
            rules.append(f"add rule ip {TABLE} in tcp sport {port} drop")
        _run(*self.prefix, "nft", "-f", "-", given="\n".join(rules) + "\n")

    def heal(self) -> None:
        """Let everything through again."""
        _run(*self.prefix, "nft", "-f", "-", given=f"add table ip {TABLE}\ndelete table ip {TABLE}\n")


class Hosts:
    """``count`` hosts on one bridge; ``address`` is the bridge's own, for servers that all of them can reach."""

    _numbers = itertools.count(1)

    def __init__(self, count: int) -> None:
        self._count, self._number = count, next(self._numbers)
        self._bridge = f"pt{os.getpid()}b{self._number}"
        self._net = _free_net()
        self.address = f"{self._net}.1"
        self._hosts: list[Host] = []

    def __getitem__(self, place: int) -> Host:
        return self._hosts[place]

    def __enter__(self) -> Self:
        remove_leftovers()
        try:
            _run("ip", "link", "add", self._bridge, "type", "bridge")
            _run("ip", "addr", "add", f"{self.address}/24", "dev", self._bridge)
            _run("ip", "link", "set", self._bridge, "up")
            for place in range(self._count):
                self._hosts.append(self._add(place))
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _add(self, place: int) -> Host:
        name = f"petiole-{os.getpid()}-{self._number}-{place}"
        outside, inside = (f"pt{os.getpid()}v{self._number}{place}{side}" for side in "ab")
        host = Host(name, f"{self._net}.{place + 2}")
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
        _run("ip", "link", "set", outside, "master", self._bridge, "up")
        _run("ip", "-n", name, "addr", "add", f"{host.address}/24", "dev", inside)
        _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", name, "link", "set", inside, "up")
        return host

    def _remove(self) -> None:
        # Its interface goes with a namespace, as soon as no process is left in it, and so does the other end.
        for host in self._hosts:
            _run("ip", "netns", "delete", host.name, check=False)
        for place in range(self._count):
            _run("ip", "link", "delete", f"pt{os.getpid()}v{self._number}{place}a", check=False)
        _run("ip", "link", "delete", self._bridge, check=False)


def remove_leftovers() -> None:
    """Remove the namespaces and interfaces of test processes that are dead."""
    for line in _run("ip", "netns", "list").splitlines():
        if (match := NAMES.match(line)) and dead(int(match[1])):
            _run("ip", "netns", "delete", line.split()[0], check=False)
    for line in _run("ip", "-o", "link", "show").splitlines():
        name = line.split(": ")[1].partition("@")[0]
        if (match := NAMES.match(name)) and dead(int(match[1])):
            _run("ip", "link", "delete", name, check=False)


def _free_net() -> str:
    """The first three numbers of a network that this machine has no address in; from the range for benchmarks."""
    taken = _run("ip", "-o", "-4", "addr", "show")
    while True:
        net = f"198.{random.choice([18, 19])}.{random.randrange(256)}"
        if f"{net}." not in taken:
            return net


def _run(*command: str, given: str = "", check: bool = True) -> str:
    """Run a command and give what it printed. Raises CalledProcessError."""
    return subprocess.run(
        command, input=given, capture_output=True, text=True, check=check, timeout=20
    ).stdout
