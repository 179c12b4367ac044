"""Between live values and the ledger's rows: snapshots, outputs and arguments as documents and blobs.

A value that no task of a superstep wrote keeps its stored text: it is neither encoded nor hashed again, so what a step
costs grows with what it changed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from petiole_stores.errors import CorruptionError
from petiole_stores.ids import new_id
from petiole_stores.integrity import damage_of, seal_of
from petiole_stores.records import Blob, Checkpointed, NewCheckpoint, NewTask, Output, Task
from petiole_stores.serde import Serde, digest_document
from petiole_stores.store import Store
from petiole_workers.graph import (
    MISSING,
    GraphDefinition,
    Overwrite,
    Send,
    Snapshot,
    TaskOutput,
    TaskSpec,
    TimeoutPolicy,
    is_overwrite,
)
from petiole_workers.patience import Patience

#: Keys of an output's document that are no keys of the state: where a Command leads, who gave the output, that it is for
#: the parent graph, that it was kept from before, and a key with what overwrites it.
_GOTO, _NODE, _PARENT, _CACHED, _OVERWRITE = (
    "__goto__",
    "__node__",
    "__parent__",
    "__cached__",
    "__overwrite__",
)

BLOB_CACHE_BYTES = 64 * 1024 * 1024
#: From how many characters of ``next`` on a checkpoint counts as a fan-out's, and how many of those are remembered.
WIDE, WIDE_KEPT = 4096, 4

_raw_values = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw_writes = msgspec.json.Decoder(list[tuple[str, msgspec.Raw]])


class PlannedTask(msgspec.Struct, omit_defaults=True):
    """A task that comes next, as a checkpoint's ``next`` document has it."""

    path: str
    node: str
    arg: msgspec.Raw = msgspec.Raw(b"")
    timeout: msgspec.Raw = msgspec.Raw(b"")


_planned = msgspec.json.Decoder(list[PlannedTask])


def planned_nodes(next: str) -> tuple[str, ...]:
    """The nodes of the tasks in a checkpoint's ``next`` document, in their order."""
    return tuple(task.node for task in _planned.decode(next))


_encode = msgspec.json.Encoder().encode


class _Limits(msgspec.Struct, omit_defaults=True):
    """A `TimeoutPolicy` as a task and a checkpoint's ``next`` have it."""

    run_timeout: float | None = None
    idle_timeout: float | None = None
    refresh_on: Literal["auto", "heartbeat"] = "auto"


_limits = msgspec.json.Decoder(_Limits)


def timeout_document(limits: TimeoutPolicy) -> str:
    """A task's own timeout as its document."""
    return _encode(_Limits(limits.run_seconds, limits.idle_seconds, limits.refresh_on)).decode()


def read_timeout(document: str) -> TimeoutPolicy | None:
    """The timeout that a document says. Raises CorruptionError for what none could have been made of."""
    try:
        found = _limits.decode(document)
        return TimeoutPolicy.of(
            TimeoutPolicy(
                run_timeout=found.run_timeout, idle_timeout=found.idle_timeout, refresh_on=found.refresh_on
            )
        )
    except (ValueError, msgspec.DecodeError) as error:
        raise CorruptionError(f"the timeout {document!r} of a task is none: {error}") from error


@dataclass
class Loaded:
    """A checkpoint read back: its snapshot, and the stored text of each of its values."""

    snapshot: Snapshot
    parts: dict[str, bytes]
    record: Checkpointed


@dataclass
class Rows:
    """What a settle inserts, and the blobs that belong to it."""

    checkpoint: NewCheckpoint
    tasks: list[NewTask]
    blobs: dict[str, Blob] = field(default_factory=dict)


class BlobCache:
    """The blobs that this process used last, by thread and digest; at most ``limit`` bytes."""

    def __init__(self, limit: int = BLOB_CACHE_BYTES) -> None:
        self._limit, self._size = limit, 0
        self._blobs: OrderedDict[tuple[str, str], Blob] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, thread_id: str, blobs: Iterable[Blob]) -> None:
        with self._lock:
            for blob in blobs:
                if (thread_id, blob.digest) not in self._blobs and len(blob.data) <= self._limit // 2:
                    self._blobs[thread_id, blob.digest] = blob
                    self._size += len(blob.data)
            while self._size > self._limit:
                _, gone = self._blobs.popitem(last=False)
                self._size -= len(gone.data)

    def get(self, thread_id: str, digests: Collection[str]) -> dict[str, Blob]:
        with self._lock:
            found = {}
            for digest in digests:
                blob = self._blobs.get((thread_id, digest))
                if blob is not None:
                    self._blobs.move_to_end((thread_id, digest))
                    found[digest] = blob
            return found


def _sending(send: Send) -> list[object]:
    """A `Send` of a Command as the output's document has it."""
    limits = send.timeout
    return [send.node, send.arg] if limits is None else [send.node, send.arg, timeout_document(limits)]


