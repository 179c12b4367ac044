"""Workers step by step: each call is sent, carried out, answered and heard at a time of its own, or lost on the way.

Between any two of these steps others have their turn: workers that crash, stand still past their lease and wake, requests
that arrive long after their sender has died, sweeps, a supervisor that buries the dead, and a client. The store is the
memory store; what it must keep to is in :mod:`tests.contract.watch`. At the end one healthy worker brings every run to
its end, and the states are those of an undisturbed run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)

from petiole_stores.conformance.scene import Scene, plain
from petiole_stores.leaves import replaceable
from petiole_stores.memory import MemoryStore
from petiole_stores.records import Answer, Claim, ClaimAnswer, FinishAnswer, Worker
from petiole_stores.store import Store
from tests.contract.calls import Call
from tests.contract.little_program import ADDED, Program
from tests.contract.watch import Watch

ROUNDS = 120
SLOT = "s"
MOST_ON_THE_WAY = 6

numbers = st.integers(0, 1000)
actors = st.integers(0, 2)


@dataclass
class Request:
    """A call on its way to the store, and who waits for its answer."""

    call: Call
    sender: str


@dataclass
class Actor:
    """One worker with one slot. ``at``: idle, claiming, running, finishing; ``waits`` is the request in doubt."""

    holder: str
    at: str = "idle"
    up: bool = True
    awake: bool = True
    waits: Request | None = None
    claim: Claim | None = None
    token: str = ""
    advance_token: str = ""
    inbox: list[Any] = field(default_factory=list)


class Machine(RuleBasedStateMachine):
    """Three workers, two threads and three runs."""

    kind: type[MemoryStore] = MemoryStore

    def __init__(self) -> None:
        super().__init__()
        self.store = self.kind()
        self.store.max_crashes = 2
        self.scene = Scene(self.store)
        self.program = Program(self.scene)
        self.watch = Watch(self.store)
        self.on_the_way: list[Request] = []
        self.overtaken: set[str] = set()
        self.incarnations = 0
        self.actors = [self.hired() for _ in range(3)]

    def hired(self) -> Actor:
        self.incarnations += 1
        return Actor(self.scene.id(f"w{self.incarnations}"))

    def make(self, call: Call) -> Any:
        """Carry a call out, hold the store against its promises, and give the answer."""
        kept: list[Any] = []

        class Keeping(Call):
            def on(self, store: Store) -> Any:
                kept.append(getattr(store, self.method)(*self.args, **self.options))
                return plain(kept[0])

        watched = Keeping(call.method, call.args, call.options)
        self.watch.check(watched, watched.on(self.store))
        return kept[0]

    def tasks(self) -> list[str]:
        """Ready tasks first, as messages name them; then all others, as stale messages do."""
        found = sorted(self.store._tasks.values(), key=lambda task: task.status != "ready")
        return [task.task_id for task in found]

    @initialize()
    def begin(self) -> None:
        for run, thread in (("r0", "t0"), ("r1", "t1"), ("r2", "t0")):
            self.make(Call("submit", ([self.scene.new_run(run, thread, if_busy="enqueue")],)))
        for actor in self.actors:
            self.make(Call("beat", (Worker(worker_id=actor.holder, name="w"),)))

    # ---------------------------------------------------------------- a worker's own steps

    @rule(number=actors, steps=st.integers(1, 8), message=st.integers(0, 3))
    def goes_on(self, number: int, steps: int, message: int) -> None:
        """Some steps as they follow when nothing comes in between, so that runs get somewhere."""
        for _ in range(steps):
            actor = self.actors[number]
            if not actor.up:
                self.is_replaced(number, False)
            elif actor.inbox:
                self.hears_its_answer(number)
            elif actor.waits is not None:
                self.asks_again(number)
                if actor.awake:
                    self.carry_out(len(self.on_the_way) - 1, True)
            elif actor.at == "running":
                self.has_run_its_node(number, "done")
            else:
                known = self.store._workers.get(actor.holder)
                if known is None or known.status != "alive":
                    self.beats(number)
                self.asks_for_a_claim(number, message)

    @rule(number=actors, message=st.integers(0, 30))
    def asks_for_a_claim(self, number: int, message: int) -> None:
        actor = self.actors[number]
        known = self.tasks()
        if self.moves(actor, "idle") and known:
            actor.token = self.program.id("k")
            task_id = known[message % len(known)]
            self.send(
                actor,
                "claiming",
                Call("claim", (actor.holder, SLOT, [(task_id, actor.token)]), {"holds": []}),
            )

    @rule(number=actors, ending=st.sampled_from(["done"] * 6 + ["retry", "parked", "failed"]))
    def has_run_its_node(self, number: int, ending: str) -> None:
        actor = self.actors[number]
        if not self.moves(actor, "running") or actor.claim is None:
            return
        outcome = self.program.outcome(actor.claim, actor.token)
        actor.advance_token = outcome.advance_token
        if ending != "done":
            outcome.ending, outcome.settle, outcome.output = ending, None, None  # type: ignore[assignment]
            outcome.nest = None
            outcome.delay = 5.0 if ending == "parked" else 0.0
            outcome.progress = '{"rows": 1}' if ending == "parked" else None
            outcome.error = '{"type": "E"}'
        self.send(actor, "finishing", Call("finish", (actor.holder, SLOT, [outcome])))

    @rule(number=actors)
    def asks_again(self, number: int) -> None:
        """Its patience is over: it says the same once more."""
        actor = self.actors[number]
        if actor.up and actor.awake and actor.waits is not None:
            self.on_the_way.append(actor.waits)

    @rule(number=actors)
    def hears_its_answer(self, number: int) -> None:
        actor = self.actors[number]
        if not (actor.up and actor.awake and actor.inbox):
            return
        answer = actor.inbox.pop(0)
        actor.inbox.clear()
        actor.waits = actor.claim = None
        actor.at = "idle"
        if isinstance(answer, ClaimAnswer) and answer.claim is not None:
            actor.at, actor.claim = "running", answer.claim
        if isinstance(answer, FinishAnswer) and answer.advance is not None:
            actor.at, actor.claim, actor.token = "running", answer.advance, actor.advance_token

    @rule(number=actors)
    def beats(self, number: int) -> None:
        actor = self.actors[number]
        if actor.up and actor.awake:
            self.make(Call("beat", (Worker(worker_id=actor.holder, name="w"),)))

    def moves(self, actor: Actor, at: str) -> bool:
        return actor.up and actor.awake and actor.at == at and len(self.on_the_way) < MOST_ON_THE_WAY

    def send(self, actor: Actor, at: str, call: Call) -> None:
        actor.at, actor.waits = at, Request(call, actor.holder)
        self.on_the_way.append(actor.waits)

    # ---------------------------------------------------------------- the way

    @precondition(lambda self: self.on_the_way)
    @rule(number=numbers, answered=st.booleans() | st.just(True))
    def a_call_is_carried_out(self, number: int, answered: bool) -> None:
        """Whoever sent it may be dead by now; the answer goes to him alone, if at all."""
        self.carry_out(number, answered)

    def carry_out(self, number: int, answered: bool) -> None:
        request = self.on_the_way.pop(number % len(self.on_the_way))
        answer = self.make(request.call)[0]
        event(f"{request.call.method} {answer.result} {answer.reason}")
        for actor in self.actors:
            if answered and actor.up and actor.waits is request:
                actor.inbox.append(answer)

    @precondition(lambda self: self.on_the_way)
    @rule(number=numbers)
    def a_call_is_lost(self, number: int) -> None:
        self.on_the_way.pop(number % len(self.on_the_way))

    @rule(number=actors)
    def an_answer_is_lost(self, number: int) -> None:
        self.actors[number].inbox.clear()

    # ---------------------------------------------------------------- fate

    @rule(number=actors)
    def crashes(self, number: int) -> None:
        self.actors[number].up = False

    @rule(number=actors, buried=st.booleans())
    def is_replaced(self, number: int, buried: bool) -> None:
        """A new incarnation; a supervisor may have told the store of the old one's end."""
        old = self.actors[number]
        if not old.up:
            if buried:
                self.make(Call("release", (old.holder,), {"crashed": True, "final": True}))
            self.actors[number] = self.hired()

    @rule(number=actors)
    def stands_still_or_wakes(self, number: int) -> None:
        actor = self.actors[number]
        actor.awake = not actor.awake

    @rule(seconds=st.sampled_from([1.0, 6.0, 16.0, 100.0]), observed=st.sampled_from([float("inf"), 4.0]))
    def a_sweep_comes(self, seconds: float, observed: float) -> None:
        self.scene.tick(seconds)
        self.make(Call("sweep", (), {"observed": observed}))

    # ---------------------------------------------------------------- people

    @rule(run=st.sampled_from(["r0", "r1"]), method=st.sampled_from(["pause", "unpause"]))
    def somebody_holds_a_run_back_or_lets_it_go(self, run: str, method: str) -> None:
        self.make(Call(method, (self.scene.ids(run),)))

    @rule(run=st.sampled_from(["r0", "r1", "r2"]))
    def somebody_replays(self, run: str) -> None:
        self.replay(self.scene.id(run))

    @rule(thread=st.sampled_from(["t0", "t1"]))
    def the_janitor_trims(self, thread: str) -> None:
        self.make(Call("trim", (self.scene.id(thread), 1)))

    def replay(self, run_id: str) -> Answer:
        failed = [task.task_id for task in replaceable(self.store.list_tasks(run_id))]
        replacements = [(task_id, self.program.id("n")) for task_id in failed]
        answer: Answer = self.make(Call("replay", (run_id, replacements)))
        return answer

    # ---------------------------------------------------------------- the end

    def teardown(self) -> None:
        if self.store._runs:
            self.heal()
        if not self.store._runs:
            return
        assert self.overtaken <= {self.scene.id("r0")}, "nobody has come after them"
        for thread, runs in (("t0", 1 if self.overtaken else 2), ("t1", 1)):
            head = self.store.head(self.scene.id(thread))
            assert head is not None
            state = json.loads(head.state)
            before = state[: len(state) - runs * len(ADDED)]
            assert state == before + ADDED * runs, f"{thread} ends with {head.state}"
            assert before == (ADDED[: len(before)] if self.overtaken and thread == "t0" else []), (
                f"{thread} begins so"
            )

    def heal(self) -> None:
        """One healthy worker, somebody who lets go and replays, a janitor; requests of the dead still arrive.

        A run that has failed before another one of its thread went on from what it had come to is overtaken: it stays
        failed (its checkpoints are no longer the head, or were trimmed).
        """
        healer = self.scene.id("healer")
        for _ in range(ROUNDS):
            self.scene.tick(150)
            if self.on_the_way:
                self.make(self.on_the_way.pop().call)
            self.make(Call("beat", (Worker(worker_id=healer, name="healer"),)))
            self.make(Call("sweep"))
            held = [r.run_id for r in self.store._runs.values() if r.status == "paused"]
            self.make(Call("unpause", (held,)))
            failed = [run.run_id for run in self.store._runs.values() if run.status == "failed"]
            self.overtaken = {
                run_id for run_id in failed if self.replay(run_id).reason in ("head moved", "stale")
            }
            for ref in self.make(Call("due", (), {"limit": 100})):
                self.bring_to_its_end(healer, ref.task_id)
            if all(
                run.status == "succeeded" or run.run_id in self.overtaken for run in self.store._runs.values()
            ):
                return
        raise AssertionError(f"never settled: {[(r.run_id, r.status) for r in self.store._runs.values()]}")

    def bring_to_its_end(self, healer: str, task_id: str) -> None:
        token = self.program.id("k")
        claim = self.make(Call("claim", (healer, SLOT, [(task_id, token)])))[0].claim
        while claim is not None:
            outcome = self.program.outcome(msgspec.structs.replace(claim), token)
            claim, token = (
                self.make(Call("finish", (healer, SLOT, [outcome])))[0].advance,
                outcome.advance_token,
            )
            for thread in ("t0", "t1"):
                self.the_janitor_trims(thread)
