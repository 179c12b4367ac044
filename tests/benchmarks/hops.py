"""How many calls of the store one hop takes: a worker's own runner in this process, its store's calls counted."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from petiole import Settings
from petiole_stores.ids import new_id
from petiole_stores.opening import open_store
from petiole_stores.records import TaskRef, Worker
from petiole_workers.hop import Hint
from petiole_workers.registry import Registry
from petiole_workers.runner import Runner
from petiole_workers.submission import Submission
from tests.benchmarks.graphs import CHAINS
from tests.benchmarks.peers.petiole import INPUTS
from tests.benchmarks.served import GRAPHS


class Counting:
    """A store that counts the public calls made of it; each is one round trip on Postgres and Redis."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found) or name == "hint":
            return found

        def counted(*arguments: Any, **named: Any) -> Any:
            self.calls[name] += 1
            return found(*arguments, **named)

        return counted


class Hops:
    """Runs submitted work in this very process, one hint at a time, as a worker's slot does."""

    def __init__(self, url: str) -> None:
        opened = open_store(url)
        for graph in GRAPHS.values():
            graph.register_types(opened.serde)
        self.store: Any = Counting(opened)
        self._ready: deque[TaskRef] = deque()
        holder = new_id()
        opened.beat(Worker(worker_id=holder, name="bench", lease=3600.0))
        self.runner = Runner(
            store=self.store,
            registry=Registry(GRAPHS.values()),
            settings=Settings(),
            holder=holder,
            slot="1",
            publish=self._publish,
        )

    def _publish(self, refs: Sequence[TaskRef]) -> list[str]:
        self._ready.extend(refs)
        return [ref.task_id for ref in refs]

    def run(self, kind: str) -> None:
        """One run from its submit to its end."""
        graph = GRAPHS[kind]
        submission = Submission(graph=graph.name, queue="petiole", input=INPUTS[kind]())
        run = submission.new_run(self.store.serde)
        [answer] = self.store.submit([run])
        self._publish(answer.publish)
        while self._ready:
            self.runner.run([Hint.of(self._ready.popleft())])
        assert self.store.get_run(run.run_id).status == "succeeded"

    def close(self) -> None:
        self.store.close()


def round_trips(url: str) -> dict[str, float]:
    """Calls of the store for each node, by chain: the difference of a run's nodes to one run more of the same."""
    hops = Hops(url)
    try:
        found = {}
        for kind, (_, _, length) in CHAINS.items():
            hops.store.calls.clear()
            hops.run(kind)
            calls = hops.store.calls
            beside = calls["submit"] + calls["get_run"]
            found[kind] = (calls.total() - beside) / length
        return found
    finally:
        hops.close()
