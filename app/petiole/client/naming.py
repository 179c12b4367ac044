"""What tasks are called where people read of them."""

from __future__ import annotations

from petiole_stores.records import START_PATH, Task


def name_of(task: Task) -> str:
    """A task as people call it: its node, or what an ``advance`` does."""
    if task.kind == "node":
        return task.node
    return "start" if task.path == START_PATH else "join"


def label_of(task: Task) -> str:
    """The same after the nodes whose graphs it is in: ``research/write``."""
    above = graphs_of(task.ns)
    return f"{above}/{name_of(task)}" if above else name_of(task)


def graphs_of(ns: str) -> str:
    """The nodes whose graphs a namespace is in: ``research/draft``; empty for the root."""
    return "/".join(part.partition(":")[0] for part in ns.split("|")) if ns else ""
