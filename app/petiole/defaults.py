"""Which store and broker are in force: the configured ones, else what Petiole brings itself, for one machine.

The command line, the client and the supervisor all ask here, so that ``petiole run start`` finds what ``petiole dev``
and ``petiole worker`` work on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import msgspec

from petiole.embedded import EmbeddedBroker, default_store_url
from petiole_workers.settings import Settings

#: Environment of a worker that is started by Petiole: transport options of its broker, as JSON.
TRANSPORT_VARIABLE = "PETIOLE_WORKER_TRANSPORT_OPTIONS"


@dataclass
class Backends:
    """Settings with store and broker filled in, and what an embedded broker needs besides its URL."""

    settings: Settings  #: ``store`` and ``broker`` are set
    transport_options: dict[str, Any] = field(default_factory=dict)
    embedded: EmbeddedBroker | None = None  #: nothing is started before ``start``
    notes: list[str] = field(default_factory=list)  #: what people should know of it, a line each

    @property
    def store_url(self) -> str:
        assert self.settings.store is not None
        return self.settings.store

    @property
    def environment(self) -> dict[str, str]:
        """What a worker process needs in its environment besides the settings."""
        return {TRANSPORT_VARIABLE: json.dumps(self.transport_options)} if self.transport_options else {}

    def start(self) -> Backends:
        """Attach to the embedded broker, if it is the one in force. Raises BrokerError when it does not come up."""
        if self.embedded is not None:
            self.embedded.start()
        return self

    def stop(self) -> None:
        """Leave the embedded broker."""
        if self.embedded is not None:
            self.embedded.stop()

    def is_broker_up(self) -> bool:
        """Whether a message could be taken now; a configured broker is taken to be up."""
        return self.embedded is None or not self.embedded.is_server or self.embedded.server_pid() is not None


def resolve(settings: Settings) -> Backends:
    """Fill in the embedded store and broker where the settings name none."""
    notes = []
    store, broker = settings.store, settings.broker
    embedded: EmbeddedBroker | None = None
    options: dict[str, Any] = {}
    if not store:
        store = default_store_url(settings.data_dir)
        notes.append(f"embedded store: {store}; for one machine only (name another with --store or PETIOLE_STORE)")
    if not broker:
        embedded = EmbeddedBroker(settings.data_dir)
        broker, options = embedded.url, embedded.transport_options
        notes.append(f"{embedded.describe()} (name another with --broker or PETIOLE_BROKER)")
    return Backends(msgspec.structs.replace(settings, store=store, broker=broker), options, embedded, notes)
