"""What people do with a run. Every action is a form that is posted and leads back to the run."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from petiole.api.access import Acting, Operator
from petiole.dashboard import csrf, forms
from petiole.dashboard.csrf import Filled
from petiole.dashboard.pages.checkpoints import checkpoint_context
from petiole.dashboard.rendering import PageRoute, page
from petiole.dashboard.run_view import Asked, RunView
from petiole.dashboard.seeing import visible_run
from petiole_stores.errors import ConflictError, InputError

router = APIRouter(route_class=PageRoute, dependencies=[Depends(csrf.checked)])


def target_of(client: Acting, operator: Operator, run_id: str) -> RunView:
    """A dependency: the run of the address, if he who asks may act on it."""
    return RunView(client, visible_run(client, operator, run_id))


Target = Annotated[RunView, Depends(target_of)]


def back_to(run_id: str) -> Response:
    """The page of a run, to be got anew."""
    return RedirectResponse(f"/runs/{quote(run_id, safe='')}", 303)


@router.post("/runs/{run_id}/cancel")
def cancel(view: Target, form: Filled) -> Response:
    view.client.cancel(view.run.thread_id, run=view.run.run_id, reason=str(form.get("reason", "")))
    return back_to(view.run.run_id)


@router.post("/runs/{run_id}/pause")
def pause(view: Target, form: Filled) -> Response:
    view.client.pause(view.run.thread_id, run=view.run.run_id, reason=str(form.get("reason", "")))
    return back_to(view.run.run_id)


@router.post("/runs/{run_id}/unpause")
def unpause(view: Target) -> Response:
    view.client.unpause(view.run.thread_id, run=view.run.run_id)
    return back_to(view.run.run_id)


@router.post("/runs/{run_id}/replay")
def replay(view: Target, form: Filled) -> Response:
    """``what``: ``failed`` (the run goes on from its failed nodes), ``downstream`` (a new run from the checkpoint before
    ``node``) or ``all`` (a new run from where this one began)."""
    what, thread = form.get("what", "failed"), view.run.thread_id
    if what == "failed":
        handle = view.client.replay(thread, run=view.run.run_id)
    elif what == "downstream":
        handle = view.client.replay(thread, run=view.run.run_id, from_node=str(form.get("node", "")))
    elif what == "all":
        if view.beginning is None:
            raise ConflictError(
                f"the checkpoint where run {view.run.run_id} began is not kept (max_checkpoints): start a new run with the "
                "same input"
            )
        handle = view.client.replay(thread, run=view.run.run_id, checkpoint=view.beginning)
    else:
        raise InputError(f"there is no replay {what!r}: take failed, downstream or all")
    return back_to(handle.run_id)


@router.post("/runs/{run_id}/resume")
def resume(request: Request, view: Target, form: Filled) -> Response:
    """Answer one question (``id``), by the fields of its schema, by a button (``answer``) or as JSON (``value``)."""
    id = str(form.get("id", "")) or None
    if id is None:
        handle = view.client.resume(view.run.thread_id, run=view.run.run_id)
        return back_to(handle.run_id)
    asked = next((one for one in view.asked if one.question.id == id), None)
    if asked is None:
        raise ConflictError(
            f"run {view.run.run_id} asks nothing under the id {id!r} any more: look at it again"
        )
    value, right = _answer(asked, form)
    if not right:
        return page(
            request, "resume.html", 422, place="runs", tab="overview", view=view, run=view.run, asked=[asked],
            text=str(form.get("value", "")), fault=value if isinstance(value, str) else "",
        )  # fmt: skip
    handle = view.client.resume(view.run.thread_id, value, id=id, run=view.run.run_id)
    return back_to(handle.run_id)


def _answer(asked: Asked, form: FormData) -> tuple[Any, bool]:
    """The answer that a form gives, or what is wrong with it."""
    if asked.fields:
        return forms.read(asked.fields, form)
    try:
        return forms.json_of(str(form.get("answer") or form.get("value", ""))), True
    except ValueError as error:
        return str(error), False


@router.post("/runs/{run_id}/fork")
def fork(request: Request, view: Target, form: Filled) -> Response:
    """Go on from ``checkpoint``; with ``values`` (a JSON object), what is different there from the state is written first."""
    checkpoint = str(form.get("checkpoint", ""))
    text = str(form.get("values", "")).strip()
    try:
        edited = forms.json_of(text) if text else {}
        if not isinstance(edited, dict):
            raise ValueError("is not an object: the state is one")
    except ValueError as error:
        context = checkpoint_context(view, checkpoint)
        return page(request, "checkpoint.html", 422, **context, edited=text, fault=str(error))
    as_node = str(form.get("as_node", "")).strip() or None
    given: dict[str, Any] = {"values": edited} if edited else {}
    handle = view.client.fork(view.run.thread_id, checkpoint, as_node=as_node, **given)
    return back_to(handle.run_id)
