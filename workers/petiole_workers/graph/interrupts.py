"""`interrupt`: a node asks a person, and goes on with the answer, be it months later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from petiole_workers.graph.runtime import current_runtime


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A question that a node has asked.

    value: what the node gave to `interrupt`.
    id: names this question for ``Command(resume={id: answer})``. The next question of the same node has another id
        (in older versions of LangGraph the same one), so that an answer given twice never serves for two.
    """

    value: Any
    id: str


class GraphInterrupt(BaseException):
    """Ends a node's attempt at an `interrupt`. No ``Exception``: a node's own ``except`` must not stop it."""

    def __init__(self, interrupts: tuple[Interrupt, ...] = ()) -> None:
        super().__init__(interrupts)
        self.interrupts = interrupts


def interrupt(value: Any) -> Any:
    """Stops the run here until somebody resumes it, and returns their answer.

    The task is put away: it costs a row and waits for as long as it takes. When it is resumed, the node runs again
    from its top on any worker, and the interrupts that were answered return at once, in the order asked; so what
    comes before one has to be harmless to repeat. ``value`` is anything that a state may hold.

    Raises ConfigurationError outside a node.
    """
    return current_runtime("interrupt()").services.interrupt(value)
