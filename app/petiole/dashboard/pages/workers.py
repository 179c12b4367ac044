"""Workers and queues: who is alive and what he holds, what waits and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response

from petiole.api.access import Acting, Principal, Reader
from petiole.client import Client
from petiole.client.naming import label_of
from petiole.client.run_query import RunQuery
from petiole.dashboard.rendering import PageRoute, page
from petiole.dashboard.seeing import limits
from petiole_stores.errors import NotFoundError
from petiole_stores.records import Run, Task, TaskFilter, Worker

router = APIRouter(route_class=PageRoute)

#: Workers of which there is still something to be hoped, or feared.
PRESENT = ("alive", "stopping")
#: Running runs that are looked through for the tasks that a worker holds, and such tasks that are shown.
LOOKED_AT, SHOWN = 200, 100


class Count(NamedTuple):
    """What a worker counts, and what that means."""

    name: str
    label: str
    meaning: str


COUNTS = (
    Count("committed", "Done", "tasks that were committed"),
    Count("failed", "Failed", "attempts that failed"),
    Count("refused", "Fenced", "outputs that were refused: the task had gone to another worker, or its run was over"),
    Count("lost_slots", "Lost slots", "slots whose node cannot be ended: a zombie runs there until the worker is restarted"),
)  # fmt: skip


class Held(NamedTuple):
    """A task that a worker holds now."""

    run: Run
    task: Task
    label: str


@router.get("/workers")
def workers(request: Request, client: Acting, reader: Reader, all: bool = False) -> Response:
    """The workers that are alive, or all that the store remembers; and the queues."""
    found = client.workers()
    present = [worker for worker in found if worker.status in PRESENT]
    backlogs = sorted(client.backlogs(), key=lambda one: (-one.ready, one.queue, one.priority))
    served = {queue for worker in present for queue in worker.queues}
    return page(
        request,
        "workers.html",
        place="workers",
        workers=[(worker, graphs_of(worker, reader)) for worker in (found if all else present)],
        all=all,
        gone=len(found) - len(present),
        slots=sum(worker.concurrency for worker in present),
        busy=sum(int(worker.stats.get("busy", 0)) for worker in present),
        lost=sum(int(worker.stats.get("lost_slots", 0)) for worker in present),
        backlogs=backlogs,
        served=served,
        waiting=sum(one.ready for one in backlogs),
        counts=COUNTS,
    )


@router.get("/workers/{worker_id}")
def worker(request: Request, client: Acting, reader: Reader, worker_id: str) -> Response:
    """One worker: its lease, its counts, its graphs, and the tasks that it holds."""
    one = next((one for one in client.workers() if one.worker_id == worker_id), None)
    if one is None:
        raise NotFoundError(
            f"no worker {worker_id!r} is remembered: `petiole worker list --all` shows those there are"
        )
    held, complete = held_by(client, reader, one) if one.status in PRESENT else ([], True)
    return page(
        request,
        "worker.html",
        place="workers",
        worker=one,
        graphs=graphs_of(one, reader),
        held=held,
        complete=complete,
        looked_at=LOOKED_AT,
        counts=COUNTS,
    )  # fmt: skip


def graphs_of(worker: Worker, reader: Principal) -> Mapping[str, str]:
    """The graphs of a worker that somebody may see, with version and fingerprint."""
    return {name: text for name, text in sorted(worker.graphs.items()) if reader.sees(graph=name)}


def held_by(client: Client, reader: Principal, worker: Worker) -> tuple[list[Held], bool]:
    """The tasks that a worker holds, of the newest running runs; and whether that is all running runs."""
    running = client.runs_page(**limits(reader) | RunQuery(status="running", brief=True), limit=LOOKED_AT)
    held: list[Held] = []
    for run in running.runs:
        filter = TaskFilter(status=["claimed"], limit=1000, brief=True)
        claimed = client.store.tasks_page(run.run_id, filter).tasks
        held += [Held(run, task, label_of(task)) for task in claimed if task.holder == worker.worker_id]
        if len(held) >= SHOWN:
            return held[:SHOWN], False
    return held, running.next is None
