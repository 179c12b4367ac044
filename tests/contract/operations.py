"""Random but meaningful calls on a ledger: a director that reads the memory store to choose what to do next.

Hypothesis draws plain numbers (``STEPS``); the director turns each into calls whose ids are alive in the model at
that moment, now and then stale, wrong or repeated ones. So that a sequence shrinks well, a step never depends on what
was drawn for another, only on the model's state.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import strategies as st

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.conformance.scene import Scene, plain
from petiole_stores.errors import ConflictError
from petiole_stores.memory import MemoryStore
from petiole_stores.records import Blob, NewRun, NewTask, Outcome, Settle, Task, Worker
from petiole_stores.store import Store

WEIGHTS = {
    "work": 8, "finish": 8, "claim": 6, "submit": 5, "tick": 4, "beat": 3, "sweep": 3, "due": 3, "release": 3,
    "resume": 2, "replay": 2, "again": 3, "cancel": 1, "postpone": 1, "save": 1, "delete": 1, "clear": 1, "crash": 2, "holds": 1,
}  # fmt: skip
KINDS = [kind for kind, weight in WEIGHTS.items() for _ in range(weight)]
#: Steps: of each its kind, and the number from which its choices are taken digit by digit. Hypothesis keeps lists near
#: their least size, so that is large, and a step shrinks to ``rest``, which does nothing.
STEPS = st.lists(
    st.tuples(st.sampled_from(["rest", *KINDS]), st.integers(0, 2**48)), min_size=45, max_size=90
)

MAX_CRASHES = 2
LISTS_WITHOUT_ORDER = ("publish",)


@dataclass
class Call:
    """One call of a store's method; ``str`` of it is Python to be pasted."""

    method: str
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def on(self, store: Store) -> Any:
        """The answer as plain values; what the contract leaves open is put in order.

        Left open: the order of ``publish`` and of what ``release`` and ``due`` give (``due`` by equal
        ``next_publish``; its order by time has a check of its own), and the values of ``seq``.
        """
        try:
            found = getattr(store, self.method)(*copy.deepcopy(self.args), **copy.deepcopy(self.options))
        except ConflictError:
            return "ConflictError"
        return ordered(plain(found), loose=self.method in ("due", "release"))

    def __str__(self) -> str:
        parts = [
            *map(source, self.args),
            *(f"{name}={source(value)}" for name, value in self.options.items()),
        ]
        return f"store.{self.method}({', '.join(parts)})"


def source(value: Any) -> str:
    """Python for a value: records without the fields that are as they are by default."""
    if isinstance(value, list):
        return f"[{', '.join(map(source, value))}]"
    if isinstance(value, msgspec.Struct):
        known = msgspec.structs.fields(value)
        left_out = {field.name for field in known if getattr(value, field.name) in (field.default, None, [])}
        said = [f"{f.name}={source(getattr(value, f.name))}" for f in known if f.name not in left_out]
        return f"{type(value).__name__}({', '.join(said)})"
    return repr(value)


def ordered(answer: Any, *, loose: bool = False) -> Any:
    if isinstance(answer, dict):
        return {key: ordered(item, loose=key in LISTS_WITHOUT_ORDER) for key, item in answer.items()}
    if isinstance(answer, list):
        items = [ordered(item) for item in answer]
        return sorted(items, key=lambda item: item["task_id"]) if loose else items
    return answer


