"""`update_state`: a thread's state changed by hand, as if a node had written it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

from msgspec.structs import replace

from petiole_stores.errors import InputError, InvalidUpdateError, NotFoundError, ThreadBusyError
from petiole_stores.records import (
    SETTLED,
    Amendment,
    Checkpointed,
    NewCheckpoint,
    NewTask,
    Output,
    Resumption,
    Run,
    RunFilter,
    RunStatus,
    TaskRef,
)
from petiole_workers.compiled import CompiledGraph
from petiole_workers.documents import Documents, Loaded
from petiole_workers.fitting import queue_of
from petiole_workers.graph import (
    END,
    MISSING,
    START,
    Command,
    GraphDefinition,
    Send,
    Snapshot,
    TaskOutput,
    TaskSpec,
    advance,
    begin,
    task_output,
)
from petiole_workers.graph.snapshot import pull_path, push_path
from petiole_workers.graph.updates import apply_writes
from petiole_workers.hop import read_config
from petiole_workers.recursion import FIRST_STEP
from petiole_workers.resuming import pending, resumptions

#: ``as_node`` for values that are to be taken as a run's input, and for a copy of the checkpoint.
INPUT, COPY = "__input__", "__copy__"


_OPEN: list[str] = [status for status in get_args(RunStatus) if status not in SETTLED]
#: How many of a thread's open runs are looked through for its active one.
_OPEN_RUNS = 1000


class StateUpdate(NamedTuple):
    """One update: what the node ``as_node`` is to have written (``None``: the one that wrote last)."""

    values: Any = None
    as_node: str | None = None
    task_id: str | None = None


class Amended(NamedTuple):
    """What an update has made: the newest checkpoint, the tasks of the run that goes on from it, and what to publish."""

    checkpoint_id: str
    tasks: list[NewTask]
    publish: list[TaskRef]


class Updating:
    """Updates of the threads of one graph on one store.

    queue: of tasks whose node names none, where the run that they belong to has none of its own.
    """

    def __init__(self, graph: CompiledGraph, documents: Documents, *, queue: str) -> None:
        self._graph, self._documents, self._queue = graph, documents, queue
        self._store = documents.store

    def update(
        self,
        thread_id: str,
        supersteps: Sequence[Sequence[StateUpdate]],
        *,
        ns: str = "",
        checkpoint_id: str | None = None,
    ) -> Amended:
        """Put one checkpoint a superstep, each after the one before, at the head of the thread; all of them or none.

        They follow the named checkpoint (a fork, if it is not the head), else the head. What came next there is dropped;
        what follows from ``as_node`` comes next; a run that is interrupted or paused goes on from there.

        Raises InvalidUpdateError for an update that no node could have made, ThreadBusyError while a run is at work,
        NotFoundError for an unknown checkpoint, and what reducers and routers raise.
        """
        if not supersteps or not all(supersteps):
            raise ValueError("no updates were given: give at least one a superstep")
        definition = self._graph.definition.within(ns)
        head = self._store.head(thread_id, ns)
        base = self._base(thread_id, ns, checkpoint_id, head)
        loaded = self._documents.checkpoint(base) if base else None
        snapshot = loaded.snapshot if loaded else None
        run = self._active(thread_id)
        made: list[tuple[Snapshot, dict[str, bytes]]] = []
        parent_id = base.checkpoint_id if base else None
        for number, updates in enumerate(supersteps):
            copies = updates[0].as_node == COPY
            if run is not None and copies and snapshot is not None and _is_input(snapshot):
                # The start of a run applies its input, and this run has started long ago: it cannot come next again.
                snapshot, written = _begun(definition, snapshot), None
            else:
                finished = [] if number or base is None else self._finished(thread_id, base)
                snapshot, written = _superstep(definition, snapshot, updates, finished)
                if copies and not number and base is not None:
                    parent_id = base.parent_id
            made.append((snapshot, {} if loaded is None or number else _unchanged(loaded, written)))
        return self._amend(thread_id, ns, head, parent_id, made, run)

    def restart(self, thread_id: str, nodes: Sequence[str], *, checkpoint_id: str | None = None) -> Amended:
        """Put a checkpoint at the head of the thread with the state of the named one, or of the head, and let these nodes
        come next, in place of what came next there.

        Raises InputError for what is no node and for a thread without a state; else as :meth:`update`.
        """
        graph, head = self._graph.definition, self._store.head(thread_id)
        base = self._base(thread_id, "", checkpoint_id, head)
        if base is None:
            raise InputError(f"thread {thread_id!r} has no state yet: submit a run with an input")
        if not nodes or (unknown := [node for node in nodes if node not in graph.nodes]):
            named = f"{unknown[0]!r} is no node" if nodes else "no nodes were given"
            raise InputError(f"{named}: the nodes are {', '.join(map(repr, graph.nodes))}")
        loaded = self._documents.checkpoint(base)
        planned = tuple(TaskSpec(pull_path(node), node) for node in sorted(set(nodes)))
        snapshot = dataclasses.replace(
            loaded.snapshot, step=loaded.snapshot.step + 1, source="update", next=planned, writers=(INPUT,)
        )
        made = [(snapshot, _unchanged(loaded, set()))]
        return self._amend(thread_id, "", head, base.checkpoint_id, made, self._active(thread_id))

    def command(self, thread_id: str, command: Command[Any]) -> list[Resumption] | None:
        """Write a command's update into the thread's newest state, and add the nodes that it goes to to what comes next.

        Gives what lets an interrupted run go on, with the command's answers and those that were given before; ``None`` where
        no run is interrupted. Raises InputError where a sibling of an interrupted task has ended already: its output would be
        lost.
        """
        graph, head, run = self._graph.definition, self._store.head(thread_id), self._active(thread_id)
        if head is None:
            raise InputError(f"thread {thread_id!r} has no state yet: give an input")
        if run is not None and (done := self._finished(thread_id, head)):
            raise InputError(
                f"{', '.join(repr(it.node) for it in done)} of the interrupted superstep in thread {thread_id!r} has ended: "
                "resume it first, and update the state afterwards"
            )
        progress = self._answered(run, command.resume) if run is not None else {}
        loaded = self._documents.checkpoint(head)
        given = task_output(graph, TaskSpec("update", INPUT), dataclasses.replace(command, resume=None))
        snapshot = _commanded(graph, loaded.snapshot, given)
        kept = _unchanged(loaded, {key for key, _ in given.writes})
        tasks = self._amend(thread_id, "", head, head.checkpoint_id, [(snapshot, kept)], run).tasks
        if run is None or run.status != "interrupted":
            return None
        return [Resumption(task_id=it.task_id, progress=progress.get(it.path)) for it in tasks]

    def _answered(self, run: Run, resume: Any) -> dict[str, str]:
        """What the interrupted tasks of a run are to find, by their paths: the answers of before, and those given now."""
        tasks, serde = self._store.list_tasks(run.run_id), self._documents.serde
        given = {it.task_id: it for it in resumptions(tasks, resume, serde)} if resume is not None else {}
        found = {}
        for one in pending(tasks):
            answer = given.get(one.task.task_id)
            if one.task.ns == "":
                found[one.task.path] = (answer and answer.progress) or replace(
                    one.progress, asked=None
                ).text()
        return found

    def _base(
        self, thread_id: str, ns: str, checkpoint_id: str | None, head: Checkpointed | None
    ) -> Checkpointed | None:
        if checkpoint_id is None:
            return head
        found = self._store.get_checkpoint(checkpoint_id)
        if found is None or (found.thread_id, found.ns) != (thread_id, ns):
            raise NotFoundError(f"checkpoint {checkpoint_id!r} is not one of thread {thread_id!r}")
        return found

    def _active(self, thread_id: str) -> Run | None:
        """The run that is to go on from the update: the thread's active one, which is interrupted or paused.

        Raises ThreadBusyError where it is at work. That is found out here and not left to the ledger alone: a run that comes
        to an interrupt in between would be taken for over, as there were no tasks for it.
        """
        found = self._store.list_runs(RunFilter(thread_id=thread_id, status=_OPEN, limit=_OPEN_RUNS)).runs
        if not found:
            return None
        for run in found:
            if run.status in ("interrupted", "paused"):
                return run
        raise _refused("busy", thread_id)

    def _finished(self, thread_id: str, base: Checkpointed) -> list[TaskOutput]:
        """The outputs of the tasks after ``base`` that have ended well."""
        tasks = self._store.list_tasks(base.run_id) if base.run_id else []
        done = [
            Output(path=task.path, node=task.node, output=task.output or "[]")
            for task in tasks
            if task.checkpoint_id == base.checkpoint_id and task.status == "done" and task.kind == "node"
        ]
        return self._documents.outputs(thread_id, done)

    def _amend(
        self,
        thread_id: str,
        ns: str,
        head: Checkpointed | None,
        parent_id: str | None,
        made: Sequence[tuple[Snapshot, dict[str, bytes]]],
        run: Run | None,
    ) -> Amended:
        """Put these snapshots, with the stored text of their unchanged values, at the head."""
        checkpoints: list[NewCheckpoint] = []
        amendment = Amendment(
            thread_id=thread_id, ns=ns, head_id=head.checkpoint_id if head else None, checkpoints=checkpoints
        )
        for snapshot, kept in made:
            rows = self._documents.settle(
                self._graph.definition.within(ns),
                snapshot,
                thread_id=thread_id,
                parent_id=parent_id,
                kept=kept,
                queue=self._graph.queue or self._queue,
                interrupted=run is not None and run.status == "interrupted",
                ns=ns,
            )
            checkpoints.append(rows.checkpoint)
            parent_id = rows.checkpoint.checkpoint_id
            amendment.blobs = [*amendment.blobs, *rows.blobs.values()]
            amendment.tasks = rows.tasks if run else []
        if run is not None:
            self._place(amendment.tasks, run)
        answer = self._store.amend(amendment)
        if answer.result == "refused":
            raise _refused(answer.reason, thread_id)
        return Amended(checkpoints[-1].checkpoint_id, amendment.tasks, answer.publish)

    def _place(self, new: Sequence[NewTask], run: Run) -> None:
        """Let the new tasks wait where the run's other ones do."""
        inline = read_config(run.config).inline
        tasks = self._store.list_tasks(run.run_id) if inline else []
        for task in new:
            task.queue = tasks[-1].queue if tasks else queue_of(self._graph.offer, task.queue)


