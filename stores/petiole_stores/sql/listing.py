"""Lists and counts of runs and tasks on Postgres: the statements, put together from what a filter asks.

A page is found by an index in its own order (``seq``), and the condition on ``seq`` is where it begins. A brief one does
not touch what it leaves out, so that large values stay unread where they are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from petiole_stores.checks import place_of
from petiole_stores.records import Checkpointed, Run, RunFilter, Task, TaskFilter

Statement = tuple[str, Sequence[object]]

_DOCUMENTS = frozenset(
    {
        "input",
        "config",
        "metadata",
        "error",
        "reason",
        "arg",
        "timeout",
        "output",
        "progress",
        "state",
        "next",
        "control",
    }
)


def _brief(record: type[msgspec.Struct], row: str, *, without: Collection[str], empty: str = "NULL") -> str:
    """A row as the JSON of its record, as functions/json.sql makes it, with nothing in these fields."""
    parts = []
    for name in record.__struct_fields__:
        value = f"{row}.{name}::text" if name in _DOCUMENTS else f"{row}.{name}"
        parts.append(f"'{name}', {empty if name in without else value}")
    return f"json_build_object({', '.join(parts)})"


_BRIEF_RUN = _brief(Run, "r", without={"input"})
_BRIEF_TASK = _brief(Task, "t", without={"arg", "output", "progress"})
#: A checkpoint ``c`` without its state.
BRIEF_CHECKPOINT = _brief(Checkpointed, "c", without={"state"}, empty="''")

# Collation "C" for lower(): A to Z alone, whatever the database speaks.
_HAS_TEXT = """(strpos(lower(r.thread_id), %s) > 0 OR strpos(lower(r.run_id), %s) > 0 OR strpos(lower(r.graph), %s) > 0
    OR r.tags <> '[]' AND EXISTS (SELECT FROM jsonb_array_elements_text(r.tags) g (tag) WHERE strpos(lower(g.tag COLLATE "C"), %s) > 0))"""

#: By namespace, node, kind and status.
TASK_COUNTS = """
SELECT coalesce(json_agg(q), '[]'::json)::text
FROM (
    SELECT t.ns, t.node, t.kind, t.status, count(*) AS count, min(t.created_at) AS created_at,
        max(t.ended_at) AS ended_at, sum(t.crashes) AS crashes, sum(t.failures) AS failures,
        count(*) FILTER (WHERE t.recovered) AS recovered, count(*) FILTER (WHERE t.replaced) AS replaced
    FROM tasks t WHERE t.run_id = %s
    GROUP BY t.ns, t.node, t.kind, t.status ORDER BY t.ns, t.node, t.kind COLLATE "C", t.status
) q"""


def runs(filter: RunFilter) -> Statement:
    """One run more than the page has, newest first."""
    where, values = _where(filter)
    if (below := place_of(filter.cursor)) is not None:
        where, values = f"{where} AND r.seq < %s", [*values, below]
    newest = f"SELECT r.* FROM runs r WHERE {where} ORDER BY r.seq DESC LIMIT %s"
    parameters = [*values, filter.limit + 1]
    if filter.status:
        # The newest of each status, then the newest of those: an index has each in order, not several together.
        statuses = sorted(set(filter.status))
        newest = " UNION ALL ".join(
            [f"(SELECT r.* FROM runs r WHERE r.status = %s AND {where} ORDER BY r.seq DESC LIMIT %s)"]
            * len(statuses)
        )
        parameters = [value for status in statuses for value in (status, *parameters)]
    shown = _BRIEF_RUN if filter.brief else "petiole_run_json(r)"
    statement = (
        f"SELECT coalesce(json_agg({shown} ORDER BY r.seq DESC), '[]'::json)::text "
        f"FROM (SELECT * FROM ({newest}) q ORDER BY q.seq DESC LIMIT %s) r"
    )
    return statement, (*parameters, filter.limit + 1)


def run_counts(filter: RunFilter) -> Statement:
    """The number of runs by status; the index of statuses has all that a count without conditions reads."""
    where, values = _where(filter)
    counted = f"SELECT r.status, count(*) AS n FROM runs r WHERE {where} GROUP BY r.status"
    return f"SELECT coalesce(json_object_agg(q.status, q.n), '{{}}'::json)::text FROM ({counted}) q", values


def tasks(run_id: str, filter: TaskFilter) -> Statement:
    """Pairs of number and task, one more than the page has, in the order they were made."""
    conditions: list[tuple[str, object]] = [
        ("t.run_id = %s", run_id),
        ("t.ns = %s", filter.ns),
        ("t.node = %s", filter.node),
        ("t.kind = %s", filter.kind),
        # An expression: the partial indexes of what is not over are small, and still no way to one run's tasks.
        ("t.status || '' = ANY (%s::text[])", filter.status or None),
        ("t.checkpoint_id = %s", filter.checkpoint_id),
        ("t.seq > %s", place_of(filter.cursor)),
    ]
    where, values = _all_of(conditions)
    shown = _BRIEF_TASK if filter.brief else "petiole_task_json(t)"
    statement = (
        f"SELECT coalesce(json_agg(json_build_array(t.seq, {shown}) ORDER BY t.seq), '[]'::json)::text "
        f"FROM (SELECT t.* FROM tasks t WHERE {where} ORDER BY t.seq LIMIT %s) t"
    )
    return statement, (*values, filter.limit + 1)


def _where(filter: RunFilter) -> tuple[str, list[object]]:
    """The conditions of a filter but for status and cursor."""
    text = None if filter.text is None else filter.text.encode().lower().decode()
    conditions: list[tuple[str, object]] = [
        ("r.graph = %s", filter.graph),
        ("r.thread_id = %s", filter.thread_id),
        ("r.tags @> jsonb_build_array(%s::text)", filter.tag),
        ("r.created_at >= %s", filter.since),
        ("r.created_at < %s", filter.until),
        ("r.graph = ANY (%s::text[])", filter.graphs or None),
        ("split_part(r.thread_id, ':', 1) = ANY (%s::text[])", filter.namespaces or None),
    ]
    where, values = _all_of(conditions)
    if filter.error_type is not None:
        name = filter.error_type
        where += " AND (r.error ->> 'type' = %s"
        values.append(name)
        if "." not in name:
            where += " OR right(r.error ->> 'type', %s::int) = %s"
            values += [len(name) + 1, f".{name}"]
        where += ")"
    if text is not None:
        where += f" AND {_HAS_TEXT}"
        values += [text] * 4
    return where, values


def _all_of(conditions: Sequence[tuple[str, object]]) -> tuple[str, list[object]]:
    chosen = [(text, value) for text, value in conditions if value is not None]
    return " AND ".join(["true", *(text for text, _ in chosen)]), [value for _, value in chosen]
