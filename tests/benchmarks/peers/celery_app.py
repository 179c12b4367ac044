"""The Celery application of the canvas peer: ``PETIOLE_BENCH_BROKER`` and ``PETIOLE_BENCH_BACKEND`` are its URLs."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from tests.benchmarks import workloads


def make_canvas_app(broker: str, backend: str) -> Celery:
    """An application with Celery's default settings and the workloads' tasks, each taking and giving a whole state."""
    app = Celery("canvas", broker=broker, backend=backend, set_as_current=False)
    app.conf.broker_connection_retry_on_startup = True  # its default, said aloud: else each start warns

    for node in (workloads.step, workloads.edit, workloads.count, workloads.touch):
        app.task(_whole(node), name=node.__name__, shared=False)
    app.task(join, name="join", shared=False)
    return app


def _whole(node: Any) -> Any:
    def task(state: dict[str, Any]) -> dict[str, Any]:
        return {**state, **node(state)}

    return task


def join(states: list[dict[str, Any]]) -> dict[str, Any]:
    return {"n": sum(state["n"] for state in states)}


if "PETIOLE_BENCH_BROKER" in os.environ:
    app = make_canvas_app(os.environ["PETIOLE_BENCH_BROKER"], os.environ["PETIOLE_BENCH_BACKEND"])
