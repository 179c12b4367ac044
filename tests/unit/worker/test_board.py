"""The board: what a slot writes, the main process reads, also from another process and after its death."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from typing import Any

import pytest

from petiole_stores.records import Outcome, TaskRef
from petiole_workers.board import Board, Posted, Seat, TakenOverError
from tests.waiting import wait_until

TIMEOUT = Outcome(task_id="task", token="token", ending="failed", error="{}")
fork = multiprocessing.get_context("fork")


def posted(task_id: str = "task", *, claimed: bool = True, length: int = 0) -> Posted:
    ref = TaskRef(
        task_id=task_id, run_id="run", thread_id="thread" + "é" * length, queue="q", priority="default", graph="g", node="n"
    )  # fmt: skip
    return Posted(slot="1", ref=ref, claimed=claimed)


def in_child(work: Callable[[], None]) -> Any:
    process = fork.Process(target=work)
    process.start()
    return process


def test_a_task_is_seen_from_its_begin_to_its_end() -> None:
    board = Board(2)
    seat = board.take()
    assert board.look() == []
    seat.begin(posted())
    [sight] = board.look()
    assert (sight.posted.ref.task_id, sight.pid, sight.deadline) == ("task", os.getpid(), 0.0)
    seat.end()
    assert board.look() == []
    assert not board.stands(sight)


def test_the_longest_names_fit() -> None:
    board = Board(1)
    board.take().begin(posted(length=249))
    assert len(board.look()) == 1


def test_a_cancellation_never_meets_the_next_task() -> None:
    board = Board(1)
    seat = board.take()
    seat.begin(posted())
    [sight] = board.look()
    assert not seat.cancelled
    board.cancel(sight)
    assert seat.cancelled
    seat.end()
    seat.begin(posted("next"))
    assert not seat.cancelled
    board.cancel(sight)  # the main process is late
    assert not seat.cancelled


def test_a_node_that_was_ended_in_its_absence_is_told_when_it_returns() -> None:
    board = Board(1)
    seat = board.take()
    seat.begin(posted())
    limit = seat.limit(5.0, TIMEOUT)
    limit.__enter__()
    [sight] = board.look()
    assert sight.posted.on_timeout == TIMEOUT
    assert board.take_over(sight)
    assert board.look()[0].overdue
    with pytest.raises(TakenOverError):
        limit.__exit__(None, None, None)


def test_a_node_that_ends_first_is_not_taken_over() -> None:
    board = Board(1)
    seat = board.take()
    seat.begin(posted())
    with seat.limit(5.0, TIMEOUT):
        [sight] = board.look()
    assert not board.take_over(sight)
    with seat.limit(5.0, TIMEOUT):  # nor does the mark meet the next try
        assert not board.look()[0].overdue


def test_counts_are_summed_with_those_of_processes_that_are_gone() -> None:
    board = Board(3, forked=True)

    def work() -> None:
        board.take().count("committed", 2)

    for _ in range(4):  # more than there are records
        in_child(work).join()
    board.main.count("failed")
    assert board.counts()["committed"] == 8
    assert board.counts()["failed"] == 1


def test_processes_take_different_records_and_a_dead_one_s_is_free_again() -> None:
    board = Board(2, forked=True)
    gates = [fork.Event(), fork.Event(), fork.Event()]

    def work(number: int) -> Callable[[], None]:
        def hold() -> None:
            board.take().begin(posted(f"task {number}"))
            gates[number].wait()

        return hold

    def seen() -> list[str]:
        return sorted(sight.posted.ref.task_id for sight in board.look())

    first, second = (in_child(work(number)) for number in range(2))
    wait_until(lambda: seen() == ["task 0", "task 1"])
    first.kill()
    first.join()
    assert seen() == ["task 1"], "what a dead process left behind is no work"
    third = in_child(work(2))
    wait_until(lambda: seen() == ["task 1", "task 2"])
    for process in (second, third):
        process.kill()
        process.join()


def test_one_slot_too_many_works_unseen(caplog: pytest.LogCaptureFixture) -> None:
    board = Board(1)
    board.take()
    extra = board.take()
    extra.begin(posted())
    assert board.look() == []
    assert not extra.cancelled
    assert "unseen" in caplog.text


def test_a_reader_never_sees_half_a_record() -> None:
    board = Board(1, forked=True)
    stop = fork.Event()

    def write() -> None:
        seat: Seat = board.take()
        number = 0
        while not stop.is_set():
            number += 1
            seat.begin(posted(f"{number}" * 200, length=number % 249))

    process = in_child(write)
    wait_until(board.look)
    try:
        for _ in range(3000):
            for sight in board.look():
                digits = sight.posted.ref.task_id
                assert digits == digits[: len(digits) // 200] * 200
    finally:
        stop.set()
        process.join()
