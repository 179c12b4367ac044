"""``RedisStore``: the whole contract on Redis; each operation one Lua script in the slot of one partition.

Threads hash into partitions. What is named by id alone is looked for in the process' memory of ids, then in all
partitions at once. Workers live in a slot of their own and have a copy of their lease in every partition; a claim asks
the copy beside its task. A beat, release or sweep that stops half-way leaves copies that the next one puts right: a copy
that is too old frees tasks (which keep their token until they are claimed anew), none hands a task out twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from petiole_stores.bases import WideBases
from petiole_stores.errors import ConflictError
from petiole_stores.records import Blob, Checkpointed, NewCheckpoint, Run, Task, Worker
from petiole_stores.redis.events import RedisEvents
from petiole_stores.redis.items import RedisItems
from petiole_stores.redis.listing import Listing
from petiole_stores.redis.partitions import tag_prefix
from petiole_stores.redis.requests import blob_args, blob_of, decoder, optional
from petiole_stores.redis.trimming import Trimming
from petiole_stores.serde import Serde
from petiole_stores.store import StoreUrl

_run = optional(Run)
_task = optional(Task)
_checkpoint = optional(Checkpointed)
_checkpoints = decoder(list[Checkpointed])
_worker = decoder(Worker)
_bool = decoder(bool)


class RedisStore(Listing, Trimming, RedisItems, RedisEvents):
    """Checkpoints and ledger on plain Redis 7 or Valkey; the options of its URL are those of :class:`RedisBase`."""

    def __init__(
        self,
        url: StoreUrl | str = "redis://localhost:6379/0",
        *,
        serde: Serde | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(url, serde=serde)
        self.clock = clock
        self._slots = {}
        self._wide_bases = WideBases()

    # ---------------------------------------------------------------- single records

    def _get_run(self, run_id: str) -> Run | None:
        found: Run | None = self._read_one("run", run_id, _run)
        return found

    def _get_task(self, task_id: str) -> Task | None:
        found: Task | None = self._read_one("task", task_id, _task)
        return found

    def _holds(self, task_id: str, token: str) -> bool:
        partition = self._locate("task", [task_id]).get(task_id)
        request = {"what": "holds", "id": task_id, "token": token}
        return partition is not None and self._on(partition, "read", request, _bool)

    # ---------------------------------------------------------------- checkpoints

    def _read_one(self, what: Any, id: str, decode: Callable[[bytes], Any]) -> Any:
        """One record; where a hint was wrong or the record is gone, all partitions are asked once more."""
        for _ in range(2):
            partition = self._locate(what, [id]).get(id)
            if partition is None:
                break
            if (found := self._on(partition, "read", {"what": what, "id": id}, decode)) is not None:
                return found
            self._locator.forget(what, id)
        return None

    def _head(self, thread_id: str, ns: str) -> Checkpointed | None:
        return self._on(
            self._partition(thread_id), "read", {"what": "head", "id": thread_id, "ns": ns}, _checkpoint
        )

    def _get_checkpoint(self, checkpoint_id: str) -> Checkpointed | None:
        found: Checkpointed | None = self._read_one("checkpoint", checkpoint_id, _checkpoint)
        return found

    def _list_checkpoints(
        self, thread_id: str, ns: str | None, before: int | None, limit: int | None, brief: bool = False
    ) -> list[Checkpointed]:
        request = {
            "what": "checkpoints", "id": thread_id, "ns": ns, "before": before, "limit": limit, "brief": brief,
        }  # fmt: skip
        return self._on(self._partition(thread_id), "read", request, _checkpoints)

    def _get_blobs(self, thread_id: str, digests: Sequence[str]) -> dict[str, Blob]:
        key = f"{tag_prefix(self.prefix, self._partition(thread_id))}blobs:{thread_id}"
        payloads = self._connection.ask(lambda client: client.hmget(key, list(digests)))
        found = zip(digests, payloads, strict=True)
        return {digest: blob_of(digest, payload) for digest, payload in found if payload is not None}

    def _save(
        self, checkpoint: NewCheckpoint, thread_id: str, run_id: str | None, at: float, blobs: Sequence[Blob]
    ) -> None:
        partition = self._partition(thread_id)
        self._recall("checkpoint", {checkpoint.checkpoint_id: thread_id})
        if (
            self._locate("checkpoint", [checkpoint.checkpoint_id]).get(checkpoint.checkpoint_id, partition)
            != partition
        ):
            raise ConflictError(
                f"checkpoint {checkpoint.checkpoint_id!r} belongs to another thread than {thread_id!r}: give it a new id"
            )
        request = {
            **self._options(at),
            "checkpoint": checkpoint,
            "thread_id": thread_id,
            "run_id": run_id,
            "blobs": len(blobs),
        }
        self._connection.run([self._call("save", partition, request, blob_args(blobs))])
        self._locator.learn("checkpoint", [checkpoint.checkpoint_id], partition)

    def threads(self) -> Iterator[str]:
        marker = "}:history:"

        def ask(client: Any) -> set[str]:
            found = client.scan_iter(match=f"{self.prefix}:{{p*{marker}*", count=1000)
            return {key.decode().partition(marker)[2] for key in found}

        return iter(sorted(self._connection.ask(ask)))

    def _delete(self, checkpoint_id: str) -> bool:
        partition = self._locate("checkpoint", [checkpoint_id]).get(checkpoint_id)
        if partition is None:
            return True
        answer: int = self._connection.run([self._call("delete", partition, {"id": checkpoint_id})])[0]
        self._locator.forget("checkpoint", checkpoint_id)
        return answer == 1

    def _clear(self, thread_id: str) -> bool:
        call = self._call("clear", self._partition(thread_id), {"id": thread_id})
        answer: int = self._connection.run([call])[0]
        return answer == 1

    # ---------------------------------------------------------------- workers

    def _list_workers(self) -> list[Worker]:
        def ask(client: Any) -> list[list[bytes | None]]:
            ids = [id.decode() for id in client.smembers(f"{self._workers_key}workers")]
            with client.pipeline(transaction=False) as pipeline:
                for id in ids:
                    pipeline.hmget(f"{self._workers_key}worker:{id}", _WORKER_FIELDS)
                found: list[list[bytes | None]] = pipeline.execute()
                return found

        workers = []
        for record, status, *times in self._connection.ask(ask):
            if record is not None and status is not None:
                worker = _worker(record)
                worker.status = status.decode()
                worker.started_at, worker.beat_at, worker.expires_at = (float(it or 0) for it in times)
                workers.append(worker)
        return sorted(workers, key=lambda worker: worker.started_at, reverse=True)


_WORKER_FIELDS = ["record", "status", "started_at", "beat_at", "expires_at"]
