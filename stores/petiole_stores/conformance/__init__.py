"""Checks that a store keeps its contract: for the authors of adapters, and for the shipped stores' own tests.

``check_checkpoint_store`` is for a store of the five methods, ``check_ledger`` for a full one. Both take a function
that makes a store and return a :class:`Report`; nothing here needs a test runner. ``python -m
petiole_stores.conformance URL`` runs what fits the store that a URL opens.
"""

from __future__ import annotations

from collections.abc import Callable

from petiole_stores.conformance import (  # noqa: F401 - they fill the catalogues
    aging,
    amending,
    claiming,
    deciding,
    finishing,
    healing,
    held,
    holding,
    inside,
    interrupting,
    keeping,
    limiting,
    listing,
    nesting,
    noting,
    publishing,
    reading,
    remembering,
    settling,
    submitting,
    telling,
    timing,
    trimming,
    waking,
    working,
)
from petiole_stores.conformance.report import Check, NotOffered, Report, run_checks
from petiole_stores.conformance.rules import CHECKPOINTS, LEDGER
from petiole_stores.conformance.scene import Scene
from petiole_stores.conformance.shelf import Shelf
from petiole_stores.contract import CheckpointStore
from petiole_stores.store import Store

#: The rules of a checkpoint store and of a ledger, by name.
CHECKPOINT_CHECKS: dict[str, Check[Shelf]] = CHECKPOINTS.checks
LEDGER_CHECKS: dict[str, Check[Scene]] = LEDGER.checks

__all__ = [
    "CHECKPOINT_CHECKS",
    "LEDGER_CHECKS",
    "Check",
    "NotOffered",
    "Report",
    "Scene",
    "Shelf",
    "check_checkpoint_store",
    "check_ledger",
]


def check_checkpoint_store(factory: Callable[[], CheckpointStore]) -> Report:
    """Check the five methods of a checkpoint store, and the optional parts that it offers.

    ``factory`` makes a store, once for each check; it is connected, brought up to date and closed here. All of them
    may share one place, which should be a scratch one: the checks leave checkpoints behind.
    """

    def each(run: Callable[[Shelf], None]) -> None:
        with factory() as store:
            store.migrate_schema()
            run(Shelf(store))

    return run_checks("checkpoint store", CHECKPOINT_CHECKS.values(), each)


def check_ledger(factory: Callable[[], Store]) -> Report:
    """Check every rule of :class:`petiole_stores.ledger.Ledger` and say which hold.

    ``factory`` makes a store, once for each check; it is connected, brought up to date and closed here. All of them
    may share one database, which must be a scratch one: the checks move the store's clock and leave their rows behind.
    """

    def each(run: Callable[[Scene], None]) -> None:
        with factory() as store:
            store.migrate_schema()
            run(Scene(store))

    return run_checks("ledger", LEDGER_CHECKS.values(), each)
