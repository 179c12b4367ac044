"""What operations answer, as the OpenAPI document says it: bodies by their models, errors as problem documents."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field

from petiole.api.problems import MEDIA_TYPE
from petiole.api.values import PLAIN, TYPED


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    at: list[str] = Field(description="Where: `body`, `query`, `path` or `header`, and the names below it.")
    fault: str


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = Field(
        description="The error's name, or `about:blank` where the status says all.",
        examples=["NotFoundError"],
    )
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(description="What is wrong, with which value, and what to do.")
    errors: list[Fault] | None = None


#: Every operation may answer so, whatever it does.
COMMON: dict[int, str] = {
    400: "The request is malformed",
    401: "Nobody has said who asks",
    403: "The scope is too small",
    413: "The request is too large",
    422: "Something in the request cannot be taken",
    429: "Too many requests",
    503: "The store or the broker cannot be reached",
}
OTHERS: dict[int, str] = {
    404: "It does not exist, or is not the caller's to see",
    409: "It contradicts what is stored",
}

Responses = dict[int | str, dict[str, Any]]


def errors(*statuses: int) -> Responses:
    """The errors of an operation beside the common ones, for ``responses=``."""
    return {status: {"description": OTHERS[status]} for status in statuses}


def typed(model: type[BaseModel], status: int = 200, text: str = "The answer") -> Responses:
    """An answer whose values may be typed, for ``responses=``."""
    return {status: {"model": model, "description": text, "content": {TYPED: {}}}}


def install(app: FastAPI) -> None:
    """Let the OpenAPI document name the problem documents of every operation."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, openapi_version=app.openapi_version, routes=app.routes
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= schema.pop("$defs", {})
    schemas["Problem"] = schema
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            common = COMMON if path.startswith("/api/") else {}
            if common and "{" in path:
                common = common | {404: OTHERS[404]} | ({} if method == "get" else {409: OTHERS[409]})
            _complete(operation["responses"], common)
    return document


def _complete(responses: dict[str, Any], common: dict[int, str]) -> None:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for number, text in common.items():
        responses.setdefault(str(number), {})["description"] = text
    for status, response in responses.items():
        if status.isdigit() and int(status) >= 400 and (common or status == "422"):
            response["content"] = content
        elif TYPED in response.get("content", {}):
            response["content"][TYPED] = response["content"].get(PLAIN, {})
