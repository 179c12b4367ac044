"""The routes, a resource a file."""

from __future__ import annotations

from fastapi import FastAPI

from petiole.api import answers, table
from petiole.api.routes import (
    bulk,
    checkpoints,
    dead_letters,
    events,
    fleet,
    going_on,
    graphs,
    run_details,
    runs,
    snapshots,
    steering,
    threads,
    transfer,
)


def install(app: FastAPI) -> None:
    """Put every resource below ``/api/v1``, and what they answer into the OpenAPI document."""
    # Routes are tried in this order: names below /runs come before those of runs.
    for resource in (
        transfer,
        runs,
        run_details,
        events,
        steering,
        checkpoints,
        snapshots,
        going_on,
        threads,
        graphs,
        fleet,
        dead_letters,
        bulk,
    ):
        table.include(app, resource.router)
    answers.install(app)
