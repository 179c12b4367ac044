"""Dead pool processes, also those that live too shortly to be seen in Celery's list."""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from petiole_stores.errors import StoreUnavailableError
from petiole_stores.records import Outcome, TaskRef
from petiole_workers.board import Board, Posted
from petiole_workers.celery import children
from petiole_workers.celery.children import Births, ChildWatch
from petiole_workers.spool import entry_of
from tests.unit.engine.bench import HOLDER, Bench, chain, says
from tests.unit.worker.contexts import context_on


class Watched:
    """A watch over a pool that the test fills, for a worker that holds one task in the process ``pid``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        monkeypatch.setattr(children, "LOOK", 0.02)
        self.bench = Bench(chain(a=says("a")))
        self.pool: list[Any] = []
        self.births = Births()
        self.board = Board(4, forked=True)
        self.context = context_on(
            self.bench, self.bench, self.board, pool="prefork", cancel_grace=0.0, data_dir=str(folder)
        )
        self.watch = ChildWatch(
            self.context, SimpleNamespace(_pool=SimpleNamespace(_pool=self.pool)), self.births
        )

    def claim(self, pid: int) -> str:
        self.run_id = self.bench.submit()
        hint = self.bench.hint()
        self.bench.store.claim(HOLDER, str(pid), [(hint.task_id, "token")])
        return hint.task_id

    def crashes(self) -> int:
        [task] = self.bench.store.list_tasks(self.run_id)
        return task.crashes


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Watched:
    return Watched(monkeypatch, tmp_path)


def sleeper() -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=signal.pause, daemon=True)
    process.start()
    return process


def test_a_child_s_death_gives_its_task_back_and_publishes_it(watched: Watched) -> None:
    process = sleeper()
    assert process.pid is not None
    watched.pool.append(process)
    watched.claim(process.pid)
    watched.watch.tick()
    assert watched.crashes() == 0
    process.kill()
    process.join()
    watched.watch.tick()
    watched.watch.tick()
    assert watched.crashes() == 1
    assert [ref.priority for ref in watched.bench.messages] == ["high"]


def test_a_child_that_nobody_has_seen_is_found_by_its_own_word(watched: Watched) -> None:
    pid = os.posix_spawnp("true", ["true"], os.environ)
    os.waitpid(pid, 0)
    os.write(watched.births._writer, pid.to_bytes(Births.SIZE, "big"))
    watched.claim(pid)
    watched.watch.tick()
    assert watched.crashes() == 1


def test_a_child_that_speaks_before_celery_lists_it_is_waited_for(watched: Watched) -> None:
    process = sleeper()
    assert process.pid is not None
    os.write(watched.births._writer, process.pid.to_bytes(Births.SIZE, "big"))
    watched.claim(process.pid)
    watched.watch.tick()
    assert watched.crashes() == 0
    watched.pool.append(process)
    watched.watch.tick()
    assert not watched.watch._born
    process.kill()
    process.join()
    watched.pool.clear()  # Celery was faster
    watched.watch.tick()
    assert watched.crashes() == 1


def test_it_tells_the_store_when_it_is_back(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = os.posix_spawnp("true", ["true"], os.environ)
    os.waitpid(pid, 0)
    watched.births.say()
    os.write(watched.births._writer, pid.to_bytes(Births.SIZE, "big"))
    watched.claim(pid)
    store = watched.bench.store
    real = store._release

    def away(*args: Any) -> Any:
        raise StoreUnavailableError("cut")

    monkeypatch.setattr(store, "_release", away)
    monkeypatch.setattr(watched.watch._stopping, "wait", lambda seconds: False)
    watched.watch.tick()
    monkeypatch.setattr(store, "_release", real)
    watched.watch.tick()
    assert watched.crashes() == 1
    watched.watch.tick()
    assert watched.crashes() == 1, "it is told once"


# ---------------------------------------------------------------- nodes that should have ended


class Stuck:
    """A pool process that is at a node and never ends, as the board shows it."""

    def __init__(self, watched: Watched, *, seconds: float | None) -> None:
        self.run_id = watched.bench.submit()
        self.hint = watched.bench.hint()
        fork = multiprocessing.get_context("fork")
        ready, tell = fork.Pipe(duplex=False)

        def hang() -> None:
            seat = watched.board.take()
            ref = TaskRef(
                task_id=self.hint.task_id, run_id=self.run_id, thread_id="t", queue="petiole", priority="default",
                graph="g", node="a",
            )  # fmt: skip
            seat.begin(Posted(slot=str(os.getpid()), ref=ref, claimed=True))
            outcome = Outcome(
                task_id=self.hint.task_id, token="token", ending="retry", error='{"type": "T", "message": ""}'
            )
            with nullcontext() if seconds is None else seat.limit(seconds, outcome):
                tell.send(True)
                signal.pause()

        self.process = fork.Process(target=hang, daemon=True)
        self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid
        watched.pool.append(self.process)
        watched.bench.store.claim(HOLDER, str(self.pid), [(self.hint.task_id, "token")])
        ready.recv()


def test_a_node_past_its_timeout_has_its_process_killed_and_counts_as_a_timeout(watched: Watched) -> None:
    stuck = Stuck(watched, seconds=0.0)
    watched.watch.tick()
    stuck.process.join(10)
    watched.watch.tick()
    watched.watch.tick()
    [task] = watched.bench.store.list_tasks(stuck.run_id)
    assert (task.failures, task.crashes, [tried.outcome for tried in task.attempts]) == (1, 0, ["retry"])
    assert [ref.task_id for ref in watched.bench.messages] == [task.task_id]
    assert watched.board.counts()["retried"] == 1


def test_a_timeout_that_the_store_cannot_be_told_yet_is_told_later(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = Stuck(watched, seconds=0.0)
    real = watched.bench.store._finish

    def away(*args: Any) -> Any:
        raise StoreUnavailableError("cut")

    monkeypatch.setattr(watched.bench.store, "_finish", away)
    monkeypatch.setattr(watched.watch._stopping, "wait", lambda seconds: False)
    watched.watch.tick()
    stuck.process.join(10)
    watched.watch.tick()
    monkeypatch.setattr(watched.bench.store, "_finish", real)
    watched.watch.tick()
    [task] = watched.bench.store.list_tasks(stuck.run_id)
    assert (task.failures, task.crashes) == (1, 0)


def test_a_node_that_goes_on_though_it_is_cancelled_has_its_process_killed_uncharged(
    watched: Watched,
) -> None:
    stuck = Stuck(watched, seconds=None)
    watched.watch.tick()
    assert stuck.process.is_alive()
    [sight] = watched.board.look()
    watched.board.cancel(sight)
    watched.watch.tick()
    stuck.process.join(10)
    watched.watch.tick()
    watched.watch.tick()
    [task] = watched.bench.store.list_tasks(stuck.run_id)
    assert (task.status, task.failures, task.crashes) == ("ready", 0, 0)


def test_what_a_dead_child_has_spooled_is_sent_before_its_claims_are_given_back(watched: Watched) -> None:
    """A release voids the tokens that the spool was written under."""
    pid = os.posix_spawnp("true", ["true"], os.environ)
    os.waitpid(pid, 0)
    os.write(watched.births._writer, pid.to_bytes(Births.SIZE, "big"))
    task_id = watched.claim(pid)
    [task] = watched.bench.store.list_tasks(watched.run_id)
    ref = TaskRef(
        task_id=task_id, run_id=watched.run_id, thread_id="t", queue="petiole", priority="default", graph="g", node="a"
    )  # fmt: skip
    ended = Outcome(
        task_id=task_id, token="token", ending="failed", error='{"type": "T", "message": ""}', advance_id="a",
        advance_token="at",
    )  # fmt: skip
    watched.context.spool.put(entry_of(HOLDER, str(pid), [ended], [ref]))
    watched.watch.tick()
    [task] = watched.bench.store.list_tasks(watched.run_id)
    assert (task.status, task.crashes) == ("failed", 0)
    assert list(watched.context.spool.entries()) == []


def test_a_pool_process_that_nobody_reads_leaves_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    from billiard import pool

    slept: list[float] = []
    monkeypatch.setattr(pool, "GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT", 300)
    monkeypatch.setattr(pool.time, "sleep", slept.append)
    children._leave_soon()
    unread = SimpleNamespace(on_ready_counter=SimpleNamespace(value=0))
    assert pool.Worker._ensure_messages_consumed(unread, completed=1) is False
    assert sum(slept) == pytest.approx(children.LEAVE)