class Dice:
    """Choices out of one number; out of zero, always the first."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, sides: int) -> int:
        self.number, side = divmod(self.number, sides)
        return side

    def pick(self, options: list[Any]) -> Any:
        return options[self(len(options))]

    def rarely(self, one_in: int = 8) -> bool:
        return self(one_in) == one_in - 1

    def some(self, options: list[Any], most: int) -> list[Any]:
        """One to ``most`` of them, each once."""
        left = list(options)
        return [left.pop(self(len(left))) for _ in range(min(1 + self(most), len(left)))]


class Director:
    """Turns steps into calls; ``model`` is the memory store that they are also made on."""

    def __init__(self) -> None:
        self.model = MemoryStore()
        self.model.max_crashes = MAX_CRASHES
        self.scene = Scene(self.model)
        self.count = 0
        self.script: list[str] = []
        self.outcomes: list[tuple[str, str, Outcome]] = []  # every one that was ever sent
        self.submits: list[NewRun] = []
        self.replays: list[tuple[str, list[tuple[str, str]]]] = []
        self.tokens: list[tuple[str, str]] = []  # (task, token) of every claim that was ever tried
        self.checkpoints: list[str] = []

    @property
    def threads(self) -> list[str]:
        return self.scene.ids("t0", "t1", "t2")

    def calls(self, kind: str, number: int) -> Iterator[Call]:
        """The calls of one step; each must be made on the model before the next is asked for."""
        for call in getattr(self, f"_{kind}")(Dice(number)):
            if call is not None:
                self.script.append(str(call).replace(f"{self.scene.prefix}-", ""))
                yield call

    def new(self, letter: str) -> str:
        self.count += 1
        return f"{letter}{self.count}"

    # ---------------------------------------------------------------- what is alive

    def tasks(self, *statuses: str) -> list[Task]:
        found = [t for t in self.model._tasks.values() if t.status in statuses]
        return [t for t in found if self.model._runs[t.run_id].status in ("queued", "running")] or found

    def runs(self, *statuses: str) -> list[str]:
        return [run.run_id for run in self.model._runs.values() if not statuses or run.status in statuses]

    def holder(self, dice: Dice) -> str:
        return self.scene.id("nobody" if dice.rarely(30) else dice.pick(["w0", "w1", "w2"]))

    def alive(self, holder: str) -> Call | None:
        """A beat, unless the holder may claim as it is."""
        known = self.model._workers.get(holder)
        if known is not None and known.status in ("alive", "stopping"):
            return None
        return Call("beat", (Worker(worker_id=holder, name="w"),))

    def held(self, holder: str, slot: str) -> list[str]:
        found = self.model._tasks.values()
        return [
            t.token
            for t in found
            if t.status == "claimed" and (t.holder, t.slot) == (holder, slot) and t.token
        ]

    # ---------------------------------------------------------------- the steps

    def _rest(self, dice: Dice) -> Iterator[Call | None]:
        yield from ()

    def _tick(self, dice: Dice) -> Iterator[Call | None]:
        seconds = dice.pick([1.0, 0.25, 5.0, 20.0, 300.0])
        self.scene.tick(seconds)
        self.script.append(f"tick({seconds})")
        yield None

    def _submit(self, dice: Dice) -> Iterator[Call | None]:
        runs = []
        for _ in range(1 + dice(2)):
            if self.submits and dice.rarely(5):
                old = dice.pick(self.submits)
                digest = "other" if dice.rarely(2) else old.request_digest
                runs.append(msgspec.structs.replace(old, request_digest=digest))
                continue
            thread = dice.pick(["t0", "t1", "t2"])
            name, fields = self.new("r"), {}
            fields["if_busy"] = dice.pick(["reject", "enqueue"])
            if dice.rarely(5):
                fields["run_at"] = self.scene.now + dice.pick([3.0, 50.0, -1.0, 0.0])
            if dice.rarely(3) and self.checkpoints:
                own = [c.checkpoint_id for c in self.model.list_checkpoints(self.scene.id(thread))]
                fields["base_id"] = dice.pick([*own, dice.pick(self.checkpoints), self.scene.id("none")])
            if dice.rarely(4):
                fields["blobs"] = [self.blob(dice)]
            if dice.rarely(3):
                fields |= {
                    "idempotency_key": name,
                    "tags": ["a", name],
                    "metadata": '{"z": 1, "a": {"y": 2.5}}',
                }
            run = self.scene.new_run(name, thread, **fields)
            run.start.priority = dice.pick(["default", "high", "low"])
            self.submits.append(run)
            runs.append(run)
        yield Call("submit", (runs,))

    def blob(self, dice: Dice) -> Blob:
        digest = dice.pick(["d0", "d1", "d2"])
        return Blob(digest=digest, codec="raw", data=digest.encode() * 3, checksum=digest)

    def _claim(self, dice: Dice) -> Iterator[Call | None]:
        holder, slot = self.holder(dice), dice.pick(["s0", "s1"])
        if not dice.rarely(6) and not holder.endswith("nobody"):
            yield self.alive(holder)
        pool = self.tasks("ready")
        if dice.rarely(4) or not pool:
            pool = list(self.model._tasks.values())
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
        pool = self.tasks("claimed") if dice.rarely(3) else []
        if not pool:
            ready = self.tasks("ready")
            if not ready:
                if not self.runs("queued", "running", "waiting", "interrupted"):
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
        if ending == "done" and (task.kind == "advance" or (width == 1 and not dice.rarely(4))):
            settle = self.settle(dice, task)
        return self.outcome(task, task.token or "none", ending, settle, dice)

    def outcome(self, task: Task, token: str, ending: str, settle: Settle | None, dice: Dice) -> Outcome:
        name = task.task_id.removeprefix(f"{self.scene.prefix}-")
        fields: dict[str, Any] = {"advance_id": self.scene.id(self.new("adv"))}
        fields["advance_token"] = self.scene.id(self.new("k"))
        if ending == "retry":
            fields |= {"delay": dice.pick([0.0, 2.0, 40.0]), "error": '{"type": "E", "b": 1, "a": 2}'}
        if ending == "interrupted":
            fields["output"] = '{"ask": [1, null]}'
        if dice.rarely(4):
            fields["blobs"] = [self.blob(dice)]
        made = self.scene.outcome(name, "", ending, settle=settle, **fields)
        made.token = token
        return made

    def settle(self, dice: Dice, task: Task) -> Settle:
        known = self.model._threads[task.thread_id].heads.get(task.ns)
        head = known.checkpoint_id if known else None
        if dice.rarely(16):
            head = self.scene.id("elsewhere")
        made = []
        for _ in range(1 + dice.rarely(5)):
            checkpoint = self.scene.new_checkpoint(self.new("c"), None)
            checkpoint.parent_id, head = head, checkpoint.checkpoint_id
            checkpoint.metadata = '{"source": "loop", "b": {"d": 1, "c": [true]}}'
            made.append(checkpoint)
            self.checkpoints.append(checkpoint.checkpoint_id)
        status = "interrupted" if dice.rarely(8) else "running"
        wide = dice.pick([1, 3, 2, 0, 4, 1])
        tasks: list[NewTask] = []
        for _ in range(wide):
            new = self.scene.new_task(self.new("n"), priority=dice.pick(["default", "low", "high"]))
            new.status = "ready" if status == "running" else "interrupted"
            if dice.rarely(4):
                new.arg, new.queue = '{"b": 1, "a": [1.5]}', self.scene.id("q2")
            if status == "running" and dice.rarely(6):
                new.token = self.scene.id(self.new("k"))
            tasks.append(new)
        return Settle(checkpoints=made, tasks=tasks, run_status=status if tasks else "succeeded")  # type: ignore[arg-type]

    def _finish(self, dice: Dice) -> Iterator[Call | None]:
        pool = [t for t in self.tasks("claimed", "ready") if t.token is not None]
        if dice.rarely(6) or not pool:
            pool = list(self.model._tasks.values())
        outcomes, holder, slot = [], self.holder(dice), "s0"
        for task in dice.some(pool, 3):
            ending = dice.pick(
                ["done", "failed", "interrupted", "retry", "done", "cancelled", "done", "failed"]
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

    def _beat(self, dice: Dice) -> Iterator[Call | None]:
        worker = Worker(
            worker_id=self.scene.id(dice.pick(["w0", "w1", "w2"])), name="w", lease=dice.pick([15.0, 3.0])
        )
        worker.status = "stopping" if dice.rarely(8) else "alive"
        worker.stats, worker.graphs = {"n": float(dice(9))}, {"g": "1/f"}
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

    def _cancel(self, dice: Dice) -> Iterator[Call | None]:
        pool = self.runs() + self.scene.ids("none")
        yield Call("cancel", (dice.some(pool[::-1], 2),), {"reason": dice.pick(["", "enough"])})

    def _replay(self, dice: Dice) -> Iterator[Call | None]:
        if self.replays and dice.rarely(4):
            yield Call("replay", dice.pick(self.replays))
            return
        run_id = dice.pick(self.runs("failed")[::-1] or self.runs() + self.scene.ids("none"))
        failed = [t for t in self.model.list_tasks(run_id) if t.status == "failed" and not t.replaced]
        if dice.rarely(6):
            failed = failed[1:] or self.model.list_tasks(run_id)
        pairs = [(t.task_id, self.scene.id(self.new("n"))) for t in failed]
        self.replays.append((run_id, pairs))
        yield Call("replay", (run_id, pairs))

    def _resume(self, dice: Dice) -> Iterator[Call | None]:
        interrupted = self.runs("interrupted")
        pool = self.runs() + self.scene.ids("none") if dice.rarely(5) or not interrupted else interrupted
        yield Call("resume", (dice.pick(pool[::-1]),))

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
        idle = [t for t in self.threads if (known := self.model._threads.get(t)) and known.active_run is None]
        yield Call("clear", (dice.pick((idle if dice.rarely(3) else []) or self.threads),))


def tidy(director: Director, store: Store) -> None:
    """Leave nothing in a shared store that a later sequence could meet: no active run, no living worker."""
    store.cancel([run.run_id for run in director.submits if store.get_run(run.run_id) is not None])
    for name in ("w0", "w1", "w2"):
        store.release(director.scene.id(name), final=True)


def reached(call: Call, answer: Any) -> list[str]:
    """What an answer says, for statistics: method, result and reason of each part."""
    parts = answer if isinstance(answer, list) else [answer]
    words = []
    for part in parts:
        if isinstance(part, dict) and "result" in part:
            words.append(" ".join(filter(None, [call.method, part["result"], part["reason"]])))
        elif part == "ConflictError":
            words.append(f"{call.method} ConflictError")
        else:
            words.append(f"{call.method} {part}" if call.method == "holds" else call.method)
    return words
