"""Bearer tokens of an identity provider: JSON Web Tokens (RFC 7519), signed with one of its published keys.

Checked as OpenID Connect Core 1.0 and RFC 8725 say: the algorithm is one of a fixed list of asymmetric ones, issuer and
audience are the settings', the token has an expiry. Keys are fetched when a token names one that is not known.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import jwt

from petiole.access.principal import SCOPES, AuthenticationError, Principal
from petiole_stores.errors import ConfigurationError
from petiole_workers.settings import Settings

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
#: How far the provider's clock may be from this one, in seconds.
LEEWAY = 30.0
#: How often keys are fetched at most, however many unknown ones are named, and how long they are taken for good.
PAUSE, LIFETIME = 10.0, 3600.0
TIMEOUT = 5.0


class Tokens:
    """The tokens of one provider, as the settings ``oidc_*`` name it. May be used by several threads.

    Raises ConfigurationError for settings that contradict each other.
    """

    def __init__(self, settings: Settings) -> None:
        if not settings.oidc_issuer or not settings.oidc_audience:
            raise ConfigurationError(
                "bearer tokens need both oidc_issuer and oidc_audience: set PETIOLE_OIDC_ISSUER and PETIOLE_OIDC_AUDIENCE"
            )
        self._issuer, self._audience = settings.oidc_issuer, settings.oidc_audience
        self._source, self._prefix = settings.oidc_jwks, settings.oidc_scope_prefix
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = -LIFETIME
        self._lock = threading.Lock()

    def check(self, token: str) -> Principal:
        """Who a token is of. Raises AuthenticationError that says what is wrong with it."""
        try:
            header = jwt.get_unverified_header(token)
            algorithm = str(header.get("alg"))
            if algorithm not in ALGORITHMS:
                raise AuthenticationError(
                    f"the token is signed with {algorithm!r}: taken are {', '.join(ALGORITHMS)}"
                )
            claims = jwt.decode(
                token,
                self._key(header.get("kid"), algorithm).key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise AuthenticationError(f"the bearer token is not taken: {error}") from None
        return self._principal(claims)

    def _principal(self, claims: dict[str, Any]) -> Principal:
        """Scopes from ``scope`` (words, RFC 8693) or ``scp`` (a list); limits from ``petiole_graphs`` and ``petiole_namespaces``."""
        words = _words(claims.get("scope")) + _words(claims.get("scp"))
        scopes = frozenset(scope for scope in SCOPES if f"{self._prefix}{scope}" in words)
        if not scopes:
            raise AuthenticationError(
                f"the bearer token has no scope for this: it needs one of {', '.join(self._prefix + scope for scope in SCOPES)}"
            )
        return Principal(
            name=f"jwt:{claims['sub']}",
            scopes=scopes,
            graphs=tuple(_words(claims.get("petiole_graphs"))),
            namespaces=tuple(_words(claims.get("petiole_namespaces"))),
        )

    # ---------------------------------------------------------------- the provider's keys

    def _key(self, kid: object, algorithm: str) -> jwt.PyJWK:
        """The key that a token names; one that names none gets the only one there is."""
        for fetched in (False, True):
            if fetched:
                self._fetch()
            if time.monotonic() - self._fetched > LIFETIME:
                continue
            found = self._keys.get(str(kid)) if kid is not None else None
            if kid is None and len(self._keys) == 1:
                [found] = self._keys.values()
            if found is not None:
                if found.algorithm_name != algorithm and found.key_type != _family(algorithm):
                    break
                return found
        raise AuthenticationError(
            f"the bearer token is signed with a key ({kid}) that {self._issuer} does not publish"
        )

    def _fetch(self) -> None:
        with self._lock:
            if time.monotonic() - self._fetched < PAUSE:
                return
            try:
                document = self._document()
                keys = jwt.PyJWKSet.from_dict(document).keys
            except (OSError, httpx.HTTPError, ValueError, jwt.PyJWTError) as error:
                raise AuthenticationError(
                    f"the keys of {self._issuer} cannot be had just now ({type(error).__name__}): try again"
                ) from error
            self._keys = {str(key.key_id): key for key in keys}
            self._fetched = time.monotonic()

    def _document(self) -> dict[str, Any]:
        source = self._source
        if source and not source.startswith(("http://", "https://")):
            found: dict[str, Any] = json.loads(Path(source).read_text())
            return found
        with httpx.Client(timeout=TIMEOUT) as client:
            if not source:
                about = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
                source = str(client.get(about).raise_for_status().json()["jwks_uri"])
            found = client.get(source).raise_for_status().json()
            return found


def _family(algorithm: str) -> str:
    return {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}[algorithm[:2]]


def _words(value: object) -> list[str]:
    if isinstance(value, str):
        return value.split()
    return [str(one) for one in value] if isinstance(value, list) else []
