"""``/api/v1/keys``: API keys, for administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from petiole.access.keys import Keys
from petiole.access.principal import Scope
from petiole.access.reach import check_reach, is_within
from petiole.api.access import Admin, Recording
from petiole.documents import iso, key_document
from petiole_stores.errors import NotFoundError

router = APIRouter(prefix="/api/v1/keys", tags=["keys"])

KeyId = Annotated[str, Path(description="The key's id: what stands between the two _ of it.", max_length=64)]


class NewKey(BaseModel):
    """What a new key is for and what it may."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "billing", "scopes": ["submit"]}]}
    )

    name: str = Field(min_length=1, max_length=200, description="Whom or what it is for.")
    scopes: list[Scope] = Field(min_length=1, description="What it may do.")
    graphs: list[str] = Field([], description="The graphs that it is limited to; none: all.")
    namespaces: list[str] = Field(
        [], description="The namespaces of threads that it is limited to; none: all."
    )
    lifetime: float | None = Field(
        None, gt=0, le=10 * 365 * 86400, description="Seconds until it expires; null: never."
    )


class KeyDocument(BaseModel):
    """A key's record."""

    key_id: str
    name: str
    scopes: list[Scope]
    graphs: list[str]
    namespaces: list[str]
    created_at: str
    created_by: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None = None


class CreatedKey(KeyDocument):
    """A new key with its token, which is shown this once."""

    token: str


class KeyList(BaseModel):
    """All keys, the newest first."""

    items: list[KeyDocument]


@router.get("", summary="List API keys", operation_id="list_keys")
def list_keys(request: Request, who: Admin) -> KeyList:
    """All API keys, those that are over, too."""
    keys: Keys = request.app.state.keys
    found = [key for key in keys.list() if is_within(who, key)]
    used = keys.last_used([key.key_id for key in found])
    return KeyList(
        items=[KeyDocument(**key_document(key), last_used_at=iso(used.get(key.key_id))) for key in found]
    )


@router.post("", status_code=201, summary="Make an API key", operation_id="create_key")
def create_key(request: Request, who: Admin, client: Recording, body: NewKey) -> CreatedKey:
    """Make an API key. Its token is in this answer and never shown again."""
    keys: Keys = request.app.state.keys
    with client.recording("key.create", details={"name": body.name}) as entry:
        check_reach(who, body.graphs, body.namespaces)
        key, token = keys.create(
            body.name,
            body.scopes,
            graphs=body.graphs,
            namespaces=body.namespaces,
            lifetime=body.lifetime,
            by=who.name,
        )
        entry.after = key_document(key)
    return CreatedKey(**key_document(key), token=token)


@router.delete("/{key_id}", summary="Revoke an API key", operation_id="revoke_key")
def revoke_key(request: Request, who: Admin, client: Recording, key_id: KeyId) -> KeyDocument:
    """End an API key for good, within seconds on every server."""
    keys: Keys = request.app.state.keys
    with client.recording("key.revoke", details={"key_id": key_id}) as entry:
        before = keys.get(key_id)
        if not is_within(who, before):
            raise NotFoundError(f"there is no key {key_id!r}")
        entry.before = key_document(before)
        entry.result = "already" if before.revoked_at is not None else "done"
        entry.after = key_document(keys.revoke(key_id))
    return KeyDocument(**entry.after)
