"""The tour for workers whose messages a test may double: while the file that ``PETIOLE_TEST_DOUBLE`` names is there, each is sent twice."""

from __future__ import annotations

import faulthandler
import os
import signal
from pathlib import Path
from typing import Any

from petiole_workers.publishing import Publisher
from tests.graphs import tour

__all__ = ["STACKS", "SWITCH", "tour"]

SWITCH = "PETIOLE_TEST_DOUBLE"
#: A worker's processes answer this signal with their stacks, in their log.
STACKS = signal.SIGUSR2


def install(switch: Path) -> None:
    """Replace the one function that every message of this process goes through."""
    send = Publisher._send

    def twice(self: Publisher, producer: Any, ref: Any) -> None:
        send(self, producer, ref)
        if switch.exists():
            send(self, producer, ref)

    Publisher._send = twice  # type: ignore[method-assign]


if os.environ.get(SWITCH):
    install(Path(os.environ[SWITCH]))
    faulthandler.register(STACKS)
