"""``/livez`` and ``/readyz``: whether the process lives, and whether it can do its work."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from petiole.api.access import principal_of
from petiole.api.problems import MEDIA_TYPE, problem
from petiole.api.readiness import Readiness

router = APIRouter(tags=["health"])

_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {
        "description": "Something that it needs does not answer; `checks` says which.",
        "content": {MEDIA_TYPE: {}},
    }
}


class Alive(BaseModel):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "alive"}})

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """All that the server needs is there."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"status": "ready", "checks": {"store": "ok", "schema": "ok"}}}
    )

    status: Literal["ready"] = "ready"
    checks: dict[str, Literal["ok"]]


@router.get("/livez", operation_id="livez")
def livez() -> Alive:
    """Whether the process answers. Needs no key."""
    return Alive()


@router.get("/readyz", operation_id="readyz", responses=_NOT_READY, response_model=Ready)
def readyz(request: Request) -> Ready | Response:
    """Whether store, schema and broker are fit for work. Needs no key; only with one it says what their errors are."""
    readiness: Readiness = request.app.state.readiness
    checks = readiness.look()
    failed = [check for check in checks if not check.ok]
    if not failed:
        return Ready(checks={check.name: "ok" for check in checks})
    known = principal_of(request).has("read")
    told = "; ".join(f"{check.name}: {check.detail}" for check in failed)
    names = " and ".join(check.name for check in failed)
    return problem(
        503,
        told if known else f"not ready: {names}; with a key of scope 'read' this says more",
        kind="NotReady",
        checks={check.name: "ok" if check.ok else "failed" for check in checks},
    )
