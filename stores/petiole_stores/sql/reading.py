"""What Postgres is asked without changing anything: one statement each, its answer JSON of the records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from petiole_stores.errors import StoreError
from petiole_stores.records import (
    Blob,
    Checkpointed,
    Run,
    RunFilter,
    RunPage,
    RunStatus,
    Task,
    TaskCount,
    TaskFilter,
    TaskPage,
    Worker,
)
from petiole_stores.serde import Serde
from petiole_stores.sql import listing
from petiole_stores.sql.connection import PostgresEngine
from petiole_stores.store import Store, StoreUrl

_run = msgspec.json.Decoder(Run)
_runs = msgspec.json.Decoder(list[Run])
_counts = msgspec.json.Decoder(dict[RunStatus, int])
_task = msgspec.json.Decoder(Task)
_tasks = msgspec.json.Decoder(list[Task])
_numbered_tasks = msgspec.json.Decoder(list[tuple[int, Task]])
_task_counts = msgspec.json.Decoder(list[TaskCount])
_checkpoint = msgspec.json.Decoder(Checkpointed)
_checkpoints = msgspec.json.Decoder(list[Checkpointed])
_workers = msgspec.json.Decoder(list[Worker])

_GET_RUN = "SELECT petiole_run_json(r)::text FROM runs r WHERE r.run_id = %s"
_GET_TASK = "SELECT petiole_task_json(t)::text FROM tasks t WHERE t.task_id = %s"
_LIST_TASKS = """
SELECT coalesce(json_agg(petiole_task_json(t) ORDER BY t.seq), '[]'::json)::text FROM tasks t WHERE t.run_id = %s"""
_HEAD = """
SELECT petiole_checkpoint_json(c)::text FROM heads h JOIN checkpoints c ON c.checkpoint_id = h.checkpoint_id
WHERE h.thread_id = %s AND h.ns = %s"""
_GET_CHECKPOINT = "SELECT petiole_checkpoint_json(c)::text FROM checkpoints c WHERE c.checkpoint_id = %s"
_HOLDS = """
SELECT 'true' FROM tasks t JOIN runs r ON r.run_id = t.run_id
WHERE t.task_id = %s AND t.token = %s AND t.status || '' IN ('claimed', 'ready')
    AND r.status || '' NOT IN ('succeeded', 'failed', 'cancelled')"""
_LIST_WORKERS = "SELECT coalesce(json_agg(w ORDER BY w.started_at DESC), '[]'::json)::text FROM workers w"
_GET_BLOBS = (
    "SELECT digest, codec, data, checksum FROM blobs WHERE thread_id = %s AND digest = ANY (%s::text[])"
)
_THREADS = """
SELECT th.thread_id FROM threads th
WHERE th.thread_id > %s AND EXISTS (SELECT FROM checkpoints c WHERE c.thread_id = th.thread_id)
ORDER BY th.thread_id LIMIT 1000"""


class PostgresReads(Store):
    """The reading half of the store."""

    def __init__(self, url: StoreUrl | str, *, serde: Serde | None = None) -> None:
        super().__init__(url, serde=serde)
        self.connections = PostgresEngine(self.url)

    def _call(self, statement: str, parameters: Sequence[object]) -> str:
        """The answer of one of the ledger's functions."""
        text = self.connections.call(statement, parameters)
        if text is None:
            raise StoreError(f"{self.url.shown}: {statement} answered nothing: run `petiole db verify`")
        return text

    def _holds(self, task_id: str, token: str) -> bool:
        return self.connections.call(_HOLDS, (task_id, token)) is not None

    def _get_run(self, run_id: str) -> Run | None:
        text = self.connections.call(_GET_RUN, (run_id,))
        return None if text is None else _run.decode(text)

    def _list_runs(self, filter: RunFilter) -> RunPage:
        found = _runs.decode(self.connections.call(*listing.runs(filter)) or "[]")
        page = found[: filter.limit]
        return RunPage(runs=page, next=str(page[-1].seq) if len(found) > filter.limit else None)

    def _count_runs(self, filter: RunFilter) -> Mapping[RunStatus, int]:
        return _counts.decode(self.connections.call(*listing.run_counts(filter)) or "{}")

    def _get_task(self, task_id: str) -> Task | None:
        text = self.connections.call(_GET_TASK, (task_id,))
        return None if text is None else _task.decode(text)

    def _list_tasks(self, run_id: str) -> list[Task]:
        return _tasks.decode(self.connections.call(_LIST_TASKS, (run_id,)) or "[]")

    def _tasks_page(self, run_id: str, filter: TaskFilter) -> TaskPage:
        found = _numbered_tasks.decode(self.connections.call(*listing.tasks(run_id, filter)) or "[]")
        page = found[: filter.limit]
        more = len(found) > filter.limit
        return TaskPage(tasks=[task for _, task in page], next=str(page[-1][0]) if more else None)

    def _task_counts(self, run_id: str) -> list[TaskCount]:
        return _task_counts.decode(self.connections.call(listing.TASK_COUNTS, (run_id,)) or "[]")

    def _head(self, thread_id: str, ns: str) -> Checkpointed | None:
        text = self.connections.call(_HEAD, (thread_id, ns))
        return None if text is None else _checkpoint.decode(text)

    def _get_checkpoint(self, checkpoint_id: str) -> Checkpointed | None:
        text = self.connections.call(_GET_CHECKPOINT, (checkpoint_id,))
        return None if text is None else _checkpoint.decode(text)

    def _list_checkpoints(
        self, thread_id: str, ns: str | None, before: int | None, limit: int | None, brief: bool = False
    ) -> list[Checkpointed]:
        where, values = "c.thread_id = %s", [thread_id, *([] if ns is None else [ns])]
        parameters: list[Any] = [*values]
        if ns is not None:
            where += " AND c.ns = %s"
        if before is not None:
            where += " AND c.seq < %s"
            parameters.append(before)
        shown = listing.BRIEF_CHECKPOINT if brief else "petiole_checkpoint_json(c)"
        statement = (
            f"SELECT coalesce(json_agg({shown} ORDER BY c.seq DESC), '[]'::json)::text "
            f"FROM (SELECT * FROM checkpoints c WHERE {where} ORDER BY c.seq DESC LIMIT %s) c"
        )
        return _checkpoints.decode(self.connections.call(statement, (*parameters, limit)) or "[]")

    def _get_blobs(self, thread_id: str, digests: Sequence[str]) -> dict[str, Blob]:
        rows = self.connections.rows(_GET_BLOBS, (thread_id, list(digests)))
        found = {
            row[0]: Blob(digest=row[0], codec=row[1], data=bytes(row[2]), checksum=row[3]) for row in rows
        }
        return {digest: found[digest] for digest in digests if digest in found}

    def _list_workers(self) -> list[Worker]:
        return _workers.decode(self.connections.call(_LIST_WORKERS, ()) or "[]")

    def threads(self) -> Iterator[str]:
        """Every thread id that has checkpoints, in order."""
        last = ""
        while rows := self.connections.rows(_THREADS, (last,)):
            for (last,) in rows:
                yield last
