"""Lists and counts of runs and tasks: the statements are put together from what a filter asks.

A page is read in the table's own order (``seq``), and the condition on ``seq`` is where it begins.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from petiole_stores.checks import place_of
from petiole_stores.records import Run, RunFilter, RunPage, RunStatus, Task, TaskCount, TaskFilter, TaskPage
from petiole_stores.sql.sqlite.rows import RUN_COLUMNS, TASK_COLUMNS, json_text, to_run, to_task

_BRIEF_RUN = RUN_COLUMNS.replace("r.input", "NULL")
_BRIEF_TASK = TASK_COLUMNS.replace("t.arg", "NULL").replace("t.output", "NULL").replace("t.progress", "NULL")
_GET_TASK = f"SELECT {TASK_COLUMNS} FROM tasks t WHERE t.task_id = ?"
_LIST_TASKS = f"SELECT {TASK_COLUMNS} FROM tasks t WHERE t.run_id = ? ORDER BY t.seq"
_COUNT = (
    "ns", "node", "kind", "status", "count", "created_at", "ended_at", "crashes", "failures", "recovered", "replaced",
)  # fmt: skip
_TASK_COUNTS = """
SELECT t.ns, t.node, t.kind, t.status, count(*), min(t.created_at), max(t.ended_at), sum(t.crashes), sum(t.failures),
    sum(t.recovered), sum(t.replaced)
FROM tasks t WHERE t.run_id = ? GROUP BY t.ns, t.node, t.kind, t.status ORDER BY t.ns, t.node, t.kind, t.status"""

_LISTED = "IN (SELECT value FROM json_each(?))"
_HAS_TAG = "r.tags <> '[]' AND EXISTS (SELECT 1 FROM json_each(r.tags) e WHERE e.value = ?)"
_NAMESPACE = "substr(r.thread_id, 1, instr(r.thread_id || ':', ':') - 1)"
# SQLite's lower() knows A to Z alone.
_HAS_TEXT = """(instr(lower(r.thread_id), ?) OR instr(lower(r.run_id), ?) OR instr(lower(r.graph), ?)
    OR (r.tags <> '[]' AND EXISTS (SELECT 1 FROM json_each(r.tags) e WHERE instr(lower(e.value), ?))))"""
_ERROR_TYPE = "json_extract(r.error, '$.type')"


def list_runs(db: sqlite3.Connection, filter: RunFilter) -> RunPage:
    where, values = _where(filter)
    if filter.status:
        where.append(f"r.status {_LISTED}")
        values.append(json_text(filter.status))
    if (below := place_of(filter.cursor)) is not None:
        where.append("r.seq < ?")
        values.append(below)
    columns = _BRIEF_RUN if filter.brief else RUN_COLUMNS
    statement = f"SELECT {columns} FROM runs r WHERE {_all(where)} ORDER BY r.seq DESC LIMIT ?"
    rows = db.execute(statement, (*values, filter.limit + 1)).fetchall()
    page: list[Run] = [to_run(row) for row in rows[: filter.limit]]
    return RunPage(runs=page, next=str(page[-1].seq) if len(rows) > filter.limit else None)


def count_runs(db: sqlite3.Connection, filter: RunFilter) -> Mapping[RunStatus, int]:
    where, values = _where(filter)
    statement = f"SELECT r.status, count(*) FROM runs r WHERE {_all(where)} GROUP BY r.status"
    return dict(db.execute(statement, values).fetchall())


def get_task(db: sqlite3.Connection, task_id: str) -> Task | None:
    row = db.execute(_GET_TASK, (task_id,)).fetchone()
    return None if row is None else to_task(row)


def list_tasks(db: sqlite3.Connection, run_id: str) -> list[Task]:
    return [to_task(row) for row in db.execute(_LIST_TASKS, (run_id,))]


def tasks_page(db: sqlite3.Connection, run_id: str, filter: TaskFilter) -> TaskPage:
    conditions: list[tuple[str, object]] = [
        ("t.run_id = ?", run_id),
        ("t.ns = ?", filter.ns),
        ("t.node = ?", filter.node),
        ("t.kind = ?", filter.kind),
        (f"t.status {_LISTED}", json_text(filter.status) if filter.status else None),
        ("t.checkpoint_id = ?", filter.checkpoint_id),
        ("t.seq > ?", place_of(filter.cursor)),
    ]
    chosen = [(text, value) for text, value in conditions if value is not None]
    where, values = _all([text for text, _ in chosen]), [value for _, value in chosen]
    columns = _BRIEF_TASK if filter.brief else TASK_COLUMNS
    # Which ones, before anything of them is read: what is sorted is numbers.
    statement = (
        f"SELECT {columns}, t.seq FROM tasks t WHERE t.seq IN "
        f"(SELECT t.seq FROM tasks t WHERE {where} ORDER BY t.seq LIMIT ?) ORDER BY t.seq"
    )
    rows = db.execute(statement, (*values, filter.limit + 1)).fetchall()
    page = rows[: filter.limit]
    more = len(rows) > filter.limit
    return TaskPage(tasks=[to_task(row[:-1]) for row in page], next=str(page[-1][-1]) if more else None)


def task_counts(db: sqlite3.Connection, run_id: str) -> list[TaskCount]:
    rows = db.execute(_TASK_COUNTS, (run_id,))
    return [TaskCount(**dict(zip(_COUNT, row, strict=True))) for row in rows]


def _where(filter: RunFilter) -> tuple[list[str], list[object]]:
    """The conditions of a filter but for status and cursor."""
    conditions: list[tuple[str, object]] = [
        ("r.graph = ?", filter.graph),
        ("r.thread_id = ?", filter.thread_id),
        (_HAS_TAG, filter.tag),
        ("r.created_at >= ?", filter.since),
        ("r.created_at < ?", filter.until),
        (f"r.graph {_LISTED}", json_text(filter.graphs) if filter.graphs else None),
        (f"{_NAMESPACE} {_LISTED}", json_text(filter.namespaces) if filter.namespaces else None),
    ]
    chosen = [(text, value) for text, value in conditions if value is not None]
    where, values = [text for text, _ in chosen], [value for _, value in chosen]
    if (name := filter.error_type) is not None:
        where.append(
            f"({_ERROR_TYPE} = ? OR substr({_ERROR_TYPE}, ?) = ?)"
            if "." not in name
            else f"{_ERROR_TYPE} = ?"
        )
        values += [name] if "." in name else [name, -len(name) - 1, f".{name}"]
    if filter.text is not None:
        where.append(_HAS_TEXT)
        values += [filter.text.encode().lower().decode()] * 4
    return where, values


def _all(conditions: Sequence[str]) -> str:
    return " AND ".join(conditions) or "true"
