"""TCP's own timers, set so that a peer whose network or machine is gone is noticed within seconds."""

from __future__ import annotations

import socket

#: Seconds of silence before the first probe, between two, and how many may go unanswered.
IDLE, INTERVAL, COUNT = 5, 2, 3
#: How long sent data may go unacknowledged, in milliseconds.
USER_TIMEOUT = 15_000


def keepalive_options(*, user_timeout: bool = True) -> dict[int, int]:
    """The timers by their socket option's number, as far as this platform has them."""
    wanted = {"TCP_KEEPIDLE": IDLE, "TCP_KEEPINTVL": INTERVAL, "TCP_KEEPCNT": COUNT}
    if user_timeout:
        wanted["TCP_USER_TIMEOUT"] = USER_TIMEOUT
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}
