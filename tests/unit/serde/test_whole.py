"""Documents of whole values, and documents that are sealed by themselves."""

from __future__ import annotations

import msgspec
import pytest

from petiole_stores.codec import AesGcmCodec
from petiole_stores.errors import CorruptionError, SerializationError, UnfitError
from petiole_stores.serde import Serde

NESTED: list[object] = []
for _ in range(100):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, (2, {3})], "$blob": "a user's own"},
        {"$packed": "a user's own"},
        "x" * 100_000,
        b"\x00" * 100_000,
        "a\x00b",
        "\ud800",
        2**80,
        NESTED,
    ],
    ids=["typed", "packed", "large", "bytes", "nul", "surrogate", "int", "deep"],
)
def test_a_value_of_any_size_is_one_document(value: object) -> None:
    serde = Serde()
    text = serde.dump_whole(value)
    assert not serde.blob_digests(text)
    msgspec.json.decode(text)
    found = serde.load_whole(text)
    assert found == value
    assert type(found) is type(value)


def test_what_cannot_be_stored_is_named() -> None:
    with pytest.raises(SerializationError, match=r"value\.a\[1\]"):
        Serde().dump_whole({"a": [1, object()]})


@pytest.mark.parametrize("text", ['{"$packed":"%"}', '{"$packed":"', '{"$packed":"wQ=="}'])
def test_packed_text_that_was_not_written_here(text: str) -> None:
    with pytest.raises(SerializationError):
        Serde().load_whole(text)


def test_sealed_documents_are_compressed_and_come_back() -> None:
    serde = Serde()
    text = f'"{"ü" * 5000}"'
    sealed = serde.seal(text, bound=b"here")
    assert sealed.codec == "zstd"
    assert len(sealed.data) < 100
    assert serde.unseal(sealed, bound=b"here") == text


def test_encrypted_documents_are_bound_to_their_place() -> None:
    serde = Serde(codec=AesGcmCodec({"k1": b"1" * 32}))
    sealed = serde.seal('"secret"', bound=b"here")
    assert b"secret" not in sealed.data
    assert serde.unseal(sealed, bound=b"here") == '"secret"'
    with pytest.raises(CorruptionError):
        serde.unseal(sealed, bound=b"there")
    with pytest.raises(UnfitError, match="k1"):
        Serde().unseal(sealed, bound=b"here")


def test_changed_bytes_are_found() -> None:
    serde = Serde()
    sealed = serde.seal('"v"', bound=b"here")
    with pytest.raises(CorruptionError, match="checksum"):
        serde.unseal(msgspec.structs.replace(sealed, data=b'"w"'), bound=b"here")
