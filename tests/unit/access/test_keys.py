"""API keys: proven by their secret, over when they are revoked or have expired."""

from __future__ import annotations

import pytest

from petiole.access import keys as module
from petiole.access.keys import KEYS, Keys
from petiole.access.principal import AuthenticationError
from petiole_stores.errors import InputError, NotFoundError
from petiole_stores.memory import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_a_key_is_who_it_was_made_for_on_every_server(store: MemoryStore) -> None:
    key, token = Keys(store).create("billing", ["submit"], graphs=["order"], namespaces=["acme"])
    principal = Keys(store).check(token)
    assert principal.name == f"key:{key.key_id}"
    assert principal.has("read")
    assert principal.has("submit")
    assert not principal.has("operate")
    assert principal.sees(graph="order", thread_id="acme:1")
    assert not principal.sees(graph="other")
    assert not principal.sees(thread_id="acme2:1")
    assert not principal.sees(thread_id="1")


def test_the_store_holds_neither_the_token_nor_its_secret(store: MemoryStore) -> None:
    _, token = Keys(store).create("billing", ["read"])
    [item] = store.search_items(KEYS)
    assert token not in item.value
    assert token.split("_", 2)[2] not in item.value


@pytest.mark.parametrize(
    "bend",
    [
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: token[:-1],
        lambda token: token.rpartition("_")[0],
        lambda token: token.rpartition("_")[0] + "_",
        lambda token: "ptl_000000000000_" + token.rpartition("_")[2],
        lambda token: "ptl_",
        lambda token: "",
        lambda token: token + "\udcff",
        lambda token: "ptl_../../keys_x",
    ],
)
def test_what_is_not_the_token_is_refused(store: MemoryStore, bend: object) -> None:
    keys = Keys(store)
    _, token = keys.create("billing", ["read"])
    keys.check(token)
    with pytest.raises(AuthenticationError, match="not known"):
        keys.check(bend(token))  # type: ignore[operator]


def test_an_expired_key_is_refused_by_the_store_s_clock(store: MemoryStore) -> None:
    store.clock = lambda: 1000.0
    keys = Keys(store)
    _, token = keys.create("billing", ["read"], lifetime=60)
    keys.check(token)
    store.clock = lambda: 1060.0
    with pytest.raises(AuthenticationError, match="is expired"):
        keys.check(token)


def test_a_revoked_key_is_refused_by_other_servers_once_they_look_again(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Keys(store)
    key, token = Keys(store).create("billing", ["read"])
    elsewhere.check(token)
    Keys(store).revoke(key.key_id)
    monkeypatch.setattr(module, "FRESH", 0.0)
    with pytest.raises(AuthenticationError, match="is revoked"):
        elsewhere.check(token)
    assert [one.status(0.0) for one in elsewhere.list()] == ["revoked"]


def test_scrypt_is_computed_once_for_a_token(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(store)
    _, token = keys.create("billing", ["read"])
    keys.check(token)

    def not_again(secret: str, salt: bytes) -> str:
        raise AssertionError("computed again")

    monkeypatch.setattr(module, "_digest", not_again)
    keys.check(token)


def test_the_last_use_is_noted_and_a_revocation_is_not_undone_by_it(store: MemoryStore) -> None:
    keys = Keys(store)
    key, token = keys.create("billing", ["read"])
    assert keys.last_used([key.key_id]) == {}
    keys.check(token)
    assert key.key_id in keys.last_used([key.key_id])
    keys.revoke(key.key_id)
    assert keys.get(key.key_id).revoked_at is not None


@pytest.mark.parametrize(
    ("name", "scopes", "lifetime", "words"),
    [
        ("", ["read"], None, "name is empty"),
        ("x", [], None, "scopes is empty: take read, submit"),
        ("x", ["read", "root"], None, "scopes is 'root'"),
        ("x", ["read"], 0.0, "lifetime is 0 s"),
    ],
)
def test_what_no_key_can_be(
    store: MemoryStore, name: str, scopes: list[str], lifetime: float | None, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        Keys(store).create(name, scopes, lifetime=lifetime)
    assert Keys(store).list() == []


def test_a_key_that_is_not_there_cannot_be_revoked(store: MemoryStore) -> None:
    with pytest.raises(NotFoundError, match="no key 'abc'"):
        Keys(store).revoke("abc")
