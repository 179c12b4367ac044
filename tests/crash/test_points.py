"""A process dies at every crash point, on every store: what follows ends as if nothing had happened.

``PETIOLE_CRASH_POINTS=all`` plays the whole matrix (``make torture`` does); else each point is played on each store.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from petiole_stores.crashpoints import POINTS
from tests.crash.points.matrix import CLIENTS, HOPS, Case, Play, cases, sample

ALL = os.environ.get("PETIOLE_CRASH_POINTS") == "all"
CASES = cases() if ALL else sample()
STORES = [
    pytest.param("postgresql", marks=pytest.mark.postgres),
    pytest.param("redis", marks=pytest.mark.redis),
    "sqlite",
    "file",
]
#: Points of what only people, damage and upkeep do; tests of their own kill there.
ELSEWHERE = {"postpone", "block", "unblock", "drop", "mend", "quarantine", "trim", "delete"}

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", params=STORES)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store that the cases share, each with a thread of its own."""
    folder = tmp_path_factory.mktemp("points")
    match request.param:
        case "postgresql":
            return str(request.getfixturevalue("module_postgres_url"))
        case "redis":
            return str(request.getfixturevalue("module_redis_url"))
        case "sqlite":
            return f"sqlite:///{folder}/store.db"
        case _:
            return f"file://{folder}/files"


@pytest.fixture
def play(url: str, tmp_path: Path) -> Play:
    return Play(url, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_death_at_this_point_changes_nothing(play: Play, case: Case) -> None:
    died = play.run(case)
    assert died or case.durability != "sync" or case.nth > 1, "the process never came to the point"


def test_the_matrix_has_every_point() -> None:
    points = {case.point for case in cases()}
    assert points == {case.point for case in sample()}
    assert points | {f"{name}.{side}" for name in ELSEWHERE for side in ("before", "after")} == set(POINTS)
    assert points == set(HOPS) | {f"{name}.{side}" for name in CLIENTS for side in ("before", "after")}
