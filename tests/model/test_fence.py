"""Every state of the fence's model is visited: nothing is committed twice, nothing is lost, there is always a way on.

The same search finds what goes wrong when a rule is left out, which proves that it can.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.model.explorer import Explored, explore
from tests.model.fence import LOST_RIGHT, TWICE, Luck, Protocol, State

NONE = Luck(0, 0, 0, 0, 0, 0)


def search(protocol: Protocol, luck: Luck, only: str = "") -> Explored[State]:
    """Look for anything that is wrong, or for faults that say ``only``."""

    def broken(state: State) -> str | None:
        return protocol.broken(state) if not only or only in state.fault else None

    return explore(State(luck=luck), protocol.steps_from, broken, protocol.is_end)


def test_every_state_is_sound(record_property: Callable[[str, object], None]) -> None:
    found = search(Protocol(), Luck())

    assert found.violation is None, "\n".join([found.violation or "", *found.trace])
    print(f"{found.states} states and {found.steps} steps between them, all of them visited")
    record_property("states", found.states)
    assert found.states > 70_000, "the model has become smaller than it was: does it still do what it says?"


#: A protocol without one of its rules, the misfortunes that it takes, and the fault that must be found.
MUTANTS = {
    "no fence, output of the dispossessed": (Protocol(token_fence=False), NONE._replace(expiries=1), LOST_RIGHT),
    "no fence, output twice": (Protocol(token_fence=False, end_fence=False), NONE._replace(expiries=1), TWICE),
    "no head compare-and-set": (Protocol(head_fence=False), NONE._replace(failures=1, saves=1, replays=1), "by hand is lost"),
    "advance made apart": (Protocol(atomic_advance=False), NONE._replace(crashes=1), "no path leads to the end"),
    "failures not counted": (Protocol(counts_failures=False), NONE._replace(failures=1), "have not ended"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_a_rule_left_out_is_found_out(name: str) -> None:
    protocol, luck, fault = MUTANTS[name]
    only = fault if fault in (LOST_RIGHT, TWICE) else ""

    found = search(protocol, luck, only)

    assert fault in (found.violation or ""), f"{found.violation}: {found.trace}"
    assert found.trace
    assert search(Protocol(), luck).violation is None, "the same misfortunes do the protocol itself no harm"


def test_without_misfortune_there_is_little_to_see() -> None:
    found = search(Protocol(), NONE)
    assert found.violation is None
    assert found.states < 100
