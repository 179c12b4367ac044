"""Random programs on LangGraph and on Petiole in this process: both see the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from petiole.langgraph import from_langgraph
from petiole_stores.ids import new_id
from petiole_stores.opening import open_store
from petiole_stores.store import Store
from tests.parity import libraries
from tests.parity.budget import EXAMPLES, ON_DISK
from tests.parity.building import build
from tests.parity.playing import Inline, Play, Seen, World, compiled, differences, theirs
from tests.parity.program import Program
from tests.parity.programs import programs

pytestmark = pytest.mark.filterwarnings("default")


def natively(program: Program, store: Any) -> Seen:
    library, world = libraries.petiole(store), World()
    return Play(program, Inline(compiled(program, library, world)), library, world, new_id()).play()


def ported(program: Program, store: Any) -> Seen:
    library, world = libraries.langgraph(), World()
    given = build(program, library, world).compile(
        interrupt_before=list(program.before), interrupt_after=list(program.after)
    )
    graph = from_langgraph(given, checkpointer=store)
    return Play(program, Inline(graph), library, world, new_id()).play()


def same(play: Callable[[Program, Store], Seen], store: Store, count: int) -> None:
    """The first ``count`` programs, the same ones each time, played on a store; one that differs is shrunk."""

    @seed(0)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(program=programs())
    def see(program: Program) -> None:
        assert not differences(play(program, store), _wanted(program))

    see()


_seen: dict[str, Seen] = {}


def _wanted(program: Program) -> Seen:
    """What LangGraph shows of a program; of one that was played before it is known."""
    key = repr(program)
    if key not in _seen:
        _seen[key] = theirs(program)
    return _seen[key]


@pytest.mark.timeout(60 + 20 * EXAMPLES)
@pytest.mark.parametrize("play", [natively, ported])
def test_both_see_the_same_in_memory(play: Callable[[Program, Store], Seen]) -> None:
    with open_store("memory://") as store:
        same(play, store, EXAMPLES)


@pytest.mark.timeout(60 + 20 * ON_DISK)
@pytest.mark.parametrize("play", [natively, ported])
def test_both_see_the_same_on_disk(play: Callable[[Program, Store], Seen], tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        same(play, store, ON_DISK)
