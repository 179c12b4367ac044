"""LangGraph with PostgresSaver: graphs run in the calling process, each superstep saved before the next (``sync``)."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
import uuid
from types import SimpleNamespace
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.benchmarks.graphs import CHAINS, build
from tests.benchmarks.peers.peer import Peer
from tests.benchmarks.servers import Servers, stored_bytes
from tests.benchmarks.workloads import FANS, PROCESSES, RUNS, SHORT_CHAIN, big, small, wide

INPUTS: dict[str, Any] = {
    "long": lambda: {"st": small()},
    "short": lambda: {"st": small()},
    **dict.fromkeys(FANS, lambda: {"st": small(), "out": []}),
    "changed": big,
    "unchanged": big,
    "wide": wide,
    "wide_once": wide,
}


class LangGraphPostgres(Peer):
    """Default settings but for ``durability="sync"``, which is what Petiole's default promises."""

    name = "langgraph postgres sync"

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def __enter__(self) -> LangGraphPostgres:
        with contextlib.ExitStack() as stack:
            self._url = stack.enter_context(self._servers.postgres())
            self._saver = _saver(self._url)
            stack.callback(self._saver.conn.close)
            self._saver.setup()
            self._graphs = {kind: _compiled(kind, self._saver) for kind in (*CHAINS, *FANS)}
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def once(self, kind: str) -> float:
        state = INPUTS[kind]()
        began = time.perf_counter()
        result = _invoke(self._graphs[kind], state)
        took = time.perf_counter() - began
        assert (result.get("st", result))["n"] == (2 * FANS[kind] if kind in FANS else CHAINS[kind][2])
        return took

    def many(self) -> float:
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(PROCESSES + 1)
        children = [
            context.Process(target=_many, args=(self._url, barrier, RUNS // PROCESSES))
            for _ in range(PROCESSES)
        ]
        for child in children:
            child.start()
        barrier.wait(60)
        began = time.perf_counter()
        barrier.wait(120)
        took = time.perf_counter() - began
        for child in children:
            child.join()
        return took

    def stored(self) -> int:
        return stored_bytes(self._url)


def _saver(url: str) -> Any:
    from langgraph.checkpoint.postgres import PostgresSaver

    return PostgresSaver(psycopg.connect(url, autocommit=True, prepare_threshold=0, row_factory=dict_row))


def _compiled(kind: str, saver: Any) -> Any:
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import Send

    library = SimpleNamespace(StateGraph=StateGraph, START=START, END=END, Send=Send)
    return build(library, kind).compile(checkpointer=saver)


def _invoke(graph: Any, state: dict[str, Any]) -> Any:
    config = {"configurable": {"thread_id": uuid.uuid4().hex}, "recursion_limit": 1000}
    return graph.invoke(state, config, durability="sync")


def _many(url: str, barrier: Any, runs: int) -> None:
    saver = _saver(url)
    graph = _compiled("short", saver)
    _invoke(graph, {"st": small()})
    barrier.wait(60)
    for _ in range(runs):
        assert _invoke(graph, {"st": small()})["st"]["n"] == SHORT_CHAIN
    barrier.wait(120)
    saver.conn.close()
