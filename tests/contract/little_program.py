"""A small graph as its workers see it: what to answer to each claim, and the state that a run of it must end with."""

from __future__ import annotations

import itertools
import json

from petiole_stores.conformance.scene import Scene
from petiole_stores.records import ADVANCE_PATH, Claim, NewTask, Outcome, Settle

#: The nodes that run side by side, superstep by superstep.
SUPERSTEPS = (("a", "b"), ("c",), ("d", "e", "f"))
#: The node that runs a graph of its own in a namespace, and that graph's nodes, side by side.
OWNER, BELOW = "c", ("p", "q")
#: What one run adds to its thread's state: an owner adds what its graph came to, and then its own.
ADDED = [
    f"{step}:{name}"
    for step, nodes in enumerate(SUPERSTEPS)
    for node in nodes
    for name in ((*BELOW, node) if node == OWNER else (node,))
]


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
        if task.node == OWNER and claim.child is None:
            assert base is not None
            made.ending, made.nest = "parked", self._nest(claim, base.step)
        elif task.kind == "node":
            assert base is not None
            made.output = json.dumps(f"{base.step}:{task.node}")
            if claim.width == 1:
                added = [*json.loads(claim.child.state if claim.child else "[]"), json.loads(made.output)]
                made.settle = self._settle(claim, before + added, base.step + 1)
        elif task.path == ADVANCE_PATH:
            assert base is not None
            joined = [json.loads(output.output) for output in claim.outputs]
            made.settle = self._settle(claim, before + joined, base.step + 1)
        else:
            made.settle = self._settle(claim, before, 0)
        return made

    def _nest(self, claim: Claim, step: int) -> Settle:
        """The beginning of the owner's graph, in a namespace that dies with its task."""
        ns = f"{OWNER}:{claim.task.task_id}"
        return self._made(ns, None, [], step, BELOW)

    def _settle(self, claim: Claim, state: list[str], step: int) -> Settle:
        parent = claim.base.checkpoint_id if claim.base else None
        goes_on = not claim.task.ns and step < len(SUPERSTEPS)
        return self._made(claim.task.ns, parent, state, step, SUPERSTEPS[step] if goes_on else ())

    def _made(
        self, ns: str, parent: str | None, state: list[str], step: int, nodes: tuple[str, ...]
    ) -> Settle:
        name = self.id("c").removeprefix(f"{self.scene.prefix}-")
        checkpoint = self.scene.new_checkpoint(name, None, ns=ns, state=json.dumps(state), step=step)
        checkpoint.parent_id = parent
        tasks = [
            NewTask(task_id=self.id("n"), path=f"pull:{node}", node=node, ns=ns, queue=self.scene.queue)
            for node in nodes
        ]
        return Settle(checkpoints=[checkpoint], tasks=tasks, run_status="running" if tasks else "succeeded")
