"""Damaged checkpoints: finding them, and rebuilding them from what they were made of.

A checkpoint follows from its parent and the kept outputs of the superstep between them. A rebuilt one is believed only where
a digest proves it: either it has the digest that the damaged one recorded, or it equals what is stored and the recorded
digest itself is what was damaged. Reducers and routers are users' code: one that gives something else today
proves nothing, and nothing is changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from petiole_stores.errors import CorruptionError, PetioleError
from petiole_stores.integrity import damage_of, seal_of
from petiole_stores.records import Blob, Checkpointed, NewCheckpoint, Output, Run, RunFilter, Task
from petiole_stores.references import blobs_named
from petiole_stores.serde import digest_document
from petiole_stores.store import Store
from petiole_workers.documents import Documents, Loaded
from petiole_workers.given import Given, coerced
from petiole_workers.graph import (
    START,
    GraphDefinition,
    Runtime,
    Snapshot,
    TaskSpec,
    advance,
    begin,
    stop_step,
    task_output,
)
from petiole_workers.graph.callables import Runner, run_awaitable
from petiole_workers.hop import RunConfig, read_config
from petiole_workers.recursion import FIRST_STEP, counted, last_step

#: How many damaged ancestors one repair goes back.
DEPTH = 50
PAGE = 200


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong in a store. ``kind`` is checkpoint, blob, head or output."""

    thread_id: str
    kind: str
    subject: str
    what: str
    graph: str = ""
    checkpoint_id: str | None = None  #: the one to mend
    quarantined: bool = False

    def __str__(self) -> str:
        return f"thread {self.thread_id!r}: {self.kind} {self.subject}: {self.what}"


@dataclass(frozen=True)
class Rebuilt:
    """A proven copy of a damaged checkpoint, with the blobs that it names."""

    checkpoint: NewCheckpoint
    blobs: list[Blob]


# ---------------------------------------------------------------- finding


def verify(store: Store, thread_id: str | None = None) -> Iterator[Finding]:
    """Everything that is wrong with a thread's stored rows, or with those of all threads."""
    for thread in [thread_id] if thread_id is not None else store.threads():
        yield from _verify_thread(store, thread)


def _verify_thread(store: Store, thread_id: str) -> Iterator[Finding]:
    graphs: dict[str | None, str] = {}
    known: set[str] = set()
    sound: dict[str, str | None] = {}
    before: int | None = None
    while page := store.list_checkpoints(thread_id, ns=None, before=before, limit=PAGE):
        before = page[-1].seq
        for record in page:
            known.add(record.checkpoint_id)
            if record.run_id not in graphs:
                run = store.get_run(record.run_id) if record.run_id else None
                graphs[record.run_id] = run.graph if run else ""
            what = damage_of(record) or record.quarantined
            if what:
                yield Finding(
                    thread_id, "checkpoint", record.checkpoint_id, what, graphs[record.run_id],
                    record.checkpoint_id, record.quarantined is not None,
                )  # fmt: skip
            else:
                yield from _verify_blobs(store, record, graphs[record.run_id], sound)
    for run in runs_of(store, thread_id):
        for task in store.list_tasks(run.run_id):
            if task.checkpoint_id is not None and task.checkpoint_id not in known and not _over(task):
                yield Finding(
                    thread_id,
                    "head",
                    task.checkpoint_id,
                    f"it is missing, and {task.node} waits on it",
                    run.graph,
                )
                known.add(task.checkpoint_id)
            for digest in blobs_named([task.output, task.arg]) if not _over(task) or task.output else ():
                if fault := _fault(store, thread_id, digest, sound):
                    yield Finding(thread_id, "output", task.task_id, f"blob {digest}: {fault}", run.graph)


