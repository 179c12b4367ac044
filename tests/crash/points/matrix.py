"""Cases of the matrix, and how one is played: real processes, real SIGKILL, then the same parts by healthy ones."""

from __future__ import annotations

import multiprocessing
import signal
from dataclasses import dataclass
from pathlib import Path

from petiole_stores.opening import open_store
from petiole_stores.records import Run, RunFilter, Task
from petiole_stores.store import Store
from tests.crash.points.actor import PATIENCE, act, thread_of
from tests.crash.points.graph import executions

#: Processes are forked from one that has imported everything: a case takes a fraction of a second.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.crash.points.actor"])

#: Points of a worker's hop and of its sweep, and how often each is reached in an undisturbed run (no point beyond dies).
HOPS = {
    "claim.before": 9, "claim.after": 9, "node.after": 10, "note.before": 2, "note.after": 2, "finish.before": 10,
    "finish.after": 10, "publish.after": 6, "beat.before": 1, "beat.after": 1, "sweep.before": 3, "sweep.after": 3,
    "due.before": 3, "due.after": 3, "refill.after": 3,
}  # fmt: skip
#: What comes before the part that dies, the part, and the status at the end.
CLIENTS = {
    "submit": ((), "submit", "succeeded"),
    "replay": (("submit broken", "work"), "replay", "succeeded"),
    "resume": (("submit broken", "work", "replay", "work"), "resume", "succeeded"),
    "pause": (("submit",), "pause", "succeeded"),
    "unpause": (("submit", "pause"), "unpause", "succeeded"),
    "cancel": (("submit",), "cancel", "cancelled"),
    "release": (("submit",), "stop", "succeeded"),
}


