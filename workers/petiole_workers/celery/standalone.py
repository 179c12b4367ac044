"""The app of ``celery -A petiole_workers``, made from the settings of the environment and of pyproject.toml.

``petiole worker`` starts its workers this way too. What is wrong with the settings or graphs is said in one line, and the
process ends with a code that tells the supervisor not to try again.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import MutableMapping

from celery import Celery

from petiole_stores.errors import ConfigurationError, PetioleError, SchemaError, StoreUnavailableError
from petiole_stores.opening import open_store
from petiole_workers.celery.app import make_app
from petiole_workers.celery.parent import die_with
from petiole_workers.launch import (
    EXIT_CONFIGURATION,
    EXIT_UNAVAILABLE,
    SUPERVISOR_VARIABLE,
    TRANSPORT_VARIABLE,
)
from petiole_workers.registry import load_registry
from petiole_workers.settings import Settings, load_settings


def standalone_app(environ: MutableMapping[str, str] = os.environ) -> Celery:
    """The Celery app that the environment describes. Ends the process with a clear message where it cannot be made."""
    supervisor = environ.pop(SUPERVISOR_VARIABLE, "")
    if supervisor:
        die_with(int(supervisor))
    try:
        settings = load_settings(environ=environ)
        app = _app(settings, environ.get(TRANSPORT_VARIABLE, ""))
        if supervisor:
            _prepare_store(settings)
    except StoreUnavailableError as error:
        raise SystemExit(_say(error, EXIT_UNAVAILABLE)) from None
    except (ConfigurationError, SchemaError) as error:
        raise SystemExit(_say(error, EXIT_CONFIGURATION)) from None
    except Exception as error:  # noqa: BLE001 - a dependency that is missing, say
        traceback.print_exception(
            error, chain=False
        )  # celery would take an ImportError for "no app here" and say no more
        raise SystemExit(1) from None
    return app


def _app(settings: Settings, transport_options: str) -> Celery:
    if not settings.store:
        raise ConfigurationError(
            "no store is set: set PETIOLE_STORE, or use `petiole worker`, which brings one"
        )
    if not settings.broker:
        raise ConfigurationError(
            "no broker is set: set PETIOLE_BROKER, or use `petiole worker`, which brings one"
        )
    if not settings.graphs:
        raise ConfigurationError(
            "no graph is named: give --graphs module:attribute, set PETIOLE_GRAPHS, or graphs in [tool.petiole]"
        )
    try:
        options = json.loads(transport_options or "{}")
    except ValueError as error:
        raise ConfigurationError(
            f"{TRANSPORT_VARIABLE} is {transport_options!r}, which is no JSON: {error}"
        ) from None
    return make_app(settings, load_registry(settings.graphs), transport_options=options)


def _prepare_store(settings: Settings) -> None:
    """Set up an empty store, and find out now whether it can be worked with; no connection outlives this (the pool forks)."""
    store = open_store(settings.store or "")
    try:
        store.validate()
        if not store.shared:
            raise ConfigurationError(
                f"the store {store.url.shown} lives in one process alone, so no worker can use it: name another "
                "(sqlite:///file.db, postgresql://…, redis://…)"
            )
    finally:
        store.close()


def _say(error: PetioleError, code: int) -> int:
    print(f"petiole: {error}", file=sys.stderr, flush=True)
    return code
