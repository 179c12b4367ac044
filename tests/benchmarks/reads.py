"""How long a look at much takes: a page of 100,000 runs, counts of them, a page and the counts of a run of 10,000 tasks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from petiole_stores.ids import new_id
from petiole_stores.opening import open_store
from petiole_stores.records import (
    NewCheckpoint,
    NewRun,
    NewTask,
    Outcome,
    RunFilter,
    Settle,
    TaskFilter,
    Worker,
)
from petiole_stores.serde import digest_document
from petiole_stores.store import Store

T = TypeVar("T")

RUNS, TASKS, BATCH = 100_000, 10_000, 500
TIMES = 5
HOLDER = "bench"
ERROR = (
    '{"type": "shop.errors.Declined", "message": "no", "traceback": "' + "line of a traceback\\n" * 100 + '"}'
)
STATE = '{"n": 1}'
NOBODY = "has-no-such-text"


def measure(url: str) -> dict[str, float]:
    """Milliseconds of each look, the median of a few, on a store that is filled first."""
    with open_store(url) as store:
        run_id = fill(store)
        return {name: _median(look) for name, look in looks(store, run_id).items()}


def looks(store: Store, run_id: str) -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    middle = store.list_runs(RunFilter(limit=1000))
    return {
        "first page": lambda: store.list_runs(RunFilter(brief=True)),
        "a later page": lambda: store.list_runs(RunFilter(brief=True, cursor=middle.next)),
        "page by graph and status": lambda: store.list_runs(RunFilter(graph="g7", status=["failed"])),
        "page by a rare tag": lambda: store.list_runs(RunFilter(tag="rare")),
        "page by text": lambda: store.list_runs(RunFilter(text="vip")),
        "page by text nobody has": lambda: store.list_runs(RunFilter(text=NOBODY)),
        "page by error type": lambda: store.list_runs(RunFilter(error_type="Declined")),
        "page by error type nobody has": lambda: store.list_runs(RunFilter(error_type="Unheard")),
        "page of a namespace": lambda: store.list_runs(RunFilter(namespaces=["acme7"])),
        "counts": store.count_runs,
        "counts by graph and tag": lambda: store.count_runs(RunFilter(graph="g7", tag="vip")),
        "counts by text": lambda: store.count_runs(RunFilter(text="vip")),
        "task counts": lambda: store.task_counts(run_id),
        "page of the waterfall": lambda: store.tasks_page(run_id, TaskFilter(limit=200, brief=True)),
        "page of failed tasks": lambda: store.tasks_page(run_id, TaskFilter(status=["failed"])),
        "all tasks": lambda: store.list_tasks(run_id),
    }


def fill(store: Store) -> str:
    """Many small runs, one in a hundred of them failed, and one with a wide superstep, whose id is returned."""
    store.beat(Worker(worker_id=HOLDER, name=HOLDER, lease=3600.0))
    for numbers in _batches(range(RUNS)):
        runs = [_run(number) for number in numbers]
        store.submit(runs)
        store.cancel([run.run_id for run in runs[::10]])
        failing = [(run.start.task_id, new_id()) for run in runs[5::100]]
        store.claim(HOLDER, "0", failing)
        store.finish(HOLDER, "0", [_end(task, token, "failed", error=ERROR) for task, token in failing])
    return _fill_wide(store)


def _fill_wide(store: Store) -> str:
    run, token = _run(RUNS), new_id()
    store.submit([run])
    store.claim(HOLDER, "0", [(run.start.task_id, token)])
    tasks = [
        NewTask(task_id=new_id(), path=f"push:{number:05}", node=f"node{number % 5}", arg='{"n": 1}')
        for number in range(TASKS)
    ]
    checkpoint = NewCheckpoint(
        checkpoint_id=new_id(), parent_id=None, step=0, source="loop", node_names=["start"], state=STATE,
        digest=digest_document(STATE),
    )  # fmt: skip
    settle = Settle(checkpoints=[checkpoint], tasks=tasks)
    store.finish(HOLDER, "0", [_end(run.start.task_id, token, "done", settle=settle)])
    for part in _batches(tasks[: TASKS * 9 // 10]):
        wants = [(task.task_id, new_id()) for task in part]
        store.claim(HOLDER, "0", wants)
        ended = [
            _end(task, token, "failed" if number % 100 == 7 else "done", output=STATE)
            for number, (task, token) in enumerate(wants)
        ]
        store.finish(HOLDER, "0", ended)
    return run.run_id


def _run(number: int) -> NewRun:
    tags = ["vip", f"order {number}"] if number % 10 == 0 else []
    start = NewTask(task_id=new_id(), path="start", node="start", kind="advance")
    return NewRun(
        run_id=new_id(), thread_id=f"acme{number % 20}:{new_id()}", graph=f"g{number % 10}", start=start,
        input='{"note": "' + "x" * 500 + '"}', tags=tags + ["rare"] * (number % 5000 == 0),
    )  # fmt: skip


def _end(task_id: str, token: str, ending: str, **fields: object) -> Outcome:
    values = {"advance_id": new_id(), "advance_token": new_id()} | fields
    return Outcome(task_id=task_id, token=token, ending=ending, **values)  # type: ignore[arg-type]


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[begin : begin + BATCH] for begin in range(0, len(items), BATCH))


def _median(look: Callable[[], object]) -> float:
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        look()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)
