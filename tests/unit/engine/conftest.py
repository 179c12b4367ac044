"""Runners that a test's benches made are closed after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.engine.bench import Bench


@pytest.fixture(autouse=True)
def _runners_closed() -> Iterator[None]:
    yield
    while Bench.runners:
        Bench.runners.pop().close()
