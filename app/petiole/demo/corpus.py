"""The demo's text, and its answer computed the plain way: one process, one loop, no graph."""

from __future__ import annotations

import sysconfig
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

wordcount: Any = import_module("petiole.examples.wordcount")  # a folder beside the package in a checkout

DEFAULT_BYTES = 8_000_000


def default_folder() -> Path:
    """Where the Python packages beside Petiole are installed: their sources and documents are the demo's text."""
    return Path(sysconfig.get_paths()["purelib"])


def expected(folder: Path, *, limit: int, top: int) -> dict[str, Any]:
    """Counts and ranking of the same files, computed in this process."""
    words: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    files = total = 0
    for path, length in wordcount.text_files(folder):
        if total + length > limit:
            break
        counted = wordcount.count({"paths": [str(path)]})
        words.update(counted["words"])
        files += 1
        total += length
    # Pairs do not cross files, so counting file by file is counting them all.
    for paths in wordcount.plan({"folder": str(folder), "limit_bytes": limit}).get("shards", []):
        pairs.update(wordcount.count({"paths": paths})["pairs"])
    ranking = wordcount.rank({"words": dict(words), "pairs": dict(pairs), "top": top})["ranking"]
    return {"files": files, "words": dict(words), "pairs": dict(pairs), "ranking": ranking}


def differences(state: dict[str, Any], right: dict[str, Any]) -> list[str]:
    """In what the run's final state differs from the right answer; empty when it does not."""
    return [
        f"{key}: the run has {_short(state.get(key))}, one process alone {_short(value)}"
        for key, value in right.items()
        if state.get(key) != value
    ]


def _short(value: object) -> str:
    if isinstance(value, dict):
        return f"{len(value)} entries (sum {sum(v for v in value.values() if isinstance(v, int))})"
    return repr(value)[:80]
