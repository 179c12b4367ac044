"""LangGraph's ``interrupt()`` within a node that Petiole runs.

It reads the answers given so far from a scratchpad in the config, and raises where there is none for it. The scratchpad here
holds the answers that Petiole has for the task; what is raised becomes a question of Petiole's (`ask`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from langgraph._internal._scratchpad import PregelScratchpad
from langgraph.errors import GraphInterrupt

from petiole_workers.graph import Runtime


class Answers:
    """The answers to one attempt's questions, each given out once, in order.

    The node's own questions and those of graphs that it invokes itself count together: the node runs again from its top
    and asks in the same order.
    """

    def __init__(self, known: Sequence[Any]) -> None:
        self._known = list(known)
        self._taken = 0

    def number(self) -> int:
        """The next question of the node itself, counted from 0."""
        number, self._taken = self._taken, self._taken + 1
        return number

    def for_graph_within(self, consume: bool = False) -> Any:
        """The answer to the next question of a graph that the node invokes; ``None`` if there is none."""
        if self._taken >= len(self._known):
            return None
        answer = self._known[self._taken]
        self._taken += consume
        return answer

    def scratchpad(self, step: int) -> PregelScratchpad:
        """What LangGraph looks for under ``__pregel_scratchpad``."""
        return PregelScratchpad(
            step=step,
            stop=step + 1,
            call_counter=itertools.count().__next__,
            interrupt_counter=self.number,
            get_null_resume=self.for_graph_within,
            resume=self._known,
            subgraph_counter=itertools.count().__next__,
        )


def ask(raised: GraphInterrupt, runtime: Runtime[Any]) -> None:
    """Ask what LangGraph's interrupt asked for, as a question of the task's.

    Of several (a graph that the node invokes itself may ask in parallel) the first comes first; the others are asked once
    it is answered. Raises Petiole's GraphInterrupt.
    """
    value = raised.args[0][0].value
    for _ in range(len(runtime.services.answers()) + 1):
        runtime.services.interrupt(value)