def _verify_blobs(
    store: Store, record: Checkpointed, graph: str, sound: dict[str, str | None]
) -> Iterator[Finding]:
    for digest in sorted(blobs_named([record.state, record.next, record.metadata])):
        new = digest not in sound
        if (fault := _fault(store, record.thread_id, digest, sound)) and new:
            yield Finding(
                record.thread_id,
                "blob",
                digest,
                f"{fault}, and checkpoint {record.checkpoint_id} names it",
                graph,
                record.checkpoint_id,
            )


def _fault(store: Store, thread_id: str, digest: str, sound: dict[str, str | None]) -> str | None:
    if digest not in sound:
        try:
            found = store.get_blobs(thread_id, [digest])
            if digest in found:
                found[digest].verify()
            sound[digest] = None if digest in found else "it is missing"
        except CorruptionError as error:
            sound[digest] = f"it is damaged ({error})"
    return sound[digest]


def runs_of(store: Store, thread_id: str) -> Iterator[Run]:
    """The runs of a thread, newest first."""
    cursor: str | None = None
    while True:
        page = store.list_runs(RunFilter(thread_id=thread_id, limit=PAGE, cursor=cursor))
        yield from page.runs
        cursor = page.next
        if cursor is None:
            return


def _over(task: Task) -> bool:
    return task.status in ("done", "failed", "cancelled")


# ---------------------------------------------------------------- rebuilding


