"""Petiole's Celery app keeps to itself: several in one process, beside apps of others."""

from __future__ import annotations

from celery import Celery

from petiole_workers.celery.app import make_app
from petiole_workers.publishing import TASK_NAME
from petiole_workers.registry import Registry
from petiole_workers.settings import Settings


def test_apps_in_one_process_share_no_task() -> None:
    settings = Settings(store="memory://", broker="memory://")
    apps = [make_app(settings, Registry()) for _ in range(2)]
    other = Celery("other", set_as_current=False)

    for app in (*apps, other):
        app.finalize()  # a task registered twice would warn here, which is an error in tests

    assert all(TASK_NAME in app.tasks for app in apps)
    assert TASK_NAME not in other.tasks
