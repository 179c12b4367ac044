"""``/threads/{thread_id}/interrupts``, ``resume`` and ``fork``: what a thread asks, and how it goes on.

Those of ``/runs`` are of one run; these are of whichever run of the thread is meant: the one that asks, or a new one, also where
the thread has none yet.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from petiole.api.access import Acting, Operator, Reader
from petiole.api.answers import errors, typed
from petiole.api.encoding import Json
from petiole.api.models.runs import QuestionsOut, RunOut
from petiole.api.models.states import ThreadForkBody, ThreadReplayBody, ThreadResumeBody
from petiole.api.seeing import ThreadPath, check_text, checkpoint_seen, graph_given, thread_seen
from petiole.api.values import InValues
from petiole.documents import question_document, run_document
from petiole_stores.errors import InputError

router = APIRouter(prefix="/api/v1/threads/{thread_id:path}", tags=["threads"])

GOES_ON: dict[int | str, dict[str, Any]] = {
    200: {"model": RunOut, "description": "The run that goes on, or the new one"},
    **errors(404, 409),
}


@router.get(
    "/interrupts",
    operation_id="listThreadInterrupts",
    summary="List what a thread asks",
    response_model=None,
    responses={**typed(QuestionsOut, text="The questions that wait"), **errors(404)},
)
def interrupts(thread_id: ThreadPath, principal: Reader, client: Acting, values: InValues) -> Json:
    """The interrupted tasks of the thread's active run and what each asks."""
    thread_seen(client, principal, thread_id)
    asked = client.questions(client.asking_run(thread_id))
    items = [question_document(one) | {"value": values.out(one.value)} for one in asked]
    return values.answer({"items": items})


@router.post(
    "/resume",
    operation_id="resumeThread",
    summary="Answer an interrupted thread",
    response_model=None,
    responses=GOES_ON,
)
def resume(
    thread_id: ThreadPath,
    principal: Operator,
    client: Acting,
    values: InValues,
    body: ThreadResumeBody | None = None,
) -> Json:
    """Let the run that asks go on with the answers, or the thread from a checkpoint or with other nodes.

    `checkpoint` and `resume_from` take no answers. The server needs the thread's graph itself for them (the setting `graphs`).
    """
    thread_seen(client, principal, thread_id)
    given = body or ThreadResumeBody.model_validate({})
    for text in (given.id, *given.resume_from, *(given.answers or ())):
        check_text("a name", text)
    if given.checkpoint is not None:
        checkpoint_seen(client, principal, thread_id, given.checkpoint)
    options: dict[str, Any] = {}
    if given.answers is not None:
        options["answers"] = {id: values.given(value) for id, value in given.answers.items()}
    if "value" in given.model_fields_set:
        options["value"] = values.given(given.value)
    if given.graph is not None and given.checkpoint is None and not given.resume_from:
        raise InputError(f"graph is {given.graph!r}: it is for a checkpoint or resume_from alone")
    handle = client.resume(
        thread_id,
        id=given.id,
        checkpoint=given.checkpoint,
        resume_from=given.resume_from,
        graph=graph_given(client, principal, given.graph),
        **options,
    )
    return Json(run_document(handle.run))


@router.post(
    "/fork",
    operation_id="forkThread",
    summary="Go on from a checkpoint of a thread",
    response_model=None,
    responses=GOES_ON,
)
def fork(
    thread_id: ThreadPath, body: ThreadForkBody, principal: Operator, client: Acting, values: InValues
) -> Json:
    """Go on from a checkpoint with its state changed there, also of a thread that has no run yet."""
    thread_seen(client, principal, thread_id)
    checkpoint_seen(client, principal, thread_id, body.checkpoint_id)
    check_text("as_node", body.as_node)
    changed = {"values": values.given(body.values)} if "values" in body.model_fields_set else {}
    handle = client.fork(
        thread_id,
        body.checkpoint_id,
        as_node=body.as_node,
        graph=graph_given(client, principal, body.graph),
        **changed,
    )
    return Json(run_document(handle.run))


@router.post(
    "/replay",
    operation_id="replayThread",
    summary="Run a part of a thread again",
    response_model=None,
    responses=GOES_ON,
)
def replay(
    thread_id: ThreadPath, principal: Operator, client: Acting, body: ThreadReplayBody | None = None
) -> Json:
    """The newest run, if it failed, goes on from its failed nodes; with a checkpoint or a node a new run starts there, like the
    run that had made it."""
    thread_seen(client, principal, thread_id)
    given = body or ThreadReplayBody.model_validate({})
    check_text("from_node", given.from_node)
    if given.checkpoint is not None:
        checkpoint_seen(client, principal, thread_id, given.checkpoint)
    handle = client.replay(thread_id, checkpoint=given.checkpoint, from_node=given.from_node)
    return Json(run_document(handle.run))
