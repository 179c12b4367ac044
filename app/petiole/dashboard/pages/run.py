"""One run: where it stands or failed, its graph, its waterfall, what it waits for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from petiole.api.access import Acting, Reader
from petiole.client.reasons import reason_of
from petiole.client.tries import number_of, tries_of
from petiole.dashboard import waterfall
from petiole.dashboard.rendering import PageRoute, page
from petiole.dashboard.run_view import RunView
from petiole.dashboard.seeing import visible_run
from petiole.dashboard.shape import shape_of
from petiole_stores.checks import check_id
from petiole_stores.errors import NotFoundError
from petiole_stores.records import TaskFilter

router = APIRouter(route_class=PageRoute)

#: Records of a task that its page shows; the others are a link away.
LOGS = 50


def view_of(client: Acting, reader: Reader, run_id: str) -> RunView:
    """A dependency: the run of the address, if it may be seen."""
    return RunView(client, visible_run(client, reader, run_id))


View = Annotated[RunView, Depends(view_of)]


@router.get("/threads/{thread_id:path}/newest")
@router.get("/threads/{thread_id}")
def thread(client: Acting, reader: Reader, thread_id: str) -> Response:
    """The newest run of a thread."""
    run = client.store.newest_run(thread_id)
    if run is None or not reader.sees(graph=run.graph, thread_id=thread_id):
        raise NotFoundError(f"thread {thread_id!r} has no run here: `petiole run list` shows what is there")
    return RedirectResponse(f"/runs/{run.run_id}", 303)


@router.get("/runs/{run_id}")
def run(request: Request, view: View, node: str | None = None) -> Response:
    """The run at a glance."""
    now = view.client.now()
    scale = waterfall.scale_of(view.run, view.counts, now)
    return page(
        request,
        "run.html",
        place="runs",
        tab="overview",
        view=view,
        run=view.run,
        reason=reason_of(view.run),
        shape=shape_of(view.client, view.run, view.counts),
        scale=scale,
        lines=waterfall.lines_of(view.client, view.run, view.counts, view.names, scale.ended),
        opened=node,
    )


@router.get("/runs/{run_id}/waterfall")
def more(request: Request, view: View, node: str, above: str = "", cursor: str | None = None) -> Response:
    """Some of the many tasks of one node, as rows."""
    scale = waterfall.scale_of(view.run, view.counts, view.client.now())
    filter = TaskFilter(kind="node", node=node, limit=waterfall.PAGE, cursor=cursor, brief=True)
    found = view.client.store.tasks_page(view.run.run_id, filter)
    return page(
        request,
        "waterfall.html",
        place="runs",
        tab="overview",
        view=view,
        run=view.run,
        scale=scale,
        lines=[waterfall.line_of(task, view.names, scale.ended) for task in found.tasks],
        node=node,
        above=above,
        next=found.next,
    )


@router.get("/runs/{run_id}/tasks/{task_id}")
def task(request: Request, view: View, task_id: str) -> Response:
    """One task: what it was given, and each of its tries."""
    check_id("task_id", task_id)
    view.client.store.hint(view.run.thread_id, [task_id])
    one = view.client.store.get_task(task_id)
    if one is None or one.run_id != view.run.run_id:
        raise NotFoundError(f"run {view.run.run_id} has no task {task_id!r}: {view.commands.tasks()}")
    scale = waterfall.scale_of(view.run, view.counts, view.client.now())
    return page(
        request,
        "task.html",
        place="runs",
        tab="overview",
        view=view,
        run=view.run,
        line=waterfall.line_of(one, view.names, scale.ended),
        task=one,
        attempt=number_of(one),
        given=view.input_of(one),
        tries=tries_of(one),
        logs=view.client.logs_page(view.run.run_id, task_id=task_id, limit=LOGS),
    )


@router.get("/runs/{run_id}/explain")
def explain(request: Request, view: View) -> Response:
    """What the run waits for and why."""
    found = view.client.explain(view.run.thread_id, run=view.run.run_id)
    return page(
        request, "explain.html", place="runs", tab="explain", view=view, run=view.run, explanation=found
    )
