"""Testing graphs without servers or waiting: workers in this process, a clock to move, crashes and faults on demand.

::

    worker = LocalWorker([graph])
    run = worker.client.submit(graph, {"order": 7})
    worker.crash_at("node.after", node="charge")
    worker.run_until_idle()          # the attempt at charge is lost, as by SIGKILL
    worker.clock.tick(20)            # the lost worker's lease is over
    worker.run_until_idle()
    assert run.result(0)["paid"]

docs/testing.md has the whole of it. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from petiole.testing.clock import Clock
    from petiole.testing.hooks import POINTS, SimulatedCrash
    from petiole.testing.messages import Messages
    from petiole.testing.worker import LocalWorker
    from petiole_stores.faults import FaultPlan, FaultyStore, delay, execute_and_timeout, fail_before

#: Module -> the names that come from it.
_HOMES = {
    "petiole.testing.clock": ("Clock",),
    "petiole.testing.hooks": ("POINTS", "SimulatedCrash"),
    "petiole.testing.messages": ("Messages",),
    "petiole.testing.worker": ("LocalWorker",),
    "petiole_stores.faults": ("FaultPlan", "FaultyStore", "delay", "execute_and_timeout", "fail_before"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "POINTS",
    "Clock",
    "FaultPlan",
    "FaultyStore",
    "LocalWorker",
    "Messages",
    "SimulatedCrash",
    "delay",
    "execute_and_timeout",
    "fail_before",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'petiole.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
