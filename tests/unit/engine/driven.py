"""A runner driven by hand on any store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from petiole_stores.ids import new_id
from petiole_stores.records import START_PATH, NewRun, NewTask, Run, Task, TaskRef, Worker
from petiole_stores.store import Store
from petiole_workers.graph import START, StateGraph
from petiole_workers.hop import Hint
from petiole_workers.registry import Registry
from petiole_workers.runner import Runner
from petiole_workers.settings import Settings


class Driven:
    """One holder, and a list in place of the broker; its thread is ``t``."""

    def __init__(self, store: Store, builder: StateGraph, *, holder: str = "driven", **settings: Any) -> None:
        self.store, self.holder = store, holder
        self.graph = builder.compile(name="g")
        self.settings = Settings(**settings)
        self.messages: list[TaskRef] = []
        store.beat(Worker(worker_id=holder, name=holder, lease=60.0))
        self.runner = self.another("1")

    def another(self, slot: str) -> Runner:
        return Runner(
            store=self.store, registry=Registry([self.graph]), settings=self.settings, holder=self.holder, slot=slot,
            publish=self.publish,
        )  # fmt: skip

    def publish(self, refs: Sequence[TaskRef]) -> list[str]:
        self.messages.extend(refs)
        return []

    def submit(self, *, config: str = "{}") -> str:
        start = NewTask(task_id=new_id(), path=START_PATH, node=START, kind="advance")
        run = NewRun(run_id=new_id(), thread_id="t", graph="g", start=start, input='{"n":0}', config=config)
        self.publish(self.store.submit([run])[0].publish)
        return run.run_id

    def hint(self) -> Hint:
        return Hint.of(self.messages.pop(0))

    def take_up(self) -> None:
        """Publish whatever is ready."""
        self.publish(self.store.due(published_before=4e9))

    def drain(self) -> None:
        while self.messages:
            self.runner.run([self.hint()])

    def run(self, run_id: str) -> Run:
        run = self.store.get_run(run_id)
        assert run is not None
        return run

    def tasks(self, run_id: str) -> dict[str, Task]:
        return {task.node: task for task in self.store.list_tasks(run_id)}

    def log(self) -> list[str]:
        head = self.store.head("t")
        assert head is not None
        found: list[str] = self.runner.documents.checkpoint(head).snapshot.values["log"]  # type: ignore[assignment]
        return found
