"""The two catalogues of checks: what every ledger does, and what every checkpoint store does."""

from __future__ import annotations

from petiole_stores.conformance.report import Catalogue
from petiole_stores.conformance.scene import Scene
from petiole_stores.conformance.shelf import Shelf

LEDGER: Catalogue[Scene] = Catalogue()
CHECKPOINTS: Catalogue[Shelf] = Catalogue()
