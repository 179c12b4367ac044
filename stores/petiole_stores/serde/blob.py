"""A blob: one encoded value, stored once for each thread however many checkpoints share it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from petiole_stores.errors import CorruptionError


@dataclass(frozen=True, slots=True)
class Blob:
    """The stored form of one value.

    ``digest`` names the content: hex SHA-256 of the encoded value before the codec, or, under encryption, "k" and
    a hex HMAC-SHA-256 (so that nobody without the key can test a guess against it). ``codec`` is the name needed to
    decode ``data``. ``checksum`` is the hex SHA-256 of ``data`` as stored, computed when it is not given.
    """

    digest: str
    codec: str
    data: bytes
    checksum: str = ""

    def __post_init__(self) -> None:
        if not self.checksum:
            object.__setattr__(self, "checksum", hashlib.sha256(self.data).hexdigest())

    def verify(self) -> None:
        """Compare the stored bytes with their checksum.

        Raises:
            CorruptionError: the bytes are not those that were stored.
        """
        actual = hashlib.sha256(self.data).hexdigest()
        if actual != self.checksum:
            raise CorruptionError(
                f"blob {self.digest}: the stored bytes have the checksum {actual}, expected {self.checksum}; "
                "read it again, then restore it from a backup"
            )
