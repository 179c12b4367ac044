"""One scene and one server in this process for all tests that only look."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from petiole.api.app import create_app
from tests.unit.dashboard.scene import Scene, make_scene


@pytest.fixture(scope="package")
def scene() -> Iterator[Scene]:
    """Runs of each status, in memory. Tests that change something make their own."""
    made = make_scene()
    yield made
    made.worker.close()


@pytest.fixture(scope="package")
def browser(scene: Scene) -> TestClient:
    """Asks the application over the scene."""
    return TestClient(create_app(scene.client))
