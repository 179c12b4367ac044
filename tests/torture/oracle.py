"""What every run must come to: the same graph, undisturbed, in this process."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from petiole_stores.memory import MemoryStore
from petiole_workers.compiled import CompiledGraph
from tests.torture.graphs import CIRCUMSTANCES, make_graph, run_input
from tests.torture.plans import GraphPlan, make_plans


class Oracle:
    """Final states by graph and by the salts of the runs that a thread had, one after the other."""

    def __init__(self, seed: int, count: int) -> None:
        self.plans: dict[str, GraphPlan] = {plan.name: plan for plan in make_plans(seed, count)}
        self._final = functools.cache(self._compute)

    def final(self, graph: str, salts: Sequence[int]) -> dict[str, Any]:
        """The state after the last of these runs, without the keys that tell of its circumstances."""
        return self._final(graph, tuple(salts))

    def _compute(self, graph: str, salts: tuple[int, ...]) -> dict[str, Any]:
        plan = self.plans[graph]
        built = make_graph(plan)
        compiled = CompiledGraph(built.definition, MemoryStore("memory://"))
        state: dict[str, Any] = {}
        for salt in salts:
            state = compiled.invoke(
                run_input(plan, salt, calm=True), {"configurable": {"thread_id": "oracle"}}
            )
        return essence(state)


def essence(state: Mapping[str, Any]) -> dict[str, Any]:
    """What of a final state the oracle foretells."""
    return {key: value for key, value in state.items() if key not in CIRCUMSTANCES}


def difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """In what two states differ, for people."""
    keys = [key for key in sorted({*found, *expected}) if found.get(key) != expected.get(key)]
    return "; ".join(f"{key} is {short(found.get(key))}, not {short(expected.get(key))}" for key in keys)


def short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:120]}…{text[-60:]}"
