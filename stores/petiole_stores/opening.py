"""``open_store``: from a URL to a connected store."""

from __future__ import annotations

from importlib.metadata import entry_points

from petiole_stores.contract import CheckpointStore
from petiole_stores.errors import ConfigurationError, PetioleError, SchemaError
from petiole_stores.serde import Serde
from petiole_stores.store import Store, StoreUrl

#: Where the shipped stores live: scheme -> "module:class". Others come from the entry-point group ``petiole.stores``.
BUILT_IN = {
    "memory": "petiole_stores.memory:MemoryStore",
    "file": "petiole_stores.file:FileStore",
    "sqlite": "petiole_stores.sql.sqlite:SQLiteStore",
    "postgresql": "petiole_stores.sql.postgres:PostgresStore",
    "postgres": "petiole_stores.sql.postgres:PostgresStore",
    "redis": "petiole_stores.redis:RedisStore",
    "rediss": "petiole_stores.redis:RedisStore",
}


def open_store(url: str, *, serde: Serde | None = None, migrate: bool = True) -> Store:
    """Open the store that ``url`` names and connect to it.

    ``migrate`` brings the schema of a file-based store up to date first (Postgres: ``petiole db upgrade`` does, and an
    empty database is set up here). Raises ConfigurationError for a URL that nothing serves, StoreUnavailableError when
    the store cannot be reached, SchemaError when its schema is of another version.
    """
    store = open_checkpoint_store(url, serde=serde, migrate=migrate)
    if not isinstance(store, Store):
        raise ConfigurationError(
            f"{url!r} opens {type(store).__name__}, which keeps checkpoints alone: runs on workers need a full store "
            "(memory, file, sqlite, postgresql or redis)"
        )
    return store


def open_checkpoint_store(url: str, *, serde: Serde | None = None, migrate: bool = True) -> CheckpointStore:
    """As :func:`open_store`, for stores too that keep checkpoints alone (custom adapters)."""
    store = _unconnected(url)
    if serde is not None and isinstance(store, Store):
        store.serde = serde
    store.connect()
    if migrate:
        store.migrate_schema()
    return store


def upgrade_store(url: str) -> list[str]:
    """Bring the schema of the store that ``url`` names to this version and return the steps taken.

    An older schema, which :func:`open_store` refuses, is what this is for. Raises SchemaError for one that no step leads
    on from, such as a newer one.
    """
    store = _unconnected(url)
    refusal: SchemaError | None = None
    try:
        store.connect()
    except SchemaError as error:
        refusal = error
    try:
        steps = store.migrate_schema()
        store.validate()
        return steps
    except PetioleError:
        raise
    except Exception as error:
        shown = StoreUrl.parse(url).shown
        raise refusal or SchemaError(
            f"the schema of {shown} cannot be brought to this version: {error}"
        ) from error
    finally:
        store.close()


def _unconnected(url: str) -> CheckpointStore:
    parsed = StoreUrl.parse(url)
    store: CheckpointStore = _factory(parsed.scheme)(parsed)
    return store


def _factory(scheme: str) -> type:
    if scheme in BUILT_IN:
        import importlib

        module, _, name = BUILT_IN[scheme].partition(":")
        found: type = getattr(importlib.import_module(module), name)
        return found
    others = entry_points(group="petiole.stores")
    if scheme in others.names:
        loaded: type = others[scheme].load()
        return loaded
    known = sorted({*BUILT_IN, *others.names})
    raise ConfigurationError(f"no store serves the scheme {scheme!r}: known are {', '.join(known)}")
