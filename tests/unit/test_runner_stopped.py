"""A runner whose holder has stopped drops what still waits at once."""

from __future__ import annotations

import pytest

from petiole.client import Client
from petiole_stores.memory import MemoryStore
from petiole_stores.records import Worker
from petiole_workers.hop import Hint
from petiole_workers.registry import Registry
from petiole_workers.runner import Runner
from petiole_workers.settings import Settings
from tests.graphs import other


@pytest.mark.timeout(20)
def test_messages_that_wait_at_a_stop_are_left_to_others_without_delay() -> None:
    # given: three messages in hand, and a lease that outlasts the test
    store, settings = MemoryStore("memory://"), Settings(store="memory://", broker="memory://", lease=300.0)
    store.beat(Worker(worker_id="w", name="w", lease=300.0))
    with Client(store, settings=settings) as client:
        handles = [client.submit("other", {"desk": "", "hold": "", "trail": []}) for _ in range(3)]
        tasks = [client.tasks(handle.run_id)[0] for handle in handles]
    hints = [Hint(task.thread_id, task.run_id, task.task_id, "other", task.node) for task in tasks]
    runner = Runner(
        store=store,
        registry=Registry([other]),
        settings=settings,
        holder="w",
        slot="1",
        publish=lambda refs: [],
    )
    # when
    store.release("w", final=True)
    # then
    assert runner.run(hints) == 0
    assert [store.list_tasks(handle.run_id)[0].status for handle in handles] == ["ready"] * 3
