"""A runner driven by hand on a memory store whose clock the test owns."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, TypedDict

from petiole_stores.ids import new_id
from petiole_stores.memory import MemoryStore
from petiole_stores.records import START_PATH, NewRun, NewTask, Run, Task, TaskRef, Worker
from petiole_workers.graph import END, START, StateGraph
from petiole_workers.hop import Hint
from petiole_workers.registry import Registry
from petiole_workers.runner import Runner
from petiole_workers.settings import Settings

HOLDER = "worker-1"


class State(TypedDict, total=False):
    n: int
    log: Annotated[list[str], operator.add]


class Bench:
    """One worker's runner, and a list in place of the broker."""

    #: Every runner that was made: closed after each test (tests/unit/engine/conftest.py).
    runners: ClassVar[list[Runner]] = []

    def __init__(self, builder: StateGraph, *, store: MemoryStore | None = None, **settings: Any) -> None:
        self.now = 1000.0
        self.store = store or MemoryStore()
        self.store.clock = lambda: self.now
        self.graph = builder.compile(name="g")
        self.graph.register_types(self.store.serde)
        self.settings = Settings(**settings)
        self.messages: list[TaskRef] = []
        self.beat()
        self.runner = self.another()

    def beat(self, holder: str = HOLDER) -> None:
        self.store.beat(Worker(worker_id=holder, name=holder, lease=15.0))

    def another(self, holder: str = HOLDER, slot: str = "1") -> Runner:
        runner = Runner(
            store=self.store, registry=Registry([self.graph]), settings=self.settings, holder=holder, slot=slot,
            publish=self.publish,
        )  # fmt: skip
        Bench.runners.append(runner)
        return runner

    def publish(self, refs: Sequence[TaskRef]) -> list[str]:
        self.messages.extend(refs)
        return [ref.task_id for ref in refs]

    def submit(self, input: dict[str, Any] | None = None, *, thread_id: str = "t", config: str = "{}") -> str:
        text, blobs = self.store.serde.dump({"n": 0} if input is None else input, thread_id=thread_id)
        start = NewTask(task_id=new_id(), path=START_PATH, node=START, kind="advance")
        run = NewRun(
            run_id=new_id(), thread_id=thread_id, graph="g", start=start, input=text, config=config,
            blobs=list(blobs.values()),
        )  # fmt: skip
        answer = self.store.submit([run])[0]
        assert answer.result == "committed", answer.reason
        self.publish(answer.publish)
        return run.run_id

    def hint(self) -> Hint:
        """The oldest message, taken from the broker."""
        return Hint.of(self.messages.pop(0))

    def drain(self, most: int = 50) -> None:
        """Deliver messages until there are none."""
        for _ in range(most):
            if not self.messages:
                return
            self.runner.run([self.hint()])
        raise AssertionError(f"messages are still coming after {most} deliveries")

    def run(self, run_id: str) -> Run:
        run = self.store.get_run(run_id)
        assert run is not None
        return run

    def tasks(self, run_id: str) -> dict[str, Task]:
        """A run's tasks by node; of several, the newest."""
        return {task.node: task for task in self.store.list_tasks(run_id)}

    def values(self, thread_id: str = "t") -> dict[str, Any]:
        head = self.store.head(thread_id)
        assert head is not None
        return self.runner.documents.checkpoint(head).snapshot.values


def chain(**nodes: Callable[..., Any]) -> StateGraph:
    """These nodes one after the other."""
    builder = StateGraph(State)
    for name, node in nodes.items():
        builder.add_node(name, node)
    for before, after in zip((START, *nodes), (*nodes, END), strict=True):
        builder.add_edge(before, after)
    return builder


def says(name: str) -> Callable[[State], State]:
    """A node that adds its name to the log."""
    return lambda state: {"log": [name]}
