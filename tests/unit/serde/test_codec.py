"""Codecs: compression, encryption bound to the thread, key rotation, and what each refuses."""

from __future__ import annotations

import json
import os

import pytest

from petiole_stores.codec import AesGcmCodec, Codec, PlainCodec, ZstdCodec
from petiole_stores.errors import ConfigurationError, CorruptionError, UnfitError
from petiole_stores.serde import Serde

OLD, NEW = b"o" * 32, b"n" * 32
TEXT = b"leaf stalk root " * 200


@pytest.mark.parametrize(
    "codec", [PlainCodec(), ZstdCodec(), AesGcmCodec({"k": OLD})], ids=lambda codec: codec.name
)
@pytest.mark.parametrize("data", [b"", b"x", TEXT, os.urandom(5000)], ids=["empty", "short", "text", "noise"])
def test_bytes_come_back(codec: Codec, data: bytes) -> None:
    name, stored = codec.encode(data, aad=b"t")
    assert codec.decode(name, stored, aad=b"t") == data


def test_compression_is_used_where_it_pays() -> None:
    codec = ZstdCodec()
    name, stored = codec.encode(TEXT, aad=b"")
    assert name == "zstd"
    assert len(stored) < len(TEXT) / 10
    assert codec.encode(TEXT[:1024], aad=b"")[0] == "plain"
    assert codec.encode(os.urandom(5000), aad=b"")[0] == "plain"


def test_keys_rotate_and_open_data_stays_readable() -> None:
    before = AesGcmCodec({"old": OLD})
    after = AesGcmCodec({"old": OLD, "new": NEW})
    name, stored = before.encode(TEXT, aad=b"t")
    assert name == "zstd+aesgcm:old"
    assert after.decode(name, stored, aad=b"t") == TEXT
    assert after.encode(b"x", aad=b"t")[0] == "plain+aesgcm:new"
    for open_codec in (PlainCodec(), ZstdCodec()):
        name, stored = open_codec.encode(TEXT, aad=b"t")
        assert after.decode(name, stored, aad=b"t") == TEXT


def test_a_missing_or_wrong_key_is_unfitness() -> None:
    name, stored = AesGcmCodec({"old": OLD}).encode(TEXT, aad=b"t")
    for codec in (AesGcmCodec({"new": NEW}), AesGcmCodec({"old": NEW}), ZstdCodec(), PlainCodec()):
        with pytest.raises(UnfitError, match="'old'"):
            codec.decode(name, stored, aad=b"t")
    with pytest.raises(UnfitError, match="'lz4'"):
        ZstdCodec().decode("lz4", b"", aad=b"")


def test_tampered_data_is_corruption() -> None:
    codec = AesGcmCodec({"k": OLD})
    name, stored = codec.encode(TEXT, aad=b"t")
    for position in (0, 25, len(stored) - 1):
        changed = bytearray(stored)
        changed[position] ^= 1
        with pytest.raises(CorruptionError):
            codec.decode(name, bytes(changed), aad=b"t")
    for bad_name, data, aad in [
        (name, stored, b"u"),
        ("plain+aesgcm:k", stored, b"t"),
        (name, stored[:7], b"t"),
        (name, b"", b"t"),
    ]:
        with pytest.raises(CorruptionError):
            codec.decode(bad_name, data, aad=aad)
    with pytest.raises(CorruptionError):
        ZstdCodec().decode("zstd", b"junk", aad=b"")


@pytest.mark.parametrize(
    ("keys", "current"),
    [({}, None), ({"k": b"short"}, None), ({"a+b": OLD}, None), ({"": OLD}, None), ({"k": OLD}, "other")],
)
def test_wrong_keys_are_refused_at_once(keys: dict[str, bytes], current: str | None) -> None:
    with pytest.raises(ConfigurationError):
        AesGcmCodec(keys, current)


def test_encrypted_documents_show_keys_alone() -> None:
    serde = Serde(codec=AesGcmCodec({"k": OLD}))
    state = {"name": "secret", "count": 1, "also": "secret"}
    text, blobs = serde.dump_values(state, thread_id="t")
    assert "secret" not in text
    assert len(blobs) == 2
    assert not any(b"secret" in blob.data for blob in blobs.values())
    assert serde.load_values(text, blobs, thread_id="t") == state
    other, _ = serde.dump_values(state, thread_id="u")
    assert not set(serde.blob_digests(text)) & set(serde.blob_digests(other))
    with pytest.raises(CorruptionError):
        serde.load_values(text, blobs, thread_id="u")
    first, second = blobs
    swapped = {first: blobs[second], second: blobs[first]}
    assert (
        serde.load_values(text, {k: type(v)(k, v.codec, v.data) for k, v in blobs.items()}, thread_id="t")
        == state
    )
    with pytest.raises(CorruptionError):
        serde.load_values(text, {k: type(v)(k, v.codec, v.data) for k, v in swapped.items()}, thread_id="t")


def test_what_was_kept_in_the_clear_is_encrypted_once_encryption_is_on() -> None:
    before, _ = Serde().dump_values({"secret": "oak", "large": "x" * 9000})
    parts = {key: json.dumps(part).encode() for key, part in json.loads(before).items() if key != "$order"}
    after = Serde(codec=AesGcmCodec({"k": bytes(32)}))
    text, blobs = after.dump_values({"secret": None, "large": None}, thread_id="t", kept=parts)

    assert "oak" not in text
    assert after.load_values(text, blobs | Serde().dump("x" * 9000)[1], thread_id="t") == {
        "secret": "oak",
        "large": "x" * 9000,
    }
    # What is encrypted already is taken over as it is.
    again = {key: json.dumps(part).encode() for key, part in json.loads(text).items() if key != "$order"}
    same, none = after.dump_values({"secret": None, "large": None}, thread_id="t", kept=again)
    assert (json.loads(same), none) == (json.loads(text), {})
