"""Carrying a thread from one store to another, so that a run of production can be looked at and run again on a laptop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from petiole.client.bringing import Bringing
from petiole.client.continuing import Continuing
from petiole.client.replaying import next_nodes
from petiole.client.thread_file import ThreadFile, decode
from petiole_stores.checks import check_id
from petiole_stores.errors import ConflictError, InputError
from petiole_stores.ids import derived_id, new_id
from petiole_stores.integrity import damage_of
from petiole_stores.records import Checkpointed, NewRun, Run, RunFilter
from petiole_workers.active import PAGE, runs_of
from petiole_workers.fitting import queue_of
from petiole_workers.submission import Submission

#: How long an imported run would wait by itself, in seconds: it is paused long before.
HOLD = 30.0


class Imported(NamedTuple):
    """What an import has made; ``run_id`` is ``None`` where the exported run has nothing to go on with."""

    thread_id: str
    run_id: str | None
    checkpoints: int


class Carrying(Continuing):
    """Exports and imports threads."""

    def export_thread(self, thread_id: str, *, run: str | None = None) -> bytes:
        """A thread as the text of one JSON file, for the sake of its newest run (or ``run``); see :mod:`petiole.client.thread_file`.

        Values of an encrypted store stand in it in the clear. Raises NotFoundError, CorruptionError.
        """
        import petiole

        found = self.run_of(thread_id, run)
        thread_id, store = found.thread_id, self.store
        runs = sorted(runs_of(store, RunFilter(thread_id=thread_id, limit=PAGE)), key=lambda it: it.seq)
        tasks = [task for one in runs for task in store.list_tasks(one.run_id)]
        points = [*reversed(store.list_checkpoints(thread_id, ns=None))]
        for point in points:
            if damage := damage_of(point):
                raise InputError(
                    f"checkpoint {point.checkpoint_id!r} is damaged ({damage}): mend it with `petiole db verify --repair` first"
                )
        records: list[Run | Checkpointed] = [*runs, *points]
        blobs = store.load_blobs(thread_id, [text for record in records for text in _documents(record)])
        said = [text for task in tasks for text in (task.arg, task.output) if text]
        digests = {digest for text in said for digest in store.serde.blob_digests(text)} - blobs.keys()
        blobs |= store.get_blobs(
            thread_id, sorted(digests)
        )  # of old tasks some may be gone: nothing needs them
        file = ThreadFile(
            petiole=petiole.__version__,
            exported_at=self.now(),
            thread_id=thread_id,
            run_id=found.run_id,
            runs=runs,
            tasks=[msgspec.structs.replace(task, token=None, done_token=None) for task in tasks],
            checkpoints=points,
            blobs={
                digest: store.serde.open_blob(blob, thread_id=thread_id) for digest, blob in blobs.items()
            },
        )
        return file.encode()

    def import_thread(self, text: bytes | str, *, thread_id: str | None = None) -> Imported:
        """Bring an exported thread into this store, under a new id or ``thread_id``, with its run paused where it stood.

        Its checkpoints come as they were, under new ids, but for those within nodes that are graphs: such a node begins anew.
        The run is a new one that would run what the exported one had not finished; one that had succeeded is set to its
        beginning. ``unpause`` lets it run. What its tasks had done and said stays in the file.

        Raises InputError for what is no such file, ConflictError where the thread exists.
        """
        file = decode(text)
        target = new_id() if thread_id is None else thread_id
        check_id("thread_id", target)
        if self.store.newest_run(target) is not None or self.store.head(target) is not None:
            raise ConflictError(f"thread {target!r} exists: import under another id")
        source = next(run for run in file.runs if run.run_id == file.run_id)
        check_id("graph", source.graph)
        bringing = Bringing(self.store.serde, target, file.blobs)
        ids: dict[str, str] = {}
        kept = [point for point in file.checkpoints if ":" not in point.ns.rpartition("|")[2]]
        made = [bringing.checkpoint(point, ids) for point in kept]  # all are read before any is stored
        run = self._imported(source, file, bringing, ids)
        for point, (record, blobs) in zip(kept, made, strict=True):
            self.store.bring(record, target, at=point.created_at, blobs=blobs)
        if run is not None:
            self._hold(run, file.thread_id)
        return Imported(target, run.run_id if run else None, len(made))

    def _imported(
        self, source: Run, file: ThreadFile, bringing: Bringing, ids: Mapping[str, str]
    ) -> NewRun | None:
        """The run that goes on where the exported one stood; ``None`` where no node comes next."""
        base = _base_of(source, file.checkpoints)
        if base is None and source.input is None:
            return None
        config, blobs = bringing.config(source.config)
        run = Submission(
            graph=source.graph,
            queue=queue_of(self._fleet.offer(source.graph, None), self.settings.queue),
            thread_id=bringing.thread_id,
            base_id=ids[base.checkpoint_id] if base else derived_id("import", bringing.thread_id),
            tags=source.tags,
            metadata={"import_of": source.run_id},
            config=config,
        ).new_run(self.store.serde)
        run.delay = HOLD
        if base is None:
            run.base_id = None
            run.input, more = bringing.value(source.input or "null")
            blobs = [*blobs, *more]
        run.blobs = [*run.blobs, *blobs]
        return run

    def _hold(self, run: NewRun, origin: str) -> None:
        """Submit the run and pause it; nobody takes it up in between, for it is to start later."""
        self.store.hint(run.thread_id, [run.run_id, run.start.task_id])
        [answer] = self.store.submit([run])
        if answer.result == "refused":
            raise ConflictError(f"the imported run was refused ({answer.reason}): import under another id")
        self.store.pause([run.run_id], reason=f"imported from thread {origin}: unpause lets it run")


def _base_of(source: Run, checkpoints: Sequence[Checkpointed]) -> Checkpointed | None:
    """The checkpoint that the run is to go on from: where it stands, or its beginning where it had succeeded."""
    root = [point for point in checkpoints if not point.ns]
    own = [point for point in root if point.run_id == source.run_id]
    if source.status == "succeeded":
        return next((point for point in own if next_nodes(point)), None)
    if own:
        return own[-1] if next_nodes(own[-1]) else None
    return next((point for point in root if point.checkpoint_id == source.base_id), None)


def _documents(record: Run | Checkpointed) -> list[str]:
    """The documents of a record that may refer to blobs."""
    if isinstance(record, Run):
        return [text for text in (record.input, record.config, record.metadata) if text]
    return [record.state, record.next, record.control, record.metadata]
