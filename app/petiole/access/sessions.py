"""Browser sessions: a signed cookie that stands for an API key, and the token that protects forms against other sites.

Nothing is kept of a session: the cookie names the key and until when it holds, signed (HMAC-SHA-256) with a secret that all
servers have, so that every server process takes it and revoking the key ends it. It is the setting ``session_secret``, else one
that the store keeps: whoever can read the store could then sign cookies, which the digests of keys would not let him make.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from functools import cached_property

import msgspec

from petiole.access.keys import Keys
from petiole.access.principal import AuthenticationError, Principal
from petiole_stores.decoding import decoder
from petiole_stores.items import NewItem
from petiole_stores.store import Store

SERVER = ("petiole", "server")
SECRET = "session-secret"
#: How long a log-in holds, in seconds.
LIFETIME = 12 * 3600.0


class Session(msgspec.Struct, frozen=True):
    """What a cookie says."""

    key_id: str
    expires_at: float
    id: str


class Sessions:
    """The sessions of one store. May be used by several threads; ``secret`` is the setting ``session_secret``."""

    def __init__(self, store: Store, keys: Keys, secret: str | None = None) -> None:
        self._store, self._keys, self._given = store, keys, secret

    def begin(self, token: str) -> str:
        """Log in with an API key; gives the cookie's value. Raises AuthenticationError."""
        principal = self._keys.check(token)
        session = Session(
            principal.name.removeprefix("key:"), time.time() + LIFETIME, secrets.token_urlsafe(12)
        )
        return self._signed(session)

    def open(self, cookie: str) -> tuple[Principal, Session]:
        """Who a cookie is of. Raises AuthenticationError for one that is forged or over, or whose key is."""
        body, _, signature = cookie.partition(".")
        expected = self._mac(b"session", body.encode(errors="surrogateescape"))
        if not hmac.compare_digest(expected.encode(), signature.encode(errors="surrogateescape")):
            raise AuthenticationError("the session is not of this server: log in again")
        session = _session(base64.urlsafe_b64decode(body))
        if session.expires_at <= time.time():
            raise AuthenticationError("the session is over: log in again")
        key = self._keys.known(session.key_id)
        if key is None:
            raise AuthenticationError("the session's API key is gone: log in again")
        return self._keys.standing(key), session

    def csrf(self, session: Session | None) -> str:
        """The token that forms of a session bring along (of nobody's session, where authentication is off)."""
        return self._mac(b"csrf", (session.id if session else "").encode())

    def is_csrf(self, session: Session | None, given: str) -> bool:
        return hmac.compare_digest(self.csrf(session).encode(), given.encode(errors="surrogateescape"))

    def _signed(self, session: Session) -> str:
        body = base64.urlsafe_b64encode(msgspec.json.encode(session)).decode()
        return f"{body}.{self._mac(b'session', body.encode())}"

    def _mac(self, purpose: bytes, data: bytes) -> str:
        digest = hmac.digest(self._secret, purpose + b"\0" + data, "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    @cached_property
    def _secret(self) -> bytes:
        """The secret that was given, else the store's own; the first server makes that."""
        if self._given:
            return hashlib.sha256(self._given.encode()).digest()
        serde = self._store.serde
        made = serde.dump_whole(secrets.token_hex(32))
        self._store.put_items([NewItem(SERVER, SECRET, made, if_absent=True)])
        [item] = self._store.get_items([(SERVER, SECRET)])
        assert item is not None, "it was just put"
        return bytes.fromhex(serde.load_whole(item.value))


def is_own_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser's request comes from a page of the very host that it goes to, or from no page at all.

    Fetch metadata where the browser sends it, else the ``Origin`` header; names in ``headers`` are lower case.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host")


_session = decoder(Session)
