"""Checks that a store keeps its contract: for the authors of adapters, and for the shipped stores' own tests.

``check_checkpoint_store`` is for a store of the five methods, ``check_ledger`` for a full one. Both take a function
that makes a store and return a :class:`Report`; nothing here needs a test runner. ``python -m
petiole_stores.conformance URL`` runs what fits the store that a URL opens.
"""

from __future__ import annotations

from collections.abc import Callable

from petiole_stores.conformance import (  # noqa: F401 - they fill the catalogue
    claiming,
    deciding,
    finishing,
    publishing,
    reading,
    submitting,
    working,
)
from petiole_stores.conformance.report import Check, NotOffered, Report, run_checks
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene
from petiole_stores.store import Store

#: The rules of the ledger, by name.
LEDGER_CHECKS: dict[str, Check[Scene]] = LEDGER.checks

__all__ = ["LEDGER_CHECKS", "Check", "NotOffered", "Report", "Scene", "check_ledger"]


def check_ledger(factory: Callable[[], Store]) -> Report:
    """Check every rule of :class:`petiole_stores.ledger.Ledger` and say which hold.

    ``factory`` makes a connected store, once for each check; what it opens is closed. All of them may share one
    database, which must be a scratch one: the checks move the store's clock and leave their rows behind.
    """

    def each(run: Callable[[Scene], None]) -> None:
        store = factory()
        try:
            run(Scene(store))
        finally:
            store.clock = None
            store.close()

    return run_checks("ledger", LEDGER_CHECKS.values(), each)
