"""The stores that the contract tests run on."""

from __future__ import annotations

import pytest

REAL = [
    "file",
    "sqlite",
    pytest.param("postgresql", marks=pytest.mark.postgres),
    pytest.param("redis", marks=pytest.mark.redis),
]
BACKENDS = ["memory", *REAL]
