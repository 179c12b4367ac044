"""Random operations on the memory store and on a real one: every answer and the whole of what they show must agree.

Among them the real store is closed and opened anew.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings

from petiole_stores.conformance.scene import plain, snapshot
from petiole_stores.opening import open_store
from petiole_stores.redis import RedisStore
from petiole_stores.store import Store
from tests.contract.backends import REAL
from tests.contract.calls import Call, Walk, reached
from tests.contract.operations import KINDS, MAX_CRASHES, STEPS, Director, tidy
from tests.redis_watch import audit

EXAMPLES = int(os.environ.get("PETIOLE_FUZZ_EXAMPLES", "30"))

#: What random sequences must reach for the test to mean anything.
WANTED = """
submit committed|submit already|submit refused busy|submit refused conflict|submit refused no base
claim committed|claim already|claim refused missing|claim refused claimed|claim refused done|claim refused parked
claim refused failed|claim refused cancelled|claim refused interrupted|claim refused run cancelled
claim refused run failed|claim refused run succeeded|claim refused run waiting|claim refused run interrupted
claim refused holder unknown|claim refused holder dead|claim refused holder stopped
finish committed|finish already|finish refused missing|finish refused fenced|finish refused not alone
finish refused head moved|finish refused run cancelled
cancel committed|cancel already|cancel refused missing|cancel refused run succeeded|cancel refused run failed
replay committed|replay already|replay refused missing|replay refused busy|replay refused head moved
replay refused stale|replay refused run succeeded|resume committed|resume already|resume refused missing
resume refused run succeeded|resume refused run waiting|resume refused run paused|replay refused run paused
delete|delete ConflictError|clear|clear ConflictError|save|holds True|holds False
claim refused run paused|claim refused run blocked|note True|note False
pause committed|pause already|pause refused missing|pause refused not active|pause refused run succeeded
pause refused run interrupted|block committed|block already|block refused run paused|block refused not active
unpause committed|unpause already|unpause refused run blocked|unpause refused run failed|unpause refused missing
unblock committed|unblock already|unblock refused run paused|drop|drop some|quarantine True|quarantine False
sweep died|sweep woken|sweep expired|beat revived|replace_blobs|trim|trim checkpoints|trim tasks|trim blobs
finish refused busy|resume refused stale|amend committed|amend already|amend refused busy|amend refused no base
amend refused head moved|amend refused no run|wake|wake some
delete_thread True|delete_thread False|list_runs|count_runs|task_counts|get_task|tasks_page|list_checkpoints|recent|recent some|expired|expired some|reopen
"""


class Subject:
    """The store that is held against the model; it can be closed and opened anew in the middle."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.store = open_store(url)

    def make(self, call: Call) -> Any:
        if call.method == "reopen":
            clock, crashes = self.store.clock, self.store.max_crashes
            self.store.close()
            self.store = open_store(self.url)
            self.store.clock, self.store.max_crashes = clock, crashes
        return call.on(self.store)


@pytest.fixture(scope="module")
def subject(store_url: str) -> Iterator[Subject]:
    found = Subject(store_url)
    yield found
    found.store.close()


def test_sequences_reach_every_answer() -> None:
    dice = random.Random(2)
    found: Counter[str] = Counter()
    for _ in range(300):
        director = Director()
        for _ in range(60):
            for call in director.calls(dice.choice(KINDS), dice.randrange(2**48)):
                found.update(reached(call, call.on(director.model)))
    missing = [word for line in WANTED.split("\n") for word in line.split("|") if word and word not in found]
    assert not missing, f"never reached: {missing}"
    refused = sum(count for word, count in found.items() if " refused " in word)
    assert refused < sum(found.values()) / 2, "most calls hit something alive"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("store_url", REAL, indirect=True, scope="module")
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(steps=STEPS)
def test_agrees_with_the_model(subject: Subject, steps: list[tuple[str, int]]) -> None:
    director = Director()
    subject.store.clock = director.model.clock
    subject.store.max_crashes = MAX_CRASHES
    try:
        for kind, number in steps:
            for call in director.calls(kind, number):
                wanted = call.on(director.model)
                for word in reached(call, wanted):
                    event(word)
                found = subject.make(call)
                if isinstance(call, Walk):  # the contract leaves open how often a thread is given again
                    found = [thread for thread in found if thread in wanted]
                compare(director, mine(director, found), mine(director, wanted), "the last answer")
        found, wanted = shown(director, subject.store), shown(director, director.model)
        compare(director, found, wanted, "what the stores show")
        if isinstance(subject.store, RedisStore):
            client = subject.store._connection.client
            assert [fault for fault in audit(client) if director.scene.prefix in fault] == []
    finally:
        tidy(director, subject.store)


def mine(director: Director, answer: Any) -> Any:
    """An answer without what an earlier sequence left in the store: workers that die, queues."""
    prefix = director.scene.prefix
    if isinstance(answer, dict) and "died" in answer:
        return answer | {
            "died": [worker for worker in answer["died"] if worker.startswith(prefix)],
            "expired": [run_id for run_id in answer["expired"] if run_id.startswith(prefix)],
            "backlogs": [b for b in answer["backlogs"] if b["queue"].startswith(prefix)],
        }
    if isinstance(answer, list):  # of `expired`, whose order across threads the contract leaves open
        texts = [item for item in answer if isinstance(item, str)]
        return sorted(text for text in texts if text.startswith(prefix)) if texts else answer
    return answer


def shown(director: Director, store: Store) -> dict[str, Any]:
    """The whole of what a store shows of this sequence."""
    found = snapshot(store, director.threads)
    prefix = director.scene.prefix
    found["backlogs"] = [b for b in found["backlogs"] if b["queue"].startswith(prefix)]
    workers = [w for w in store.list_workers() if w.worker_id.startswith(prefix)]
    found["workers"] = sorted((plain(w) for w in workers), key=lambda w: w["worker_id"])
    for thread in director.threads:
        found[thread]["blobs"] = {
            k: plain(v) for k, v in store.get_blobs(thread, ["d0", "d1", "d2", "dx"]).items()
        }
    return found


def compare(director: Director, found: Any, wanted: Any, what: str) -> None:
    if found == wanted:
        return
    script = "\n".join(director.script)
    differences = "\n".join(differ(found, wanted, ""))
    pytest.fail(f"{what} differ from the memory store's\n{differences}\nafter\n{script}", pytrace=False)


def differ(found: Any, wanted: Any, where: str) -> list[str]:
    """Where two plain values differ, one line a place."""
    if isinstance(found, dict) and isinstance(wanted, dict) and found.keys() == wanted.keys():
        return [line for key in wanted for line in differ(found[key], wanted[key], f"{where}.{key}")]
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        return [
            line
            for i, pair in enumerate(zip(found, wanted, strict=True))
            for line in differ(*pair, f"{where}[{i}]")
        ]
    return [] if found == wanted else [f"  {where or 'answer'}: expected {wanted!r}, found {found!r}"]
