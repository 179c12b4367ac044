"""A scene for the ledger's checks: a store under a clock of its own, with names that no other scene uses."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.conformance.report import same
from petiole_stores.ids import new_id
from petiole_stores.records import (
    START_PATH,
    Checkpointed,
    Claim,
    ClaimAnswer,
    FinishAnswer,
    NewCheckpoint,
    NewRun,
    NewTask,
    Outcome,
    Run,
    RunFilter,
    Settle,
    SubmitAnswer,
    Task,
    TaskRef,
    Worker,
)
from petiole_stores.serde import digest_document
from petiole_stores.store import Store

_START = 2_000_000_000.0
_SCENES = itertools.count(1)


class Scene:
    """One check's part of a store.

    Every id begins with the scene's own prefix and every task is on its own queue, so that scenes share a store
    without meeting. ``now`` is the store's time; it moves by ``tick`` alone, and each scene's is later than the one
    before (by 30 days, so that nothing of an earlier one is still alive).
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.prefix = new_id()[-12:]
        self.now = _START + next(_SCENES) * 30 * 86400.0
        self.queue = f"{self.prefix}-q"
        store.clock = lambda: self.now

    def id(self, name: str) -> str:
        return f"{self.prefix}-{name}"

    def ids(self, *names: str) -> list[str]:
        return [self.id(name) for name in names]

    def tick(self, seconds: float) -> None:
        self.now += seconds

    # ---------------------------------------------------------------- building

    def new_task(self, name: str, **fields: Any) -> NewTask:
        values: dict[str, Any] = {
            "task_id": self.id(name),
            "path": f"pull:{name}",
            "node": name,
            "queue": self.queue,
        } | fields
        return NewTask(**values)

    def new_run(self, run: str = "r", thread: str = "t", **fields: Any) -> NewRun:
        start = self.new_task(f"{run}.start", path=START_PATH, node=START_PATH, kind="advance")
        values: dict[str, Any] = {
            "run_id": self.id(run),
            "thread_id": self.id(thread),
            "graph": "g",
            "start": start,
            "input": '{"n": 1}',
            "request_digest": "d",
        } | fields
        return NewRun(**values)

    def new_checkpoint(self, name: str, parent: str | None, **fields: Any) -> NewCheckpoint:
        state = f'{{"at": "{name}"}}'
        values: dict[str, Any] = {
            "checkpoint_id": self.id(name),
            "parent_id": None if parent is None else self.id(parent),
            "step": 0,
            "source": "loop",
            "node_names": [name],
            "state": state,
            "digest": digest_document(state),
        } | fields
        return NewCheckpoint(**values)

    def settle(
        self, name: str, parent: str | None, *tasks: NewTask, status: str | None = None, ns: str = ""
    ) -> Settle:
        """A settle of one checkpoint; with ``ns`` it and its tasks are of that namespace."""
        chosen = status or ("running" if tasks else "succeeded")
        made = [replace(task, ns=ns) for task in tasks]
        checkpoint = self.new_checkpoint(name, parent, ns=ns)
        return Settle(checkpoints=[checkpoint], tasks=made, run_status=chosen)  # type: ignore[arg-type]

    def outcome(self, task: str, token: str, ending: str = "done", **fields: Any) -> Outcome:
        """An outcome for ``finish``; without a settle its advance is named ``<task>.adv`` with token ``<token>.adv``."""
        values: dict[str, Any] = {
            "task_id": self.id(task),
            "token": self.id(token),
            "ending": ending,
            "advance_id": self.id(f"{task}.adv"),
            "advance_token": self.id(f"{token}.adv"),
            "advance_queue": self.queue,
        }
        if ending == "done":
            values["output"] = f'{{"by": "{task}"}}'
        if ending == "failed":
            values["error"] = f'{{"type": "ValueError", "message": "{task}"}}'
        return Outcome(**(values | fields))

    # ---------------------------------------------------------------- doing

    def worker(self, name: str = "w", **fields: Any) -> str:
        """A registered, living worker; returns its id."""
        self.store.beat(Worker(worker_id=self.id(name), name=name, **fields))
        return self.id(name)

    def submit(self, run: str = "r", thread: str = "t", **fields: Any) -> SubmitAnswer:
        return self.store.submit([self.new_run(run, thread, **fields)])[0]

    def claim(
        self, task: str, token: str, *, holder: str = "w", slot: str = "s", holds: Sequence[str] = ()
    ) -> ClaimAnswer:
        wants = [(self.id(task), self.id(token))]
        return self.store.claim(self.id(holder), slot, wants, holds=self.ids(*holds))[0]

    def claimed(self, task: str, token: str, **options: Any) -> Claim:
        """A claim that has to be granted."""
        answer = self.claim(task, token, **options)
        if answer.claim is None:
            raise AssertionError(f"claim of {task}: expected it to be granted, found {answer!r}")
        return answer.claim

    def finish(
        self,
        task: str,
        token: str,
        ending: str = "done",
        *,
        holder: str = "w",
        slot: str = "s",
        **fields: Any,
    ) -> FinishAnswer:
        return self.store.finish(self.id(holder), slot, [self.outcome(task, token, ending, **fields)])[0]

    def finished(self, task: str, token: str, ending: str = "done", **options: Any) -> FinishAnswer:
        """A finish that has to be committed."""
        answer = self.finish(task, token, ending, **options)
        same(answer.result, "committed", f"the {ending} finish of {task} ({answer.reason})")
        return answer

    def begin(
        self, *nodes: str, run: str = "r", thread: str = "t", parent: str | None = None, **fields: Any
    ) -> None:
        """A worker ``w``, and a run whose start has settled to checkpoint ``<run>.c0`` and the tasks ``nodes``."""
        self.worker()
        same(self.submit(run, thread, **fields).result, "committed", f"the submit of {run}")
        self.claimed(f"{run}.start", f"{run}.start.k")
        settle = self.settle(f"{run}.c0", parent, *(self.new_task(node) for node in nodes))
        self.finished(f"{run}.start", f"{run}.start.k", settle=settle)

    def chain(self, *names: str, run: str = "r", thread: str = "t", parent: str | None = None) -> None:
        """A run of one task after another, that is still to end: checkpoints ``names``, then the task ``<last>.next``."""
        self.begin(f"{run}.c0.next", run=run, thread=thread, parent=parent)
        before = f"{run}.c0"
        for name in names:
            self.claimed(f"{before}.next", f"{before}.k")
            settle = self.settle(name, before, self.new_task(f"{name}.next"))
            self.finished(f"{before}.next", f"{before}.k", settle=settle)
            before = name

    def end(self, last: str, final: str) -> None:
        """End what ``chain`` began: the task after the checkpoint ``last`` settles to ``final``."""
        self.claimed(f"{last}.next", f"{last}.k")
        self.finished(f"{last}.next", f"{last}.k", settle=self.settle(final, last))

    def nest(
        self,
        task: str,
        token: str,
        ns: str,
        name: str,
        *nodes: str,
        parent: str | None = None,
        status: str | None = None,
        slot: str = "s",
    ) -> FinishAnswer:
        """A claimed task opens the namespace ``ns`` with the checkpoint ``name`` and the tasks ``nodes``."""
        waiting = {"status": "interrupted"} if status == "interrupted" else {}
        made = [self.new_task(node, **waiting) for node in nodes]
        nest = self.settle(name, parent, *made, status=status, ns=ns)
        return self.finished(task, token, "parked", slot=slot, nest=nest)

    def take(self, task: str, ending: str = "done", **options: Any) -> FinishAnswer:
        """Claim a task under the token ``k<task>``, in a slot of its own, and finish it."""
        self.claimed(task, f"k{task}", slot=task)
        return self.finished(task, f"k{task}", ending, slot=task, **options)

    # ---------------------------------------------------------------- looking

    def statuses(self, *names: str, run: str = "r") -> list[str]:
        """The statuses of tasks of one run."""
        found = self.tasks(run)
        return [found[name].status for name in names]

    def run(self, name: str = "r") -> Run:
        found = self.store.get_run(self.id(name))
        if found is None:
            raise AssertionError(f"run {name} is missing")
        return found

    def tasks(self, run: str = "r") -> dict[str, Task]:
        """The run's tasks by their names in this scene."""
        return {
            task.task_id.removeprefix(f"{self.prefix}-"): task for task in self.store.list_tasks(self.id(run))
        }

    def task(self, name: str, run: str = "r") -> Task:
        found = self.tasks(run).get(name)
        if found is None:
            raise AssertionError(f"task {name} of run {run} is missing")
        return found

    def head(self, thread: str = "t") -> str | None:
        found = self.store.head(self.id(thread))
        return None if found is None else self.name(found)

    def name(self, found: Checkpointed) -> str:
        return found.checkpoint_id.removeprefix(f"{self.prefix}-")

    def names(self, refs: Sequence[TaskRef]) -> list[str]:
        return [ref.task_id.removeprefix(f"{self.prefix}-") for ref in refs]

    def due(self, **options: Any) -> list[str]:
        """What ``due`` picks on this scene's queue, by name."""
        return self.names(self.store.due(queue=self.queue, **options))

    def ready(self) -> int:
        """How many tasks the backlogs count on this scene's queue."""
        return sum(backlog.ready for backlog in self.store.backlogs() if backlog.queue == self.queue)

    def save(self, name: str, thread: str = "t", parent: str | None = None, ns: str = "") -> None:
        """A checkpoint by hand."""
        follows = None if parent is None else self.id(parent)
        made = Checkpoint(
            id=self.id(name), thread_id=self.id(thread), state={"at": name}, parent_id=follows, ns=ns
        )
        self.store.save(made)

    def history(self, thread: str = "t", ns: str | None = "") -> list[str]:
        """The thread's checkpoints by name, newest first."""
        return [self.name(c) for c in self.store.list_checkpoints(self.id(thread), ns=ns)]

    def snapshot(self, threads: Sequence[str] = ("t",)) -> object:
        """All that the read API shows of these threads and of the scene's queue."""
        return snapshot(self.store, self.ids(*threads), self.queue)


