"""A runner that says which nodes it is busy with, so that a hook can be for one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from petiole.testing.hooks import NODE_BEFORE, Hooks
from petiole_stores.records import Claim
from petiole_workers.hop import Hint, Work
from petiole_workers.runner import Runner


class LocalRunner(Runner):
    """The workers' own runner, watched by hooks."""

    def __init__(self, hooks: Hooks, **options: Any) -> None:
        super().__init__(**options)
        self._hooks = hooks

    def run(self, hints: Sequence[Hint]) -> int:
        self._hooks.busy_with({hint.node for hint in hints})
        return super().run(hints)

    def execute(self, claim: Claim) -> Work:
        self._hooks.busy_with({claim.task.node})
        self._hooks.reach(NODE_BEFORE)
        return super().execute(claim)

    def commit(self, made: Sequence[Work]) -> list[Claim]:
        self._hooks.busy_with({work.claim.task.node for work in made})
        return super().commit(made)
