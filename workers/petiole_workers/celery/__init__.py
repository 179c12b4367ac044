"""Petiole as a Celery application: the app, its one task, and the bootsteps of a worker.

``celery -A petiole_workers worker`` finds the app as this package's attribute ``celery``, made when it is asked for.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "celery":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from petiole_workers.celery.standalone import standalone_app

    globals()[name] = app = standalone_app()
    return app
