"""The graph that the end-to-end tests' workers serve; it is copied into their volume."""

import operator
import time
from typing import Annotated, TypedDict

from petiole import END, START, StateGraph

STEPS = 4


class State(TypedDict, total=False):
    trail: Annotated[list[int], operator.add]


def step(state: State) -> dict[str, list[int]]:
    """Works for half a second: long enough to be killed meanwhile."""
    time.sleep(0.5)
    return {"trail": [len(state["trail"])]}


flow = (
    StateGraph(State)
    .add_node("step", step)
    .add_edge(START, "step")
    .add_conditional_edges(
        "step", lambda state: "step" if len(state["trail"]) < STEPS else END, ["step", END]
    )
    .compile(name="flow")
)