class Repair:
    """Rebuilds the damaged checkpoints of one graph's threads.

    ``runner`` waits for async routers.
    """

    def __init__(
        self, store: Store, documents: Documents, graph: GraphDefinition, runner: Runner = run_awaitable
    ) -> None:
        self._store, self._documents, self._graph, self._runner = store, documents, graph, runner

    def mend(self, record: Checkpointed, *, depth: int = DEPTH) -> str | None:
        """Put a proven copy in the place of a damaged checkpoint; says why not where that cannot be done."""
        try:
            made = self._rebuild(record, depth)
        except PetioleError as error:
            return f"it cannot be rebuilt: {error}"
        except Exception as error:  # noqa: BLE001 - reducers and routers are users' code
            return f"it cannot be rebuilt: {type(error).__name__} in the graph's own code: {error}"
        proven = self._proof(record, made)
        if proven is None:
            return "what its parent and outputs give today has another digest: the graph's code has changed, or they are damaged too"
        self._store.mend(record, proven, made.blobs)
        return None

    def _proof(self, record: Checkpointed, made: Rebuilt) -> NewCheckpoint | None:
        """The rebuilt checkpoint as it is to be stored, if a digest proves it."""
        new = made.checkpoint
        if record.digest != new.digest and _digest(record.state) != new.digest:
            return None
        if record.seal and new.seal != record.seal and seal_or_none(record) != new.seal:
            return None
        return new

    def _rebuild(self, record: Checkpointed, depth: int) -> Rebuilt:
        run = self._store.get_run(record.run_id) if record.run_id else None
        if run is None:
            raise CorruptionError("no run is on record that made it")
        parent = self._parent(record, depth)
        graph = self._graph.within(record.ns)
        if record.source == "input" and record.ns:
            raise CorruptionError(
                "it holds what a node of the graph around it was given, which is kept nowhere else"
            )
        if record.source == "input":
            snapshot, kept = self._begun(run, parent)[0], parent.parts if parent else {}
        elif parent is None:
            raise CorruptionError("its parent is not there")
        elif record.source == "fork":
            control = {**parent.snapshot.control, FIRST_STEP: parent.snapshot.step + 1}
            snapshot = dataclasses.replace(
                parent.snapshot, step=parent.snapshot.step + 1, source="fork", control=control, writers=()
            )
            kept = parent.parts
        elif record.source != "loop":
            raise CorruptionError(f"its source is {record.source!r}: only a superstep can be made again")
        else:
            snapshot, kept = self._advanced(run, parent, graph)
        rows = self._documents.settle(
            graph,
            snapshot,
            thread_id=record.thread_id,
            parent_id=record.parent_id,
            kept=kept,
            queue="petiole",
            ns=record.ns,
        )
        new = rows.checkpoint
        new.checkpoint_id, new.version = record.checkpoint_id, record.version
        new.metadata = record.metadata
        new.seal = seal_of(new)
        return Rebuilt(new, list(rows.blobs.values()))

    def _parent(self, record: Checkpointed, depth: int) -> Loaded | None:
        if record.parent_id is None:
            return None
        parent = self._store.get_checkpoint(record.parent_id)
        if parent is None:
            raise CorruptionError(f"its parent {record.parent_id} is missing")
        try:
            return self._documents.checkpoint(parent)
        except CorruptionError:
            if depth <= 0 or (why := self.mend(parent, depth=depth - 1)) is not None:
                raise CorruptionError(f"its parent {parent.checkpoint_id} is damaged too") from None
            mended = self._store.get_checkpoint(record.parent_id)
            assert mended is not None, why
            return self._documents.checkpoint(mended)

    def _begun(self, run: Run, base: Loaded | None) -> tuple[Snapshot, Snapshot]:
        if run.input is None:
            raise CorruptionError("its run's input is not on record")
        given = self._documents.value(run.thread_id, run.input)
        before = base.snapshot if base else None
        taken, first = begin(
            self._graph,
            before,
            given,
            runner=self._runner,
            runtime=self._runtime(run),
            stop=stop_step(before, _config(run).recursion_limit),
        )
        return taken, dataclasses.replace(first, control={**first.control, FIRST_STEP: taken.step})

    def _advanced(
        self, run: Run, parent: Loaded, graph: GraphDefinition
    ) -> tuple[Snapshot, dict[str, bytes]]:
        """The snapshot after the superstep that followed ``parent``, and the stored text of what it left alone."""
        starts = [task for task in parent.snapshot.next if task.node == START]
        if starts:
            [start] = starts
            spec = TaskSpec(start.path, start.node, start.arg)
            first = advance(
                graph,
                parent.snapshot,
                [task_output(graph, spec, start.arg)],
                stop=None,
                runner=self._runner,
                runtime=self._runtime(run),
            )
            return dataclasses.replace(first, control={**first.control, FIRST_STEP: parent.snapshot.step}), {}
        done = [
            Output(path=task.path, node=task.node, output=task.output or "null")
            for task in self._store.list_tasks(run.run_id)
            if (task.checkpoint_id, task.kind, task.status) == (parent.record.checkpoint_id, "node", "done")
        ]
        if len(done) != len(parent.snapshot.next):
            raise CorruptionError(
                f"{len(done)} of the {len(parent.snapshot.next)} outputs that it was made of are on record"
            )
        outputs = self._documents.outputs(run.thread_id, done)
        if any(output.to_parent for output in outputs):
            raise CorruptionError("a node left for the parent graph there")
        written = {key for output in outputs for key, _ in output.writes}
        kept = {key: part for key, part in parent.parts.items() if key not in written}
        limit = _config(run).recursion_limit
        snapshot = advance(
            graph,
            parent.snapshot,
            outputs,
            stop=last_step(parent.snapshot, limit),
            runner=self._runner,
            runtime=self._runtime(run),
        )
        return counted(parent.snapshot, snapshot, limit), kept

    def _runtime(self, run: Run) -> Runtime[Any]:
        """What routers are given that ask for it: as far as they should decide by it, it is the run's."""
        config = _config(run)
        given = Given.read(self._documents, run, config)
        return Runtime(
            context=coerced(self._graph.context_schema, given.context, run.graph),
            thread_id=run.thread_id,
            run_id=run.run_id,
            caller=given.caller(self._documents, run, config),
        )


def _config(run: Run) -> RunConfig:
    return read_config(run.config)


def seal_or_none(record: Checkpointed) -> str | None:
    """The seal that the stored row would have; ``None`` where it holds no document."""
    try:
        return seal_of(record)
    except PetioleError:
        return None


def _digest(text: str) -> str | None:
    try:
        return digest_document(text)
    except PetioleError:
        return None
