"""Tokens against forged forms: one place where pages get them and forms are checked.

Where a session exists, authentication puts its token into ``request.state.csrf``; forms carry it in the field ``csrf``.
That a form comes from a page of this very server authentication has seen before, with a session and without.
"""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from starlette.datastructures import FormData

FIELD = "csrf"


def token_of(request: Request) -> str:
    """What forms of this request's page carry; empty where there is no session."""
    return str(getattr(request.state, FIELD, ""))


async def checked(request: Request) -> None:
    """Refuse (403) a form that was not made by a page of this server for this session."""
    expected = token_of(request)
    form = await request.form(max_files=0)  # no page takes files
    if expected and not hmac.compare_digest(str(form.get(FIELD, "")).encode(), expected.encode()):
        raise HTTPException(
            403, "this form is of another session: load the page again and repeat what you did"
        )


Form = Annotated[None, Depends(checked)]


async def filled(request: Request, _: Form) -> FormData:
    """What was filled in, of a form that was not forged."""
    return await request.form(max_files=0)


Filled = Annotated[FormData, Depends(filled)]