#: The same for a graph that waits for a graph in it, which waits for a person: before the answer, and after it.
NESTED = {
    "claim.after": 6, "node.after": 6, "finish.before": 8, "finish.after": 8, "publish.after": 5,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Who dies where: ``before`` are the parts that go well first, ``part`` the one that dies."""

    point: str
    nth: int = 1
    part: str = "work"
    before: tuple[str, ...] = ("submit",)
    status: str = "succeeded"
    durability: str = "sync"

    def __str__(self) -> str:
        asking = "-".join(["", *self.before]).replace("submit ", "") if self.is_asking else ""
        return f"{self.part}-{self.point}-{self.nth}-{self.durability}{asking}"

    @property
    def is_asking(self) -> bool:
        """Whether it is of the graph that asks."""
        return self.before[:1] == ("submit asking",)


def cases() -> list[Case]:
    """The whole matrix for one store."""
    found = [Case(point, nth) for point, most in HOPS.items() for nth in range(1, most + 1)]
    for name, (before, part, status) in CLIENTS.items():
        found += [Case(f"{name}.{side}", 1, part, before, status) for side in ("before", "after")]
    asking = ("submit asking",)
    for point, most in NESTED.items():
        for before in (asking, (*asking, "work", "answer")):
            found += [Case(point, nth, before=before) for nth in range(1, most + 1)]
    for side in ("before", "after"):
        found.append(Case(f"resume.{side}", 1, "answer", (*asking, "work")))
    for durability in ("interval:30", "async", "exit"):
        found += [
            Case(point, nth, durability=durability)
            for point in ("node.after", "finish.before", "finish.after")
            for nth in (1, 2, 3)
        ]
    return found


#: Of the cases of the graph that asks: the opening of the inner graph, its end, and what follows.
NESTED_SAMPLE = {
    ("claim.after", 2), ("finish.before", 3), *(("finish.after", nth) for nth in (1, 2, 3, 4, 5, 6)), ("publish.after", 2),
}  # fmt: skip


def sample() -> list[Case]:
    """Each point, most of them once, at the hop where most goes on."""
    chosen = {
        "claim.before": (2, 7), "claim.after": (2, 4, 8), "node.after": (3, 4, 6), "note.before": (1,), "note.after": (2,),
        "finish.before": (1, 3, 4, 5), "finish.after": (2, 3, 4, 5, 6), "publish.after": (2,), "beat.before": (1,),
        "beat.after": (1,), "sweep.before": (1,), "sweep.after": (2,), "due.before": (1,), "due.after": (2,),
        "refill.after": (1,),
    }  # fmt: skip
    return [
        case
        for case in cases()
        if case.part != "work"
        or (case.is_asking and (case.point, case.nth) in NESTED_SAMPLE)
        or (case.durability == "sync" and not case.is_asking and case.nth in chosen[case.point])
        or (case.durability != "sync" and (case.point, case.nth) in (("node.after", 3), ("finish.after", 1)))
    ]


class Play:
    """Plays a case on one store."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder, self.thread = url, folder, thread_of(folder)

    def part(self, name: str, *, point: str = "", nth: int = 1, durability: str = "sync") -> int | None:
        """Let a process do a part; gives its exit code."""
        process = _context.Process(
            target=act, args=(self.url, name, str(self.folder), point, nth, durability)
        )
        process.start()
        process.join(PATIENCE + 10)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise AssertionError(f"{name} hangs at {point or 'no point'}")
        return process.exitcode

    def run(self, case: Case) -> bool:
        """Play it to its end and check what must hold; gives whether the process came to the point at all."""
        for part in case.before:
            assert self.part(part) == 0, part
        code = self.part(case.part, point=case.point, nth=case.nth, durability=case.durability)
        assert code in (0, -signal.SIGKILL), f"{case}: exit code {code}"
        # Whoever saw the crash does it again, then a healthy worker goes on.
        following = [case.part] if code != 0 and case.part != "work" else []
        if case.part == "pause":
            following += ["unpause"]
        for part in [*following, "work"]:
            assert self.part(part, durability=case.durability) == 0, f"{part} after {case}"
        if case.is_asking:
            for part in ("answer", "work"):
                assert self.part(part) == 0, f"{part} after {case}"
        if case.before[:1] == ("submit broken",):
            for part in ("replay", "work", "resume", "work"):
                assert self.part(part) == 0, f"{part} after {case}"
        self.check(case)
        return code != 0

    def check(self, case: Case) -> None:
        store = open_store(self.url)
        try:
            run = store.newest_run(self.thread)
            assert run is not None, "the run is lost"
            assert run.status == case.status, (run.status, run.error, run.reason)
            tasks = store.list_tasks(run.run_id)
            if case.status == "succeeded":
                self._check_state(store, run, case)
                self._check_tasks(tasks)
            self._check_chain(store)
            # The same submit again finds the same run.
            assert len(store.list_runs(RunFilter(thread_id=self.thread)).runs) == 1
        finally:
            store.close()

    def _check_state(self, store: Store, run: Run, case: Case) -> None:
        head = store.load(run.checkpoint_id or "")
        log = [entry for entry in head.state["log"] if not entry.startswith("x")]
        wanted = ["first", "branch0", "branch1", "flaky", "nap", "last"]
        if case.is_asking:
            wanted = ["first", "beside", "last"]
            assert head.state["notes"] == ["before", "ask yes"]
        elif case.before[:1] == ("submit broken",):
            wanted = ["first", "broken", "last"]
        assert log == wanted
        counts = executions(str(self.folder / "journal"))
        undisturbed = {"flaky": 2, "nap": 2, "broken": 2, "ask": 2}
        beyond = {node: count - undisturbed.get(node, 1) for node, count in counts.items()}
        spared = {node: count for node, count in beyond.items() if count > 0}
        # One process died once: a node is executed once more at most, and in sync mode only one is.
        assert all(count <= 1 for count in spared.values()), (case, counts)
        if case.durability == "sync":
            assert len(spared) <= 1, (case, counts)

    def _check_tasks(self, tasks: list[Task]) -> None:
        done = [(t.checkpoint_id, t.ns, t.path) for t in tasks if t.kind == "node" and t.status == "done"]
        assert len(done) == len(set(done)), "an output is committed twice"
        assert {t.status for t in tasks if not t.replaced} == {"done"}

    def _check_chain(self, store: Store) -> None:
        records = store.list_checkpoints(self.thread)
        parents = [record.parent_id for record in records]
        assert len(parents) == len(set(parents)), "two checkpoints follow one"
        steps = [record.step for record in records]
        assert steps == sorted(set(steps), reverse=True), steps
