"""Submit, claim, finish: how runs begin and go on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import msgspec

from petiole_stores.bases import ToldAnswer, WideBases
from petiole_stores.errors import StoreUnavailableError
from petiole_stores.records import (
    Claim,
    ClaimAnswer,
    FinishAnswer,
    NewRun,
    NewTask,
    Outcome,
    SubmitAnswer,
    TaskRef,
)
from petiole_stores.redis.base import RedisBase
from petiole_stores.redis.requests import blob_args, decoder, outcome_request, run_request

#: For how long a submit with an idempotency key keeps others with that key from another thread, seconds.
RESERVED = 30


class _Claimed(msgspec.Struct):
    answers: list[ToldAnswer]
    left: int


_submitted = decoder(list[SubmitAnswer])
_claimed = decoder(_Claimed)
_finished = decoder(list[FinishAnswer])


class Operations(RedisBase):
    """The operations by which runs begin and go on."""

    #: (holder, slot) -> partitions where that slot may have claims. A slot works through one store object, so that the
    #: first claim alone has to look for claims that an earlier process left anywhere.
    _slots: dict[tuple[str, str], set[int]]
    _wide_bases: WideBases

    # ---------------------------------------------------------------- submit

    def _submit(self, runs: Sequence[NewRun], now: float | None) -> list[SubmitAnswer]:
        answers: list[SubmitAnswer] = []
        batch: list[NewRun] = []
        for run in runs:
            if any(run.run_id == other.run_id for other in batch):
                answers += self._submit_batch(batch, now)
                batch = []
            batch.append(run)
        return answers + self._submit_batch(batch, now)

    def _submit_batch(self, runs: Sequence[NewRun], now: float | None) -> list[SubmitAnswer]:
        """Submit runs with different ids. A run goes to its thread's partition, unless its id is known in another."""
        reserved = [run for run in runs if run.idempotency_key is not None]
        for run in reserved:
            self._reserve(run)
            self._locator.forget(
                "run", run.run_id
            )  # a hint says where it will be, not that it is nowhere else
        self._recall("run", {run.run_id: run.thread_id for run in runs})
        where = self._locate("run", [run.run_id for run in runs])
        groups: list[tuple[int, list[NewRun]]] = []
        for run in runs:
            partition = where.get(run.run_id, self._partition(run.thread_id))
            if not groups or groups[-1][0] != partition:
                groups.append((partition, []))
            groups[-1][1].append(run)
        options = self._options(now)
        calls = [
            self._call(
                "submit",
                partition,
                {**options, "runs": [run_request(run) for run in group]},
                [arg for run in group for arg in blob_args(run.blobs)],
            )
            for partition, group in groups
        ]
        answers = [answer for group in self._run(calls, _submitted) for answer in group]
        for answer in answers:
            if answer.result != "refused":
                self._locator.learn("run", [answer.run_id], self._partition(answer.thread_id))
            self._learn(answer.publish)
        for run in reserved:
            self._free(run)
        return answers

    def _reservation(self, run: NewRun) -> str:
        return f"{self.prefix}:{{{run.run_id}}}:submitting"

    def _reserve(self, run: NewRun) -> None:
        """Two submits under one idempotency key may name different threads, thus partitions: one waits for the other."""
        deadline = time.monotonic() + 5
        while True:
            other = self._connection.ask(
                lambda client: client.set(
                    self._reservation(run), run.thread_id, nx=True, get=True, ex=RESERVED
                )
            )
            if other is None or other.decode() == run.thread_id:
                return
            if time.monotonic() > deadline:
                raise StoreUnavailableError(
                    f"run {run.run_id!r} is just being submitted for thread {other.decode()!r}: try again"
                )
            time.sleep(0.05)

    def _free(self, run: NewRun) -> None:
        self._connection.ask(lambda client: client.delete(self._reservation(run)))

    # ---------------------------------------------------------------- claim and finish

    def _claim(
        self,
        holder: str,
        slot: str,
        wants: Sequence[tuple[str, str]],
        holds: Sequence[str],
        published: Sequence[str],
        now: float | None,
    ) -> list[ClaimAnswer]:
        where = self._locate("task", [task_id for task_id, _ in wants]) if wants else {}
        places: dict[int, list[int]] = {}
        for index, (task_id, _) in enumerate(wants):
            places.setdefault(where.get(task_id, 0), []).append(index)
        told = self._by_partition("task", published)
        known = self._slots.get((holder, slot))
        searched = range(self.partitions) if known is None else known
        asked = sorted({*searched, *places, *told})
        if known is not None:
            known.update(places)
        request = {
            **self._options(now),
            "holder": holder,
            "slot": slot,
            "keep": [*holds, *(token for _, token in wants)],
            "known": list(bases := self._wide_bases.known()),
        }
        calls = []
        for partition in asked:
            chosen = [(*wants[index], index == 0) for index in places.get(partition, ())]
            calls.append(
                self._call(
                    "claim", partition, {**request, "wants": chosen, "published": told.get(partition, [])}
                )
            )
        claimed = self._run(calls, _claimed)
        answers: dict[int, ClaimAnswer] = {}
        for partition, found in zip(asked, claimed, strict=True):
            whole = [self._wide_bases.whole(answer, bases) for answer in found.answers]
            answers.update(zip(places.get(partition, ()), whole, strict=True))
        self._slots[holder, slot] = {p for p, found in zip(asked, claimed, strict=True) if found.left}
        return [self._claimed(answers[index]) for index in range(len(wants))]

    def _claimed(self, answer: ClaimAnswer) -> ClaimAnswer:
        if answer.claim is not None:
            self._in_order(answer.claim)
            self._locator.learn("run", [answer.claim.run.run_id], self._partition(answer.claim.run.thread_id))
        elif answer.reason == "missing":
            self._locator.forget("task", answer.task_id)
        return answer

    def _finish(
        self, holder: str, slot: str, outcomes: Sequence[Outcome], now: float | None
    ) -> list[FinishAnswer]:
        where = self._places_of(outcomes)
        places: dict[int, list[int]] = {}
        for index, outcome in enumerate(outcomes):
            places.setdefault(where.get(outcome.task_id, 0), []).append(index)
        known = self._slots.get((holder, slot))
        if known is not None:
            known.update(places)
        request = {**self._options(now), "holder": holder, "slot": slot}
        calls = [
            self._call(
                "finish",
                partition,
                {**request, "outcomes": [outcome_request(outcomes[index]) for index in indexes]},
                [arg for index in indexes for arg in blob_args(outcomes[index].blobs)],
            )
            for partition, indexes in places.items()
        ]
        answers: dict[int, FinishAnswer] = {}
        for (partition, indexes), found in zip(places.items(), self._run(calls, _finished), strict=True):
            answers.update(zip(indexes, found, strict=True))
            for index, answer in zip(indexes, found, strict=True):
                self._finished(outcomes[index], answer, partition)
        return [answers[index] for index in range(len(outcomes))]

    def _places_of(self, outcomes: Sequence[Outcome]) -> dict[str, int]:
        """The partitions of the tasks; one that an earlier outcome makes will be where that outcome is."""
        made = {task.task_id: outcome.task_id for outcome in outcomes for task in _made(outcome)}
        where = self._locate("task", [outcome.task_id for outcome in outcomes if outcome.task_id not in made])
        for outcome in outcomes:
            maker = made.get(outcome.task_id)
            if maker in where:
                where[outcome.task_id] = where[maker]
        return where

    def _finished(self, outcome: Outcome, answer: FinishAnswer, partition: int) -> None:
        if answer.reason == "missing":
            self._locator.forget("task", outcome.task_id)
        elif answer.result == "committed":
            self._locator.learn("task", [task.task_id for task in _made(outcome)], partition)
        if answer.advance is not None:
            self._in_order(answer.advance)
            self._locator.learn("task", [answer.advance.task.task_id], partition)
        self._learn(answer.publish)

    @staticmethod
    def _in_order(claim: Claim) -> None:
        claim.outputs.sort(key=lambda output: output.path)

    def _learn(self, refs: Iterable[TaskRef]) -> None:
        for ref in refs:
            partition = self._partition(ref.thread_id)
            self._locator.learn("task", [ref.task_id], partition)
            self._locator.learn("run", [ref.run_id], partition)


def _made(outcome: Outcome) -> list[NewTask]:
    """The tasks that an outcome makes."""
    return [task for step in (outcome.settle, outcome.nest) if step is not None for task in step.tasks]
