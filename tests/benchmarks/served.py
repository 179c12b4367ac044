"""The compiled graphs that Petiole's workers serve in a benchmark."""

from __future__ import annotations

import petiole
from tests.benchmarks.graphs import CHAINS, build
from tests.benchmarks.workloads import FANS

GRAPHS = {kind: build(petiole, kind).compile(name=f"bench_{kind}") for kind in (*CHAINS, *FANS)}
long, short, fan, map = (GRAPHS[kind] for kind in ("long", "short", "fan", "map"))
changed, unchanged, wide = GRAPHS["changed"], GRAPHS["unchanged"], GRAPHS["wide"]
wide_once = GRAPHS["wide_once"]

#: For ``PETIOLE_GRAPHS``.
REFERENCES = [f"tests.benchmarks.served:{kind}" for kind in GRAPHS]
