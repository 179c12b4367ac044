"""Whether the server can do its work: the store answers, its schema is this version's, the broker can be reached."""

from __future__ import annotations

import threading
import time
from typing import Literal

import msgspec

from petiole.client import Client
from petiole.reaching import reach_broker
from petiole_stores.errors import BrokerError, PetioleError, SchemaError

#: For how long an answer is given again, and how long a caller waits for one that another has asked for, in seconds.
FRESH, PATIENCE = 1.0, 5.0


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: Literal["store", "schema", "broker"]
    ok: bool
    detail: str


class Readiness:
    """Looks at what a client works with. Any number may ask: one at a time looks, the others are told the same.

    Parameters
        fresh     seconds for which an answer is given again
        patience  seconds that a caller waits for the answer to another's question
    """

    def __init__(self, client: Client, *, fresh: float = FRESH, patience: float = PATIENCE) -> None:
        self._client, self._fresh, self._patience = client, fresh, patience
        self._lock = threading.Lock()
        self._known: tuple[float, list[Check]] = (-fresh, [])

    def look(self) -> list[Check]:
        """Every check, those that failed too."""
        # A store that is away may keep whoever asks it waiting; the threads of the server are not to queue up behind him.
        if not self._lock.acquire(timeout=self._patience):
            waited = f"has not answered within {self._patience:g} s"
            return [Check("store", False, f"{self._client.store.url.shown} or the broker {waited}")]
        try:
            at, known = self._known
            if known and time.monotonic() - at < self._fresh:
                return known
            found = [*self._store(), *self._broker()]
            self._known = time.monotonic(), found
            return found
        finally:
            self._lock.release()

    def _store(self) -> list[Check]:
        store = self._client.store
        try:
            store.validate()
        except SchemaError as error:
            return [
                Check("store", True, f"{store.url.shown} answers"),
                Check("schema", False, str(error)),
            ]
        except PetioleError as error:
            return [Check("store", False, str(error))]
        return [
            Check("store", True, f"{store.url.shown} answers"),
            Check("schema", True, "it is this version's"),
        ]

    def _broker(self) -> list[Check]:
        if not self._client.store.shared:  # all is within this process
            return []
        place = self._client.place
        try:
            took = reach_broker(place)
        except BrokerError as error:
            return [Check("broker", False, str(error))]
        note = "; the first worker starts it" if took is None else " answers"
        return [Check("broker", True, f"{place.broker_shown}{note}")]
