"""Bearer tokens of an identity provider: only what its keys have signed, for this server, in time."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from petiole.access import tokens as module
from petiole.access.principal import AuthenticationError
from petiole.access.tokens import Tokens
from petiole_stores.errors import ConfigurationError
from petiole_workers.settings import Settings

ISSUER, AUDIENCE = "https://id.example", "petiole"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def published(*keys: tuple[str, Any]) -> str:
    found = []
    for kid, key in keys:
        kind, algorithm = (
            (RSAAlgorithm, "RS256") if isinstance(key, rsa.RSAPrivateKey) else (ECAlgorithm, "ES256")
        )
        found.append(json.loads(kind.to_jwk(key.public_key())) | {"kid": kid, "alg": algorithm, "use": "sig"})
    return json.dumps({"keys": found})


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    file = tmp_path / "jwks.json"
    file.write_text(published(("r1", RSA), ("e1", EC)))
    return file


@pytest.fixture
def tokens(jwks: Path) -> Tokens:
    return Tokens(Settings(oidc_issuer=ISSUER, oidc_audience=AUDIENCE, oidc_jwks=str(jwks)))


def signed(key: Any = RSA, algorithm: str = "RS256", kid: str | None = "r1", **claims: Any) -> str:
    said = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": time.time() + 60, "scope": "openid petiole:operate",
    } | claims  # fmt: skip
    kept = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm, headers={"kid": kid} if kid else {})


def test_a_token_says_who_and_what(tokens: Tokens) -> None:
    principal = tokens.check(signed(petiole_graphs=["order"], petiole_namespaces="acme beta"))
    assert principal.name == "jwt:ann"
    assert principal.scopes == {"operate"}
    assert principal.graphs == ("order",)
    assert principal.namespaces == ("acme", "beta")
    assert tokens.check(signed(EC, "ES256", "e1", scope=None, scp=["petiole:read"])).scopes == {"read"}


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (lambda: signed(exp=time.time() - 120), "expired"),
        (lambda: signed(exp=None), "exp"),
        (lambda: signed(nbf=time.time() + 120), "not yet valid"),
        (lambda: signed(aud="other"), "udience"),
        (lambda: signed(iss="https://evil.example"), "ssuer"),
        (lambda: signed(sub=None), "sub"),
        (lambda: signed(scope="read admin"), "no scope for this"),
        (lambda: signed(STRANGER), "ignature"),
        (lambda: signed(kid="unknown"), "does not publish"),
        (lambda: signed(kid=None), "does not publish"),
        (lambda: signed(EC, "ES256", "r1"), "does not publish"),
        (lambda: jwt.encode({"sub": "ann"}, None, algorithm="none"), "signed with 'none'"),
        (lambda: "not.a.token", "not taken"),
        (lambda: "", "not taken"),
    ],
)
def test_what_is_not_taken(tokens: Tokens, token: Any, words: str) -> None:
    with pytest.raises(AuthenticationError, match=words):
        tokens.check(token())


def test_the_provider_s_public_key_is_no_secret_to_sign_with(tokens: Tokens) -> None:
    public = RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = jwt.utils.base64url_encode(b'{"alg":"HS256","kid":"r1"}')
    body = jwt.utils.base64url_encode(
        json.dumps({"iss": ISSUER, "aud": AUDIENCE, "sub": "x", "exp": 9e9}).encode()
    )

    mac = jwt.utils.base64url_encode(hmac.digest(public, head + b"." + body, hashlib.sha256))
    with pytest.raises(AuthenticationError, match="signed with 'HS256'"):
        tokens.check(b".".join([head, body, mac]).decode())


def test_a_new_key_of_the_provider_is_fetched_when_a_token_names_it(
    tokens: Tokens, jwks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens.check(signed())
    jwks.write_text(published(("r2", STRANGER)))
    with pytest.raises(AuthenticationError, match="does not publish"):
        tokens.check(signed(STRANGER, kid="r2"))
    monkeypatch.setattr(module, "PAUSE", 0.0)
    assert tokens.check(signed(STRANGER, kid="r2")).name == "jwt:ann"


def test_a_provider_that_cannot_be_reached_is_said(tmp_path: Path) -> None:
    tokens = Tokens(
        Settings(oidc_issuer=ISSUER, oidc_audience=AUDIENCE, oidc_jwks=str(tmp_path / "none.json"))
    )
    with pytest.raises(AuthenticationError, match="cannot be had just now"):
        tokens.check(signed())


def test_an_issuer_without_an_audience_is_no_setting() -> None:
    with pytest.raises(ConfigurationError, match="both oidc_issuer and oidc_audience"):
        Tokens(Settings(oidc_issuer=ISSUER))
