"""What people decide about runs: cancel, replay, resume, amend, wake, hold back, let go; and what tasks are marked with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from petiole_stores.contract import json_text
from petiole_stores.records import Amendment, Answer, Resumption, TaskRef
from petiole_stores.redis.protocol import Operations
from petiole_stores.redis.requests import amendment_request, blob_args, decoder

_answers = decoder(list[Answer])
_answer = decoder(Answer)
_refs = decoder(list[TaskRef])
_bool = decoder(bool)


class Control(Operations):
    """The operations of people and clients on runs and tasks."""

    def _cancel(self, run_ids: Sequence[str], reason: str, now: float | None) -> list[Answer]:
        error = json_text({"type": "Cancelled", "message": reason}) if reason else None
        return self._on_runs("cancel", run_ids, {**self._options(now), "error": error})

    def _hold_back(
        self, run_ids: Sequence[str], status: str, kind: str, reason: str, now: float | None
    ) -> list[Answer]:
        document = json_text({"type": kind, "message": reason})
        return self._on_runs(
            "hold_back", run_ids, {**self._options(now), "status": status, "reason": document}
        )

    def _let_go(self, run_ids: Sequence[str], status: str, now: float | None) -> list[Answer]:
        return self._on_runs("let_go", run_ids, {**self._options(now), "status": status})

    def _on_runs(self, name: str, run_ids: Sequence[str], request: Mapping[str, Any]) -> list[Answer]:
        """Call a script with the ``ids`` of each partition; the answers are in the order of ``run_ids``."""
        where = self._locate("run", run_ids)
        places: dict[int, list[int]] = {}
        for index, run_id in enumerate(run_ids):
            places.setdefault(where.get(run_id, 0), []).append(index)
        calls = [
            self._call(name, partition, {**request, "ids": [run_ids[index] for index in indexes]})
            for partition, indexes in places.items()
        ]
        answers: dict[int, Answer] = {}
        for indexes, found in zip(places.values(), self._run(calls, _answers), strict=True):
            answers.update(zip(indexes, found, strict=True))
        for answer in answers.values():
            self._answered(answer)
        return [answers[index] for index in range(len(run_ids))]

    def _replay(self, run_id: str, replacements: Sequence[tuple[str, str]], now: float | None) -> Answer:
        return self._on_run("replay", run_id, {**self._options(now), "replacements": replacements})

    def _resume(self, run_id: str, answers: Sequence[Resumption] | None, now: float | None) -> Answer:
        return self._on_run("resume", run_id, {**self._options(now), "answers": answers})

    def _amend(self, amendment: Amendment, now: float | None) -> Answer:
        partition = self._partition(amendment.thread_id)
        request = {**self._options(now), "amendment": amendment_request(amendment)}
        call = self._call("amend", partition, request, blob_args(amendment.blobs))
        answer = self._run([call], _answer)[0]
        if answer.result == "committed":
            made = [checkpoint.checkpoint_id for checkpoint in amendment.checkpoints]
            self._locator.learn("checkpoint", made, partition)
            self._locator.learn("task", [task.task_id for task in amendment.tasks], partition)
        self._learn(answer.publish)
        return answer

    def _wake(self, thread_id: str, name: str, now: float | None) -> list[TaskRef]:
        request = {**self._options(now), "thread": thread_id, "name": name}
        refs = self._on(self._partition(thread_id), "wake", request, _refs)
        self._learn(refs)
        return refs

    def _on_run(self, name: str, run_id: str, request: Mapping[str, Any]) -> Answer:
        partition = self._locate("run", [run_id]).get(run_id, 0)
        answer = self._on(partition, name, {**request, "run_id": run_id}, _answer)
        self._answered(answer)
        return answer

    def _answered(self, answer: Answer) -> None:
        if answer.reason == "missing":
            self._locator.forget("run", answer.run_id)
        self._learn(answer.publish)

    # ---------------------------------------------------------------- tasks

    def _note(self, task_id: str, token: str, progress: str) -> bool:
        partition = self._locate("task", [task_id]).get(task_id)
        request = {"id": task_id, "token": token, "progress": progress}
        return partition is not None and self._on(partition, "note", request, _bool)

    def _drop(self, task_ids: Sequence[str]) -> int:
        groups = self._by_partition("task", task_ids)
        calls = [self._call("drop", partition, {"ids": ids}) for partition, ids in groups.items()]
        return sum(self._connection.run(calls))
