"""Managed values: state keys that the engine fills in for each task, and that nobody writes.

Declare a key with one of the annotations (``remaining: RemainingSteps``) in the state's schema or a node's.
"""

from __future__ import annotations

from typing import Annotated, Final

from petiole_workers.graph.names import DEFAULT_RECURSION_LIMIT


class ManagedValue:
    """What every managed value is: a function of the superstep and the last one that the run may take."""

    @staticmethod
    def get(step: int, stop: int) -> object:
        raise NotImplementedError


class IsLastStepManager(ManagedValue):
    """Whether the recursion limit ends the run after this superstep."""

    @staticmethod
    def get(step: int, stop: int) -> bool:
        return step == stop - 1


class RemainingStepsManager(ManagedValue):
    """How many supersteps the recursion limit leaves, the present one counted."""

    @staticmethod
    def get(step: int, stop: int) -> int:
        return stop - step


IsLastStep = Annotated[bool, IsLastStepManager]
RemainingSteps = Annotated[int, RemainingStepsManager]

#: By name, LangGraph's own classes being taken for ours of that name.
MANAGED: Final[dict[str, type[ManagedValue]]] = {
    kind.__name__: kind for kind in (IsLastStepManager, RemainingStepsManager)
}


def managed_value(kind: type[ManagedValue], base_step: int, stop: int | None) -> object:
    """The value for a task of the superstep after ``base_step``; ``stop`` as `stop_step` gives it (``None``: no limit)."""
    step = base_step + 1
    return kind.get(step, step + DEFAULT_RECURSION_LIMIT if stop is None else stop)
