"""The places that every page leads to."""

from __future__ import annotations

from typing import NamedTuple

from petiole.api.access import Principal, Scope


class Place(NamedTuple):
    """One entry of the navigation; ``key`` is also the name of its icon and the letter after ``g`` is ``letter``."""

    key: str
    label: str
    path: str
    letter: str
    scope: Scope = "read"


#: In the order in which they are shown.
PLACES: tuple[Place, ...] = (
    Place("runs", "Runs", "/", "r"),
    Place("graphs", "Graphs", "/graphs", "p"),
    Place("workers", "Workers", "/workers", "w"),
    Place("dead", "Dead letters", "/dead-letters", "l"),
    Place("schedules", "Schedules", "/schedules", "s"),
    Place("audit", "Audit", "/audit", "a", "admin"),
    Place("keys", "API keys", "/keys", "k", "admin"),
)


def places_for(principal: Principal) -> list[Place]:
    """The places that somebody may go to."""
    return [place for place in PLACES if principal.has(place.scope)]
