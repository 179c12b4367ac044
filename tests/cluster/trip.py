"""One submitted run with its desk, and what must hold of it however it was disturbed."""

from __future__ import annotations

import functools
import tempfile
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from petiole.client import Client, RunHandle
from petiole_stores.records import Checkpointed, Task
from tests import graphs
from tests.graphs import Execution, journal
from tests.waiting import wait_until

#: Attempts that a node makes in an undisturbed run, where that is not one.
TRIES = {"total": 2}


def given(graph: str, desk: Path, hold: str, parts: int) -> dict[str, Any]:
    """The input of a run."""
    state: dict[str, Any] = {"desk": str(desk), "hold": hold, "trail": []}
    return state | ({"parts": parts, "squares": []} if graph == "tour" else {})


@functools.cache
def undisturbed(graph: str, parts: int) -> dict[str, Any]:
    """The final state of a run in one process that nothing happens to."""
    with tempfile.TemporaryDirectory() as desk:
        final = getattr(graphs, graph).invoke(given(graph, Path(desk), "", parts))
    return {key: value for key, value in final.items() if key not in ("desk", "hold")}


@dataclass
class Trip:
    """A run on its way."""

    client: Client
    handle: RunHandle
    graph: str
    desk: Path
    parts: int
    submitted: float = field(default_factory=time.time)

    @classmethod
    def submit(cls, client: Client, graph: str, desk: Path, *, hold: str, parts: int) -> Trip:
        handle = client.submit(graph, given(graph, desk, hold, parts))
        return cls(client, handle, graph, desk, parts)

    # ---------------------------------------------------------------- on its way

    def executions(self, node: str | None = None) -> list[Execution]:
        """What the nodes wrote down, in order."""
        return [line for line in journal(self.desk) if node in (None, line.node)]

    def await_node(self, node: str, *, times: int = 1, timeout: float = 30.0) -> Execution:
        """Wait until a node has begun for the ``times``-th time, and give that execution."""
        return wait_until(
            lambda: self.executions(node)[times - 1 : times],
            timeout,
            lambda: f"execution {times} of node {node}; so far: {self.executions()}; tasks: {self._shown()}",
        )[0]

    def open_gate(self) -> None:
        """Let the held node go on."""
        (self.desk / "gate").touch()

    def tasks(self) -> list[Task]:
        self.client.store.hint(self.handle.thread_id, [self.handle.run_id])
        return self.client.store.list_tasks(self.handle.run_id)

    # ---------------------------------------------------------------- at its end

    def verify(self, *, again: Collection[str] = (), timeout: float = 30.0) -> None:
        """Wait for the end, and check it all: the state, each output once, one line of checkpoints.

        ``again`` names the nodes that may have been executed more than once, because they were disturbed.
        """
        run = wait_until(
            lambda: (run := self.handle.run).ended_at and run,
            timeout,
            lambda: f"the run's end; its tasks: {self._shown()}",
        )
        assert run.status == "succeeded", run.error
        final = {key: value for key, value in self.handle.outcome(run).items() if key not in ("desk", "hold")}
        assert final == undisturbed(self.graph, self.parts)
        self._verify_tasks()
        self._verify_chain()
        counts = Counter(line.node for line in self.executions())
        repeated = {node: count for node, count in counts.items() if count > TRIES.get(node, 1)}
        assert set(repeated) <= set(again), f"executed again without need: {repeated}; tasks: {self._shown()}"

    def _verify_tasks(self) -> None:
        tasks = self.tasks()
        assert {task.status for task in tasks} == {"done"}, self._shown()
        nodes = [(task.checkpoint_id, task.ns, task.path) for task in tasks if task.kind == "node"]
        assert len(nodes) == len(set(nodes)), f"committed more than once: {Counter(nodes).most_common(3)}"
        checkpoints = self._checkpoints()
        assert {task.checkpoint_id for task in tasks if task.kind == "node"} <= {
            c.checkpoint_id for c in checkpoints
        }

    def _verify_chain(self) -> None:
        store = self.client.store
        checkpoints = {record.checkpoint_id: record for record in self._checkpoints()}
        record = store.head(self.handle.thread_id)
        seen: list[Checkpointed] = []
        while record is not None:
            seen.append(record)
            record = checkpoints.get(record.parent_id or "")
        assert {record.checkpoint_id for record in seen} == set(checkpoints), (
            "a checkpoint is beside the line to the head"
        )
        steps = [record.step for record in seen]
        assert steps == sorted(set(steps), reverse=True), steps

    def _checkpoints(self) -> list[Checkpointed]:
        return self.client.store.list_checkpoints(self.handle.thread_id)

    def _shown(self) -> list[str]:
        return [
            f"{task.node}[{task.path}] {task.kind} {task.status} attempt {task.attempt} "
            f"{[tried.outcome for tried in task.attempts]} publishes {task.publishes}"
            for task in self.tasks()
        ]
