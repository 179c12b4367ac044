"""Count the words and word pairs of a folder of text files: one task a shard, then join, rank and report.

    petiole worker --graphs petiole.examples.wordcount:graph
    petiole run start wordcount --input '{"folder": "docs", "report": "report.md"}' --wait

The number of shards is chosen while the graph runs. A worker that dies loses the shard it was counting, nothing else.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, TypedDict

from petiole import END, START, Send, StateGraph

WORD = re.compile(r"[A-Za-z][A-Za-z']+")
SUFFIXES = frozenset({".md", ".rst", ".txt", ".py", ".pyi"})


def add_counts(total: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    """Reducer: add up two counts."""
    added = dict(total)
    for key, number in more.items():
        added[key] = added.get(key, 0) + number
    return added


class State(TypedDict, total=False):
    folder: str  # where the text files are
    report: str  # the file to write
    shard_bytes: int  # how much text one task counts
    limit_bytes: int  # stop after so much text
    top: int  # how many words and pairs to report
    shards: list[list[str]]
    files: Annotated[int, lambda a, b: a + b]
    words: Annotated[dict[str, int], add_counts]
    pairs: Annotated[dict[str, int], add_counts]
    ranking: dict[str, list[tuple[str, int]]]


class Shard(TypedDict):
    paths: list[str]


def plan(state: State) -> State:
    """Cut the folder's text files into shards of about ``shard_bytes``."""
    shards: list[list[str]] = [[]]
    size, total = 0, 0
    limit = state.get("limit_bytes", 1 << 40)
    for path, length in text_files(Path(state["folder"])):
        if total + length > limit:
            break
        if size + length > state.get("shard_bytes", 250_000) and shards[-1]:
            shards.append([])
            size = 0
        shards[-1].append(str(path))
        size += length
        total += length
    return {"shards": [shard for shard in shards if shard]}


def fan_out(state: State) -> list[Send]:
    """One ``count`` task for each shard."""
    return [Send("count", {"paths": paths}) for paths in state["shards"]] or [Send("count", {"paths": []})]


def count(shard: Shard) -> State:
    """Count the words and pairs of neighbouring words in one shard."""
    words: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    for path in shard["paths"]:
        found = WORD.findall(Path(path).read_text(encoding="utf-8", errors="replace").lower())
        words.update(found)
        pairs.update(f"{a} {b}" for a, b in pairwise(found))
    return {"words": dict(words), "pairs": dict(pairs), "files": len(shard["paths"])}


def rank(state: State) -> State:
    """The most frequent words and pairs; ties in alphabetical order."""
    top = state.get("top", 20)

    def first(counts: dict[str, int]) -> list[tuple[str, int]]:
        return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:top]

    return {"ranking": {"words": first(state["words"]), "pairs": first(state["pairs"])}}


def report(state: State) -> None:
    """Write the ranking to a file, whole or not at all: a second attempt writes the same once more."""
    lines = ["# Words and pairs", "", f"{state['files']} files, {sum(state['words'].values())} words."]
    for title, ranked in state["ranking"].items():
        lines += ["", f"## {title.capitalize()}", "", "| | count |", "| --- | ---: |"]
        lines += [f"| {word} | {number} |" for word, number in ranked]
    target = Path(state.get("report", "report.md"))
    draft = target.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
    draft.replace(target)


def text_files(folder: Path) -> Iterator[tuple[Path, int]]:
    """The folder's text files in a fixed order, with their sizes in bytes."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if path.suffix in SUFFIXES and path.is_file():
                yield path, path.stat().st_size


builder = StateGraph(State)
builder.add_node("plan", plan)
builder.add_node("count", count)
builder.add_node("rank", rank)
builder.add_node("report", report)
builder.add_edge(START, "plan")
builder.add_conditional_edges("plan", fan_out, ["count"])
builder.add_edge("count", "rank")
builder.add_edge("rank", "report")
builder.add_edge("report", END)
graph = builder.compile(name="wordcount")
