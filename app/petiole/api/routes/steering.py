"""``POST /runs/{run_id}/…``: cancel, hold back, let go on, run again, fork."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from petiole.api.access import Acting, Operator, Principal
from petiole.api.answers import errors
from petiole.api.encoding import Json
from petiole.api.models.runs import ChangedOut, ForkBody, ReasonBody, ReplayBody, ResumeBody, RunOut
from petiole.api.seeing import RunPath, check_text, checkpoint_seen, run_seen
from petiole.api.values import InValues, Values
from petiole.client import Client, RunHandle
from petiole.documents import run_document
from petiole_stores.errors import InputError
from petiole_stores.records import Run

router = APIRouter(prefix="/api/v1/runs/{run_id}", tags=["steering"])

CHANGED: dict[int | str, dict[str, Any]] = {
    200: {"model": ChangedOut, "description": "It is so now"},
    **errors(404, 409),
}
GOES_ON: dict[int | str, dict[str, Any]] = {
    200: {"model": RunOut, "description": "The run that goes on, or the new one"},
    **errors(404, 409),
}


@router.post(
    "/cancel", operation_id="cancelRun", summary="Cancel a run", response_model=None, responses=CHANGED
)
def cancel(run_id: RunPath, principal: Operator, client: Acting, body: ReasonBody | None = None) -> Json:
    """Cancel a run and the child runs it waits for; outputs of nodes still running are dropped."""
    reason = _reason(body)
    return _changed(
        client,
        principal,
        run_id,
        lambda run: client.cancel(run.thread_id, run=run.run_id, reason=reason),
    )


@router.post(
    "/pause", operation_id="pauseRun", summary="Hold a run back", response_model=None, responses=CHANGED
)
def pause(run_id: RunPath, principal: Operator, client: Acting, body: ReasonBody | None = None) -> Json:
    """Nodes that run finish, nothing further starts."""
    reason = _reason(body)
    return _changed(
        client, principal, run_id, lambda run: client.pause(run.thread_id, run=run.run_id, reason=reason)
    )


@router.post(
    "/unpause",
    operation_id="unpauseRun",
    summary="Let a paused run go on",
    response_model=None,
    responses=CHANGED,
)
def unpause(run_id: RunPath, principal: Operator, client: Acting) -> Json:
    """Let a paused run go on."""
    return _changed(client, principal, run_id, lambda run: client.unpause(run.thread_id, run=run.run_id))


@router.post(
    "/resume",
    operation_id="resumeRun",
    summary="Answer an interrupted run",
    response_model=None,
    responses=GOES_ON,
)
def resume(
    run_id: RunPath,
    principal: Operator,
    client: Acting,
    values: InValues,
    body: ResumeBody | None = None,
) -> Json:
    """Let an interrupted run go on with the answers to its questions, or with its state changed first."""
    run = run_seen(client, principal, run_id)
    given = body or ResumeBody.model_validate({})
    for text in (given.id, given.as_node, *(given.goto or ()), *(given.answers or ())):
        check_text("a name", text)
    answered = {name for name in ("value", "id", "answers") if name in given.model_fields_set}
    changes = "update" in given.model_fields_set or given.goto
    if changes and answered:
        raise InputError(
            f"{', '.join(sorted(answered))} is given with update or goto, which puts other nodes in the place of those that "
            "ask: send one of them"
        )
    if given.as_node is not None and "update" not in given.model_fields_set:
        raise InputError(f"as_node is {given.as_node!r} without an update: give what it is to have written")
    handle = _changing(client, run, given, values) if changes else _answering(client, run, given, values)
    return _gone_on(handle)


@router.post(
    "/replay", operation_id="replayRun", summary="Run a part again", response_model=None, responses=GOES_ON
)
def replay(run_id: RunPath, principal: Operator, client: Acting, body: ReplayBody | None = None) -> Json:
    """A failed run goes on from its failed nodes; with a checkpoint or nodes a new run starts there."""
    run = run_seen(client, principal, run_id)
    given = body or ReplayBody.model_validate({})
    for text in (given.checkpoint, given.from_node, *given.resume_from):
        check_text("a name", text)
    if given.checkpoint is not None:
        checkpoint_seen(client, principal, run.thread_id, given.checkpoint)
    if given.resume_from:
        if given.from_node is not None:
            raise InputError("both from_node and resume_from are given: give one of them")
        handle = client.resume(run.thread_id, checkpoint=given.checkpoint, resume_from=given.resume_from)
    else:
        handle = client.replay(
            run.thread_id, run=run.run_id, checkpoint=given.checkpoint, from_node=given.from_node
        )
    return _gone_on(handle)


@router.post(
    "/fork",
    operation_id="forkRun",
    summary="Go on from a checkpoint",
    response_model=None,
    responses=GOES_ON,
)
def fork(run_id: RunPath, body: ForkBody, principal: Operator, client: Acting, values: InValues) -> Json:
    """Go on from a checkpoint with its state changed there; what followed it stays in the history."""
    run = run_seen(client, principal, run_id)
    checkpoint_seen(client, principal, run.thread_id, body.checkpoint_id)
    check_text("as_node", body.as_node)
    if "values" in body.model_fields_set:
        changed = values.given(body.values)
        handle = client.fork(run.thread_id, body.checkpoint_id, changed, as_node=body.as_node)
    else:
        handle = client.fork(run.thread_id, body.checkpoint_id, as_node=body.as_node)
    return _gone_on(handle)


def _changing(client: Client, run: Run, given: ResumeBody, values: Values) -> RunHandle:
    if "update" in given.model_fields_set:
        client.update_state(run.thread_id, values.given(given.update), as_node=given.as_node)
    return client.resume(run.thread_id, resume_from=given.goto or ())


def _answering(client: Client, run: Run, given: ResumeBody, values: Values) -> RunHandle:
    if given.answers is not None:
        if "value" in given.model_fields_set or given.id is not None:
            raise InputError("answers is given with a value or an id: give all answers by id, or one value")
        answers = {id: values.given(value) for id, value in given.answers.items()}
        return client.resume(run.thread_id, answers=answers, run=run.run_id)
    if "value" in given.model_fields_set:
        value = values.given(given.value)
        return client.resume(run.thread_id, value, id=given.id, run=run.run_id)
    return client.resume(run.thread_id, id=given.id, run=run.run_id)


def _reason(body: ReasonBody | None) -> str:
    reason = body.reason if body else ""
    check_text("reason", reason)
    return reason


def _changed(client: Client, principal: Principal, run_id: str, act: Callable[[Run], bool]) -> Json:
    run = run_seen(client, principal, run_id)
    changed = act(run)
    return Json(
        {"changed": changed, "run": run_document(client.get_run(run.run_id, thread_id=run.thread_id))}
    )


def _gone_on(handle: RunHandle) -> Json:
    return Json(run_document(handle.run))
