"""What one attempt leaves for the next: the details of its last heartbeat, and the timers it has been through.

A document of its own in the ledger (``Task.progress``). Values above 4 KiB, and all values where a codec encrypts, are
blobs: they go along in the document, for it is replaced as a whole and belongs to one task.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from petiole_stores.errors import InputError
from petiole_stores.serde import Blob, Serde

#: Bytes that the details of a heartbeat may take when they are stored.
MAX_DETAILS = 1024 * 1024


class _Carried(msgspec.Struct):
    digest: str
    codec: str
    data: str
    checksum: str


class Progress(msgspec.Struct, omit_defaults=True):
    """The document. ``timers`` are the store's times at which an attempt's first, second … timer is over."""

    details: msgspec.Raw = msgspec.Raw(b"")
    blobs: list[_Carried] = []
    timers: list[float] = []

    @classmethod
    def read(cls, text: str | None) -> Progress:
        return _decoder.decode(text) if text else cls()

    def text(self) -> str:
        return msgspec.json.encode(self).decode()

    def with_details(self, value: Any, serde: Serde, thread_id: str) -> Progress:
        """The same timers with other details. Raises InputError when they are too large."""
        text, blobs = serde.dump(value, thread_id=thread_id)
        size = len(text) + sum(len(blob.data) for blob in blobs.values())
        if size > MAX_DETAILS:
            raise InputError(
                f"a heartbeat's details take {size} bytes: keep them below {MAX_DETAILS}, and large things elsewhere"
            )
        carried = [
            _Carried(blob.digest, blob.codec, base64.b64encode(blob.data).decode(), blob.checksum)
            for blob in blobs.values()
        ]
        return Progress(details=msgspec.Raw(text.encode()), blobs=carried, timers=self.timers)

    def value(self, serde: Serde, thread_id: str) -> Any:
        """The details."""
        text = bytes(self.details).decode()
        if not text:
            return None
        blobs = {
            it.digest: Blob(
                digest=it.digest, codec=it.codec, data=base64.b64decode(it.data), checksum=it.checksum
            )
            for it in self.blobs
        }
        return serde.load(text, blobs, thread_id=thread_id)


_decoder = msgspec.json.Decoder(Progress)
