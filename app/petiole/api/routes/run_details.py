"""``/runs/{run_id}/…``: what a run's tasks do, what it waits for, and what came of it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query

from petiole.api.access import Acting, Reader
from petiole.api.answers import errors, typed
from petiole.api.encoding import Json
from petiole.api.models.runs import (
    ExplanationOut,
    LogPageOut,
    QuestionsOut,
    ResultOut,
    RunOut,
    TaskCountsOut,
    TaskPageOut,
)
from petiole.api.seeing import RunPath, run_seen
from petiole.api.values import InValues
from petiole.client.handle import RESTING, pauses
from petiole.client.logs import MAX_LIMIT, logs_page_of
from petiole.documents import (
    explanation_document,
    iso,
    log_document,
    question_document,
    run_document,
    task_document,
)
from petiole_stores.errors import ConflictError
from petiole_stores.records import SETTLED, TaskFilter, TaskKind, TaskStatus

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

router = APIRouter(prefix="/api/v1/runs/{run_id}", tags=["runs"])

#: The longest a request may wait for a run, in seconds.
LONGEST_WAIT = 60.0


@router.get(
    "/tasks",
    operation_id="listTasks",
    summary="List a run's tasks",
    response_model=None,
    responses={200: {"model": TaskPageOut, "description": "One page"}, **errors(404)},
)
def tasks(
    run_id: RunPath,
    principal: Reader,
    client: Acting,
    ns: Annotated[str | None, Query(description="Of this namespace; empty: the root's.")] = None,
    node: str | None = None,
    kind: TaskKind | None = None,
    status: Annotated[list[TaskStatus], Query(description="In one of these; may be repeated.")] = [],  # noqa: B006
    checkpoint_id: Annotated[str | None, Query(description="Of the superstep after it.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: str | None = None,
) -> Json:
    """Tasks in the order they were made, with their attempts and what they ask."""
    run = run_seen(client, principal, run_id)
    page = client.store.tasks_page(
        run.run_id,
        TaskFilter(
            ns=ns,
            node=node,
            kind=kind,
            status=list(status),
            checkpoint_id=checkpoint_id,
            limit=limit,
            cursor=cursor,
            brief=True,
        ),
    )
    asks = any(task.status == "interrupted" for task in page.tasks) and run.status not in SETTLED
    questions = {one.task.task_id: one for one in client.questions(run)} if asks else {}
    items = [task_document(task, questions.get(task.task_id)) for task in page.tasks]
    return Json({"items": items, "next": page.next})


@router.get(
    "/logs",
    operation_id="listLogs",
    summary="List what a run's nodes have logged",
    response_model=None,
    responses={200: {"model": LogPageOut, "description": "One page"}, **errors(404)},
)
def logs(
    run_id: RunPath,
    principal: Reader,
    client: Acting,
    task_id: Annotated[str | None, Query(description="Of this task.")] = None,
    node: Annotated[
        str | None, Query(description="Of this node; `outer/inner` of one within a graph that is a node.")
    ] = None,
    level: Annotated[Level | None, Query(description="Of this level and above.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
    cursor: Annotated[
        str | None, Query(description="The `next` of the page before, or its `after`, for what is new.")
    ] = None,
) -> Json:
    """What nodes have logged through Python's `logging` on workers, as far as it is kept (`node_logs`, `keep_events`)."""
    run = run_seen(client, principal, run_id)
    page = logs_page_of(
        client.store, run, task_id=task_id, node=node, level=level, limit=limit, cursor=cursor
    )
    items = [log_document(one) for one in page.logs]
    return Json({"items": items, "next": page.next, "after": page.after})


@router.get(
    "/task-counts",
    operation_id="countTasks",
    summary="Count a run's tasks",
    response_model=None,
    responses={200: {"model": TaskCountsOut, "description": "The counts"}, **errors(404)},
)
def task_counts(run_id: RunPath, principal: Reader, client: Acting) -> Json:
    """How many tasks a run has, by namespace, node, kind and status: cheap for wide fan-outs."""
    run = run_seen(client, principal, run_id)
    return Json(
        {
            "items": [
                msgspec.structs.asdict(one)
                | {"created_at": iso(one.created_at), "ended_at": iso(one.ended_at)}
                for one in client.store.task_counts(run.run_id)
            ]
        }
    )


@router.get(
    "/wait",
    operation_id="waitForRun",
    summary="Wait for a run",
    response_model=None,
    responses={200: {"model": RunOut, "description": "The run as it is then"}, **errors(404)},
)
async def wait(
    run_id: RunPath,
    principal: Reader,
    client: Acting,
    timeout: Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="Seconds.")] = 30.0,
) -> Json:
    """The run once it has ended or is interrupted, or as it is after the timeout: its `status` tells which."""
    run = await asyncio.to_thread(run_seen, client, principal, run_id)
    for pause in pauses(timeout):
        if run.status in RESTING or pause is None:
            break
        await asyncio.sleep(pause)
        run = await asyncio.to_thread(run_seen, client, principal, run.run_id)
    return Json(run_document(run))


@router.get(
    "/result",
    operation_id="getResult",
    summary="Get a run's result",
    response_model=None,
    responses={**typed(ResultOut, text="The final state"), **errors(404, 409)},
)
def result(run_id: RunPath, principal: Reader, client: Acting, values: InValues) -> Json:
    """The final state of a run that has succeeded; 409 with the reason for any other."""
    run = run_seen(client, principal, run_id)
    client.check_succeeded(run)
    if run.status != "succeeded":
        raise ConflictError(
            f"run {run.run_id} of thread {run.thread_id!r} is {run.status} and has no result yet: "
            f"GET /api/v1/runs/{run.run_id}/wait waits for it"
        )
    found = client.outcome(run)
    return values.answer({"run_id": run.run_id, "thread_id": run.thread_id, "result": values.out(found)})


@router.get(
    "/explain",
    operation_id="explainRun",
    summary="Explain what a run waits for",
    response_model=None,
    responses={200: {"model": ExplanationOut, "description": "The explanation"}, **errors(404)},
)
def explain(run_id: RunPath, principal: Reader, client: Acting) -> Json:
    """What a run waits for, why, and the command that helps."""
    run = run_seen(client, principal, run_id)
    return Json(explanation_document(client.explain(run.thread_id, run=run.run_id)))


@router.get(
    "/interrupts",
    operation_id="listInterrupts",
    summary="List what a run asks",
    response_model=None,
    responses={**typed(QuestionsOut, text="The questions that wait"), **errors(404)},
)
def interrupts(run_id: RunPath, principal: Reader, client: Acting, values: InValues) -> Json:
    """The interrupted tasks of a run and what each asks."""
    run = run_seen(client, principal, run_id)
    items = [question_document(one) | {"value": values.out(one.value)} for one in client.questions(run)]
    return values.answer({"items": items})
