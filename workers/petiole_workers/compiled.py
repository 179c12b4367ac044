"""`CompiledGraph`: a graph that can be run."""

from __future__ import annotations

from typing import Any

from petiole_workers.graph.definition import GraphDefinition


class CompiledGraph:
    """A validated graph and where its threads are kept."""

    def __init__(self, definition: GraphDefinition, checkpointer: Any = None) -> None:
        self.definition = definition
        self.checkpointer = checkpointer
