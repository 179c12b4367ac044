"""Documents that are stored by themselves: compressed and encrypted whole, as blobs are, and bound to their place."""

from __future__ import annotations

import hashlib

import msgspec

from petiole_stores.codec import Codec
from petiole_stores.errors import CorruptionError


class Sealed(msgspec.Struct, frozen=True):
    """A document's bytes as a codec left them."""

    codec: str  #: the name needed to decode ``data``
    data: bytes
    checksum: str  #: hex SHA-256 of ``data``


def seal(codec: Codec, text: str, bound: bytes) -> Sealed:
    """The stored form of a document; ``bound`` names its place."""
    name, data = codec.encode(text.encode(), aad=bound)
    return Sealed(name, data, hashlib.sha256(data).hexdigest())


def unseal(codec: Codec, sealed: Sealed, bound: bytes) -> str:
    """The document again.

    Raises:
        UnfitError: this process lacks the codec or key.
        CorruptionError: the bytes are not those that were stored, or (encrypted ones) were stored in another place.
    """
    found = hashlib.sha256(sealed.data).hexdigest()
    if found != sealed.checksum:
        raise CorruptionError(
            f"the stored bytes have the checksum {found}, expected {sealed.checksum}; "
            "read it again, then restore it from a backup"
        )
    return codec.decode(sealed.codec, sealed.data, aad=bound).decode()
