"""A worker's context on a bench's store, as its main process has it."""

from __future__ import annotations

import os
from typing import Any

from petiole_workers.board import Board
from petiole_workers.context import WorkerContext
from petiole_workers.registry import Registry
from petiole_workers.settings import Settings
from tests.unit.engine.bench import HOLDER, Bench


def context_on(bench: Bench, publisher: Any, board: Board, *, pool: str, **settings: Any) -> WorkerContext:
    """``publisher`` is what takes the place of the broker."""
    context = WorkerContext(Settings(**settings), Registry([bench.graph]), publisher)
    context.holder, context.pool, context.board = HOLDER, pool, board
    context._store, context._pid = bench.store, os.getpid()
    return context