def _sent(node: str, arg: object, timeout: str | None = None) -> Send:
    return Send(node, arg, timeout=None if timeout is None else read_timeout(timeout))


def written_keys(output: str) -> set[str]:
    """The keys of the state that a task's output writes."""
    return {key for key, _ in _raw_writes.decode(output)} - {_GOTO, _NODE}


def checkpointed(made: NewCheckpoint, task: Task, *, run_id: str) -> Checkpointed:
    """A checkpoint as the ledger will have it that is not read back: one that ``task`` settles with."""
    fields = {name: getattr(made, name) for name in made.__struct_fields__}
    return Checkpointed(**fields, thread_id=task.thread_id, run_id=run_id, created_at=task.created_at, seq=0)


class Documents:
    """Reads and writes the documents of one store, with the ``patience`` that its worker has with it."""

    def __init__(self, store: Store, patience: Patience | None = None) -> None:
        self._store = store
        self._patiently = patience or Patience(key=store.url.shown)
        self._serde = store.serde
        self._cache = BlobCache()
        self._unsaved: dict[tuple[str, str], Blob] = {}
        self._sound: list[Checkpointed] = []

    @property
    def store(self) -> Store:
        """Where they are kept."""
        return self._store

    @property
    def serde(self) -> Serde:
        """What turns values into documents and back."""
        return self._serde

    # ---------------------------------------------------------------- reading

    def blobs(self, thread_id: str, documents: Sequence[str]) -> dict[str, Blob]:
        """The blobs that the documents refer to. Raises CorruptionError when one is gone or damaged."""
        digests = {
            digest for text in documents if "$blob" in text for digest in self._serde.blob_digests(text)
        }
        if not digests:
            return {}
        found = self._cache.get(thread_id, digests)
        for digest in digests - found.keys() if self._unsaved else ():
            if (blob := self._unsaved.get((thread_id, digest))) is not None:
                found[digest] = blob
        missing = sorted(digests - found.keys())
        if missing:
            fetched = self._patiently(lambda: self._store.get_blobs(thread_id, missing))
            for digest in missing:
                if digest not in fetched:
                    raise CorruptionError(
                        f"thread {thread_id!r}: the blob {digest} is missing from the store"
                    )
                fetched[digest].verify()
            self._cache.put(thread_id, fetched.values())
            found |= fetched
        return found

    def carried(self, thread_id: str, blobs: Iterable[Blob]) -> None:
        """Keep blobs of outcomes that are not committed yet: nobody else has them."""
        for blob in blobs:
            self._unsaved[thread_id, blob.digest] = blob

    def stored(self, thread_id: str, blobs: Iterable[Blob]) -> None:
        """Remember blobs that were just committed: the next task on this worker need not fetch them."""
        self._cache.put(thread_id, blobs)
        self.dropped(thread_id, blobs)

    def dropped(self, thread_id: str, blobs: Iterable[Blob]) -> None:
        """Forget blobs of outcomes that were carried."""
        if self._unsaved:
            for blob in blobs:
                self._unsaved.pop((thread_id, blob.digest), None)

    def value(self, thread_id: str, text: str) -> Any:
        """The value of one document."""
        return self._serde.load(text, self.blobs(thread_id, [text]), thread_id=thread_id)

    def checkpoint(self, record: Checkpointed, *, tasks: bool = True) -> Loaded:
        """A stored checkpoint as a snapshot. Raises CorruptionError when its state is not what was written.

        Without ``tasks`` its ``next`` is left empty: a task of a fan-out does not look at its siblings, and reading
        all of them for each of them would take time with the square of their number.
        """
        if record not in self._sound and (damage := damage_of(record)):
            raise CorruptionError(
                f"checkpoint {record.checkpoint_id} of thread {record.thread_id!r} is damaged: {damage}"
            )
        if len(record.next) > WIDE and record not in self._sound:
            # Each task of a fan-out brings the same record: comparing it costs far less than digesting it again.
            self._sound = [*self._sound[1 - WIDE_KEPT :], record]
        thread_id = record.thread_id
        planned = _planned.decode(record.next) if tasks else []
        args = [bytes(task.arg).decode() for task in planned]
        blobs = self.blobs(thread_id, [record.state, *args])
        specs = tuple(
            TaskSpec(
                path=task.path,
                node=task.node,
                arg=self._serde.load(arg, blobs, thread_id=thread_id) if arg else MISSING,
                timeout=read_timeout(text) if (text := bytes(task.timeout).decode()) else None,
            )
            for task, arg in zip(planned, args, strict=True)
        )
        snapshot = Snapshot(
            step=record.step,
            source=record.source,
            values=self._serde.load_values(record.state, blobs, thread_id=thread_id),
            next=specs,
            control=msgspec.json.decode(record.control),
            writers=tuple(record.node_names),
        )
        parts = {key: bytes(raw) for key, raw in _raw_values.decode(record.state).items()}
        return Loaded(snapshot, parts, record)

    def fresh_values(self, loaded: Loaded) -> dict[str, Any]:
        """The values once more, shared with nobody (a node may have changed in place what it was given)."""
        record = loaded.record
        blobs = self.blobs(record.thread_id, [record.state])
        return self._serde.load_values(record.state, blobs, thread_id=record.thread_id)

    def outputs(
        self, thread_id: str, outputs: Sequence[Output], blobs: Mapping[str, Blob] | None = None
    ) -> list[TaskOutput]:
        """The kept outputs of a superstep's tasks; ``blobs`` are theirs, where the store does not have them."""
        if blobs is None:
            blobs = self.blobs(thread_id, [output.output for output in outputs])
        load = self._serde.load

        def read(output: Output) -> TaskOutput:
            node, to_parent, cached = output.node, False, False
            goto: tuple[str | Send, ...] = ()
            writes: list[tuple[str, object]] = []
            for key, raw in _raw_writes.decode(output.output):
                value = load(bytes(raw).decode(), blobs, thread_id=thread_id)
                if key == _GOTO:
                    goto = tuple(to if isinstance(to, str) else _sent(*to) for to in value)
                elif key == _NODE:
                    node = value
                elif key == _PARENT:
                    to_parent = True
                elif key == _CACHED:
                    cached = True
                elif key == _OVERWRITE:
                    writes.append((value[0], Overwrite(value[1])))
                else:
                    writes.append((key, value))
            return TaskOutput(output.path, node, tuple(writes), goto, to_parent, cached)

        return [read(output) for output in outputs]

    # ---------------------------------------------------------------- writing

    def output(
        self, thread_id: str, output: TaskOutput, *, node: str | None = None
    ) -> tuple[str, dict[str, Blob]]:
        """A task's writes as a document (a list of pairs) and its blobs.

        ``node`` is the task's; an output of another one (its error handler's) says so in a pair of its own.
        """
        blobs: dict[str, Blob] = {}
        pairs = []
        more_pairs: list[tuple[str, object]] = []
        if output.goto:
            more_pairs.append((_GOTO, [to if isinstance(to, str) else _sending(to) for to in output.goto]))
        if node not in (None, output.node):
            more_pairs.append((_NODE, output.node))
        if output.to_parent:
            more_pairs.append((_PARENT, True))
        if output.cached:
            more_pairs.append((_CACHED, True))
        writes = [
            (_OVERWRITE, [key, value.value]) if is_overwrite(value) else (key, value)
            for key, value in output.writes
        ]
        for key, value in (*writes, *more_pairs):
            text, more = self._serde.dump(value, thread_id=thread_id)
            blobs |= more
            pairs.append((key, msgspec.Raw(text.encode())))
        return _encode(pairs).decode(), blobs

    def settle(
        self,
        graph: GraphDefinition,
        snapshot: Snapshot,
        *,
        thread_id: str,
        parent_id: str | None,
        kept: Mapping[str, bytes],
        queue: str,
        interrupted: bool = False,
        ns: str = "",
        metadata: Mapping[str, object] | None = None,
    ) -> Rows:
        """A new snapshot as a checkpoint and its tasks, in the namespace ``ns``.

        ``kept`` is the stored text of the values that did not change; ``queue`` serves the nodes that name none.
        """
        blobs: dict[str, Blob] = {}
        state, more = self._serde.dump_values(snapshot.values, thread_id=thread_id, kept=kept)
        blobs |= more
        planned: list[PlannedTask] = []
        tasks: list[NewTask] = []
        for spec in snapshot.next:
            arg = None
            if spec.arg is not MISSING:
                arg, more = self._serde.dump(spec.arg, thread_id=thread_id)
                blobs |= more
            task = PlannedTask(spec.path, spec.node)
            if arg is not None:
                task.arg = msgspec.Raw(arg.encode())
            timeout = None
            if spec.timeout is not None:
                timeout = timeout_document(spec.timeout)
                task.timeout = msgspec.Raw(timeout.encode())
            planned.append(task)
            node = graph.nodes.get(spec.node)
            tasks.append(
                NewTask(
                    task_id=new_id(),
                    path=spec.path,
                    node=spec.node,
                    ns=ns,
                    queue=(node.queue if node else None) or queue,
                    priority=(node.priority if node else None) or "default",
                    arg=arg,
                    timeout=timeout,
                    status="interrupted" if interrupted else "ready",
                )
            )
        checkpoint = NewCheckpoint(
            checkpoint_id=new_id(),
            parent_id=parent_id,
            ns=ns,
            step=snapshot.step,
            source=snapshot.source,
            node_names=[*snapshot.writers],
            state=state,
            next=_encode(planned).decode(),
            control=_encode(snapshot.control).decode(),
            metadata=_encode(metadata).decode() if metadata else "{}",
            digest=digest_document(state),
        )
        checkpoint.seal = seal_of(checkpoint)
        return Rows(checkpoint, tasks, blobs)
