"""API keys: those there are, a new one, and the end of one."""

from __future__ import annotations

import shlex
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from petiole.access.keys import Key, Keys
from petiole.access.principal import SCOPES, Principal
from petiole.access.reach import check_reach, is_within
from petiole.api.access import Acting, Admin, Recording
from petiole.dashboard.csrf import Filled
from petiole.dashboard.rendering import PageRoute, page
from petiole.documents import key_document
from petiole_stores.errors import InputError, NotFoundError

router = APIRouter(route_class=PageRoute)

#: What a key can be made for, in days; nothing: for ever.
LIFETIMES = {"": "never", "7": "7 days", "30": "30 days", "90": "90 days", "365": "a year"}
MEANINGS = {
    "read": "look at runs, threads, graphs, workers",
    "submit": "and start runs",
    "operate": "and cancel, replay, resume, fork, drop",
    "admin": "and keys and the audit log",
}


@router.get("/keys")
def keys(request: Request, client: Acting, admin: Admin) -> Response:
    """The keys that are his to see, and the form of a new one."""
    return listed(request, admin, client.now())


@router.post("/keys")
def create(request: Request, client: Recording, admin: Admin, form: Filled) -> Response:
    """Make a key and show it, this once."""
    chosen = form.get("lifetime", "")
    if chosen not in LIFETIMES:
        raise InputError(
            f"lifetime is {chosen!r}: take a number of days of {', '.join(filter(None, LIFETIMES))}"
        )
    kept: Keys = request.app.state.keys
    name, graphs, namespaces = str(form.get("name", "")), _names(form, "graphs"), _names(form, "namespaces")
    try:
        with client.recording("key.create", details={"name": name}) as entry:
            check_reach(admin, graphs, namespaces)
            key, token = kept.create(
                name,
                [str(scope) for scope in form.getlist("scope")],
                graphs=graphs,
                namespaces=namespaces,
                lifetime=int(str(chosen)) * 86400.0 if chosen else None,
                by=admin.name,
            )
            entry.after = key_document(key)
    except InputError as error:
        return listed(request, admin, client.now(), 422, fault=str(error), filled=form)
    answer = listed(request, admin, client.now(), made=key, token=token, command=command_of(key, str(chosen)))
    answer.headers["Cache-Control"] = "no-store"
    del answer.headers["ETag"]
    return answer


@router.post("/keys/{key_id}/revoke")
def revoke(request: Request, client: Recording, admin: Admin, _: Filled, key_id: str) -> Response:
    """End a key for good."""
    kept: Keys = request.app.state.keys
    with client.recording("key.revoke", details={"key_id": key_id}) as entry:
        before = kept.get(key_id)
        if not is_within(admin, before):
            raise NotFoundError(f"there is no key {key_id!r}: `petiole key list` shows those there are")
        entry.before = key_document(before)
        entry.result = "already" if before.revoked_at is not None else "done"
        entry.after = key_document(kept.revoke(key_id))
    return RedirectResponse("/keys", 303)


def listed(request: Request, admin: Principal, now: float, status: int = 200, **more: Any) -> Response:
    """The page of the keys; ``more``: a key that was made, or what is wrong with the form."""
    kept: Keys = request.app.state.keys
    found = [key for key in kept.list() if is_within(admin, key)]
    context = {"made": None, "token": "", "command": "", "fault": "", "filled": FormData()} | more
    return page(
        request,
        "keys.html",
        status,
        place="keys",
        keys=found,
        used=kept.last_used([key.key_id for key in found]),
        now=now,
        scopes=SCOPES,
        meanings=MEANINGS,
        lifetimes=LIFETIMES,
        authenticated=request.app.state.authenticated,
        **context,
    )


def command_of(key: Key, days: str) -> str:
    """The command that makes a key like this one."""
    options = [part for scope in key.scopes for part in ("--scope", scope)]
    options += [part for graph in key.graphs for part in ("--graph", graph)]
    options += [part for namespace in key.namespaces for part in ("--namespace", namespace)]
    options += ["--expires", f"{days}d"] if days else []
    return shlex.join(["petiole", "key", "create", key.name, *options])


def _names(form: FormData, field: str) -> list[str]:
    """Names with commas or spaces between them."""
    return str(form.get(field, "")).replace(",", " ").split()
