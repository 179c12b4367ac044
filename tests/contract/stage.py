"""What random steps work with: the memory store as a model, what is alive in it, and values to send."""

from __future__ import annotations

from petiole_stores.conformance.scene import Scene
from petiole_stores.memory import MemoryStore
from petiole_stores.records import RUNNABLE, Amendment, Blob, NewRun, Outcome, Task, Worker
from tests.contract.calls import Call
from tests.contract.dice import Dice

MAX_CRASHES = 2


class Stage:
    """What the steps share: ``model`` is the memory store that all calls are also made on."""

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
        self.places: dict[str, str] = {}
        self.amendments: list[Amendment] = []

    @property
    def threads(self) -> list[str]:
        return self.scene.ids("t0", "t1", "t2")

    def new(self, letter: str) -> str:
        self.count += 1
        return f"{letter}{self.count}"

    # ---------------------------------------------------------------- what is alive

    def tasks(self, *statuses: str, of: frozenset[str] = RUNNABLE) -> list[Task]:
        """Tasks in one of these statuses: those whose run is in one of ``of``, or all if there are none."""
        found = [t for t in self.model._tasks.values() if t.status in statuses]
        return [t for t in found if self.model._runs[t.run_id].status in of] or found

    def runs(self, *statuses: str) -> list[str]:
        return [run.run_id for run in self.model._runs.values() if not statuses or run.status in statuses]

    def holder(self, dice: Dice) -> str:
        return self.scene.id("nobody" if dice.rarely(30) else dice.pick(["w0", "w1", "w2"]))

    def idle(self) -> list[str]:
        """Threads without an active run."""
        return [t for t in self.threads if (known := self.model._threads.get(t)) and known.active_run is None]

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

    def head(self, thread: str, ns: str) -> str | None:
        """The id of a namespace's newest checkpoint."""
        known = self.model._threads.get(thread)
        return known.heads[ns].checkpoint_id if known and ns in known.heads else None

    # ---------------------------------------------------------------- values

    def blob(self, dice: Dice, data: str = "") -> Blob:
        digest = dice.pick(["d0", "d1", "d2"])
        return Blob(digest=digest, codec="raw", data=(data or digest).encode() * 3, checksum=data or digest)

    def document(self, dice: Dice, plain: str) -> str:
        """``plain``, or now and then a document that names a blob."""
        return f'{{"b": [{{"$blob": "{dice.pick(["d0", "d1", "d2"])}"}}]}}' if dice.rarely(4) else plain
