"""Is a stored checkpoint what was written? Two digests tell: of the state, and of all else that its row says."""

from __future__ import annotations

from petiole_stores.contract import json_text
from petiole_stores.errors import SerializationError
from petiole_stores.records import Checkpointed, NewCheckpoint
from petiole_stores.serde import digest_document


def seal_of(checkpoint: NewCheckpoint) -> str:
    """Digest of what a checkpoint's row says beside its state: its place in the history and what comes next."""
    place = json_text(
        [
            checkpoint.checkpoint_id,
            checkpoint.parent_id,
            checkpoint.ns,
            checkpoint.step,
            checkpoint.source,
            checkpoint.node_names,
        ]
    )
    return digest_document(f"[{place},{checkpoint.next},{checkpoint.control},{checkpoint.metadata}]")


def damage_of(record: Checkpointed) -> str | None:
    """What is wrong with a stored checkpoint, in a sentence; ``None`` when it is what was written."""
    try:
        if digest_document(record.state) != record.digest:
            return "its state does not match its digest"
        if record.seal and seal_of(record) != record.seal:
            return "what it says comes next does not match its seal"
    except SerializationError as error:
        return f"it holds no document: {error}"
    return None
