"""Whether the broker can be reached, asked anew, beside all connections that are open."""

from __future__ import annotations

import time

from petiole.defaults import Ground
from petiole_stores.errors import BrokerError, ConfigurationError

#: How long the broker may take to answer, in seconds.
PATIENCE = 3.0


def reach_broker(place: Ground) -> float | None:
    """Connect to the broker; gives how many seconds that took, ``None`` for an embedded one that no worker has started yet.

    Raises BrokerError.
    """
    if not place.is_broker_up():
        return None
    from kombu import Connection

    from petiole_workers.celery.app import broker_options, check_scheme

    url, options = place.settings.broker, broker_options(place.settings) | place.transport_options
    began = time.monotonic()
    try:
        check_scheme(url or "")
        with Connection(url, transport_options=options, connect_timeout=PATIENCE) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=PATIENCE)
    except ConfigurationError as error:
        raise BrokerError(str(error)) from None
    except Exception as error:  # noqa: BLE001 - each transport has errors of its own
        raise BrokerError(
            f"{place.broker_shown} cannot be reached: {type(error).__name__}: {error}"
        ) from None
    return time.monotonic() - began
