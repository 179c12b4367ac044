"""What looks after stored records without running anything: damage, threads to look at, threads to delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from petiole_stores.records import Blob
from petiole_stores.redis.fleet import MOST, Fleet
from petiole_stores.redis.partitions import tag_prefix
from petiole_stores.redis.requests import blob_args, decoder

#: How many entries of an index of ended threads one script looks at: none holds the server for long.
LOOK = 2000

_ids = decoder(list[str])
_ended = decoder(list[tuple[int, str]])


class Upkeep(Fleet):
    """Quarantine, repair of blobs, the threads that got checkpoints, and the end of threads."""

    def _quarantine(self, checkpoint_id: str, reason: str) -> bool:
        request = {"id": checkpoint_id, "reason": reason}
        for _ in range(2):
            partition = self._locate("checkpoint", [checkpoint_id]).get(checkpoint_id)
            if partition is None:
                break
            if self._ask("quarantine", partition, request):
                return True
            self._locator.forget("checkpoint", checkpoint_id)
        return False

    def _replace_blobs(self, thread_id: str, blobs: Sequence[Blob]) -> None:
        call = self._call("replace_blobs", self._partition(thread_id), {"id": thread_id}, blob_args(blobs))
        self._connection.run([call])

    def _recent(self, cursor: str, limit: int) -> tuple[list[str], str]:
        """The partitions keep the place: what one caller was told of, no other is told of again."""

        def count(client: Any) -> list[int]:
            with client.pipeline(transaction=False) as pipeline:
                for partition in range(self.partitions):
                    pipeline.scard(f"{tag_prefix(self.prefix, partition)}touched")
                found: list[int] = pipeline.execute()
                return found

        left, calls = limit, []
        for partition, waiting in enumerate(self._connection.ask(count)):
            if share := min(left, waiting):
                calls.append(self._call("recent", partition, {"limit": share}))
                left -= share
        return [thread_id for part in self._run(calls, _ids) for thread_id in part], ""

    def _latest(self) -> str:
        """The partitions keep the place; what they have kept until now is told to whoever asks next."""
        return ""

    def _expired(self, ages: Mapping[str, float], limit: int, now: float | None) -> list[str]:
        request = {"ages": dict(ages), "limit": limit, "most": LOOK, "now": now}
        found = [entry for part in self._everywhere("expired", request, _ended) for entry in part]
        return [thread_id for _, thread_id in sorted(found)[:limit]]

    def _delete_thread(self, thread_id: str) -> bool:
        """The thread is out of sight with the first script; its records follow in pieces (a sweep goes on with them)."""
        request = {"id": thread_id, "bury": True, "most": MOST}
        while True:
            match self._ask("delete_thread", self._partition(thread_id), request):
                case b"active":
                    return False
                case b"done":
                    return True
                case b"buried":
                    request["bury"] = False

    def _ask(self, name: str, partition: int, request: Mapping[str, Any]) -> Any:
        """The plain answer of one script."""
        return self._connection.run([self._call(name, partition, request)])[0]
