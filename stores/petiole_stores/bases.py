"""Bases of wide supersteps, kept by the process that claims their tasks one after the other."""

from __future__ import annotations

import time
from collections.abc import Mapping

from petiole_stores.records import Checkpointed, Claim, ClaimAnswer

#: Bases whose list of next tasks is at least so long, in characters, are kept: of a few dozen tasks.
WIDE = 8_192
#: How many are kept, and how long, in seconds: a row that is mended in the store is read anew after that.
KEPT, FRESH = 4, 60.0


class ToldClaim(Claim):
    """A claim as a store's server tells it. ``known``: the id of its base, where the caller said that it has that one."""

    known: str | None = None


class ToldAnswer(ClaimAnswer):
    """An answer as a store's server tells it."""

    claim: ToldClaim | None = None


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

    def whole(self, told: ToldAnswer, known: Mapping[str, Checkpointed]) -> ClaimAnswer:
        """The answer with its base, which is one of those that were known or is kept from now on if it is wide."""
        if told.claim is None:
            return ClaimAnswer(task_id=told.task_id, result=told.result, reason=told.reason)
        claim = told.claim
        base = claim.base if claim.known is None else known[claim.known]
        if base is not None and claim.known is None and len(base.next) >= WIDE and base.quarantined is None:
            self._keep(base)
        whole = Claim(
            task=claim.task,
            run=claim.run,
            base=base,
            width=claim.width,
            outputs=claim.outputs,
            child=claim.child,
        )
        return ClaimAnswer(task_id=told.task_id, result=told.result, reason=told.reason, claim=whole)

    def _keep(self, base: Checkpointed) -> None:
        """Keep one; those that were kept for longest are forgotten."""
        others = [pair for pair in self._kept.copy().items() if pair[0] != base.checkpoint_id]
        self._kept = {**dict(others[-KEPT + 1 :]), base.checkpoint_id: (time.monotonic(), base)}