def _commanded(graph: GraphDefinition, base: Snapshot, given: TaskOutput) -> Snapshot:
    """The snapshot after a command: its writes are in, and where it goes comes next, beside what did before."""
    planned = {it.path: it for it in base.next}
    sends = sum(it.arg is not MISSING for it in base.next)
    for to in given.goto:
        if isinstance(to, Send):
            spec = TaskSpec(push_path(sends), to.node, to.arg, to.timeout)
            sends += 1
        else:
            spec = TaskSpec(pull_path(to), to)
        planned.setdefault(spec.path, spec)
    return dataclasses.replace(
        base,
        step=base.step + 1,
        source="update",
        values=apply_writes(graph, base.values, [given]),
        next=tuple(planned[path] for path in sorted(planned)),
        writers=(INPUT,),
    )


def _is_input(snapshot: Snapshot) -> bool:
    """Whether what comes next is to apply a run's input."""
    return any(task.node == START for task in snapshot.next)


def _begun(graph: GraphDefinition, taken: Snapshot) -> Snapshot:
    """The snapshot after an input's, as the start of a run makes it."""
    outputs = [task_output(graph, task, task.arg) for task in taken.next]
    first = advance(graph, taken, outputs, stop=None)
    return dataclasses.replace(first, control={**first.control, FIRST_STEP: taken.step})


