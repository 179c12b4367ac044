"""Delta channels: their value is not in every checkpoint, but grows from the last one that has it by the writes since."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from langgraph.checkpoint.base import DeltaChannelHistory

from petiole.langgraph.threads import Threads, place_of
from petiole.langgraph.values import Values
from petiole.langgraph.writes import Writes
from petiole_stores.records import Checkpointed
from petiole_stores.serde.document import escape_key

_keys = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def history_of(
    record: Checkpointed, channels: Sequence[str], threads: Threads, writes: Writes, values: Values
) -> dict[str, DeltaChannelHistory]:
    """For each channel the nearest value that an ancestor of the checkpoint has (``seed``; left out where none has one)
    and the writes from there on, oldest first. Each ancestor is read once; values are loaded only where one is found."""
    found: dict[str, DeltaChannelHistory] = {channel: {"writes": []} for channel in channels}
    open_ = set(channels)
    for ancestor in threads.ancestors(record):
        if not open_:
            break
        for write in reversed(writes.of(place_of(ancestor), open_)):
            found[write[1]]["writes"].append(write)
        seeded = valued(ancestor, open_)
        if seeded:
            state = threads.store.from_record(ancestor).state
            for channel in seeded:
                found[channel]["seed"] = values.load_one(state[channel])
            open_ -= seeded
    for entry in found.values():
        entry["writes"].reverse()
    return found


def needed(record: Checkpointed, threads: Threads, counted: Sequence[str]) -> list[Checkpointed]:
    """The ancestors without which the values of a checkpoint's delta channels could not be told.

    ``counted`` are the delta channels, of which LangGraph counts in the metadata how far the last stored value is.
    """
    open_ = set(counted) - valued(record, set(counted))
    kept = []
    for ancestor in threads.ancestors(record) if open_ else ():
        kept.append(ancestor)
        open_ -= valued(ancestor, open_)
        if not open_:
            break
    return kept


def valued(record: Checkpointed, channels: set[str]) -> set[str]:
    """Those of the channels whose value the checkpoint has; nothing is loaded."""
    keys = _keys(record.state)
    return {channel for channel in channels if escape_key(channel) in keys}
