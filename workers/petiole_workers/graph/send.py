"""`Send`: one task for a node, with an argument of its own instead of the graph's state."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Send:
    """Runs ``node`` in the next superstep with ``arg`` as its input.

    A conditional edge returns any number of these, so the width of a fan-out is decided while the graph runs.

    node: the name of the node to run.
    arg: what its function gets, as it is: it is not checked against the state's schema.
    """

    node: str
    arg: object
