"""All pages, and the way that they get into the application."""

from __future__ import annotations

from fastapi import FastAPI

from petiole.api import table
from petiole.dashboard import assets
from petiole.dashboard.pages import (
    actions,
    audit,
    bulk,
    checkpoints,
    dead_letters,
    events,
    graphs,
    keys,
    login,
    logs,
    reference,
    returning,
    run,
    runs,
    schedules,
    tree,
    workers,
)

#: In this order they are matched.
PAGES = (
    runs,
    tree,
    run,
    checkpoints,
    events,
    logs,
    actions,
    bulk,
    graphs,
    workers,
    dead_letters,
    schedules,
    audit,
    keys,
    login,
    reference,
    returning,
)


def install(app: FastAPI) -> None:
    """Put the dashboard's pages and assets into the application."""
    for page in PAGES:
        table.include(app, page.router, in_schema=False)
    app.mount(assets.PATH, assets.Assets(), name="static")
