"""Items under encryption, on every store: the clear text is nowhere, and everything works as without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from petiole_stores.codec import AesGcmCodec
from petiole_stores.conformance import LEDGER_CHECKS, Scene
from petiole_stores.errors import UnfitError
from petiole_stores.items import NewItem
from petiole_stores.serde import Serde
from petiole_stores.store import Store


@pytest.fixture
def encrypted(store: Store) -> Iterator[Store]:
    before, store.serde = store.serde, Serde(codec=AesGcmCodec({"k1": b"1" * 32}))
    yield store
    store.serde = before


@pytest.mark.parametrize("name", [name for name in LEDGER_CHECKS if name.startswith("item")])
def test_the_rules_hold(encrypted: Store, name: str) -> None:
    LEDGER_CHECKS[name].run(Scene(encrypted))


def test_only_who_has_the_key_can_read_and_anyone_can_remove(encrypted: Store) -> None:
    scene = Scene(encrypted)
    place = (scene.prefix,), "k"
    secret = NewItem(*place, '"the secret"', if_absent=True)
    assert [encrypted.put_items([secret]) for _ in range(2)] == [[True], [True]], (
        "though no two ciphers are alike"
    )
    [stored] = encrypted._get_items([(f"{scene.prefix}\x1f", "k")], False, scene.now)
    assert stored is not None
    assert stored.sealed.codec.endswith("+aesgcm:k1")
    assert b"secret" not in stored.sealed.data
    encrypted.serde = Serde()
    with pytest.raises(UnfitError, match="k1"):
        encrypted.get_items([place])
    assert encrypted.remove_items((scene.prefix,)) == 1
    assert encrypted.get_items([place]) == [None]
