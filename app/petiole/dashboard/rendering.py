"""One page from one template."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any

import jinja2
from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import HTMLResponse, Response

import petiole
from petiole.api.access import principal_of
from petiole.api.problems import status_of
from petiole.api.table import table_of
from petiole.dashboard import assets, csrf, display
from petiole.dashboard.navigation import places_for
from petiole_stores.errors import PetioleError

#: Browsers may keep a page, and must ask before they show it again.
HEADERS = {"Cache-Control": "private, no-cache"}


@cache
def environment() -> jinja2.Environment:
    """The templates: everything is escaped, an unknown name is an error."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("petiole.dashboard"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(display.FILTERS)
    made.globals.update(display.GLOBALS)
    made.globals.update(asset=assets.url_of, release=petiole.__version__)
    return made


def page(
    request: Request, template: str, status: int = 200, *, place: str = "", **context: Any
) -> HTMLResponse | Response:
    """The page of a template. ``place`` is the navigation's entry that it belongs to.

    A browser that has this very page already is told so (304): following a page that does not change costs no traffic.
    """
    principal = principal_of(request)
    text = (
        environment()
        .get_template(template)
        .render(
            request=request,
            principal=principal,
            places=places_for(principal),
            place=place,
            session=getattr(request.state, "session", None),
            csrf=csrf.token_of(request),
            csrf_field=csrf.FIELD,
            serves=table_of(request).has,
            **context,
        )
    )
    etag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
    headers = HEADERS | {"ETag": etag}
    if status == 200 and request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return HTMLResponse(text, status, headers=headers)


class PageRoute(APIRoute):
    """A route whose errors are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except PetioleError as error:
                return error_page(request, status_of(error), str(error))
            except RequestValidationError as error:
                faults = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
                return error_page(request, 422, faults)
            except (HTTPException, StarletteHTTPException) as error:
                if error.status_code < 400:
                    raise
                return error_page(request, error.status_code, str(error.detail))

        return answer


def error_page(request: Request, status: int, message: str) -> Response:
    """What went wrong, in the words that the command line says."""
    titles = {403: "Not allowed", 404: "Not found", 409: "Not possible now", 503: "The store does not answer"}
    title = titles.get(status, "That did not work")
    return page(request, "error.html", status, title=title, status_code=status, message=message)
