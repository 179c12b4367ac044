"""Dead letters: tasks that failed for good, to be replayed or dropped."""

from __future__ import annotations

import shlex

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from petiole.api.access import Acting, Operator, Principal, Reader
from petiole.client import Client, DeadLetter
from petiole.client.dead_letters import dead_letters_of
from petiole.client.naming import label_of
from petiole.client.run_query import RunQuery
from petiole.dashboard.csrf import Filled
from petiole.dashboard.rendering import PageRoute, page
from petiole.dashboard.seeing import limits, visible_run
from petiole_stores.errors import InputError

router = APIRouter(route_class=PageRoute)

#: Failed runs that one page looks through.
LOOKED_AT = 100


@router.get("/dead-letters")
def dead_letters(
    request: Request,
    client: Acting,
    reader: Reader,
    graph: str = "",
    node: str = "",
    error: str = "",
    poison: bool = False,
    cursor: str | None = None,
) -> Response:
    """The dead letters of one page of failed runs, the newest runs' first."""
    asked = limits(reader) | RunQuery(graph=graph or None, status="failed", brief=True)
    runs = client.runs_page(**asked, limit=LOOKED_AT, cursor=cursor)
    letters = dead_letters_of(
        client.store, runs.runs, node=node or None, error_type=error or None, poison=poison
    )
    options = [("--graph", graph), ("--node", node), ("--error-type", error)]
    given = [part for option, value in options if value for part in (option, value)]
    return page(
        request,
        "dead_letters.html",
        place="dead",
        letters=[(letter, label_of(letter.task)) for letter in letters],
        query={"graph": graph, "node": node, "error": error, "poison": "1" if poison else ""},
        narrow=bool(given or poison),
        cursor=cursor,
        next=runs.next,
        command=shlex.join(["petiole", "dlq", "list", *given, *(["--poison"] if poison else [])]),
    )


@router.post("/dead-letters")
def act(request: Request, client: Acting, operator: Operator, form: Filled) -> Response:
    """``action`` (``replay`` or ``drop``) on the letters that are named as ``RUN/TASK``; a drop is asked for twice."""
    letters = _named(client, operator, [str(one) for one in form.getlist("letter")])
    action = form.get("action")
    if action == "replay":
        runs = {letter.run.run_id: letter.run for letter in letters}
        refused = [one for one in client.replay_all(runs.values()) if one.result == "refused"]
        if refused:
            raise InputError(
                f"{len(refused)} of {len(runs)} runs were not replayed; run {refused[0].run.run_id}: {refused[0].reason}"
            )
    elif action == "drop":
        if letters and form.get("sure") != "1":
            return page(
                request,
                "dead_letters_drop.html",
                place="dead",
                letters=[(letter, label_of(letter.task)) for letter in letters],
                command=shlex.join(["petiole", "dlq", "drop", *(one.task.task_id for one in letters)]),
            )
        client.drop_dead_letters([letter.task.task_id for letter in letters])
    else:
        raise InputError(f"there is no action {action!r}: take replay or drop")
    return RedirectResponse("/dead-letters", 303)


def _named(client: Client, operator: Principal, names: list[str]) -> list[DeadLetter]:
    """The dead letters of these names; what is none any more is left out. Raises InputError where nothing is named."""
    if not names:
        raise InputError("no dead letter is chosen: tick some first")
    tasks: dict[str, set[str]] = {}
    for name in names:
        run_id, _, task_id = name.partition("/")
        tasks.setdefault(run_id, set()).add(task_id)
    runs = [run for run_id in tasks if (run := visible_run(client, operator, run_id)).status == "failed"]
    found = dead_letters_of(client.store, runs)
    return [letter for letter in found if letter.task.task_id in tasks.get(letter.run.run_id, ())]
