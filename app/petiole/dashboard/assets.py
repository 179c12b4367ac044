"""Scripts and style sheets: served from the package, addressed by their content so that browsers keep them."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "static"
PATH = "/static"


@cache
def fingerprint() -> str:
    """A name for all assets as they are: another one as soon as one byte of them is another."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(FOLDER).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def url_of(name: str) -> str:
    """Where an asset is: ``css/app.css`` below the fingerprint, so that modules find each other by relative paths."""
    return f"{PATH}/{fingerprint()}/{name}"


class Assets(StaticFiles):
    """The folder ``static``; what is asked for by the current fingerprint never changes and is kept for a year."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER)

    async def get_response(self, path: str, scope: Any) -> Response:
        version, _, name = path.partition("/")
        response = await super().get_response(name, scope)
        current = version == fingerprint()
        response.headers["Cache-Control"] = (
            "public, max-age=31536000, immutable" if current else "public, max-age=60"
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
