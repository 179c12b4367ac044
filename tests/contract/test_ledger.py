"""Every rule of the ledger, one test a rule and store."""

from __future__ import annotations

import pytest

from petiole_stores.conformance import LEDGER_CHECKS, NotOffered, Scene
from petiole_stores.store import Store


@pytest.mark.parametrize("name", LEDGER_CHECKS)
def test_ledger(store: Store, name: str) -> None:
    try:
        LEDGER_CHECKS[name].run(Scene(store))
    except NotOffered as reason:
        pytest.skip(str(reason))
