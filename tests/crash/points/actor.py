"""One process of the matrix: a client or a worker that does its part, and dies at the point that it is armed for.

A worker here is the engine without Celery around it: claims, runs, commits and publishes one hint after the other, beats,
and sweeps when it has nothing to do. Its broker is a list: it is lost with the process, as a flushed broker is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from petiole.client import Client
from petiole_stores import crashpoints
from petiole_stores.crashpoints import Armed
from petiole_stores.opening import open_store
from petiole_stores.records import SETTLED, TaskRef, Worker
from petiole_stores.store import Store
from petiole_workers.hop import Hint
from petiole_workers.registry import Registry
from petiole_workers.resuming import resumptions
from petiole_workers.runner import Runner
from petiole_workers.settings import Settings
from tests.crash.points.graph import build, build_asking, build_broken

LEASE = 0.6
#: How long a part may take before it is said to be stuck, in seconds.
PATIENCE = 30.0


class Stuck(Exception):
    """A part did not end in time."""


class Hand:
    """A worker's hand: one holder with one slot."""

    def __init__(self, store: Store, thread: str, durability: str) -> None:
        self.store, self.thread, self.holder = store, thread, f"w{time.monotonic_ns()}"
        self.messages: list[TaskRef] = []
        store.grace = 0.2
        self.described = Worker(worker_id=self.holder, name=self.holder, lease=LEASE)
        registry = Registry([build(), build_broken(), build_asking()])
        self.runner = Runner(
            store=store, registry=registry, settings=Settings(in_process_wait=0.001, durability=durability),
            holder=self.holder,
            slot="1", publish=self.publish,
        )  # fmt: skip

    def publish(self, refs: Sequence[TaskRef]) -> list[str]:
        self.messages.extend(refs)
        return [ref.task_id for ref in refs]

    def work(self, until: Sequence[str]) -> str:
        """Work until the thread's newest run has one of these statuses; gives it."""
        end = time.monotonic() + PATIENCE
        self.store.beat(self.described)
        beaten = time.monotonic()
        while time.monotonic() < end:
            run = self.store.newest_run(self.thread)
            if run is not None and run.status in until and not self.messages:
                return run.status
            if self.messages:
                self.runner.run([Hint.of(self.messages.pop(0))])
            else:
                self.sweep()
            if time.monotonic() - beaten > LEASE / 4:
                self.store.beat(self.described)
                beaten = time.monotonic()
        raise Stuck(
            f"the run is {run.status if run else 'not there'}; its tasks: {shown(self.store, self.thread)}"
        )

    def sweep(self) -> None:
        """What a worker's sweep does, with a broker that is empty."""
        report = self.store.sweep()
        if report.backlogs:
            refs = self.store.due(published_before=report.now - 0.05)
            self.publish(refs)
            crashpoints.reach("refill.after")
        else:
            time.sleep(0.01)


def shown(store: Store, thread: str) -> list[str]:
    run = store.newest_run(thread)
    return [
        f"{task.node} {task.status} {[it.outcome for it in task.attempts]}"
        for task in (store.list_tasks(run.run_id) if run else ())
    ]


def thread_of(folder: str | Path) -> str:
    """The thread of a case, which has a folder to itself."""
    return f"thread-{Path(folder).name}"


def act(url: str, part: str, folder: str, point: str, nth: int, durability: str) -> None:
    """Do one part in this process: ``submit``, ``work``, ``release``, or what a client decides."""
    if point:
        crashpoints.arm(Armed(point, nth))
    store = open_store(url)
    store.grace = 0.2
    with Client(store, settings=Settings()) as client:
        PARTS[part](client, thread_of(folder), str(Path(folder) / "journal"), durability)
    store.close()


def _submit(client: Client, thread: str, journal: str, durability: str) -> None:
    client.submit("points", {"journal": journal}, thread_id=thread, idempotency_key=thread)


def _submit_broken(client: Client, thread: str, journal: str, durability: str) -> None:
    client.submit("broken", {"journal": journal}, thread_id=thread, idempotency_key=thread)


def _submit_asking(client: Client, thread: str, journal: str, durability: str) -> None:
    client.submit("asking", {"journal": journal}, thread_id=thread, idempotency_key=thread)


def _answer(client: Client, thread: str, journal: str, durability: str) -> None:
    run = client.get_run(thread)
    if run.status == "interrupted":
        answers = resumptions(client.tasks(run.run_id), "yes", client.store.serde)
        client.store.resume(run.run_id, answers)


def _work(client: Client, thread: str, journal: str, durability: str) -> None:
    Hand(client.store, thread, durability).work([*SETTLED, "interrupted"])


def _work_and_stop(client: Client, thread: str, journal: str, durability: str) -> None:
    """A worker that is stopped in the midst: it gives back what it holds."""
    hand = Hand(client.store, thread, durability)
    hand.store.beat(hand.described)
    hand.sweep()
    while hand.messages:
        hint = Hint.of(hand.messages.pop(0))
        if hint.node != "__start__":
            hand.store.claim(hand.holder, "1", [(hint.task_id, "held")])
            break
        hand.runner.run([hint])
    hand.store.release(hand.holder, final=True)


def _replay(client: Client, thread: str, journal: str, durability: str) -> None:
    Path(journal + ".mended").touch()
    run = client.get_run(thread)
    if run.status == "failed":
        client.replay(thread)


def _resume(client: Client, thread: str, journal: str, durability: str) -> None:
    if client.get_run(thread).status == "interrupted":
        client.resume(thread)


def _pause(client: Client, thread: str, journal: str, durability: str) -> None:
    client.pause(thread)


def _unpause(client: Client, thread: str, journal: str, durability: str) -> None:
    if client.get_run(thread).status == "paused":
        client.unpause(thread)


def _cancel(client: Client, thread: str, journal: str, durability: str) -> None:
    client.cancel(thread)


PARTS: dict[str, Any] = {
    "submit": _submit,
    "submit broken": _submit_broken,
    "submit asking": _submit_asking,
    "answer": _answer,
    "work": _work,
    "stop": _work_and_stop,
    "replay": _replay,
    "resume": _resume,
    "pause": _pause,
    "unpause": _unpause,
    "cancel": _cancel,
}
