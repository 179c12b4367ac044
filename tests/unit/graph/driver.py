"""Runs a graph over `begin` and `advance` in one process, as a worker would but without a store."""

from __future__ import annotations

import random
from typing import Any

from petiole_workers.graph import (
    GraphDefinition,
    Runtime,
    Snapshot,
    advance,
    begin,
    call_node,
    check_limit,
    stop_step,
    task_input,
    task_output,
)


def drive(
    graph: GraphDefinition,
    input: Any,
    *,
    base: Snapshot | None = None,
    limit: int = 60,
    shuffle: random.Random | None = None,
    history: list[Snapshot] | None = None,
) -> list[Snapshot]:
    """Every snapshot of one run, oldest first.

    shuffle: lets the tasks of a superstep finish in a random order.
    history: the list to append to, so that a run that fails leaves what it made.
    """
    stop = stop_step(base, limit)
    history = [] if history is None else history
    history += begin(graph, base, input, stop=stop)
    while (now := history[-1]).next:
        tasks = list(now.next)
        if shuffle is not None:
            shuffle.shuffle(tasks)
        outputs = []
        for task in tasks:
            returned = call_node(
                graph.nodes[task.node], task_input(graph, now, task, stop=stop), Runtime(node=task.node)
            )
            outputs.append(task_output(graph, task, returned))
        history.append(advance(graph, now, outputs, stop=None))
        check_limit(history[-1], stop)
    return history
