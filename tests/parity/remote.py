"""A program's graph on workers, as an engine that a play is played on: a client submits, answers and replays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from petiole.client import Client, RunHandle
from petiole_stores.errors import RunFailedError
from petiole_workers.compiled import CompiledGraph
from tests.parity.building import Broken

#: For how long a run may take on a busy machine, in seconds.
PATIENCE = 120.0
#: What a run fails of is told by the name of its class.
KNOWN = {"Broken": Broken}


class Remote:
    """``graph`` is the same graph in this process, on the workers' store: it shows states."""

    def __init__(self, client: Client, graph: CompiledGraph, thread_id: str) -> None:
        self._client, self._graph, self._thread_id = client, graph, thread_id
        self.get_state, self.get_state_history = graph.get_state, graph.get_state_history
        self._told: dict[str, str] = {}

    def stream(self, value: Any, config: dict[str, Any]) -> Iterator[Any]:
        handle = self._call(value, config)
        handle.wait(PATIENCE)
        told = handle.stream(
            ["updates"], subgraphs=True, after=self._told.get(handle.run_id), timeout=PATIENCE
        )
        try:
            for event in told:
                yield event.ns, event.mode, event.data
        except RunFailedError as error:
            name = error.failure.type.rpartition(".")[2] if error.failure else ""
            raise KNOWN.get(name, type(name, (Exception,), {}))(str(error)) from None
        finally:
            self._told[handle.run_id] = told.position
        if handle.status() == "interrupted":
            # In process the call that asks gives the state, and fails where finished tasks' writes are at odds.
            self.get_state(config)

    def _call(self, value: Any, config: dict[str, Any]) -> RunHandle:
        if isinstance(value, dict):
            limit = config["recursion_limit"]
            return self._client.submit(self._graph, value, thread_id=self._thread_id, recursion_limit=limit)
        if value is not None:
            given = value.resume
            if isinstance(given, dict):
                return self._client.resume(self._thread_id, answers=given)
            return self._client.resume(self._thread_id, given)
        run = self._client.handle(self._thread_id)
        if run.status() == "failed":
            return self._client.replay(self._thread_id)
        return self._client.resume(self._thread_id)
