"""Errors as problem details (RFC 9457): ``application/problem+json`` with the words that the command line says."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from petiole.api.encoding import Json
from petiole_stores.errors import (
    BrokerError,
    ConfigurationError,
    ConflictError,
    GraphError,
    InputError,
    NotFoundError,
    PetioleError,
    RunError,
    RunTimeoutError,
    SerializationError,
    StoreError,
    StoreUnavailableError,
    UnstorableError,
)

MEDIA_TYPE = "application/problem+json"
#: Where the API describes itself.
OPENAPI = "/api/v1/openapi.json"

#: The first that fits counts.
_STATUSES: tuple[tuple[type[PetioleError], HTTPStatus], ...] = (
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (ConflictError, HTTPStatus.CONFLICT),
    (RunTimeoutError, HTTPStatus.GATEWAY_TIMEOUT),
    (RunError, HTTPStatus.CONFLICT),
    (UnstorableError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (StoreError, HTTPStatus.SERVICE_UNAVAILABLE),
    (BrokerError, HTTPStatus.SERVICE_UNAVAILABLE),
    (InputError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (GraphError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (SerializationError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (ConfigurationError, HTTPStatus.CONFLICT),
)


def status_of(error: PetioleError) -> HTTPStatus:
    """The HTTP status that an error stands for."""
    return next(
        (status for kind, status in _STATUSES if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR
    )


def problem(
    status: int, detail: str, *, kind: str = "about:blank", headers: dict[str, str] | None = None, **more: Any
) -> Json:
    """One problem document. ``kind`` is the error's class name, or ``about:blank`` where the status says all."""
    document = {"type": kind, "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return Json(document, status, media_type=MEDIA_TYPE, headers=headers)


def install(app: FastAPI) -> None:
    """Let every error leave the application as a problem document."""

    @app.exception_handler(PetioleError)
    def _(request: Request, error: PetioleError) -> Json:
        away = isinstance(error, StoreUnavailableError | BrokerError)
        headers = {"Retry-After": "1"} if away else None
        return problem(status_of(error), str(error), kind=type(error).__name__, headers=headers)

    @app.exception_handler(HTTPException)
    def _(request: Request, error: HTTPException) -> Json:
        return problem(error.status_code, _told(request, error), headers=dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    def _(request: Request, error: RequestValidationError) -> Json:
        faults = [_fault(one) for one in error.errors()]
        told = "; ".join(f"{'.'.join(fault['at'])}: {fault['fault']}" for fault in faults)
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, told, kind="InputError", errors=faults)


def _told(request: Request, error: HTTPException) -> str:
    """What the error says; for an address or a method that no operation has, which that is and where they are listed."""
    if error.detail != HTTPStatus(error.status_code).phrase:
        return str(error.detail)
    asked = f"{request.method} {request.url.path}"
    if error.status_code == HTTPStatus.NOT_FOUND:
        return f"there is no {asked}: {OPENAPI} and /reference list what there is"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"there is no {asked}, but {(error.headers or {}).get('Allow', 'another method')}: {OPENAPI} and /reference list what there is"
    return str(error.detail)


def _fault(one: dict[str, Any]) -> dict[str, Any]:
    """One fault of a request: where it is, and what is wrong there."""
    at, fault = [str(part) for part in one["loc"]], one["msg"]
    if one["type"] == "json_invalid":  # pydantic has the place as the last part of the location
        why = one.get("ctx", {}).get("error", fault)
        return {"at": at[:1], "fault": f"no JSON: {why}, at character {at[-1]}"}
    return {"at": at, "fault": fault}
