"""Every rule of the checkpoint contract, one test a rule and store."""

from __future__ import annotations

import pytest

from petiole_stores.conformance import CHECKPOINT_CHECKS, NotOffered, Shelf
from petiole_stores.store import Store


@pytest.mark.parametrize("name", CHECKPOINT_CHECKS)
def test_checkpoint_store(store: Store, name: str) -> None:
    try:
        CHECKPOINT_CHECKS[name].run(Shelf(store))
    except NotOffered as reason:
        pytest.skip(str(reason))
