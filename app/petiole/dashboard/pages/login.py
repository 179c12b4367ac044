"""Where somebody says who he is: the form of ``POST /login``."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from petiole.dashboard.rendering import PageRoute, page

router = APIRouter(route_class=PageRoute)


@router.get("/login")
def login(request: Request, next: str = "/", failed: str = "") -> Response:
    """The form; who need not log in, or has done so, is led to the runs."""
    if not request.app.state.authenticated or request.state.session:
        return RedirectResponse("/", 303)
    return page(request, "login.html", next=next, failed=bool(failed))
