"""The conformance kit itself: the documented adapter passes, and stores that break a rule are told which."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.conformance import CHECKPOINT_CHECKS, LEDGER_CHECKS, check_checkpoint_store, check_ledger
from petiole_stores.conformance.__main__ import main
from petiole_stores.contract import CheckpointStore
from petiole_stores.errors import NotFoundError
from petiole_stores.memory import MemoryStore
from petiole_stores.records import Amendment, NewTask, Outcome, Run, Task, TaskRef

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


def documented() -> dict[str, Any]:
    """The names that the page's Python makes, run from top to bottom."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, Any] = {"__name__": "conformance_page"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102 - our own page
    return names


def test_the_documented_adapter_passes(capsys: pytest.CaptureFixture[str]) -> None:
    names = documented()
    report = names["report"]
    assert list(report.passed) == list(CHECKPOINT_CHECKS)
    assert not report.skipped
    assert f"{len(CHECKPOINT_CHECKS)} passed, 0 failed, 0 skipped" in capsys.readouterr().out
    for name in ("save_and_load", "odd_ids"):
        names["test_my_store"](name)


@pytest.fixture(scope="module")
def mapping_store() -> type[CheckpointStore]:
    found: type[CheckpointStore] = documented()["MappingStore"]
    return found


def broken(mapping_store: Any, **methods: Any) -> dict[str, str]:
    kind = type("Broken", (mapping_store,), methods)
    return check_checkpoint_store(lambda: kind({})).failed


def test_a_list_in_the_wrong_order(mapping_store: Any) -> None:
    failed = broken(mapping_store, list=lambda self, thread: mapping_store.list(self, thread)[::-1])
    assert {"list_newest_first", "many_checkpoints", "backup_and_restore"} <= failed.keys()
    assert "save_and_load" not in failed


def test_a_delete_that_forgets(mapping_store: Any) -> None:
    failed = broken(mapping_store, delete=lambda self, checkpoint_id: None)
    assert {"delete_one", "clear_one_thread", "threads_apart"} <= failed.keys()


def test_a_load_that_returns_none(mapping_store: Any) -> None:
    def load(self: Any, checkpoint_id: str) -> Checkpoint | None:
        try:
            found: Checkpoint = mapping_store.load(self, checkpoint_id)
        except NotFoundError:
            return None
        return found

    assert "load_missing" in broken(mapping_store, load=load)


def test_a_store_that_raises(mapping_store: Any) -> None:
    def save(self: Any, checkpoint: Checkpoint) -> str:
        raise OSError("disk full")

    failed = broken(mapping_store, save=save)
    assert "OSError: disk full" in failed["save_and_load"]


def test_what_is_not_offered_is_skipped(mapping_store: Any) -> None:
    kind = type("Small", (mapping_store,), {"threads": CheckpointStore.threads})
    report = check_checkpoint_store(lambda: kind({}))
    assert set(report.skipped) == {"lists_its_threads", "backup_and_restore"}
    assert report.ok
    report.require()
    assert "skipped  backup_and_restore: the store does not write threads()" in str(report)


class NoFence(MemoryStore):
    """Takes a finish under any token."""

    def _finish(self, holder: str, slot: str, outcomes: Sequence[Outcome], now: float | None) -> Any:
        for outcome in outcomes:
            task = self._tasks.get(outcome.task_id)
            if task is not None and task.status == "claimed":
                outcome.token = task.token or ""
        return super()._finish(holder, slot, outcomes, now)


class Forgetful(MemoryStore):
    """Gives a lost task back without saying that it is recovered."""

    def _give_back(self, task: Task, now: float) -> None:
        super()._give_back(task, now)
        task.recovered = False


class Early(MemoryStore):
    """Declares workers dead whatever it was told of outages."""

    def _sweep(self, observed: float, now: float | None) -> Any:
        return super()._sweep(float("inf"), now)


class Unstoppable(MemoryStore):
    """Goes on with a run that is held back as soon as something of it settles."""

    def _settle(self, holder: str, slot: str, run: Run, *rest: Any) -> Any:
        run.status, run.reason = "running", None
        return super()._settle(holder, slot, run, *rest)


class Endless(MemoryStore):
    """Knows no deadlines."""

    def _overdue(self, now: float) -> list[str]:
        return []


class Absent(MemoryStore):
    """Forgets what an attempt left for the next when the task is replayed or put off."""

    def _insert_task(self, new: NewTask, run: Run, checkpoint_id: str | None, now: float, *_: Any) -> Task:
        return super()._insert_task(new, run, checkpoint_id, now)


class Tidy(MemoryStore):
    """Trims blobs that tasks alone refer to."""

    def _thread_tasks(self, thread_id: str) -> list[Task]:
        return []


class Stranded(MemoryStore):
    """Does not let owners wait again for what goes on in their namespaces."""

    def _wait_again(self, owner: Task) -> None:
        return None


class Deaf(MemoryStore):
    """Tells signals to nobody who is still at work."""

    def _wake(self, thread_id: str, name: str, now: float | None) -> list[TaskRef]:
        found = super()._wake(thread_id, name, now)
        for task in self._tasks.values():
            task.woken = False
        return found


class Lax(MemoryStore):
    """Takes every amendment."""

    def _amend_refusal(self, amendment: Amendment, *_: Any) -> str:
        return ""


@pytest.mark.parametrize(
    ("kind", "rules"),
    [
        (NoFence, {"finish_fenced"}),
        (Forgetful, {"claim_frees_the_slots_other_claims", "release_gives_up", "due_by_queue_and_priority"}),
        (Early, {"sweep_kills_nobody_after_an_outage"}),
        (Unstoppable, {"held_back_settles", "held_back_takes_no_next_task"}),
        (Endless, {"deadline_fails_the_run", "deadline_in_every_status", "deadline_of_an_advance"}),
        (Absent, {"progress_outlives_interrupt_and_replay", "deadline_then_replay"}),
        (Tidy, {"trim_collects_blobs", "trim_keeps_what_was_asked"}),
        (Stranded, {"inside_a_replay_of_a_leaf", "interrupt_inside_counts_down_level_by_level"}),
        (Deaf, {"wake_while_claimed", "wake_of_a_lost_claim"}),
        (Lax, {"amend_refused", "amend_a_blocked_run"}),
    ],
)
def test_a_ledger_that_breaks_a_rule(kind: type[MemoryStore], rules: set[str]) -> None:
    report = check_ledger(kind)
    assert rules <= report.failed.keys()
    assert len(report.failed) < len(LEDGER_CHECKS) / 4
    with pytest.raises(AssertionError, match=f"FAILED +{min(rules)}"):
        report.require()


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["memory://"]) == 0
    assert f"{len(LEDGER_CHECKS)} passed, 0 failed" in capsys.readouterr().out
    assert main(["nowhere://x"]) == 2
    assert "no store serves the scheme 'nowhere'" in capsys.readouterr().err
    assert main([]) == 2
