"""Random steps of those who start runs and decide about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from petiole_stores.leaves import replaceable, resumable
from petiole_stores.records import Resumption
from tests.contract.calls import Call
from tests.contract.dice import Dice
from tests.contract.stage import Stage

ACTIVE = ("running", "queued", "waiting", "blocked")


class ClientSteps(Stage):
    """Submit, cancel, replay, resume, pause, block and their opposites; drop."""

    def _submit(self, dice: Dice) -> Iterator[Call | None]:
        runs = []
        for _ in range(1 + dice(2)):
            if self.submits and dice.rarely(5):
                old = dice.pick(self.submits)
                digest = "other" if dice.rarely(2) else old.request_digest
                runs.append(msgspec.structs.replace(old, request_digest=digest))
                continue
            thread = dice.pick(["t0", "t1", "t2"])
            name = self.new("r")
            fields: dict[str, Any] = {}
            fields["if_busy"] = dice.pick(["reject", "enqueue"])
            fields |= self.times(dice)
            if dice.rarely(3) and self.checkpoints:
                own = [c.checkpoint_id for c in self.model.list_checkpoints(self.scene.id(thread))]
                fields["base_id"] = dice.pick([*own, dice.pick(self.checkpoints), self.scene.id("none")])
            if dice.rarely(4):
                fields["blobs"] = [self.blob(dice)]
            if dice.rarely(3):
                fields |= {
                    "idempotency_key": name,
                    "tags": ["a", name],
                    "metadata": self.document(dice, '{"z": 1, "a": {"y": 2.5}}'),
                    "input": self.document(dice, '{"n": 1}'),
                }
            run = self.scene.new_run(name, thread, **fields)
            run.start.priority = dice.pick(["default", "high", "low"])
            self.submits.append(run)
            runs.append(run)
        yield Call("submit", (runs,))

    def times(self, dice: Dice) -> dict[str, float]:
        """When a run may start and when it must have ended; nothing, more often than not."""
        fields: dict[str, float] = {}
        if dice.rarely(5):
            fields["run_at"] = self.scene.now + dice.pick([3.0, 50.0, -1.0, 0.0])
        elif dice.rarely(8):
            fields["delay"] = dice.pick([30.0, 0.0, 4.0])
        if dice.rarely(4):
            seconds = dice.pick([400.0, 60.0, 7.0])
            if dice.rarely(2):
                fields["lifetime"] = seconds
            else:
                fields["deadline"] = self.scene.now + seconds
        return fields

    def _cancel(self, dice: Dice) -> Iterator[Call | None]:
        pool = self.runs() + self.scene.ids("none")
        yield Call("cancel", (dice.some(pool[::-1], 2),), {"reason": dice.pick(["", "enough"])})

    def _replay(self, dice: Dice) -> Iterator[Call | None]:
        if self.replays and dice.rarely(4):
            yield Call("replay", dice.pick(self.replays))
            return
        run_id = dice.pick(self.runs("failed")[::-1] or self.runs() + self.scene.ids("none"))
        failed = replaceable(self.model.list_tasks(run_id))
        if dice.rarely(6):
            failed = failed[1:] or self.model.list_tasks(run_id)
        pairs = [(t.task_id, self.scene.id(self.new("n"))) for t in failed]
        self.replays.append((run_id, pairs))
        yield Call("replay", (run_id, pairs))

    def _resume(self, dice: Dice) -> Iterator[Call | None]:
        interrupted = self.runs("interrupted")
        pool = self.runs() + self.scene.ids("none") if dice.rarely(5) or not interrupted else interrupted
        yield Call("resume", (dice.pick(pool[::-1]),))

    def _answer(self, dice: Dice) -> Iterator[Call | None]:
        """Answer some of a run's interrupts, now and then late, to another run's or to what asks nothing."""
        asking = self.tasks("interrupted", of=frozenset({"interrupted", "running", "queued"}))
        if not asking:
            return
        run_id = dice.pick(asking[::-1]).run_id
        pool = resumable(self.model.list_tasks(run_id)) or asking
        if dice.rarely(5):
            pool = self.model.list_tasks(run_id)
        if dice.rarely(8):
            pool = list(self.model._tasks.values())
        answers = []
        for task in dice.some(pool, 2):
            token = "wrong" if dice.rarely(6) else task.done_token or ""
            progress = self.document(dice, f'{{"said": {self.count}}}') if dice.rarely(2) else None
            answers.append(Resumption(task_id=task.task_id, token=token, progress=progress))
        yield Call("resume", (run_id, answers))

    def _hold(self, dice: Dice) -> Iterator[Call | None]:
        """Hold runs back, now and then what cannot be."""
        pool = self.runs() + self.scene.ids("none") if dice.rarely(5) else self.runs(*ACTIVE)
        chosen = dice.some(pool[::-1], 2)
        if dice.rarely(8):
            chosen += chosen[:1]
        if chosen and dice.rarely(3):
            kind = dice.pick(["Unserved", "Corruption"])
            yield Call("block", (chosen,), {"kind": kind, "reason": f'"{self.count}" ü'})
        elif chosen:
            yield Call("pause", (chosen,), {"reason": dice.pick(["", "look"])})

    def _let_go(self, dice: Dice) -> Iterator[Call | None]:
        """Let runs go on, mostly such as are held back."""
        held = self.runs("paused", "blocked")
        pool = self.runs() + self.scene.ids("none") if dice.rarely(5) or not held else held
        chosen = dice.some(pool[::-1], 2)
        paused = chosen[0] in self.runs("paused")
        yield Call("unpause" if paused != dice.rarely(6) else "unblock", (chosen,))

    def _drop(self, dice: Dice) -> Iterator[Call | None]:
        pool = self.tasks("failed")
        if dice.rarely(4) or not pool:
            pool = list(self.model._tasks.values())
        yield Call("drop", ([t.task_id for t in dice.some(pool, 3)] + self.scene.ids("none"),))
