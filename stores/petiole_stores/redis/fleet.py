"""Beat, release, sweep, due: the operations of workers and of the periodic look, over all partitions.

The slot of the workers is asked first and gives the time; the partitions judge their copies of leases by that same
``now``, so that a worker is dead everywhere or nowhere, and clocks of several servers are never compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from petiole_stores.contract import json_text
from petiole_stores.records import DEADLINE_OVER, BeatAnswer, QueueBacklog, SweepReport, TaskRef, Worker
from petiole_stores.redis.connection import Call
from petiole_stores.redis.control import Control
from petiole_stores.redis.requests import decoder, pack

WORKERS_KEPT = 7 * 86400.0
#: How many timers one script wakes, how many tasks it ends, how many records it deletes: none holds the server for long.
MOST = 500
#: The error of a run whose deadline is over, and of its tasks.
LATE = json_text({"type": "DeadlineExceeded", "message": DEADLINE_OVER})


class _Beaten(msgspec.Struct):
    revived: bool
    claims: list[str]


class _Lease(msgspec.Struct):
    now: float
    expires_at: float = 0.0
    revived: bool = False
    died: list[str] = []


class _Swept(msgspec.Struct):
    woken: int
    backlogs: list[QueueBacklog]
    expired: list[str] = []
    more: bool = False


_beaten = decoder(_Beaten)
_lease = decoder(_Lease)
_released = decoder(list[tuple[str, list[TaskRef]]])
_swept = decoder(_Swept)
_found = decoder(list[tuple[float, float, str]])
_picked = decoder(list[tuple[str, TaskRef]])


class Fleet(Control):
    """The operations of workers and of the sweep."""

    def _of_workers(self, name: str, request: Mapping[str, object], *more: bytes) -> _Lease:
        return self._run([Call(name, self._workers_key, [pack(request), *more])], _lease)[0]

    def _beat(self, worker: Worker, published: Sequence[str], now: float | None) -> BeatAnswer:
        told = self._by_partition("task", published)
        request = {"holder": worker.worker_id, "status": worker.status, "lease": worker.lease, "now": now}
        lease = self._of_workers("worker_beat", request, pack(worker))
        request = {**self._options(lease.now), **request, "now": lease.now, "expires_at": lease.expires_at}
        calls = [
            self._call("beat", partition, {**request, "published": told.get(partition, [])})
            for partition in range(self.partitions)
        ]
        beaten = self._run(calls, _beaten)
        for partition, copy in enumerate(beaten):
            self._locator.learn("task", copy.claims, partition)
        return BeatAnswer(
            now=lease.now,
            revived=lease.revived or any(copy.revived for copy in beaten),
            claims=sorted(task_id for copy in beaten for task_id in copy.claims),
        )

    def _release(
        self, holder: str, slots: Sequence[str] | None, crashed: bool, final: bool, now: float | None
    ) -> list[TaskRef]:
        over = ("dead" if crashed else "stopped") if final else None
        lease = self._of_workers("worker_end", {"holder": holder, "status": over, "now": now})
        request = {
            **self._options(lease.now),
            "holder": holder,
            "slots": None if slots is None else list(slots),
            "crashed": crashed,
            "final": final,
        }
        released = [entry for part in self._everywhere("release", request, _released) for entry in part]
        for key in [key for key in self._slots if key[0] == holder and (slots is None or key[1] in slots)]:
            del self._slots[key]
        refs = [ref for _, group in sorted(released, key=lambda entry: entry[0]) for ref in group]
        self._learn(refs)
        return refs

    def _postpone(self, task_ids: Sequence[str], delay: float, now: float | None) -> None:
        self._connection.run(
            [
                self._call("postpone", partition, {"ids": ids, "delay": delay, "now": now})
                for partition, ids in self._by_partition("task", task_ids).items()
            ]
        )

    def _sweep(self, observed: float, now: float | None) -> SweepReport:
        request: dict[str, Any] = {"observed": observed, "keep": WORKERS_KEPT, "now": now}
        lease = self._of_workers("worker_sweep", request)
        request = {**self._options(lease.now), **request, "now": lease.now, "most": MOST, "late": LATE}
        report = SweepReport(now=lease.now, died=sorted(lease.died))
        swept: dict[int, _Swept] = {}
        left = list(range(self.partitions))
        while left:
            parts = self._run([self._call("sweep", partition, request) for partition in left], _swept)
            swept.update(zip(left, parts, strict=True))
            report.woken += sum(part.woken for part in parts)
            report.expired += [run_id for part in parts for run_id in part.expired]
            left = [partition for partition, part in zip(left, parts, strict=True) if part.more]
        report.expired.sort()
        report.backlogs = _merged(list(swept.values()))
        return report

    def _backlogs(self, now: float | None) -> list[QueueBacklog]:
        return _merged(self._everywhere("backlogs", {"now": now}, _swept))

    def _due(
        self,
        limit: int,
        queue: str | None,
        priority: str | None,
        published_before: float | None,
        now: float | None,
    ) -> list[TaskRef]:
        """First look everywhere, then pick the oldest: each partition picks what is still to be had."""
        request = {
            **self._options(now),
            "limit": limit,
            "queue": queue,
            "priority": priority,
            "published_before": published_before,
        }
        seen = self._everywhere("due", request, _found)
        chosen = sorted((*entry, p) for p, part in enumerate(seen) for entry in part)[: max(limit, 0)]
        groups: dict[int, list[str]] = {}
        for *_, task_id, partition in chosen:
            groups.setdefault(partition, []).append(task_id)
        calls = [self._call("pick", p, {**request, "ids": ids}) for p, ids in groups.items()]
        picked = {task_id: ref for part in self._run(calls, _picked) for task_id, ref in part}
        refs = [picked[task_id] for *_, task_id, _ in chosen if task_id in picked]
        self._learn(refs)
        return refs


def _merged(parts: Sequence[_Swept]) -> list[QueueBacklog]:
    """One backlog for each queue and priority."""
    found: dict[tuple[str, str], QueueBacklog] = {}
    for part in parts:
        for backlog in part.backlogs:
            known = found.setdefault((backlog.queue, backlog.priority), backlog)
            if known is not backlog:
                known.ready += backlog.ready
                known.due += backlog.due
                known.oldest = min(known.oldest or 0.0, backlog.oldest or 0.0)
    return [found[key] for key in sorted(found)]
