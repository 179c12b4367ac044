"""``/dead-letters``: tasks that failed for good; replay or drop them."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime

from petiole.api.access import Acting, Operator, Principal, Reader
from petiole.api.answers import errors
from petiole.api.encoding import Json
from petiole.api.models.runs import RunOut
from petiole.api.models.threads import DroppedOut, LetterFullOut, LettersOut
from petiole.api.seeing import check_text, narrowed, run_seen
from petiole.client import Client, DeadLetter
from petiole.client.dead_letters import dead_letters_of
from petiole.documents import letter_document, run_document, task_document
from petiole_stores.errors import NotFoundError

router = APIRouter(prefix="/api/v1/dead-letters", tags=["dead letters"])

#: Failed runs that one page looks through.
LOOKED = 200

LetterRun = Annotated[str, Path(description="The run that failed of it.")]
LetterTask = Annotated[str, Path(description="The task's id.")]


@router.get(
    "",
    operation_id="listDeadLetters",
    summary="List dead letters",
    response_model=None,
    responses={200: {"model": LettersOut, "description": "One page; the newest runs' first"}},
)
def list_(
    principal: Reader,
    client: Acting,
    graph: str | None = None,
    thread_id: str | None = None,
    node: str | None = None,
    error_type: str | None = None,
    since: Annotated[AwareDatetime | None, Query(description="Failed at or after.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Failed before.")] = None,
    poison: Annotated[bool, Query(description="Only tasks whose process died under them.")] = False,
    limit: Annotated[int, Query(ge=1, le=LOOKED, description="Failed runs that are looked through.")] = 50,
    cursor: str | None = None,
) -> Json:
    """Tasks that failed for good and were neither replayed nor dropped, of one page of failed runs."""
    page = client.store.list_runs(
        narrowed(
            principal,
            graph=graph,
            thread_id=thread_id,
            status=["failed"],
            limit=limit,
            cursor=cursor,
            brief=True,
        )
    )
    letters = dead_letters_of(
        client.store,
        page.runs,
        node=node,
        error_type=error_type,
        since=since.timestamp() if since else None,
        until=until.timestamp() if until else None,
        poison=poison,
    )
    return Json({"items": [letter_document(one) for one in letters], "next": page.next})


@router.get(
    "/{run_id}/{task_id}",
    operation_id="getDeadLetter",
    summary="Look at a dead letter",
    response_model=None,
    responses={200: {"model": LetterFullOut, "description": "The dead letter"}, **errors(404)},
)
def get(run_id: LetterRun, task_id: LetterTask, principal: Reader, client: Acting) -> Json:
    """One dead letter with its task and run."""
    letter = _letter(client, principal, run_id, task_id)
    document = letter_document(letter)
    return Json(document | {"task": task_document(letter.task), "run": run_document(letter.run)})


@router.post(
    "/{run_id}/{task_id}/replay",
    operation_id="replayDeadLetter",
    summary="Replay a dead letter",
    response_model=None,
    responses={200: {"model": RunOut, "description": "The run goes on"}, **errors(404, 409)},
)
def replay(run_id: LetterRun, task_id: LetterTask, principal: Operator, client: Acting) -> Json:
    """Let the run go on from its failed nodes: all of them, for a superstep is joined as a whole."""
    letter = _letter(client, principal, run_id, task_id)
    return Json(run_document(client.replay(letter.run.thread_id, run=letter.run.run_id).run))


@router.post(
    "/{run_id}/{task_id}/drop",
    operation_id="dropDeadLetter",
    summary="Drop a dead letter",
    response_model=None,
    responses={200: {"model": DroppedOut, "description": "It is dropped"}, **errors(404)},
)
def drop(run_id: LetterRun, task_id: LetterTask, principal: Operator, client: Acting) -> Json:
    """Take the task off the dead letters; it stays on record, and its run can still be replayed."""
    letter = _letter(client, principal, run_id, task_id)
    return Json({"dropped": client.drop_dead_letters([letter.task.task_id])})


def _letter(client: Client, principal: Principal, run_id: str, task_id: str) -> DeadLetter:
    run = run_seen(client, principal, run_id)
    check_text("task_id", task_id)
    runs = [run] if run.status == "failed" else []
    found = (one for one in dead_letters_of(client.store, runs) if one.task.task_id == task_id)
    letters = [*islice(found, 1)]
    if not letters:
        raise NotFoundError(
            f"task {task_id!r} of run {run_id!r} is no dead letter: it may have been replayed or dropped meanwhile"
        )
    return letters[0]
