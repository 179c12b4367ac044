"""`PortedGraph`: a LangGraph graph as Petiole's, for callers who go on using LangGraph's classes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from petiole.langgraph.conversion import given_by_caller
from petiole_workers.compiled import CompiledGraph


class PortedGraph(CompiledGraph):
    """A compiled graph that also takes LangGraph's own ``Command`` where an input or an update is given."""

    def _invoke(
        self,
        input: Any,
        config: Mapping[str, Any] | None,
        loop: asyncio.AbstractEventLoop | None,
        durability: str | None,
        context: Any,
    ) -> Any:
        return super()._invoke(given_by_caller(input), config, loop, durability, context)

    def _streamed(self, input: Any, *more: Any) -> Callable[..., object]:
        return super()._streamed(given_by_caller(input), *more)

    def bulk_update_state(
        self, config: Mapping[str, Any], supersteps: Sequence[Sequence[Any]]
    ) -> dict[str, Any]:
        """As `CompiledGraph.bulk_update_state`; LangGraph's ``StateUpdate`` will do."""
        converted = [[(given_by_caller(values), *rest) for values, *rest in step] for step in supersteps]
        return super().bulk_update_state(config, converted)
