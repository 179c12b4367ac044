"""A process dies at every crash point, on every store: what follows ends as if nothing had happened.

``PETIOLE_CRASH_POINTS=all`` plays the whole matrix (``make torture`` does); else each point on one of them in turn.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from petiole_stores.crashpoints import POINTS
from tests.crash.points.matrix import CLIENTS, HOPS, Case, Play, cases, sample

STORES = ("postgresql", "redis", "sqlite", "file")
MARKS = {"postgresql": [pytest.mark.postgres], "redis": [pytest.mark.redis]}
#: Played on every store, whatever is sampled: what most deaths come to.
EVERYWHERE = {
    "work-claim.after-4-sync",
    "work-finish.after-4-sync",
    "work-finish.after-5-sync",
    "submit-submit.after-1-sync",
}


def chosen() -> list[Any]:
    """The store and case of each test: all of both, or each case on one store in turn."""
    if os.environ.get("PETIOLE_CRASH_POINTS") == "all":
        pairs = [(store, case) for store in STORES for case in cases()]
    else:
        pairs = [
            (store, case)
            for number, case in enumerate(sample())
            for position, store in enumerate(STORES)
            if number % len(STORES) == position or str(case) in EVERYWHERE
        ]
    pairs.sort(key=lambda pair: STORES.index(pair[0]))
    return [
        pytest.param(store, case, id=f"{store}-{case}", marks=MARKS.get(store, ())) for store, case in pairs
    ]


#: Points of what only people, damage and upkeep do; tests of their own kill there.
ELSEWHERE = {
    "timeout",
    "postpone",
    "spool",
    "block",
    "unblock",
    "drop",
    "amend",
    "wake",
    "mend",
    "quarantine",
    "trim",
    "delete",
    "put_items",
    "remove_items",
    "purge_items",
    "append_events",
    "purge_events",
}

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
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


@pytest.mark.slow
@pytest.mark.parametrize(("url", "case"), chosen(), indirect=["url"], scope="module")
def test_a_death_at_this_point_changes_nothing(url: str, case: Case, tmp_path: Path) -> None:
    died = Play(url, tmp_path).run(case)
    assert died or case.durability != "sync" or case.nth > 1, "the process never came to the point"


def test_the_matrix_has_every_point() -> None:
    points = {case.point for case in cases()}
    assert points == {case.point for case in sample()}
    assert points | {f"{name}.{side}" for name in ELSEWHERE for side in ("before", "after")} == set(POINTS)
    assert points == set(HOPS) | {f"{name}.{side}" for name in CLIENTS for side in ("before", "after")}