def snapshot(store: Store, threads: Sequence[str], queue: str | None = None) -> dict[str, Any]:
    """All that a store shows of some threads, as plain values that compare: documents are decoded, ``seq`` left out."""
    found: dict[str, Any] = {}
    for thread in threads:
        runs = store.list_runs(RunFilter(thread_id=thread, limit=1000)).runs
        tasks = [task for run in runs for task in store.list_tasks(run.run_id)]
        checkpoints = store.list_checkpoints(thread, ns=None)
        heads = {ns: store.head(thread, ns) for ns in sorted({"", *(c.ns for c in checkpoints)})}
        found[thread] = {
            "heads": {ns: head and head.checkpoint_id for ns, head in heads.items()},
            "runs": [plain(run) for run in runs],
            "tasks": [plain(task) for task in tasks],
            "checkpoints": [plain(checkpoint) for checkpoint in checkpoints],
        }
    found["backlogs"] = [plain(b) for b in store.backlogs() if queue in (None, b.queue)]
    return found


#: The fields that hold documents: equal when they mean the same, for a JSONB column reorders keys.
DOCUMENTS = frozenset(
    {
        "input",
        "config",
        "metadata",
        "error",
        "arg",
        "timeout",
        "output",
        "progress",
        "state",
        "next",
        "control",
    }
)


def plain(value: Any) -> Any:
    """A record as builtins: documents decoded, ``seq`` (whose values are each store's own) left out."""
    if isinstance(value, msgspec.Struct):
        documents = (
            DOCUMENTS | {"reason"} if isinstance(value, Run) else DOCUMENTS
        )  # an answer's reason is text
        return {
            name: document(getattr(value, name)) if name in documents else plain(getattr(value, name))
            for name in value.__struct_fields__
            if name not in ("seq", "request_digest")
        }
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def document(text: str | None) -> Any:
    return msgspec.json.decode(text) if text else None  # a brief record has an empty one
