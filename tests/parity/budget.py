"""How many random programs are played (docs/testing.md)."""

from __future__ import annotations

import os

_ASKED = os.environ.get("PETIOLE_PARITY_EXAMPLES")
#: In this process on a store in memory, built in both ways.
EXAMPLES = int(_ASKED or 200)
#: The same on a store on disk.
ON_DISK = EXAMPLES if _ASKED else 25
#: On workers; each of them built in both ways.
ON_WORKERS = EXAMPLES if _ASKED else 40
#: What the workers' programs derive from.
SEED = int(os.environ.get("PETIOLE_PARITY_SEED", "1"))
