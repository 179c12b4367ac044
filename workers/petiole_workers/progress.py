"""What one attempt leaves for the next: the details of its last heartbeat, the timers it has been through, and the answers
to its interrupts.

A document of its own in the ledger (``Task.progress``). Values above 4 KiB, and all values where a codec encrypts, are
blobs: they go along in the document, for it is replaced as a whole and belongs to one task.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from msgspec.structs import replace

from petiole_stores.errors import InputError
from petiole_stores.serde import Blob, Serde

#: Bytes that the details of a heartbeat may take when they are stored.
MAX_DETAILS = 1024 * 1024


class _Carried(msgspec.Struct):
    digest: str
    codec: str
    data: str
    checksum: str


class Packed(msgspec.Struct, omit_defaults=True):
    """A value with its blobs."""

    text: msgspec.Raw
    blobs: list[_Carried] = []

    @classmethod
    def of(cls, value: Any, serde: Serde, thread_id: str) -> Packed:
        text, blobs = serde.dump(value, thread_id=thread_id)
        carried = [
            _Carried(blob.digest, blob.codec, base64.b64encode(blob.data).decode(), blob.checksum)
            for blob in blobs.values()
        ]
        return cls(msgspec.Raw(text.encode()), carried)

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return len(bytes(self.text)) + sum(len(blob.data) * 3 // 4 for blob in self.blobs)

    def value(self, serde: Serde, thread_id: str) -> Any:
        blobs = {
            it.digest: Blob(
                digest=it.digest, codec=it.codec, data=base64.b64decode(it.data), checksum=it.checksum
            )
            for it in self.blobs
        }
        return serde.load(bytes(self.text).decode(), blobs, thread_id=thread_id)


class Asked(msgspec.Struct):
    """An interrupt that waits for its answer."""

    id: str
    value: Packed


class Answered(msgspec.Struct):
    """The answer to an interrupt; ``id`` is empty where it was given before the question was asked."""

    id: str
    value: Packed


class Awaited(msgspec.Struct, omit_defaults=True):
    """A signal that is waited for until a time of the store's, or that came."""

    name: str
    until: float | None = None
    value: Packed | None = None


class ChildSeen(msgspec.Struct, omit_defaults=True, frozen=True):
    """A child run of the task, see :mod:`petiole_workers.children`.

    told: how often the run had been replayed when the task last failed by its end; -1: it never has.
    generation: how many runs there were before it, which could not be replayed.
    looks: how often the task has looked for its end in vain.
    """

    run_id: str
    thread_id: str
    graph: str
    waited: bool = True
    told: int = -1
    generation: int = 0
    looks: int = 0


class Progress(msgspec.Struct, omit_defaults=True):
    """The document. ``timers`` are the store's times at which an attempt's first, second … timer is over; ``answers`` those
    to its first, second … interrupt, ``signals`` what it waited for first, second …, ``child`` the run that it has submitted."""

    details: msgspec.Raw = msgspec.Raw(b"")
    blobs: list[_Carried] = []
    timers: list[float] = []
    answers: list[Answered] = []
    asked: Asked | None = None
    signals: list[Awaited] = []
    child: ChildSeen | None = None

    @classmethod
    def read(cls, text: str | None) -> Progress:
        return _decoder.decode(text) if text else cls()

    def text(self) -> str:
        return msgspec.json.encode(self).decode()

    def with_details(self, value: Any, serde: Serde, thread_id: str) -> Progress:
        """The same with other details. Raises InputError when they are too large."""
        packed = Packed.of(value, serde, thread_id)
        if packed.size > MAX_DETAILS:
            raise InputError(
                f"a heartbeat's details take {packed.size} bytes: keep them below {MAX_DETAILS}, and large things elsewhere"
            )
        return replace(self, details=packed.text, blobs=packed.blobs)

    def with_timer(self, until: float) -> Progress:
        """The same with one more timer."""
        return replace(self, timers=[*self.timers, until])

    def with_signal(self, index: int, signal: Awaited) -> Progress:
        """The same with what is known of the ``index``-th signal waited for."""
        return replace(self, signals=[*self.signals[:index], signal, *self.signals[index + 1 :]])

    def with_child(self, child: ChildSeen) -> Progress:
        """The same with what is known of the child run."""
        return replace(self, child=child)

    def with_question(self, id: str, value: Any, serde: Serde, thread_id: str) -> Progress:
        """The same, waiting for the answer to an interrupt."""
        return replace(self, asked=Asked(id, Packed.of(value, serde, thread_id)))

    def with_answer(self, value: Any, serde: Serde, thread_id: str) -> Progress:
        """The same with the answer to the interrupt that waits, or to the next one."""
        answer = Answered(self.asked.id if self.asked else "", Packed.of(value, serde, thread_id))
        return replace(self, answers=[*self.answers, answer], asked=None)

    def value(self, serde: Serde, thread_id: str) -> Any:
        """The details."""
        return Packed(self.details, self.blobs).value(serde, thread_id) if bytes(self.details) else None


_decoder = msgspec.json.Decoder(Progress)
