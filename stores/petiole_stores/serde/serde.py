"""The face of this package: what a store calls to write values and to read them back."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from petiole_stores.codec import Codec, ZstdCodec
from petiole_stores.errors import CorruptionError, NotFoundError, SerializationError
from petiole_stores.serde.blob import Blob
from petiole_stores.serde.classes import Registry
from petiole_stores.serde.document import (
    NotInline,
    Reader,
    Writer,
    blob_references,
    encode_json,
    escape_key,
    key_order,
)
from petiole_stores.serde.explain import refusal
from petiole_stores.serde.packed import NotStorable, Packer
from petiole_stores.serde.schema import reachable_classes
from petiole_stores.serde.sealed import Sealed, seal, unseal
from petiole_stores.serde.whole import WholeWriter

#: Keyed digests begin with this, so that a reader knows which ones it can check.
_KEYED = "k"


class Serde:
    """Turns Python values into a JSON document and blobs, and back.

    Parameters:
        types: classes that may come back (dataclass, pydantic model, msgspec Struct, Enum, namedtuple).
        blob_threshold: bytes of JSON text above which a value becomes a blob.
        inline_limit: bytes of a whole document above which its largest values become blobs as well, until it fits or
            only values of 128 bytes or less are left: those are not much longer than a reference.
        codec: how blobs are stored; compression above 1 KiB when not given. Under an encrypting codec every value
            becomes a blob: the document holds nothing but the state's keys and digests made with a secret key. Keys,
            lengths, and whether two values of one thread are equal can still be seen.

    An instance may be used by several threads at once, once its classes are registered.
    """

    def __init__(
        self,
        types: Iterable[type] = (),
        *,
        blob_threshold: int = 4096,
        inline_limit: int = 16384,
        codec: Codec | None = None,
    ) -> None:
        self._codec: Codec = ZstdCodec() if codec is None else codec
        self._inline_limit = inline_limit
        self._registry = Registry()
        self._packer = Packer(self._registry)
        self._writer = Writer(self._registry, blob_threshold)
        self._whole = WholeWriter(self._registry, self._packer)
        self._reader = Reader(self._registry)
        self.register(*types)

    def register(self, *types: type) -> None:
        """Let objects of these classes, and of the classes that their annotations reach, be stored and come back.

        Raises:
            SerializationError: a class is of no sort that can be stored.
        """
        for cls in types:
            self._registry.add(cls)
            self.register_schema(cls)

    def register_schema(self, schema: object) -> None:
        """Register every class that the annotations of a state schema reach (TypedDict, dataclass or pydantic)."""
        for cls in reachable_classes(schema):
            self._registry.add(cls)

    def dump(
        self, value: object, *, thread_id: str = "", known: Collection[str] = ()
    ) -> tuple[str, dict[str, Blob]]:
        """The JSON text of one value, and its blobs by digest.

        ``known`` are digests that the store has for this thread already: those blobs are neither encoded nor returned.

        Raises:
            SerializationError: the value, or something in it, has no stored form; the message gives its path.
        """
        blobs: dict[str, Blob] = {}
        return self._one(value, "value", blobs, thread_id, known).decode(), blobs

    def dump_values(
        self,
        values: Mapping[str, object],
        *,
        thread_id: str = "",
        known: Collection[str] = (),
        kept: Mapping[str, bytes] | None = None,
    ) -> tuple[str, dict[str, Blob]]:
        """The JSON text of a state document ``{key: value}``, and its blobs by digest (see `dump`).

        ``kept`` is the stored text of values that have not changed since the document it was cut from, by the keys
        as they are stored there: those are taken over as they are.
        """
        blobs: dict[str, Blob] = {}
        parts: dict[str, bytes] = {}
        names: dict[str, str] = {}
        for key, value in values.items():
            stored = _state_key(key)
            names[stored] = key
            part = kept.get(stored) if kept else None
            if part is not None and self._is_clear(part):
                # Encryption was switched on since: what stood in the clear must not be copied on.
                value, part = self.load(part.decode()), None
            parts[stored] = (
                self._one(value, f"state.{key}", blobs, thread_id, known) if part is None else part
            )
        size = sum(map(len, parts.values())) + sum(map(len, parts)) + 4 * len(parts)
        if size > self._inline_limit:

            def value_of(name: str) -> object:
                # What was kept is read back: the caller's object may have been changed in place since.
                text = kept.get(name) if kept else None
                return values[names[name]] if text is None else self.load(text.decode())

            self._spill(parts, size, value_of, blobs, thread_id, known)
        order = key_order(tuple(parts))
        members = [encode_json(key) + b":" + part for key, part in parts.items()]
        if order is not None:
            members.append(b'"$order":' + encode_json(order))
        return (b"{" + b",".join(members) + b"}").decode(), blobs

    def _is_clear(self, part: bytes) -> bool:
        return self._codec.digest_key is not None and not blob_references(part.decode())

    def load(self, text: str, blobs: Mapping[str, Blob] | None = None, *, thread_id: str = "") -> Any:
        """The value of a document.

        Raises:
            SerializationError: the text is no document of Petiole's.
            UnfitError: this process lacks a class, codec or key.
            CorruptionError: a blob's bytes are not what was stored.
            NotFoundError: a blob that the document refers to is not among ``blobs``.
        """
        have = blobs or {}

        def value_of(digest: object) -> object:
            blob = have.get(digest) if isinstance(digest, str) else None
            if blob is None:
                raise NotFoundError(
                    f"the document refers to the blob {digest!r}, which was not given: load it from the store"
                )
            return self._packer.unpack(self._plain(blob, thread_id))

        return self._reader.read(text, value_of)

    def load_values(
        self, text: str, blobs: Mapping[str, Blob] | None = None, *, thread_id: str = ""
    ) -> dict[str, Any]:
        """The values of a state document (see `load`)."""
        values = self.load(text, blobs, thread_id=thread_id)
        if type(values) is not dict:
            raise SerializationError(
                f"a state document is an object, and this one is a {type(values).__name__}"
            )
        return values

    def pack(self, value: object) -> bytes:
        """One value as bytes that refer to nothing. Raises SerializationError as `dump`."""
        try:
            return self._packer.pack(value)
        except (NotStorable, SerializationError, RecursionError):
            raise refusal(value, "value", self._registry) from None

    def unpack(self, data: bytes) -> Any:
        """The value of what `pack` made. Raises SerializationError, or UnfitError where a class is lacking."""
        return self._packer.unpack(data)

    def encode(self, data: bytes, *, bound: bytes) -> tuple[str, bytes]:
        """Bytes as they are stored, and the name of the codec; encrypted ones are bound to ``bound``."""
        return self._codec.encode(data, aad=bound)

    def decode(self, codec: str, data: bytes, *, bound: bytes) -> bytes:
        """What `encode` was given. Raises CorruptionError and UnfitError as `load`."""
        return self._codec.decode(codec, data, aad=bound)

    def dump_whole(self, value: object) -> str:
        """The document of one value with all that belongs to it: of any size, without blobs, in the clear.

        For what is sealed as a whole afterwards. Raises SerializationError as `dump` does.
        """
        return self._whole.write(value)

    def load_whole(self, text: str) -> Any:
        """The value of a document that `dump_whole` made; raises as `load` does."""
        return self._whole.unpack(text) if self._whole.is_packed(text) else self.load(text)

    def seal(self, text: str, *, bound: bytes) -> Sealed:
        """A document's stored form, compressed and encrypted as blobs are.

        ``bound`` names the place that it is stored in: encrypted bytes that are read from another one are refused.
        """
        return seal(self._codec, text, bound)

    def unseal(self, sealed: Sealed, *, bound: bytes) -> str:
        """The document that `seal` was given.

        Raises:
            UnfitError: this process lacks the codec or key.
            CorruptionError: the bytes are not those that were stored.
        """
        return unseal(self._codec, sealed, bound)

    @property
    def encrypts(self) -> bool:
        """Whether what is stored is encrypted: then a document holds nothing but its keys and references to blobs."""
        return self._codec.digest_key is not None

    def open_blob(self, blob: Blob, *, thread_id: str) -> bytes:
        """What a blob of a thread holds, packed and in the clear. Raises CorruptionError and UnfitError as `load`."""
        return self._plain(blob, thread_id)

    def make_blob(self, plain: bytes, *, thread_id: str) -> Blob:
        """The blob of a thread that holds what `open_blob` gave, be it of another thread or store."""
        digest = self._digest(plain, thread_id)
        codec, data = self._codec.encode(plain, aad=_bound(thread_id, digest))
        return Blob(digest, codec, data)

    def blob_digests(self, text: str) -> list[str]:
        """Which blobs a document refers to, in order, each once; no value is built."""
        return blob_references(text)

    def _one(
        self, value: object, path: str, blobs: dict[str, Blob], thread_id: str, known: Collection[str]
    ) -> bytes:
        if self._codec.digest_key is None:
            try:
                return self._writer.write(value)
            except (NotInline, RecursionError):
                pass
            except SerializationError:
                raise refusal(value, path, self._registry) from None
        return self._as_blob(value, path, blobs, thread_id, known)

    def _as_blob(
        self, value: object, path: str, blobs: dict[str, Blob], thread_id: str, known: Collection[str]
    ) -> bytes:
        try:
            plain = self._packer.pack(value)
        except (NotStorable, SerializationError, RecursionError):
            raise refusal(value, path, self._registry) from None
        digest = self._digest(plain, thread_id)
        if digest not in blobs and digest not in known:
            name, data = self._codec.encode(plain, aad=_bound(thread_id, digest))
            blobs[digest] = Blob(digest, name, data)
        return b'{"$blob":"%s"}' % digest.encode()

    def _spill(
        self,
        parts: dict[str, bytes],
        size: int,
        value_of: Callable[[str], object],
        blobs: dict[str, Blob],
        thread_id: str,
        known: Collection[str],
    ) -> None:
        """Turn the largest parts into blobs until the document fits; a part smaller than a reference stays."""
        for key in sorted(parts, key=lambda key: (-len(parts[key]), key)):
            if size <= self._inline_limit or len(parts[key]) <= 128:
                return
            size -= len(parts[key])
            parts[key] = self._as_blob(value_of(key), f"state.{key}", blobs, thread_id, known)
            size += len(parts[key])

    def _digest(self, plain: bytes, thread_id: str) -> str:
        key = self._codec.digest_key
        if key is None:
            return hashlib.sha256(plain).hexdigest()
        # The thread is part of it: equal values of two threads are not seen to be equal.
        mac = hmac.new(key, _bound(thread_id, ""), hashlib.sha256)
        mac.update(plain)
        return _KEYED + mac.hexdigest()

    def _plain(self, blob: Blob, thread_id: str) -> bytes:
        plain = self._codec.decode(blob.codec, blob.data, aad=_bound(thread_id, blob.digest))
        # A keyed digest is not checked here: the cipher has authenticated the bytes together with it.
        if not blob.digest.startswith(_KEYED) and hashlib.sha256(plain).hexdigest() != blob.digest:
            raise CorruptionError(
                f"blob {blob.digest}: its content does not match its digest; read it again, then restore it from a backup"
            )
        return plain


def _bound(thread_id: str, digest: str) -> bytes:
    """What a blob's bytes are bound to: its thread and its digest, so that neither can be swapped."""
    return f"{len(thread_id)}:{thread_id}\n{digest}".encode("utf-8", "surrogatepass")


def _state_key(key: object) -> str:
    if type(key) is not str:
        raise SerializationError(
            f"the state's key {key!r} is a {type(key).__name__}: keys of a state are plain strings"
        )
    if "\0" in key or (not key.isascii() and key.encode("utf-8", "ignore").decode() != key):
        raise SerializationError(f"the state's key {key!r} holds NUL or a lone surrogate: rename it")
    return escape_key(key)
