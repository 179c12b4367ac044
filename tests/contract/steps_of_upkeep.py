"""Random steps of time, of workers' lives and of what looks after the store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.records import Offer, Worker
from tests.contract.calls import Call, Walk
from tests.contract.dice import Dice
from tests.contract.steps_of_workers import WorkerSteps


class UpkeepSteps(WorkerSteps):
    """The clock, beats, sweeps, releases and publishing; checkpoints by hand; damage, trimming, ageing and deletion."""

    def _rest(self, dice: Dice) -> Iterator[Call | None]:
        yield from ()

    def _tick(self, dice: Dice) -> Iterator[Call | None]:
        seconds = dice.pick([1.0, 0.25, 5.0, 20.0, 300.0])
        self.scene.tick(seconds)
        self.script.append(f"tick({seconds})")
        yield None

    def _reopen(self, dice: Dice) -> Iterator[Call | None]:
        """Close the store and open it anew, as its next process would."""
        yield Call("reopen")

    def _beat(self, dice: Dice) -> Iterator[Call | None]:
        worker = Worker(
            worker_id=self.scene.id(dice.pick(["w0", "w1", "w2"])), name="w", lease=dice.pick([15.0, 3.0])
        )
        worker.status = "stopping" if dice.rarely(8) else "alive"
        worker.stats, worker.graphs = {"n": float(dice(9))}, {"g": "1/f"}
        if dice.rarely(3):
            worker.offers = {
                "g": Offer(version="1", fingerprint="f", policy=dice.pick(["pin", "upgrade"]), nodes=["a"])
            }
        options = {"published": self.published(dice)} if dice.rarely(3) else {}
        yield Call("beat", (worker,), options)

    def _sweep(self, dice: Dice) -> Iterator[Call | None]:
        yield Call("sweep", (), {"observed": 4.0} if dice.rarely(4) else {})

    def _due(self, dice: Dice) -> Iterator[Call | None]:
        options: dict[str, Any] = {}
        if dice.rarely(3):
            options["queue"] = self.scene.id(dice.pick(["q", "q2"]))
        if dice.rarely(3):
            options["priority"] = dice.pick(["default", "high", "low"])
        if dice.rarely(3):
            options["published_before"] = self.scene.now - dice.pick([0.0, 1.0, 10.0])
        times = [t.next_publish for t in self.tasks("ready")]
        if dice.rarely(2) and len(set(times)) == len(times):  # equal times may be cut anywhere
            options["limit"] = 1 + dice(2)
        yield Call("due", (), options)

    def _postpone(self, dice: Dice) -> Iterator[Call | None]:
        pool = self.tasks("ready") or list(self.model._tasks.values())
        if pool:
            yield Call("postpone", ([t.task_id for t in dice.some(pool, 3)], dice.pick([0.0, 60.0])))

    def _release(self, dice: Dice) -> Iterator[Call | None]:
        slots = dice.pick([None, ["s0"], ["s0", "s1"], ["s1", "s9"]])
        final = dice.rarely(3)
        options = {"slots": slots, "crashed": bool(dice(2)), "final": final}
        yield Call("release", (self.holder(dice),), options)

    def _crash(self, dice: Dice) -> Iterator[Call | None]:
        """Let a task kill its process until it is given up."""
        ready = self.tasks("ready")
        if not ready:
            return
        task, holder = dice.pick(ready), self.scene.id("w0")
        for _ in range(1 + dice(2)):
            yield self.alive(holder)
            token = self.scene.id(self.new("k"))
            self.tokens.append((task.task_id, token))
            yield Call("claim", (holder, "s0", [(task.task_id, token)]), {"holds": self.held(holder, "s0")})
            yield Call("release", (holder,), {"slots": ["s0"], "crashed": True, "final": dice.rarely(6)})

    def _save(self, dice: Dice) -> Iterator[Call | None]:
        thread = dice.pick(self.threads)
        own = self.model.list_checkpoints(thread)
        fields: dict[str, Any] = {
            "id": self.scene.id(self.new("c")),
            "parent_id": own[0].checkpoint_id if own else None,
        }
        if own and dice.rarely(4):
            old = dice.pick(own)
            fields = {"id": old.checkpoint_id, "parent_id": old.parent_id}
        self.checkpoints.append(fields["id"])
        at = datetime.fromtimestamp(self.scene.now, UTC)
        state = {"n": self.count, "ü": [1.5, None, b"bytes"]}
        yield Call("save", (Checkpoint(thread_id=thread, state=state, timestamp=at, **fields),))

    def _delete(self, dice: Dice) -> Iterator[Call | None]:
        alive = list(self.model._checkpoints)[::-1]
        idle = [
            c for c in alive if self.model._threads[self.model._checkpoints[c].thread_id].active_run is None
        ]
        yield Call("delete", (dice.pick((alive if dice.rarely(4) else idle) or self.scene.ids("none")),))

    def _clear(self, dice: Dice) -> Iterator[Call | None]:
        yield Call("clear", (dice.pick((self.idle() if dice.rarely(3) else []) or self.threads),))

    def _quarantine(self, dice: Dice) -> Iterator[Call | None]:
        pool = list(self.model._checkpoints)[::-1] + self.scene.ids("none")
        yield Call("quarantine", (dice.pick(pool), dice.pick(["damaged", 'it\'s "odd"'])))

    def _replace_blobs(self, dice: Dice) -> Iterator[Call | None]:
        yield Call("replace_blobs", (dice.pick(self.threads), [self.blob(dice, "anew")]))

    def _trim(self, dice: Dice) -> Iterator[Call | None]:
        yield Call("trim", (dice.pick(self.threads), dice.pick([1, 2, None, 3, 1])))

    def _delete_thread(self, dice: Dice) -> Iterator[Call | None]:
        idle = self.idle() if not dice.rarely(4) else []
        yield Call("delete_thread", (dice.pick(idle or self.threads),))

    def _recent(self, dice: Dice) -> Iterator[Call | None]:
        yield Walk("recent", (), {"limit": dice.pick([50, 2])}, places=self.places)

    def _expired(self, dice: Dice) -> Iterator[Call | None]:
        ages = {
            status: dice.pick([0.0, 5.0, 100.0])
            for status in dice.some(["succeeded", "failed", "cancelled"], 3)
        }
        yield Call("expired", (ages,), {"limit": 1_000_000})
