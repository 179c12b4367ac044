"""What passes between supersteps: the planned tasks, their outputs, and the state with all that comes next."""

from __future__ import annotations

from dataclasses import dataclass

from petiole_workers.graph.names import MISSING
from petiole_workers.graph.send import Send
from petiole_workers.graph.timeout import TimeoutPolicy


def pull_path(node: str) -> str:
    """The path of the task that an edge, join or branch makes for ``node``."""
    return f"pull:{node}"


def push_path(index: int) -> str:
    """The path of the task that the ``index``-th `Send` of a superstep makes."""
    return f"push:{index:010d}"


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task of a superstep.

    path: ``pull:<node>`` or ``push:<ten digits>``; sorting paths as strings gives the order in which writes
        are applied (pulls by node name, then pushes by index).
    arg: a `Send`'s argument, or for ``__start__`` the run's input; else `MISSING`: the node reads the state.
    timeout: a `Send`'s, in place of the node's.
    """

    path: str
    node: str
    arg: object = MISSING
    timeout: TimeoutPolicy | None = None


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """What a task wrote: pairs of state key and value, in the order written, and where a `Command` leads.

    to_parent: both are for the graph whose node this graph is, where they are checked: this graph ends.
    cached: the node did not run, its result was kept from before.
    node: the node, or ``__error_handler__<node>`` where its handler gave the output (whose edges are not the node's).
    """

    path: str
    node: str
    writes: tuple[tuple[str, object], ...]
    goto: tuple[str | Send, ...] = ()
    to_parent: bool = False
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state at the end of a superstep. Its values are never changed in place.

    step: -1 for the first input of a thread, then counted up by one.
    source: ``input`` for what precedes a run's first superstep, ``loop`` for what a superstep made.
    values: the keys that have a value.
    next: the tasks of the next superstep in path order; empty when the run is finished.
    control: what the engine has to remember beside the state, JSON-able: ``joins`` (for each join, the sources
        that arrived so far), ``fired`` (the joins that led to ``next``) and ``deferred`` (deferred nodes that were
        reached and still wait). Absent when empty.
    writers: the nodes whose writes made this snapshot, in path order; ``__start__`` for an input.
    """

    step: int
    source: str
    values: dict[str, object]
    next: tuple[TaskSpec, ...]
    control: dict[str, object]
    writers: tuple[str, ...]
