"""Noticing changes of the graphs' files, for ``petiole dev``."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

#: Seconds between two looks; a change is reported once the files have rested for one look.
LOOK = 0.4


def folders_of(references: Iterable[str]) -> list[Path]:
    """The folders of the packages that these references (``package.module:attribute``) come from.

    Nothing is imported. For a module outside a package it is the module's own folder.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    folders: set[Path] = set()
    for reference in references:
        top = reference.partition(":")[0].partition(".")[0]
        try:
            spec = importlib.util.find_spec(top) if top else None
        except (ImportError, ValueError):
            continue
        if spec is None or spec.origin in ("built-in", "frozen"):
            continue
        places: Iterable[str] = spec.submodule_search_locations or [os.path.dirname(spec.origin or "")]
        folders.update(Path(place).resolve() for place in places)
    return sorted(folders)


class FileWatch:
    """Looks at the Python files below some folders and calls ``changed`` with a few words when they differ."""

    def __init__(self, folders: Iterable[Path], changed: Callable[[str], None]) -> None:
        self.folders, self._changed = list(folders), changed
        self._ended = threading.Event()

    def start(self) -> None:
        """Watch in a thread of its own."""
        threading.Thread(target=self._watch, args=(self.look(),), name="petiole-watch", daemon=True).start()

    def stop(self) -> None:
        self._ended.set()

    def look(self) -> dict[str, int]:
        """Each file's time of change, in nanoseconds."""
        found: dict[str, int] = {}
        for folder in self.folders:
            for place, below, files in os.walk(folder):
                below[:] = [
                    name
                    for name in below
                    if not name.startswith(".") and name not in ("__pycache__", "node_modules")
                ]
                for name in files:
                    if name.endswith(".py"):
                        path = os.path.join(place, name)
                        try:
                            found[path] = os.stat(path).st_mtime_ns
                        except OSError:
                            pass  # it has just gone
        return found

    def _watch(self, known: dict[str, int]) -> None:
        seen = known
        while not self._ended.wait(LOOK):
            now = self.look()
            if now != known and now == seen:
                self._changed(_difference(known, now))
                known = now
            seen = now


def _difference(before: dict[str, int], after: dict[str, int]) -> str:
    changed = sorted({path for path, at in {*before.items()} ^ {*after.items()}})
    names = ", ".join(os.path.basename(path) for path in changed[:3])
    return f"{names} changed" if len(changed) <= 3 else f"{names} and {len(changed) - 3} more files changed"
