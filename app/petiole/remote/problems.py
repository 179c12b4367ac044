"""Problem documents (RFC 9457) back into the errors that they stand for."""

from __future__ import annotations

import inspect
from http import HTTPStatus
from typing import Any

import msgspec

from petiole_stores import errors
from petiole_stores.errors import (
    AccessError,
    ConflictError,
    GraphValidationError,
    InputError,
    NotFoundError,
    PetioleError,
    RateLimitError,
    RunTimeoutError,
    StoreUnavailableError,
)

#: Errors by the names that problem documents give as their type.
_KINDS: dict[str, type[PetioleError]] = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, PetioleError) and kind is not GraphValidationError
}

#: For documents that name no type.
_BY_STATUS: dict[int, type[PetioleError]] = {
    HTTPStatus.UNAUTHORIZED: AccessError,
    HTTPStatus.FORBIDDEN: AccessError,
    HTTPStatus.NOT_FOUND: NotFoundError,
    HTTPStatus.CONFLICT: ConflictError,
    HTTPStatus.BAD_REQUEST: InputError,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: InputError,
    HTTPStatus.UNPROCESSABLE_ENTITY: InputError,
    HTTPStatus.BAD_GATEWAY: StoreUnavailableError,
    HTTPStatus.SERVICE_UNAVAILABLE: StoreUnavailableError,
    HTTPStatus.GATEWAY_TIMEOUT: RunTimeoutError,
}


def error_of(status: int, body: bytes, *, retry_after: str | None = None) -> PetioleError:
    """The error of an answer that is none of the good ones."""
    try:
        document: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        document = None
    told = document if isinstance(document, dict) else {}
    detail = str(told.get("detail") or body[:200].decode(errors="replace") or HTTPStatus(status).phrase)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimitError(detail, seconds_of(retry_after))
    kind = _KINDS.get(str(told.get("type"))) or _BY_STATUS.get(status, PetioleError)
    return kind(detail)


def seconds_of(retry_after: str | None) -> float:
    """The seconds of a ``Retry-After``; a date, as proxies may send, counts as the shortest wait."""
    try:
        return max(0.0, float(retry_after or 1.0))
    except ValueError:
        return 1.0
