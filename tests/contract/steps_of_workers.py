"""Random steps of workers: claims and finishes, with crashes, lost answers and wrong tokens among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from petiole_stores.integrity import seal_of
from petiole_stores.records import Amendment, NewCheckpoint, NewTask, Outcome, Settle, Task
from petiole_stores.serde import digest_document
from tests.contract.calls import Call
from tests.contract.dice import Dice
from tests.contract.steps_of_clients import ClientSteps

#: Timeouts of a task's own, by how many came before it: not drawn, which would leave less of a step's number for the rest.
TIMEOUTS = ('{"run_timeout":1.5}', '{"refresh_on":"heartbeat","idle_timeout":2.0}', None)
UNSETTLED = frozenset({"queued", "running", "paused", "blocked"})


class WorkerSteps(ClientSteps):
    """Claim, finish, note, and both said again."""

    def _claim(self, dice: Dice) -> Iterator[Call | None]:
        holder, slot = self.holder(dice), dice.pick(["s0", "s1"])
        if not dice.rarely(6) and not holder.endswith("nobody"):
            yield self.alive(holder)
        pool = self.tasks("ready")
        if dice.rarely(4) or not pool:
            status = dice.pick(["done", "claimed", "parked", "cancelled", "failed", "interrupted"])
            pool = self.tasks(status) or list(self.model._tasks.values())
        wants = []
        for task in dice.some(pool, 3):
            again = task.token is not None and dice.rarely(3)
            wants.append((task.task_id, task.token if again else self.scene.id(self.new("k"))))
        if dice.rarely(20):
            wants.append((self.scene.id("none"), "k"))
        if wants and dice.rarely(12):
            wants.append((wants[0][0], self.scene.id(self.new("k"))))
        holds = [] if dice.rarely(8) else self.held(holder, slot)
        self.tokens += wants
        options: dict[str, Any] = {"holds": holds}
        if dice.rarely(4):
            options["published"] = self.published(dice)
        yield Call("claim", (holder, slot, wants), options)

    def published(self, dice: Dice) -> list[str]:
        return [t.task_id for t in dice.some(list(self.model._tasks.values()), 3)]

    def _work(self, dice: Dice) -> Iterator[Call | None]:
        """Claim something ready and finish it well, or finish well what is held already: so that runs get somewhere."""
        pool = self.tasks("claimed", of=UNSETTLED) if dice.rarely(3) else []
        if not pool:
            ready = self.tasks("ready")
            if not ready:
                if not self.runs("queued", "running", "waiting", "interrupted", "paused", "blocked"):
                    yield from self._submit(Dice(0))
                return
            task, holder, slot = (
                dice.pick(ready),
                self.scene.id(dice.pick(["w0", "w1", "w2"])),
                dice.pick(["s0", "s1"]),
            )
            yield self.alive(holder)
            token = self.scene.id(self.new("k"))
            self.tokens.append((task.task_id, token))
            yield Call("claim", (holder, slot, [(task.task_id, token)]), {"holds": self.held(holder, slot)})
            pool = [task]
        task = dice.pick(pool)
        if task.token is not None:
            yield self.finishing(task.holder or "", task.slot or "", [self.good(dice, task, "done")])

    def finishing(self, holder: str, slot: str, outcomes: list[Outcome]) -> Call:
        self.outcomes += [(holder, slot, outcome) for outcome in outcomes]
        return Call("finish", (holder, slot, outcomes))

    def good(self, dice: Dice, task: Task, ending: str) -> Outcome:
        """An outcome that fits the task as the model has it."""
        head = self.model._threads[task.thread_id].heads.get(task.ns)
        width = head.width if head else 0
        settle = None
        if ending == "nest":
            return self.nesting(dice, task, task.token or "none")
        if ending == "done" and (task.kind == "advance" or (width == 1 and not dice.rarely(4))):
            settle = self.settle(dice, task)
        return self.outcome(task, task.token or "none", ending, settle, dice)

    def nesting(self, dice: Dice, task: Task, token: str) -> Outcome:
        """A wait for a namespace of the task's own, one that others use too, or the one that it had before."""
        name = task.task_id.removeprefix(f"{self.scene.prefix}-")
        ns = f"{task.ns}|" * bool(task.ns) + dice.pick([f"n:{name}", "sub", f"n:{name}"])
        ns = task.child if task.child and dice.rarely(3) else ns
        made = self.outcome(task, token, "parked", None, dice)
        made.delay, made.awaits = 0.0, ""
        made.nest = self.settle_in(dice, ns, self.head(task.thread_id, ns))
        return made

    def outcome(self, task: Task, token: str, ending: str, settle: Settle | None, dice: Dice) -> Outcome:
        name = task.task_id.removeprefix(f"{self.scene.prefix}-")
        fields: dict[str, Any] = {"advance_id": self.scene.id(self.new("adv"))}
        fields["advance_token"] = self.scene.id(self.new("k"))
        if ending == "retry":
            fields["error"] = '{"type": "E", "b": 1, "a": 2}'
        if ending in ("retry", "parked"):
            fields["delay"] = dice.pick([0.0, 2.0, 40.0])
            if ending == "parked" and dice.rarely(2):
                fields["awaits"] = dice.pick(["sig", "other"])
            if dice.rarely(2):
                fields["progress"] = self.document(dice, f'{{"rows": {self.count}, "a": null}}')
        if ending == "done":
            fields["output"] = self.document(dice, f'{{"by": "{name}"}}')
        fields["relaxed"] = dice.rarely(4)
        if ending == "interrupted":
            fields["output"] = '{"ask": [1, null]}'
            if dice.rarely(2):
                fields["progress"] = self.document(dice, f'{{"asked": {self.count}}}')
        if dice.rarely(4):
            fields["blobs"] = [self.blob(dice)]
        made = self.scene.outcome(name, "", ending, settle=settle, **fields)
        made.token = token
        return made

    def settle(self, dice: Dice, task: Task) -> Settle:
        return self.settle_in(dice, task.ns, self.head(task.thread_id, task.ns))

    def row(self, dice: Dice, ns: str, head: str | None) -> list[NewCheckpoint]:
        """One or two checkpoints that come after ``head``."""
        made = []
        for _ in range(1 + dice.rarely(5)):
            checkpoint = self.scene.new_checkpoint(self.new("c"), None, ns=ns)
            checkpoint.parent_id, head = head, checkpoint.checkpoint_id
            checkpoint.metadata = '{"source": "loop", "b": {"d": 1, "c": [true]}}'
            checkpoint.state = self.document(dice, checkpoint.state)
            checkpoint.digest = digest_document(checkpoint.state)
            if dice.rarely(2):
                checkpoint.seal = seal_of(checkpoint)
            made.append(checkpoint)
            self.checkpoints.append(checkpoint.checkpoint_id)
        return made

    def settle_in(self, dice: Dice, ns: str, head: str | None) -> Settle:
        made = self.row(dice, ns, self.scene.id("elsewhere") if dice.rarely(16) else head)
        status = "interrupted" if dice.rarely(8) else "running"
        wide = dice.pick([1, 3, 2, 0, 4, 1])
        tasks: list[NewTask] = []
        for _ in range(wide):
            new = self.scene.new_task(self.new("n"), priority=dice.pick(["default", "low", "high"]), ns=ns)
            new.status = "ready" if status == "running" else "interrupted"
            if dice.rarely(4):
                new.arg, new.queue = self.document(dice, '{"b": 1, "a": [1.5]}'), self.scene.id("q2")
                new.timeout = TIMEOUTS[len(tasks) % len(TIMEOUTS)]
            if status == "running" and dice.rarely(6):
                new.token = self.scene.id(self.new("k"))
            tasks.append(new)
        status = status if tasks else "succeeded"
        settled = Settle(checkpoints=made, tasks=tasks, run_status=status)  # type: ignore[arg-type]
        if dice.rarely(4):
            settled.version, settled.fingerprint = dice.pick([("1", "f"), ("2", "g"), (None, "h")])
        return settled

    def _finish(self, dice: Dice) -> Iterator[Call | None]:
        pool = [t for t in self.tasks("claimed", "ready", of=UNSETTLED) if t.token is not None]
        if dice.rarely(6) or not pool:
            pool = list(self.model._tasks.values())
        outcomes, holder, slot = [], self.holder(dice), "s0"
        for task in dice.some(pool, 3):
            ending = dice.pick(
                [
                    "done",
                    "failed",
                    "interrupted",
                    "retry",
                    "done",
                    "parked",
                    "nest",
                    "cancelled",
                    "done",
                    "failed",
                    "parked",
                ]
            )
            outcome = self.good(dice, task, ending)
            if dice.rarely(6):
                outcome.token = dice.pick(
                    [token for id, token in self.tokens if id == task.task_id] or ["wrong"]
                )
            if task.kind == "node" and ending == "done" and outcome.settle is None and dice.rarely(6):
                outcome.settle = self.settle(dice, task)
            outcomes.append(outcome)
            if not dice.rarely(4):
                holder, slot = task.holder or holder, task.slot or slot
        if dice.rarely(20):
            missing = self.scene.outcome("none", "k", "failed")
            outcomes.append(missing)
        if outcomes and dice.rarely(12):
            outcomes.append(outcomes[0])
        if outcomes:
            yield self.finishing(holder, slot, outcomes)

    def _again(self, dice: Dice) -> Iterator[Call | None]:
        """Say something once more that was said before, as after a lost answer."""
        if self.outcomes:
            recent = self.outcomes[-6:] if not dice.rarely(3) else self.outcomes
            holder, slot, outcome = dice.pick(recent[::-1])
            yield Call("finish", (holder, slot, [outcome]))
        if self.submits and dice.rarely(4):
            yield Call("submit", ([dice.pick(self.submits[::-1])],))

    def _holds(self, dice: Dice) -> Iterator[Call | None]:
        if self.tokens:
            yield Call("holds", dice.pick(self.tokens[::-1]))

    def _overtake(self, dice: Dice) -> Iterator[Call | None]:
        """Hold a run back while its tasks are being worked on, and let one finish well."""
        held = self.tasks("claimed")
        if held:
            task = dice.pick(held)
            ending = dice.pick(["done", "done", "interrupted", "failed"])
            if dice.rarely(2):
                yield Call("block", ([task.run_id],), {"kind": "Unserved", "reason": "nobody"})
            else:
                yield Call("pause", ([task.run_id],))
            yield self.finishing(task.holder or "", task.slot or "", [self.good(dice, task, ending)])

    def _carry(self, dice: Dice) -> Iterator[Call | None]:
        """End a task and those that its settle makes in one finish, as a worker does that has carried a run on."""
        held = [t for t in self.tasks("claimed", of=UNSETTLED) if t.token and self.lone(t)]
        if not held:
            return
        task = dice.pick(held)
        if dice.rarely(4):
            yield Call("pause", ([task.run_id],))
        outcomes = [self.outcome(task, task.token or "", "done", self.settle(dice, task), dice)]
        for _ in range(1 + dice(2)):
            before = outcomes[-1].settle
            assert before is not None
            token = self.scene.id(self.new("k"))
            born = self.scene.new_task(self.new("n"), token=token, ns=task.ns)
            before.tasks, before.run_status = [born], "running"
            ending = dice.pick(["done", "done", "failed"])
            made = self.settle(dice, task) if ending == "done" else None
            if made is not None:
                made.checkpoints[0].parent_id = before.checkpoints[-1].checkpoint_id
            name = born.task_id.removeprefix(f"{self.scene.prefix}-")
            outcomes.append(self.scene.outcome(name, "", ending, settle=made))
            outcomes[-1].token = token
            if made is None:
                break
        yield self.finishing(task.holder or "", task.slot or "", outcomes)

    def _nest(self, dice: Dice) -> Iterator[Call | None]:
        """Let a task open a namespace, now and then in a run that is held back meanwhile."""
        held = [t for t in self.tasks("claimed", of=UNSETTLED) if t.token]
        if held:
            task = dice.pick(held)
            if dice.rarely(8):
                yield Call("pause", ([task.run_id],))
            outcomes = [self.nesting(dice, task, task.token or "")]
            nest = outcomes[0].nest
            if nest is not None and dice.rarely(2):
                outcomes.append(self.born_below(dice, task, nest))
            yield self.finishing(task.holder or "", task.slot or "", outcomes)

    def born_below(self, dice: Dice, owner: Task, nest: Settle) -> Outcome:
        """Let a nest have one task that its holder has ended already."""
        ns, token = nest.checkpoints[0].ns, self.scene.id(self.new("k"))
        born = self.scene.new_task(self.new("n"), token=token, ns=ns)
        nest.tasks, nest.run_status = [born], "running"
        ending = dice.pick(["done", "failed", "interrupted"])
        name = born.task_id.removeprefix(f"{self.scene.prefix}-")
        settle = self.settle_in(dice, ns, nest.checkpoints[-1].checkpoint_id) if ending == "done" else None
        made = self.scene.outcome(name, "", ending, settle=settle)
        made.token = token
        return made

    def _wake(self, dice: Dice) -> Iterator[Call | None]:
        waiting = [(t.thread_id, t.awaits) for t in self.tasks("parked", of=UNSETTLED) if t.awaits]
        if dice.rarely(3) or not waiting:
            waiting = [(dice.pick([*self.threads, self.scene.id("none")]), dice.pick(["sig", "other"]))]
        yield Call("wake", dice.pick(waiting))

    def _amend(self, dice: Dice) -> Iterator[Call | None]:
        """Checkpoints by hand, where a run waits for them more often than not; now and then said again."""
        if self.amendments and dice.rarely(5):
            yield Call("amend", (dice.pick(self.amendments[::-1]),))
            return
        known = self.model._threads
        waiting = [
            t
            for t in self.threads
            if t in known and known[t].active_run in self.runs("interrupted", "paused")
        ]
        thread = dice.pick(waiting if waiting and not dice.rarely(4) else self.threads)
        spaces = [*known[thread].heads][::-1] if thread in known else []
        ns = dice.pick([*spaces, "", "sub"])
        head = self.head(thread, ns)
        parent, seen = head, head
        if dice.rarely(4):
            parent = dice.pick(
                [c.checkpoint_id for c in self.model.list_checkpoints(thread, ns=ns)] or [None]
            )
        if dice.rarely(8):
            parent = dice.pick([*self.checkpoints, None])
        if dice.rarely(10):
            seen = dice.pick([None, self.scene.id("elsewhere")])
        made = Amendment(thread_id=thread, ns=ns, head_id=seen, checkpoints=self.row(dice, ns, parent))
        for _ in range(dice.pick([1, 0, 2, 3])):
            status = dice.pick(["interrupted", "ready"])
            made.tasks.append(self.scene.new_task(self.new("n"), ns=ns, status=status))
        if dice.rarely(4):
            made.blobs = [self.blob(dice)]
        self.amendments.append(made)
        yield Call("amend", (made,))

    def lone(self, task: Task) -> bool:
        """May a finish of this task bring a settle?"""
        head = self.model._threads[task.thread_id].heads.get(task.ns)
        return task.kind == "advance" or (head is not None and head.width == 1)

    def _note(self, dice: Dice) -> Iterator[Call | None]:
        pool = [(t.task_id, t.token) for t in self.tasks("claimed", "ready", of=UNSETTLED) if t.token]
        if dice.rarely(4) or not pool:
            pool = self.tokens[::-1]
        if pool:
            yield Call("note", (*dice.pick(pool), self.document(dice, f'{{"at": {self.count}}}')))
