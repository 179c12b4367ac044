"""Runs a LangGraph graph on a store until its environment kills it: ``killed_child.py URL THREAD LOGFILE``.

Each node appends a line to the log file before it returns, and each step ends before the next begins.
"""

from __future__ import annotations

import sys
from pathlib import Path

from langgraph.graph import START, StateGraph

from petiole.langgraph import PetioleSaver
from tests.integration.langgraph.graphs import Graph, Log, Saver

NODES = ("a", "b", "c")


def logging_graph(saver: Saver, file: Path) -> Graph:
    """a, then b, then c."""
    builder = StateGraph(Log)
    for name in NODES:

        def node(state: Log, name: str = name) -> Log:
            with file.open("a") as log:
                log.write(f"{name}\n")
            return {"log": [name]}

        builder.add_node(name, node)
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("b", "c")
    return builder.compile(checkpointer=saver)


if __name__ == "__main__":
    url, thread_id, file = sys.argv[1:]
    with PetioleSaver(url) as saver:
        logging_graph(saver, Path(file)).invoke(
            {"log": []}, {"configurable": {"thread_id": thread_id}}, durability="sync"
        )
