"""From a plan to a graph. Its nodes return the same for the same state, whatever happens round them.

A run works on a *desk*, a folder of its own: there its nodes write down each execution before they work, and how often
they have failed. A run that is ``calm`` has no desk: its nodes neither sleep nor fail, and its end is what every other
run with the same input must come to.
"""

from __future__ import annotations

import asyncio
import hashlib
import operator
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypedDict

from petiole_workers.graph import RetryPolicy, Runtime, Send, StateGraph
from tests.graphs import burn, note
from tests.torture.plans import GraphPlan, NodePlan, RoutePlan, make_plans

#: Keys of the state that differ between a calm run and a disturbed one.
CIRCUMSTANCES = ("desk", "calm", "slow", "doomed")
#: Present on a desk: a doomed node fails no more.
MENDED = "mended"


class Trouble(Exception):
    """A passing one: tried again."""


class Doom(Exception):
    """One that lasts until somebody mends it: fails the run."""


def merge(old: dict[str, int], new: dict[str, int]) -> dict[str, int]:
    """Both dictionaries as one; what is new wins."""
    return {**old, **new}


def make_graphs(seed: int, count: int) -> dict[str, Any]:
    """The compiled graphs of a seed, by name."""
    return {plan.name: make_graph(plan) for plan in make_plans(seed, count)}


def make_graph(plan: GraphPlan) -> Any:
    graph: Any = StateGraph(_schema(plan))
    for node in plan.nodes:
        policy = RetryPolicy(
            initial_interval=node.wait,
            backoff_factor=1.0,
            max_attempts=node.fails + 1,
            jitter=False,
            retry_on=Trouble,
        )
        graph.add_node(node.name, _function(node), retry_policy=policy)
    for start, end in plan.edges:
        graph.add_edge(start, end)
    for starts, end in plan.joins:
        graph.add_edge(list(starts), end)
    for route in plan.routes:
        graph.add_conditional_edges(route.source, _router(route), [*route.targets])
    return graph.compile(name=plan.name)


def run_input(plan: GraphPlan, salt: int, **circumstances: Any) -> dict[str, Any]:
    """The input of a run: ``salt`` steers its values and ways; loops are counted from 0 again."""
    return {
        "salt": salt,
        "desk": "",
        "calm": False,
        "slow": {},
        "doomed": "",
        **{_rounds(route.source): 0 for route in plan.routes if route.kind == "loop"},
        **circumstances,
    }


def _schema(plan: GraphPlan) -> Any:
    keys: dict[str, Any] = {
        "desk": str,
        "calm": bool,
        "slow": dict[str, float],
        "doomed": str,
        "salt": int,
        "trail": Annotated[list[str], operator.add],
        "sum": Annotated[int, operator.add],
        "facts": Annotated[dict[str, int], merge],
    }
    keys |= {_rounds(route.source): int for route in plan.routes if route.kind == "loop"}
    keys |= {f"text_{node.name}": str for node in plan.nodes if node.text and not node.is_item}
    return TypedDict("State", keys, total=False)  # type: ignore[operator]


def _rounds(node: str) -> str:
    return f"rounds_{node}"


# -------------------------------------------------------------------- nodes


def _function(node: NodePlan) -> Callable[..., Any]:
    def work(state: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
        pause = _begin(node, state, runtime)
        time.sleep(pause)
        return _output(node, state)

    async def work_async(state: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
        pause = _begin(node, state, runtime)
        await asyncio.sleep(pause)
        return _output(node, state)

    chosen: Callable[..., Any] = work_async if node.is_async else work
    chosen.__name__ = chosen.__qualname__ = node.name
    return chosen


def _begin(node: NodePlan, state: Mapping[str, Any], runtime: Runtime) -> float:
    """Write the execution down, fail if this one is to fail, and give how long it sleeps."""
    if state["calm"]:
        return 0.0
    desk = Path(state["desk"])
    note(str(desk), node.name, runtime)
    if state["doomed"] == node.name and not (desk / MENDED).exists():
        raise Doom(f"{node.name} is doomed until {desk / MENDED} exists")
    for number in range(node.fails):
        try:
            (desk / f"failed.{runtime.task_id}.{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        raise Trouble(f"failure {number + 1} of {node.fails}")
    burn(node.rounds)
    return node.sleep + float(state["slow"].get(node.name, 0.0))


def _output(node: NodePlan, state: Mapping[str, Any]) -> dict[str, Any]:
    value = _number(node.name, state)
    if node.is_item:
        label = f"{node.name}.{state['item']}"
        text = _text(node, value)
        return {
            "trail": [f"{label}={value}" + (f" {text}" if text else "")],
            "sum": value % 1000,
            "facts": {label: value},
        }
    update: dict[str, Any] = {
        "trail": [f"{node.name}={value}"],
        "sum": value % 1000,
        "facts": {node.name: value},
    }
    if _rounds(node.name) in state:
        update[_rounds(node.name)] = state[_rounds(node.name)] + 1
    if node.text:
        update[f"text_{node.name}"] = _text(node, value)
    return update


def _text(node: NodePlan, value: int) -> str:
    return random.Random(value).randbytes(node.text // 2).hex()


def _number(label: str, state: Mapping[str, Any]) -> int:
    """A number that any difference in the state changes."""
    seen = [state.get(key) for key in ("salt", "item", "sum", "trail")]
    return int.from_bytes(hashlib.sha256(repr((label, seen)).encode()).digest()[:4])


# -------------------------------------------------------------------- routers


def _router(route: RoutePlan) -> Callable[[Mapping[str, Any]], Any]:
    def one(state: Mapping[str, Any]) -> str:
        return route.targets[_number(route.source, state) % len(route.targets)]

    def some(state: Mapping[str, Any]) -> list[str]:
        bits = _number(route.source, state) % (2 ** len(route.targets) - 1) + 1
        return [target for place, target in enumerate(route.targets) if bits >> place & 1]

    def loop(state: Mapping[str, Any]) -> str:
        around, after = route.targets
        return around if state[_rounds(route.source)] < route.limit else after

    def spread(state: Mapping[str, Any]) -> list[Send]:
        width = 1 + _number(route.source, state) % route.limit
        shared = {key: state[key] for key in (*CIRCUMSTANCES, "salt")}
        return [Send(route.targets[0], {**shared, "item": item}) for item in range(width)]

    return {"one": one, "some": some, "loop": loop, "spread": spread}[route.kind]


__all__ = ["CIRCUMSTANCES", "MENDED", "Doom", "Trouble", "make_graph", "make_graphs", "run_input"]
