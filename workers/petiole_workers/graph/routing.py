"""Where a finished task leads: the conditional edges of its node."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from petiole_stores.errors import InvalidUpdateError
from petiole_workers.graph.callables import Runner, call
from petiole_workers.graph.definition import GraphDefinition
from petiole_workers.graph.names import END, START
from petiole_workers.graph.parts import Branch
from petiole_workers.graph.runtime import Runtime
from petiole_workers.graph.send import Send
from petiole_workers.graph.snapshot import Snapshot, TaskOutput
from petiole_workers.graph.updates import apply_writes, check_limits, managed_values


def route(
    graph: GraphDefinition,
    base: Snapshot,
    output: TaskOutput,
    *,
    runner: Runner,
    runtime: Runtime[Any],
    stop: int | None = None,
) -> Iterator[str | Send]:
    """The nodes and Sends that the branches of ``output``'s node choose, in the order of branches and answers.

    Each router sees ``base`` with the writes of this one task applied, and not those of its neighbours.

    Raises InvalidUpdateError for an answer that leads nowhere (LangGraph ignores an unknown node, and the run
    ends without a word). What a router raises passes, with a note that names it.
    """
    branches = graph.branches_from(output.node)
    if not branches:
        return
    values = apply_writes(graph, base.values, [output])
    source = graph.nodes[output.node].input_schema if output.node in graph.nodes else graph.state_schema
    for branch in branches:
        schema = branch.input_schema or source
        state = schema.instance(values | managed_values(schema, base.step, stop))
        if isinstance(state, dict) and branch.input_schema is None:
            # What the node has just written counts, even if the node itself does not read that key.
            state = {**dict(output.writes), **state}
        try:
            answer = call(branch.function, state, dataclasses.replace(runtime, node=output.node), runner)
        except Exception as exc:
            exc.add_note(f"in the router {branch.name!r} of {output.node!r} (task {output.path})")
            raise
        for item in answer if isinstance(answer, list | tuple) else (answer,):
            destination = _destination(graph, branch, item)
            if destination != END:
                yield destination


def _destination(graph: GraphDefinition, branch: Branch, answer: object) -> str | Send:
    """The node, END or Send that one answer of a router means."""
    who = f"the router {branch.name!r} of {branch.source!r}"
    nodes = f"the nodes are {', '.join(map(repr, graph.nodes))}"
    if isinstance(answer, Send):
        if answer.node not in graph.nodes:
            raise InvalidUpdateError(f"{who} sends to {answer.node!r}, which is no node: {nodes}")
        check_limits(graph, answer, who)
        return answer
    if branch.ends is not None:
        try:
            return branch.ends[answer]
        except (KeyError, TypeError):
            answers = ", ".join(map(repr, branch.ends))
            raise InvalidUpdateError(
                f"{who} answered {answer!r}, which its path_map does not name: answer one of {answers}, or extend the map"
            ) from None
    if not isinstance(answer, str) or answer == START or (answer != END and answer not in graph.nodes):
        raise InvalidUpdateError(
            f"{who} answered {answer!r}: answer a node, END, a Send or a list of these; {nodes}"
        )
    return answer
