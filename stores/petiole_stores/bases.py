"""Bases of wide supersteps, kept by the process that claims their tasks one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from petiole_stores.records import Checkpointed

#: Bases whose list of next tasks is at least so long, in characters, are kept: of a few dozen tasks.
WIDE = 8_192
#: How many are kept, and how long, in seconds: a row that is mended in the store is read anew after that.
KEPT, FRESH = 4, 60.0


class WideBases:
    """Spares a fan-out the reading of its base with each of its tasks: a checkpoint never changes once it is made.

    Not guarded by a lock: two threads that keep bases at once may forget one, which is then read again.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, Checkpointed]] = {}

    def known(self) -> Mapping[str, Checkpointed]:
        """Those that are kept now, by id."""
        if not self._kept:
            return {}
        oldest = time.monotonic() - FRESH
        return {key: base for key, (since, base) in self._kept.copy().items() if since > oldest}

    def keep(self, bases: Iterable[Checkpointed | None]) -> None:
        """Keep those that are wide; the oldest are forgotten."""
        wide = [base for base in bases if base is not None and len(base.next) >= WIDE]
        if wide:
            known = {
                key: pair for key, pair in self._kept.copy().items() if pair[0] > time.monotonic() - FRESH
            }
            known |= {
                base.checkpoint_id: (time.monotonic(), base) for base in wide if base.quarantined is None
            }
            self._kept = dict(list(known.items())[-KEPT:])
