"""``/workers`` and ``/queues``: who works, and what waits."""

from __future__ import annotations

from fastapi import APIRouter

from petiole.api.access import Acting, Reader
from petiole.api.encoding import Json
from petiole.api.models.threads import QueuesOut, WorkersOut
from petiole.documents import backlog_document, worker_document

router = APIRouter(prefix="/api/v1", tags=["fleet"])


@router.get(
    "/workers",
    operation_id="listWorkers",
    summary="List workers",
    response_model=None,
    responses={200: {"model": WorkersOut, "description": "The workers, newest first"}},
)
def workers(principal: Reader, client: Acting) -> Json:
    """The workers that the store remembers; of their graphs, those that the caller sees."""
    items = [worker_document(worker) for worker in client.workers()]
    for item in items:
        item["graphs"] = {
            name: served for name, served in item["graphs"].items() if principal.sees(graph=name)
        }
    return Json({"items": items})


@router.get(
    "/queues",
    operation_id="listQueues",
    summary="List queues",
    response_model=None,
    responses={200: {"model": QueuesOut, "description": "What waits, by queue and priority"}},
)
def queues(principal: Reader, client: Acting) -> Json:
    """How many tasks wait in each queue at each priority, and since when the oldest does.

    Queues are shared: whoever is limited to graphs or namespaces is told of the tasks of all, as numbers alone.
    """
    return Json({"items": [backlog_document(one) for one in client.backlogs()]})
