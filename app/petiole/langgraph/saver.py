"""The checkpointer for graphs that LangGraph itself runs, on any store of Petiole's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Self

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from petiole.langgraph.delta import history_of, needed
from petiole.langgraph.listing import listed
from petiole.langgraph.place import Place, langgraph_id
from petiole.langgraph.records import REST, Parent, moved, of_stored, to_stored
from petiole.langgraph.runs import RunIndex
from petiole.langgraph.threaded import ThreadedSaver
from petiole.langgraph.threads import Threads, place_of
from petiole.langgraph.values import Values
from petiole.langgraph.writes import Writes
from petiole_stores.errors import ConfigurationError, InputError
from petiole_stores.integrity import damage_of
from petiole_stores.opening import open_store
from petiole_stores.records import Checkpointed
from petiole_stores.serde import Serde
from petiole_stores.store import Store

_COUNTERS = "counters_since_delta_snapshot"


class PetioleSaver(ThreadedSaver):
    """Keeps the checkpoints of LangGraph's graphs: ``builder.compile(checkpointer=PetioleSaver("redis://host/0"))``.

    The newest checkpoint of a thread is the one that was stored last, whatever the clocks of the writers say. Values that
    JSON can hold are readable in Petiole's tools, others go through LangGraph's serializer (no pickle). Encryption and
    compression are those of the store's codec. A saver may be used by several threads and event loops at once.

    Parameters:
        store: a connected store, or the URL of one, which the saver then opens, and closes with :meth:`close` or at the
            end of its ``with`` block.
        serde: LangGraph's serializer for the values that are not plain. One that is no ``JsonPlusSerializer`` (such as
            ``EncryptedSerializer``) gets every value.
        store_serde: for a URL: Petiole's serde, which has the codec that encrypts (``Serde(codec=AesGcmCodec(...))``).

    Raises:
        ConfigurationError: nothing serves the URL, or ``store_serde`` was given with a store.
        StoreUnavailableError: the store cannot be reached.
    """

    def __init__(
        self,
        store: Store | str,
        *,
        serde: SerializerProtocol | None = None,
        store_serde: Serde | None = None,
    ) -> None:
        super().__init__(serde=serde)
        if isinstance(store, str):
            self.store, self._owned = open_store(store, serde=store_serde), True
        elif store_serde is not None:
            raise ConfigurationError(
                f"store_serde was given with {store!r}, which has a serde: set the store's own, or give its URL"
            )
        else:
            self.store, self._owned = store, False
        self._threads = Threads(self.store)
        self._runs = RunIndex(self.store)

    @classmethod
    def from_conn_string(
        cls, url: str, *, serde: SerializerProtocol | None = None, store_serde: Serde | None = None
    ) -> Self:
        """A saver on the store of this URL: ``with PetioleSaver.from_conn_string(url) as saver``, or ``async with``."""
        return cls(url, serde=serde, store_serde=store_serde)

    def setup(self) -> None:
        """Bring the store's schema up to date; a saver that was made from a URL has done so."""
        self.store.migrate_schema()

    def close(self) -> None:
        """Close the store if the saver has opened it."""
        if self._owned:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---------------------------------------------------------------- reading

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that the config names, else the newest of its thread and namespace; ``None``: there is none."""
        record = self._threads.find(Place.of(config))
        return None if record is None else self._tuple(record)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Checkpoints, newest first: of the config's thread, of its namespace if it names one; of all threads, one thread
        after the other, without a config.

        ``filter`` are values that the metadata must have, ``before`` names a checkpoint that they must be older than.
        """
        found = listed(self._threads, config, before)
        if filter:
            found = (record for record in found if self._matches(record, filter))
        for record in islice(found, limit if limit is None else max(limit, 0)):
            yield self._tuple(record)

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """What the ancestors of a checkpoint have of these channels: the nearest value, and the writes from there on."""
        record = self._threads.find(Place.of(config)) if channels else None
        if record is None:
            return {channel: {"writes": []} for channel in channels}
        return history_of(record, channels, self._threads, self._writes, self._values)

    # ---------------------------------------------------------------- writing

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint after the one that the config names; returns the config that names the new one.

        It is durable, with its values, when this returns, and then its thread's newest. Values of channels that are not
        among ``new_versions`` are the parent's, if it has them in the same version.
        """
        parent = Place.of(config)
        place = parent.at(checkpoint["id"])
        full = get_checkpoint_metadata(config, metadata)
        stored, kept = to_stored(place, checkpoint, full, new_versions, self._parent(parent), self._values)
        if stored.run_id is not None:
            self._runs.enter(stored.run_id, place.thread_id)
        self.store.save(stored, kept=kept)
        return place.config

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task has written after the checkpoint that the config names, which need not be there yet."""
        self._writes.put(Place.of(config), writes, task_id, task_path)

    def get_next_version(self, current: int | None, channel: None) -> int:
        """The version after ``current``: numbers from 1; a text (of a thread that another saver began) stays a text."""
        if isinstance(current, str):
            number = int(current.partition(".")[0]) + 1
            return f"{number:032}.{0:016}"
        return 1 if current is None else current + 1

    # ---------------------------------------------------------------- whole threads

    def delete_thread(self, thread_id: str) -> None:
        """Remove a thread: its checkpoints, then their writes. After a crash in between, call it again."""
        self._threads.remove_thread(str(thread_id))
        self._writes.delete_thread(str(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove the checkpoints whose metadata has one of these as ``run_id``, on every thread, with their writes."""
        for run_id in map(str, run_ids):
            for thread_id in self._runs.threads(run_id):
                self._remove(
                    thread_id,
                    [row for row in self._threads.rows(thread_id, None) if row.run_id == run_id],
                )
                self._runs.remove(run_id, thread_id)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Give one thread the checkpoints and writes of another, under the same ids, in every namespace.

        The newest come last: a copy that was cut off has the older ones, and is completed by another call.
        """
        if str(source_thread_id) == str(target_thread_id):
            return
        for record in reversed([*self._threads.rows(str(source_thread_id), None)]):
            source = place_of(record)
            target = source._replace(thread_id=str(target_thread_id))
            self._writes.copy(source, target)
            stored = self.store.from_record(record)
            if stored.run_id is not None:
                self._runs.enter(stored.run_id, target.thread_id)
            self.store.save(moved(stored, target))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Remove old checkpoints of threads: with ``keep_latest`` all but the newest of each namespace (and those that
        the values of its delta channels are told from), with ``delete`` all. Oldest first: what is left after a crash is
        sound."""
        if strategy not in ("keep_latest", "delete"):
            raise InputError(f"the strategy {strategy!r} of prune is neither 'keep_latest' nor 'delete'")
        for thread_id in map(str, thread_ids):
            if strategy == "delete":
                self.delete_thread(thread_id)
            else:
                self._keep_latest(thread_id)

    # ---------------------------------------------------------------- within

    @property
    def _values(self) -> Values:
        return Values(self.serde)  # LangGraph replaces the serde of a copy (with_allowlist)

    @property
    def _writes(self) -> Writes:
        return Writes(self.store, self._values)

    def _tuple(self, record: Checkpointed) -> CheckpointTuple:
        loaded = of_stored(self.store.from_record(record), self._values)
        assert loaded is not None
        place = place_of(record)
        parent = None if record.parent_id is None else place.at(langgraph_id(record.parent_id)).config
        return CheckpointTuple(place.config, *loaded, parent, self._writes.of(place))

    def _matches(self, record: Checkpointed, filter: Mapping[str, Any]) -> bool:
        metadata = self._metadata(record)
        return all(metadata.get(key) == value for key, value in filter.items())

    def _metadata(self, record: Checkpointed) -> dict[str, Any]:
        stored = self._stored_metadata(record)
        return self._values.load({key: value for key, value in stored.items() if key != REST})

    def _stored_metadata(self, record: Checkpointed) -> dict[str, Any]:
        blobs = self.store.load_blobs(record.thread_id, [record.metadata])
        return self.store.serde.load_values(record.metadata, blobs, thread_id=record.thread_id)

    def _parent(self, place: Place) -> Parent:
        """The checkpoint of a place as the parent of another one; by name alone where it is gone or damaged."""
        if place.checkpoint_id is None:
            return Parent()
        record = self._threads.find(place)
        if record is None or damage_of(record):
            return Parent(place.stored_id)
        return Parent.of(record, self._stored_metadata(record), self._values)

    def _remove(self, thread_id: str, records: Sequence[Checkpointed]) -> None:
        """Remove these checkpoints of a thread, their writes, and the values that were theirs alone."""
        for record in records:
            self._threads.remove(record)
            self._writes.delete(place_of(record))
        if records:
            self._threads.collect(thread_id)

    def _keep_latest(self, thread_id: str) -> None:
        rows = [*self._threads.rows(thread_id, None)]
        kept: set[str] = set()
        for ns in {row.ns for row in rows}:
            newest = self._threads.find(Place(thread_id, ns))
            if newest is not None:
                counted = self._metadata(newest).get(_COUNTERS) or ()
                kept |= {row.checkpoint_id for row in (newest, *needed(newest, self._threads, [*counted]))}
        self._remove(thread_id, [row for row in reversed(rows) if row.checkpoint_id not in kept])
