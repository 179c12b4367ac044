"""The command line on a memory store, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from petiole.cli import main
from petiole.client import connection as client
from petiole_stores.memory import MemoryStore


@dataclass
class Said:
    """What one command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Said]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MemoryStore:
    """The one store that every command opens; nothing is configured, and the current folder is empty."""
    for name in ("STORE", "BROKER", "GRAPHS"):
        monkeypatch.delenv(f"PETIOLE_{name}", raising=False)
    monkeypatch.setenv("PETIOLE_STORE", "memory://")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    store = MemoryStore("memory://")
    monkeypatch.setattr(client, "open_store", lambda url: store)
    monkeypatch.setattr(store, "close", lambda: None)
    return store


@pytest.fixture
def cli(store: MemoryStore, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs one command: ``cli("run", "list") -> Said``."""

    def run(*args: str) -> Said:
        capsys.readouterr()
        code = main(args)
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return run