def _superstep(
    graph: GraphDefinition,
    base: Snapshot | None,
    updates: Sequence[StateUpdate],
    finished: Sequence[TaskOutput],
) -> tuple[Snapshot, set[str] | None]:
    """The snapshot after these updates, and the keys that they wrote (``None``: it may be any)."""
    first = updates[0]
    if len(updates) > 1 and any(one.as_node is None or one.as_node in (INPUT, COPY) for one in updates):
        raise InvalidUpdateError(
            f"several updates in one superstep need a node each as as_node, neither {INPUT} nor {COPY}"
        )
    if first.as_node == INPUT:
        return begin(graph, base, first.values)[0], None
    if first.as_node == COPY:
        if base is None:
            raise InvalidUpdateError("there is no checkpoint to copy: the thread is new")
        return dataclasses.replace(base, step=base.step + 1, source="fork"), set()
    start = base or Snapshot(step=-2, source="input", values={}, next=(), control={}, writers=())
    if first.as_node == END:
        if len(updates) > 1 or first.values is not None:
            raise InvalidUpdateError(f"as_node={END!r} clears what comes next: it takes values=None, alone")
        after = advance(graph, start, finished, stop=None)
        return dataclasses.replace(after, source="update", next=(), writers=(END,)), None
    outputs = []
    for number, update in enumerate(updates):
        node = update.as_node or _last_writer(start)
        if node is None:
            raise InvalidUpdateError(
                "which node made the update is not clear: say so with as_node, one of "
                f"{', '.join(map(repr, graph.nodes))}"
            )
        if node != START and node not in graph.nodes:
            raise InvalidUpdateError(
                f"as_node is {node!r}, which is no node: the nodes are {', '.join(map(repr, graph.nodes))}"
            )
        outputs.append(task_output(graph, TaskSpec(f"update:{number:010d}", node), update.values))
    after = advance(graph, start, outputs, stop=None, unstarted=True)
    return dataclasses.replace(after, source="update"), {key for it in outputs for key, _ in it.writes}


def _last_writer(base: Snapshot) -> str | None:
    """The node that wrote the state last; ``None`` if none has, or several at once."""
    writers = set(base.writers)
    return writers.pop() if len(writers) == 1 and base.source != "input" else None


def _unchanged(loaded: Loaded, written: set[str] | None) -> dict[str, bytes]:
    """The stored text of the values that an update leaves as they are."""
    return {} if written is None else {k: part for k, part in loaded.parts.items() if k not in written}


def _refused(reason: str, thread_id: str) -> Exception:
    if reason == "busy":
        return ThreadBusyError(
            f"thread {thread_id!r} has a run at work: its state can be updated when it is interrupted, paused or over"
        )
    if reason == "head moved":
        return ThreadBusyError(
            f"thread {thread_id!r} has gone on meanwhile: look at its state and update it again"
        )
    return InputError(f"the state of thread {thread_id!r} cannot be updated: {reason}")
