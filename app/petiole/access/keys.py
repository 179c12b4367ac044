"""API keys: made once, shown once, kept as scrypt digests in the store's items, so that every server has the same.

A key is ``ptl_<id>_<secret>``. The id finds the record, the secret proves it. Parameters of scrypt are those that OWASP's
Password Storage Cheat Sheet gives for 16 MiB; the secret has 256 bits, so that a digest that leaks cannot be tried out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from typing import Literal

import msgspec

from petiole.access.principal import AuthenticationError, Principal, Scope, scopes_of
from petiole_stores.decoding import converter
from petiole_stores.errors import InputError, NotFoundError
from petiole_stores.items import NewItem
from petiole_stores.store import Store

KEYS = ("petiole", "keys")
USED = ("petiole", "keys-used")
PREFIX = "ptl_"

#: scrypt: CPU and memory cost, block size, parallelism.
COST, BLOCK, PARALLEL = 2**14, 8, 1
#: How long a proven key is taken without a look at the store: a revocation works after so many seconds at most.
FRESH = 3.0
#: How often the time of a key's last use is written down, in seconds.
NOTED = 60.0
#: How many proven keys a process remembers.
REMEMBERED = 10_000


class Key(msgspec.Struct, kw_only=True):
    """A key's record; the secret itself is nowhere."""

    key_id: str
    name: str
    scopes: list[Scope]
    graphs: list[str] = []
    namespaces: list[str] = []
    created_at: float
    created_by: str = ""
    expires_at: float | None = None
    revoked_at: float | None = None
    salt: str
    digest: str

    def status(self, now: float) -> Literal["valid", "expired", "revoked"]:
        """How it stands at a time."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"

    @property
    def principal(self) -> Principal:
        return Principal(
            name=f"key:{self.key_id}",
            scopes=frozenset(self.scopes),
            graphs=tuple(self.graphs),
            namespaces=tuple(self.namespaces),
        )


class Keys:
    """The keys of one store. May be used by several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pepper = secrets.token_bytes(32)
        #: By a digest of the token that is this process's own: the salt and digest that it was proven against.
        self._proven: dict[bytes, tuple[str, str]] = {}
        self._read: dict[str, tuple[float, Key | None]] = {}
        self._noted: dict[str, float] = {}

    # ---------------------------------------------------------------- making and ending

    def create(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        graphs: Sequence[str] = (),
        namespaces: Sequence[str] = (),
        lifetime: float | None = None,
        by: str = "",
    ) -> tuple[Key, str]:
        """Make a key; gives its record and the token, which is nowhere kept.

        ``lifetime`` is in seconds (``None``: for ever). Raises InputError.
        """
        if not name.strip():
            raise InputError("name is empty: say whom or what the key is for")
        if lifetime is not None and lifetime <= 0:
            raise InputError(f"the key's lifetime is {lifetime:g} s: give more than 0")
        now = self._now()
        secret = secrets.token_urlsafe(32)
        salt = secrets.token_bytes(16)
        key = Key(
            key_id=secrets.token_hex(6),
            name=name,
            scopes=sorted(scopes_of(list(scopes), "scopes")),
            graphs=list(graphs),
            namespaces=list(namespaces),
            created_at=now,
            created_by=by,
            expires_at=None if lifetime is None else now + lifetime,
            salt=salt.hex(),
            digest=_digest(secret, salt),
        )
        self._write(key)
        return key, f"{PREFIX}{key.key_id}_{secret}"

    def revoke(self, key_id: str) -> Key:
        """End a key for good; it stays on record. Raises NotFoundError."""
        key = self.get(key_id)
        if key.revoked_at is None:
            key.revoked_at = self._now()
            self._write(key)
        self._read.pop(key_id, None)
        return key

    def get(self, key_id: str) -> Key:
        """The record of a key. Raises NotFoundError."""
        found = self._load(key_id)
        if found is None:
            raise NotFoundError(f"there is no key {key_id!r}: `petiole key list` shows those there are")
        return found

    def list(self) -> list[Key]:
        """All keys, the newest first, those that are over, too."""
        found, offset = [], 0
        while page := self._store.search_items(KEYS, limit=1000, offset=offset):
            found += [self._decode(item.value) for item in page]
            offset += len(page)
        return sorted(found, key=lambda key: key.created_at, reverse=True)

    def last_used(self, key_ids: Sequence[str]) -> dict[str, float]:
        """When keys were last used, to a minute; without those that never were."""
        found = self._store.get_items([(USED, key_id) for key_id in key_ids]) if key_ids else []
        return {item.key: item.updated_at for item in found if item is not None}

    # ---------------------------------------------------------------- checking

    def check(self, token: str) -> Principal:
        """Who a token is of. Raises AuthenticationError."""
        key_id, _, secret = token.removeprefix(PREFIX).partition("_")
        key = self.known(key_id) if token.startswith(PREFIX) and secret else None
        if key is None or not self._proves(token, secret, key):
            raise AuthenticationError("the API key is not known here")
        principal = self.standing(key)
        self._note(key.key_id)
        return principal

    def standing(self, key: Key) -> Principal:
        """The principal of a key that is neither revoked nor expired. Raises AuthenticationError."""
        status = key.status(self._now())
        if status != "valid":
            raise AuthenticationError(f"the API key {key.key_id} ({key.name}) is {status}")
        return key.principal

    def known(self, key_id: str) -> Key | None:
        """The record of a key as it was at most a moment ago."""
        at, key = self._read.get(key_id, (-FRESH, None))
        if time.monotonic() - at < FRESH:
            return key
        key = self._load(key_id) if key_id.isalnum() else None
        if len(self._read) > REMEMBERED:
            self._read.clear()
        self._read[key_id] = time.monotonic(), key
        return key

    def is_proven(self, token: str) -> bool:
        """Whether this process has proven the token before, whatever became of its key since."""
        return self._mark(token) in self._proven

    def _mark(self, token: str) -> bytes:
        return hmac.digest(self._pepper, token.encode(errors="surrogateescape"), "sha256")

    def _proves(self, token: str, secret: str, key: Key) -> bool:
        """Whether the secret is the key's; scrypt is computed once for a token in a process."""
        mark = self._mark(token)
        if self._proven.get(mark) == (key.salt, key.digest):
            return True
        if not hmac.compare_digest(_digest(secret, bytes.fromhex(key.salt)), key.digest):
            return False
        if len(self._proven) > REMEMBERED:
            self._proven.clear()
        self._proven[mark] = key.salt, key.digest
        return True

    def _note(self, key_id: str) -> None:
        now = time.monotonic()
        if now - self._noted.get(key_id, -NOTED) >= NOTED:
            self._noted[key_id] = now
            self._store.put_items([NewItem(USED, key_id, self._store.serde.dump_whole(True))])

    # ---------------------------------------------------------------- the store

    def _now(self) -> float:
        return self._store.clock() if self._store.clock is not None else time.time()

    def _load(self, key_id: str) -> Key | None:
        [item] = self._store.get_items([(KEYS, key_id)]) if key_id else [None]
        return None if item is None else self._decode(item.value)

    def _write(self, key: Key) -> None:
        self._store.put_items(
            [NewItem(KEYS, key.key_id, self._store.serde.dump_whole(msgspec.to_builtins(key)))]
        )

    def _decode(self, document: str) -> Key:
        return _key(self._store.serde.load_whole(document))


def _digest(secret: str, salt: bytes) -> str:
    data = secret.encode(errors="surrogateescape")
    return hashlib.scrypt(data, salt=salt, n=COST, r=BLOCK, p=PARALLEL, dklen=32).hex()


_key = converter(Key)
