"""What every peer is asked to run: the same states and the same node functions, whoever calls them."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

#: Nodes of the long chain, of each of the many short chains, and of the chains with a big state.
LONG_CHAIN, SHORT_CHAIN, BIG_CHAIN = 50, 10, 10
#: How many short chains run at once, and on how many processes.
RUNS, PROCESSES = 200, 2
#: Widths of the fan-outs, by their graphs.
FAN, MAP = 100, 10_000
FANS = {"fan": FAN, "map": MAP}
#: Keys of the wide state, and bytes in each.
WIDE_KEYS, WIDE_BYTES = 50, 1000
BIG_BYTES = 1_000_000

_SENTENCE = "the quick brown fox jumps over the lazy dog and runs away from the workflow engine "


@dataclass(frozen=True)
class Measure:
    """One figure: its unit, whether more is better, and what it is of."""

    key: str
    unit: str
    what: str
    more_is_better: bool = False


MEASURES = {
    measure.key: measure
    for measure in (
        Measure("W1", "ms/node", f"one run of {LONG_CHAIN} no-op nodes"),
        Measure(
            "W2",
            "nodes/s",
            f"{RUNS} runs of {SHORT_CHAIN} nodes on {PROCESSES} processes",
            more_is_better=True,
        ),
        Measure("W3", "s", f"1 node, {FAN} in parallel, their join"),
        Measure("W4", "ms/node", f"{BIG_CHAIN} nodes, each changes a value of 1 MB"),
        Measure("W4 stored", "KB/run", "bytes stored by such a run"),
        Measure("W5", "ms/node", f"{BIG_CHAIN} nodes beside a value of 1 MB that none changes"),
        Measure("W5 stored", "KB/run", "bytes stored by such a run"),
        Measure(
            "W6 stored", "KB/step", f"bytes stored by a node that changes 1 of {WIDE_KEYS} values of 1 KB"
        ),
        Measure("W7", "nodes/s", f"1 node, {MAP:,} in parallel, their join", more_is_better=True),
    )
}
#: Workloads that can be chosen with ``--only``.
WORKLOADS = ("W1", "W2", "W3", "W4", "W5", "W6", "W7")


def small() -> dict[str, Any]:
    """A state of about 200 bytes."""
    return {
        "n": 0,
        "user": "u-123456",
        "note": "x" * 90,
        "tags": ["alpha", "beta", "gamma"],
        "score": 0.5,
        "ok": True,
    }


def big() -> dict[str, Any]:
    """A state with a counter and a list of documents, 1 MB as JSON."""
    documents: list[dict[str, Any]] = []
    size = 0
    while size < BIG_BYTES:
        number = len(documents)
        documents.append(
            {"id": number, "title": f"document {number}", "text": f"{_SENTENCE * 10}{number * 7919}"}
        )
        size += len(json.dumps(documents[-1])) + 2
    return {"n": 0, "docs": documents}


def wide() -> dict[str, Any]:
    """A state of 50 values of 1 KB and a counter."""
    return {"n": 0} | {f"key{number:02}": _text(f"first {number}") for number in range(WIDE_KEYS)}


def _text(seed: str) -> str:
    """1 KB that compresses about as well as base64 does."""
    return base64.b64encode(
        b"".join(hashlib.sha256(f"{seed} {i}".encode()).digest() for i in range(24))
    ).decode()[:WIDE_BYTES]


def step(state: dict[str, Any]) -> dict[str, Any]:
    """The no-op node: counts, and gives the whole small state back."""
    return {**state, "n": state["n"] + 1}


def edit(state: dict[str, Any]) -> dict[str, Any]:
    """Replaces one document within the big value, which therefore has to be stored again."""
    number = state["n"] + 1
    documents = list(state["docs"])
    documents[number] = {"id": number, "title": "edited", "text": f"edit {number}"}
    return {"n": number, "docs": documents}


def count(state: dict[str, Any]) -> dict[str, Any]:
    """Changes the counter beside the big value."""
    return {"n": state["n"] + 1}


def touch(state: dict[str, Any]) -> dict[str, Any]:
    """Changes one value of the wide state."""
    number = state["n"] + 1
    return {"n": number, f"key{number % WIDE_KEYS:02}": _text(f"{number}")}
