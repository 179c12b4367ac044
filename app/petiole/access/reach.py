"""Which keys an administrator who is limited himself may see, make and end: those that reach no further than he does."""

from __future__ import annotations

from collections.abc import Sequence

from petiole.access.keys import Key
from petiole.access.principal import Principal
from petiole_stores.errors import InputError


def is_within(who: Principal, key: Key) -> bool:
    """Whether a key reaches no further than its asker: only such ones are his to see and end."""
    return all(
        not own or (given and set(given) <= set(own))
        for own, given in ((who.graphs, key.graphs), (who.namespaces, key.namespaces))
    )


def check_reach(who: Principal, graphs: Sequence[str], namespaces: Sequence[str]) -> None:
    """Raise InputError for limits of a new key that would reach further than who makes it."""
    for what, own, given in (("graphs", who.graphs, graphs), ("namespaces", who.namespaces, namespaces)):
        if own and not (given and set(given) <= set(own)):
            said = ", ".join(given) or "empty"
            raise InputError(
                f"{what} is {said}: {who.name} is limited to {', '.join(own)}, and so are its keys"
            )
