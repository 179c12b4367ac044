"""`Send`: one task for a node, with an argument of its own instead of the graph's state."""

from __future__ import annotations

from dataclasses import dataclass

from petiole_workers.graph.timeout import Seconds, TimeoutPolicy


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Send:
    """Runs ``node`` in the next superstep with ``arg`` as its input.

    A conditional edge returns any number of these, so the width of a fan-out is decided while the graph runs.

    node: the name of the node to run.
    arg: what its function gets, as it is: it is not checked against the state's schema.
    timeout: seconds (or a timedelta) for one attempt at this task, or a `TimeoutPolicy`, which it is kept as. It stands
        in place of the node's own timeouts, all of them; ``None``, or a policy that limits nothing: those of the node.

    Raises ValueError or TypeError for a timeout that is none.
    """

    node: str
    arg: object
    timeout: TimeoutPolicy | None = None

    def __init__(self, node: str, arg: object, *, timeout: Seconds | TimeoutPolicy | None = None) -> None:
        for name, value in (("node", node), ("arg", arg), ("timeout", TimeoutPolicy.of(timeout))):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        limited = "" if self.timeout is None else f", timeout={self.timeout!r}"
        return f"Send(node={self.node!r}, arg={self.arg!r}{limited})"
