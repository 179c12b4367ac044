"""How blobs are stored: as they are, compressed, encrypted. The codec's name is kept beside the bytes."""

from __future__ import annotations

import hashlib
import hmac
import os
import sys
from collections.abc import Mapping
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from petiole_stores.errors import ConfigurationError, CorruptionError, UnfitError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_NONCE = 12
_KEY_CHECK = 8


class Codec(Protocol):
    """What a codec has to offer.

    ``digest_key`` is None, or a secret: then the codec encrypts, every value becomes a blob, and blobs are named by
    digests made with this key.
    """

    name: str
    digest_key: bytes | None

    def encode(self, data: bytes, *, aad: bytes) -> tuple[str, bytes]:
        """The name of the codec that was used, and the bytes to store; ``aad`` is what they are bound to."""

    def decode(self, name: str, data: bytes, *, aad: bytes) -> bytes:
        """The bytes that were encoded under that name.

        Raises:
            UnfitError: this process lacks the codec or key.
            CorruptionError: the bytes are not those that were stored.
        """


class PlainCodec:
    """Bytes as they are."""

    name = "plain"
    digest_key: bytes | None = None

    def encode(self, data: bytes, *, aad: bytes) -> tuple[str, bytes]:
        return self.name, data

    def decode(self, name: str, data: bytes, *, aad: bytes) -> bytes:
        return _decode_open(name, data)


class ZstdCodec:
    """Zstandard above ``minimum`` bytes; bytes that it shortens by less than a tenth stay plain."""

    name = "zstd"
    digest_key: bytes | None = None

    def __init__(self, minimum: int = 1024, level: int = 3) -> None:
        self._minimum = minimum
        self._level = level

    def encode(self, data: bytes, *, aad: bytes) -> tuple[str, bytes]:
        if len(data) > self._minimum:
            shorter = zstd.compress(data, self._level)
            if len(shorter) < len(data) * 0.9:
                return self.name, shorter
        return "plain", data

    def decode(self, name: str, data: bytes, *, aad: bytes) -> bytes:
        return _decode_open(name, data)


class AesGcmCodec:
    """AES-GCM over Zstandard, the thread bound as associated data (NIST SP 800-38D).

    Parameters:
        keys: key id to key of 16, 24 or 32 bytes. All of them decrypt; ids consist of letters, digits, "_", "-", ".".
        current: the id of the key that encrypts; the last of ``keys`` when not given. To rotate, add a key, make it the
            current one, and keep the old ones as long as blobs of theirs are stored.
        inner: the codec beneath, compression when not given.

    The stored bytes are a random nonce (12), a key check (8) and the cipher text with its tag. Nonces are random, so
    a key should not encrypt more than 2**32 blobs. Blobs stored before encryption was switched on stay readable.
    """

    def __init__(
        self, keys: Mapping[str, bytes], current: str | None = None, inner: Codec | None = None
    ) -> None:
        if not keys:
            raise ConfigurationError("encryption needs at least one key: give {key id: 32 random bytes}")
        for key_id, key in keys.items():
            if not key_id or not key_id.replace("_", "").replace("-", "").replace(".", "").isalnum():
                raise ConfigurationError(
                    f"the key id {key_id!r} may hold only letters, digits, '_', '-' and '.'"
                )
            if len(key) not in (16, 24, 32):
                raise ConfigurationError(f"the key {key_id!r} has {len(key)} bytes: AES takes 16, 24 or 32")
        self._current = list(keys)[-1] if current is None else current
        if self._current not in keys:
            raise ConfigurationError(
                f"the current key {self._current!r} is not among the keys {', '.join(keys)}"
            )
        self._inner: Codec = ZstdCodec() if inner is None else inner
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._checks = {
            key_id: _derived(key, b"petiole key check")[:_KEY_CHECK] for key_id, key in keys.items()
        }
        self.name = f"{self._inner.name}+aesgcm:{self._current}"
        self.digest_key: bytes | None = _derived(keys[self._current], b"petiole content digest")

    def encode(self, data: bytes, *, aad: bytes) -> tuple[str, bytes]:
        inner, body = self._inner.encode(data, aad=aad)
        name = f"{inner}+aesgcm:{self._current}"
        nonce = os.urandom(_NONCE)
        sealed = self._ciphers[self._current].encrypt(nonce, body, _bound(name, aad))
        return name, nonce + self._checks[self._current] + sealed

    def decode(self, name: str, data: bytes, *, aad: bytes) -> bytes:
        inner, mark, key_id = name.partition("+aesgcm:")
        if not mark:
            return self._inner.decode(name, data, aad=aad)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise UnfitError(
                f"the data is encrypted with the key {key_id!r}, which this process does not have: add it"
            )
        check = data[_NONCE : _NONCE + _KEY_CHECK]
        if len(check) == _KEY_CHECK and check != self._checks[key_id]:
            raise UnfitError(
                f"the key {key_id!r} of this process is another one than the data was encrypted with: correct it"
            )
        try:
            body = cipher.decrypt(data[:_NONCE], data[_NONCE + _KEY_CHECK :], _bound(name, aad))
        except (InvalidTag, ValueError):
            raise CorruptionError(
                f"data encrypted with the key {key_id!r} was changed since, or belongs to another thread: "
                "restore it from a backup"
            ) from None
        return self._inner.decode(inner, body, aad=aad)


def _decode_open(name: str, data: bytes) -> bytes:
    if name == "plain":
        return data
    if name == "zstd":
        try:
            return zstd.decompress(data)
        except zstd.ZstdError as error:
            raise CorruptionError(
                f"compressed data cannot be decompressed ({error}): restore it from a backup"
            ) from error
    _, mark, key_id = name.partition("+aesgcm:")
    if mark:
        raise UnfitError(
            f"the data is encrypted with the key {key_id!r}, and this process has no keys: configure them"
        )
    raise UnfitError(
        f"the data was stored with the codec {name!r}, which this process does not know: configure it"
    )


def _bound(name: str, aad: bytes) -> bytes:
    """The codec's name is authenticated too, so that it cannot be exchanged."""
    return name.encode() + b"\n" + aad


def _derived(key: bytes, purpose: bytes) -> bytes:
    return hmac.new(key, purpose, hashlib.sha256).digest()
