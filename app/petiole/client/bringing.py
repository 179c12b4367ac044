"""Documents of an exported thread, made to be those of a thread here."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from petiole_stores.decoding import decoder
from petiole_stores.errors import InputError
from petiole_stores.ids import derived_id
from petiole_stores.integrity import seal_of
from petiole_stores.records import Blob, Checkpointed, NewCheckpoint
from petiole_stores.serde import Serde, digest_document
from petiole_workers.documents import PlannedTask
from petiole_workers.hop import read_config

_REFERENCE = re.compile(r'("\$blob"\s*:\s*")([0-9a-z]+)(")')

#: A document, and the blobs that it refers to.
Brought = tuple[str, list[Blob]]


class Bringing:
    """Documents and blobs of a file as the store of a new thread is to hold them.

    Where that store encrypts, values are read and written anew, which takes their classes; else their texts are taken over.
    """

    def __init__(self, serde: Serde, thread_id: str, blobs: Mapping[str, bytes]) -> None:
        self._serde, self.thread_id = serde, thread_id
        self._made = {digest: serde.make_blob(data, thread_id=thread_id) for digest, data in blobs.items()}
        self._by_old = {digest: blob.digest for digest, blob in self._made.items()}
        self._by_new = {blob.digest: blob for blob in self._made.values()}

    def text(self, text: str) -> Brought:
        """A document with its references to blobs as they are here."""
        used: dict[str, Blob] = {}

        def put(match: re.Match[str]) -> str:
            old = match[2]
            if old not in self._made:
                raise InputError(f"the exported thread lacks the blob {old}: export it again")
            used[self._by_old[old]] = self._made[old]
            return f"{match[1]}{self._by_old[old]}{match[3]}"

        return _REFERENCE.sub(put, text), [*used.values()]

    def value(self, text: str) -> Brought:
        """The document of one value."""
        text, blobs = self.text(text)
        if not self._serde.encrypts:
            return text, blobs
        value = self._serde.load(text, self._by_new, thread_id=self.thread_id)
        text, made = self._serde.dump(value, thread_id=self.thread_id)
        return text, [*made.values()]

    def values(self, text: str) -> Brought:
        """The document of a state."""
        text, blobs = self.text(text)
        if not self._serde.encrypts:
            return text, blobs
        values = self._serde.load_values(text, self._by_new, thread_id=self.thread_id)
        text, made = self._serde.dump_values(values, thread_id=self.thread_id)
        return text, [*made.values()]

    def config(self, text: str) -> Brought:
        """A run's config, without the parent that it had there."""
        try:
            config = read_config(text)
        except msgspec.MsgspecError as error:
            raise InputError(f"the exported run's config cannot be read: {error}") from None
        config.parent = None
        blobs: list[Blob] = []
        for name in ("context", "configurable"):
            given = bytes(getattr(config, name)).decode()
            if given:
                document, more = self.value(given)
                setattr(config, name, msgspec.Raw(document.encode()))
                blobs += more
        return msgspec.json.encode(config).decode(), blobs

    def checkpoint(self, point: Checkpointed, ids: dict[str, str]) -> tuple[NewCheckpoint, list[Blob]]:
        """A checkpoint under a new id, which is put among ``ids``."""
        ids[point.checkpoint_id] = derived_id("import", self.thread_id, point.checkpoint_id)
        (state, blobs), (control, more), (metadata, others) = (
            self.values(point.state),
            self.text(point.control),
            self.values(point.metadata),
        )
        next, args = self._next(point.next)
        record = NewCheckpoint(
            checkpoint_id=ids[point.checkpoint_id],
            parent_id=ids.get(point.parent_id or ""),
            ns=point.ns,
            step=point.step,
            source=point.source,
            node_names=point.node_names,
            state=state,
            next=next,
            control=control,
            metadata=metadata,
            digest=digest_document(state),
            version=point.version,
        )
        record.seal = seal_of(record)
        return record, [*blobs, *more, *others, *args]

    def _next(self, text: str) -> Brought:
        try:
            planned = _planned(text)
        except msgspec.MsgspecError as error:
            raise InputError(
                f"what comes next after an exported checkpoint cannot be read: {error}"
            ) from None
        blobs: list[Blob] = []
        for task in planned:
            if arg := bytes(task.arg).decode():
                document, more = self.value(arg)
                task.arg = msgspec.Raw(document.encode())
                blobs += more
        return msgspec.json.encode(planned).decode(), blobs


_planned = decoder(list[PlannedTask])
