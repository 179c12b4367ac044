"""Which store and broker are in force: the configured ones, else what Petiole brings itself, for one machine.

The command line, the client and the supervisor all ask here, so that ``petiole run start`` finds what ``petiole dev``
and ``petiole worker`` work on.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

from petiole.embedded import EmbeddedBroker, default_store_url
from petiole_workers.launch import TRANSPORT_VARIABLE
from petiole_workers.settings import Settings


@dataclass
class Ground:
    """Settings with store and broker filled in, and what an embedded broker needs besides its URL.

    As a context manager it holds the embedded broker, starting it where nobody has; without, nothing is started.
    """

    settings: Settings  #: ``store`` and ``broker`` are set
    transport_options: dict[str, Any] = field(default_factory=dict)
    embedded: EmbeddedBroker | None = None
    notes: list[str] = field(default_factory=list)  #: what people should know of it, a line each

    @property
    def store_url(self) -> str:
        assert self.settings.store is not None
        return self.settings.store

    @property
    def environment(self) -> dict[str, str]:
        """What a worker process needs in its environment besides the settings."""
        return {TRANSPORT_VARIABLE: json.dumps(self.transport_options)} if self.transport_options else {}

    @property
    def broker_shown(self) -> str:
        """The broker's URL without its password, or what the embedded one is."""
        return (
            without_password(self.settings.broker or "")
            if self.embedded is None
            else self.embedded.describe()
        )

    def __enter__(self) -> Self:
        """Raises BrokerError when the embedded broker does not come up."""
        if self.embedded is not None:
            self.embedded.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.embedded is not None:
            self.embedded.stop()

    def is_broker_up(self) -> bool:
        """Whether a message could be taken now; a configured broker is taken to be up."""
        if self.embedded is None:
            return True
        if self.embedded.is_server:
            return self.embedded.server_pid() is not None
        return (self.embedded.folder / "messages").is_dir()


def ground(settings: Settings) -> Ground:
    """Fill in the embedded store and broker where the settings name none."""
    notes = []
    store, broker = settings.store, settings.broker
    embedded: EmbeddedBroker | None = None
    options: dict[str, Any] = json.loads(os.environ.get(TRANSPORT_VARIABLE) or "{}") if broker else {}
    if not store:
        store = default_store_url(settings.data_dir)
        notes.append(
            f"embedded store: {store}; for one machine only (name another with --store or PETIOLE_STORE)"
        )
    if not broker:
        embedded = EmbeddedBroker(settings.data_dir)
        broker, options = embedded.url, embedded.transport_options
        notes.append(f"{embedded.describe()} (name another with --broker or PETIOLE_BROKER)")
    return Ground(msgspec.structs.replace(settings, store=store, broker=broker), options, embedded, notes)


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    password = urlsplit(url).password
    return url if password is None else url.replace(f":{password}@", ":***@", 1)
