"""Pending writes: none is lost, whoever writes beside it and whatever comes first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME

from petiole.langgraph import PetioleSaver
from petiole_stores.crashpoints import VARIABLE
from petiole_stores.errors import SerializationError
from tests.integration.langgraph import killed_child
from tests.integration.langgraph.killed_child import NODES, logging_graph

ROOT = Path(__file__).parents[3]


def new_place() -> tuple[RunnableConfig, Checkpoint, RunnableConfig]:
    """A config to put the checkpoint with, the checkpoint, and the config that will name it."""
    checkpoint = empty_checkpoint()
    configurable = {"thread_id": uuid.uuid4().hex, "checkpoint_ns": ""}
    return (
        {"configurable": configurable},
        checkpoint,
        {"configurable": {**configurable, "checkpoint_id": checkpoint["id"]}},
    )


def test_writes_may_come_before_their_checkpoint(saver: PetioleSaver) -> None:
    config, checkpoint, place = new_place()
    saver.put_writes(place, [("channel", 1)], "task")
    assert saver.get_tuple(place) is None

    saver.put(config, checkpoint, {}, {})
    found = saver.get_tuple(place)
    assert found is not None
    assert found.pending_writes == [("task", "channel", 1)]


def test_a_checkpoint_that_is_put_again_keeps_its_writes(saver: PetioleSaver) -> None:
    config, checkpoint, place = new_place()
    saver.put(config, checkpoint, {}, {})
    saver.put_writes(place, [("channel", 1)], "task")
    saver.put(config, checkpoint, {"source": "loop"}, {})

    found = saver.get_tuple(place)
    assert found is not None
    assert (found.pending_writes, found.metadata) == ([("task", "channel", 1)], {"source": "loop"})


def test_puts_and_writes_side_by_side(saver: PetioleSaver) -> None:
    """Many tasks write at once while the checkpoint itself is being put, again and again."""
    config, checkpoint, place = new_place()
    start = threading.Barrier(10)

    def write(task: int) -> None:
        start.wait(30)
        for part in range(5):
            saver.put_writes(
                place, [(f"channel {part}", [task, part]), ("more", part)], f"task {task}.{part}", f"~{task}"
            )

    def put() -> None:
        start.wait(30)
        for step in range(10):
            saver.put(config, checkpoint, {"step": step}, {})

    with ThreadPoolExecutor(10) as pool:
        futures = [*(pool.submit(write, task) for task in range(8)), pool.submit(put), pool.submit(put)]
        for future in futures:
            future.result(60)

    found = saver.get_tuple(place)
    assert found is not None
    assert found.pending_writes == [
        write
        for task in range(8)
        for part in range(5)
        for write in (
            (f"task {task}.{part}", f"channel {part}", [task, part]),
            (f"task {task}.{part}", "more", part),
        )
    ]


def test_writes_come_in_the_order_of_task_paths(saver: PetioleSaver) -> None:
    config, checkpoint, place = new_place()
    saver.put(config, checkpoint, {}, {})
    for task, path in (("1", "~c"), ("2", "~a"), ("4", ""), ("3", "")):
        saver.put_writes(place, [("x", f"first of {task}"), ("x", f"second of {task}")], task, path)

    found = saver.get_tuple(place)
    assert found is not None
    assert [value for _, _, value in found.pending_writes or ()] == [
        f"{number} of {task}" for task in "3421" for number in ("first", "second")
    ]


def test_a_write_that_is_there_stays_and_a_special_one_is_replaced(saver: PetioleSaver) -> None:
    config, checkpoint, place = new_place()
    saver.put(config, checkpoint, {}, {})
    saver.put_writes(place, [("x", 1)], "task")
    saver.put_writes(place, [(RESUME, ["old"]), (ERROR, "old")], "task")
    saver.put_writes(place, [("x", 2), ("y", 3), (RESUME, ["new"]), (INTERRUPT, "stop")], "task")

    found = saver.get_tuple(place)
    assert found is not None
    assert sorted(found.pending_writes or (), key=str) == [
        ("task", ERROR, "old"),
        ("task", INTERRUPT, "stop"),
        ("task", RESUME, ["new"]),
        ("task", "x", 1),
        ("task", "y", 3),
    ]


def test_a_call_that_cannot_be_stored_writes_nothing(saver: PetioleSaver) -> None:
    config, checkpoint, place = new_place()
    saver.put(config, checkpoint, {}, {})
    with pytest.raises(SerializationError, match=r"the write to 'lock' is a _thread\.lock"):
        saver.put_writes(place, [("x", 1), ("lock", threading.Lock())], "task")

    found = saver.get_tuple(place)
    assert found is not None
    assert found.pending_writes == []


def test_thousands_of_writes_after_one_checkpoint(saver: PetioleSaver) -> None:
    config, checkpoint, place = new_place()
    saver.put(config, checkpoint, {}, {})
    for task in range(3):
        saver.put_writes(place, [("x", number) for number in range(800)], f"task {task}")

    found = saver.get_tuple(place)
    assert found is not None
    assert found.pending_writes == [(f"task {t}", "x", n) for t in range(3) for n in range(800)]
    saver.delete_thread(place["configurable"]["thread_id"])
    assert saver.store.search_items(("langgraph", "writes", place["configurable"]["thread_id"])) == []


@pytest.mark.parametrize("point", ["put_items.before:2", "put_items.after:2", "put_items.after:4"])
def test_a_process_killed_between_its_writes(url: str, tmp_path: Path, point: str) -> None:
    """What was acknowledged is not run again, and nothing is missing at the end."""
    if url == "memory://":
        pytest.skip("the memory store ends with its process")
    thread_id, file = uuid.uuid4().hex, tmp_path / "log"
    with PetioleSaver(url):
        pass  # the schema is there
    paths = [str(ROOT / part) for part in ("app", "workers", "stores", ".")]
    child = subprocess.run(
        [sys.executable, killed_child.__file__, url, thread_id, str(file)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), VARIABLE: point},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    with PetioleSaver(url) as saver:
        graph = logging_graph(saver, file)
        result = graph.invoke(None, {"configurable": {"thread_id": thread_id}})
    assert result["log"] == [*NODES]
    ran = file.read_text().split()
    assert set(ran) == {*NODES}
    # The first writes of a run are of LangGraph's own node __start__; the others may be saved while the next node runs.
    when, _, number = point.partition(":")
    if when == "put_items.after":
        assert ran.count(NODES[int(number) - 2]) == 1
