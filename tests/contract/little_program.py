"""A small graph as its workers see it: what to answer to each claim, and the state that a run of it must end with."""

from __future__ import annotations

import itertools
import json

from petiole_stores.conformance.scene import Scene
from petiole_stores.records import ADVANCE_PATH, Claim, NewTask, Outcome, Settle

#: The nodes that run side by side, superstep by superstep.
SUPERSTEPS = (("a", "b"), ("c",), ("d", "e", "f"))
#: What one run adds to its thread's state.
ADDED = [f"{step}:{node}" for step, nodes in enumerate(SUPERSTEPS) for node in nodes]


class Program:
    """Every node appends its name to the state; outputs are joined in the order of their paths."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._count = itertools.count(1)

    def id(self, letter: str) -> str:
        return self.scene.id(f"{letter}{next(self._count)}")

    def outcome(self, claim: Claim, token: str) -> Outcome:
        """How a claim ends when all goes well."""
        task, base = claim.task, claim.base
        before: list[str] = json.loads(base.state) if base else []
        made = Outcome(
            task_id=task.task_id,
            token=token,
            ending="done",
            advance_id=self.id("adv"),
            advance_token=self.id("k"),
            advance_queue=self.scene.queue,
        )
        if task.kind == "node":
            assert base is not None
            made.output = json.dumps(f"{base.step}:{task.node}")
            if claim.width == 1:
                made.settle = self._settle(claim, [*before, json.loads(made.output)], base.step + 1)
        elif task.path == ADVANCE_PATH:
            assert base is not None
            joined = [json.loads(output.output) for output in claim.outputs]
            made.settle = self._settle(claim, before + joined, base.step + 1)
        else:
            made.settle = self._settle(claim, before, 0)
        return made

    def _settle(self, claim: Claim, state: list[str], step: int) -> Settle:
        parent = claim.base.checkpoint_id if claim.base else None
        checkpoint = self.scene.new_checkpoint(
            self.id("c").removeprefix(f"{self.scene.prefix}-"), None, state=json.dumps(state), step=step
        )
        checkpoint.parent_id = parent
        tasks: list[NewTask] = []
        for node in SUPERSTEPS[step] if step < len(SUPERSTEPS) else ():
            task_id = self.id("n")
            tasks.append(NewTask(task_id=task_id, path=f"pull:{node}", node=node, queue=self.scene.queue))
        return Settle(checkpoints=[checkpoint], tasks=tasks, run_status="running" if tasks else "succeeded")
