"""LangGraph's checkpoints as Petiole's: what of one goes where in the other.

The channels' values are the state, and id, namespace, parent, source, step and time are in place, so that Petiole's tools
show the thread like one of their own. What LangGraph needs beside (versions of channels, what each node has seen) is in the
metadata under a key of its own, beside LangGraph's metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

import msgspec
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata

from petiole.langgraph.place import Place, langgraph_id
from petiole.langgraph.planning import planned
from petiole.langgraph.values import Values
from petiole_stores.checkpoint import Checkpoint as StoredCheckpoint
from petiole_stores.errors import InputError
from petiole_stores.records import Checkpointed
from petiole_stores.serde.document import escape_key

#: The key of the metadata under which the rest of LangGraph's checkpoint is.
REST = "langgraph.checkpoint"


class Parent(NamedTuple):
    """What a checkpoint has from the one before it."""

    stored_id: str | None = None
    next: tuple[str, ...] = ()  #: the nodes that came next
    versions: Mapping[str, Any] = {}  #: of its channels
    parts: Mapping[str, bytes] = {}  #: the text of each of its values

    @classmethod
    def of(cls, record: Checkpointed, metadata: Mapping[str, Any], values: Values) -> Parent:
        """A stored checkpoint, with its metadata loaded, as the parent of another one."""
        return cls(
            record.checkpoint_id,
            tuple(task.node for task in _next(record.next)),
            values.load_one(metadata[REST]["channel_versions"]),
            {key: bytes(text) for key, text in _keys(record.state).items()},
        )

    def unchanged(self, checkpoint: Checkpoint, new_versions: ChannelVersions) -> set[str]:
        """The channels that have not been written since.

        Their values are taken from here: the graph may have gone on to change the objects that it gave.
        """
        return {
            channel
            for channel, version in checkpoint["channel_versions"].items()
            if channel not in new_versions and self.versions.get(channel) == version
        }


def to_stored(
    place: Place,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    new_versions: ChannelVersions,
    parent: Parent,
    values: Values,
) -> tuple[StoredCheckpoint, dict[str, bytes]]:
    """The checkpoint as a Petiole store takes it, and the text of the values that are its parent's."""
    if REST in metadata:
        raise InputError(
            f"the metadata has a key {REST!r}, which the saver uses itself: give it another name"
        )
    unchanged = parent.unchanged(checkpoint, new_versions)
    kept = {name: parent.parts[key] for name in unchanged if (key := escape_key(name)) in parent.parts}
    given = checkpoint["channel_values"]
    changed = {name: value for name, value in given.items() if name not in unchanged}
    rest = {key: value for key, value in checkpoint.items() if key != "channel_values"}
    run_id: object = metadata.get("run_id")
    step, source = metadata.get("step"), str(metadata.get("source", "loop"))
    stored = StoredCheckpoint(
        id=place.stored_id,
        thread_id=place.thread_id,
        run_id=str(run_id) if isinstance(run_id, str | UUID) else None,
        ns=place.ns,
        parent_id=parent.stored_id,
        step=step if type(step) is int else 0,
        source=source,
        node_names=[name for name in parent.next if not name.startswith("__")] if source == "loop" else (),
        state={**dict.fromkeys(kept), **values.dump(changed, what="the channel")},
        next=planned(checkpoint, kept=unchanged, before=parent.next),
        metadata={
            **values.dump(cast("Mapping[str, Any]", metadata), what="the metadata's"),
            REST: values.dump(rest, what="the checkpoint's"),
        },
        timestamp=_time(checkpoint.get("ts")),
    )
    return stored, {escape_key(name): part for name, part in kept.items()}


def of_stored(stored: StoredCheckpoint, values: Values) -> tuple[Checkpoint, CheckpointMetadata] | None:
    """LangGraph's checkpoint and metadata; ``None`` for a checkpoint that LangGraph did not make."""
    metadata = dict(stored.metadata)
    rest = metadata.pop(REST, None)
    if rest is None:
        return None
    checkpoint = {**values.load(rest), "channel_values": values.load(stored.state)}
    return cast("Checkpoint", checkpoint), cast("CheckpointMetadata", values.load(metadata))


def moved(stored: StoredCheckpoint, place: Place) -> StoredCheckpoint:
    """The same checkpoint as one of another thread."""
    parent = None if stored.parent_id is None else place.at(langgraph_id(stored.parent_id))
    return replace(
        stored,
        id=place.stored_id,
        thread_id=place.thread_id,
        parent_id=None if parent is None else parent.stored_id,
    )


def is_langgraphs(record: Checkpointed) -> bool:
    """Whether LangGraph made the checkpoint."""
    return REST in _keys(record.metadata)


class _Task(msgspec.Struct):
    node: str


_next = msgspec.json.Decoder(list[_Task]).decode
_keys = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _time(text: Any) -> datetime:
    """LangGraph's time stamp, ISO 8601; now where it is none."""
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return datetime.now(UTC)
    return found if found.utcoffset() is not None else found.replace(tzinfo=UTC)
