"""Network timeouts of broker connections: a half-open one, whose peer has gone without a word, is noticed within seconds."""

from __future__ import annotations

from typing import Any

from kombu import Connection

from petiole_stores.keepalive import keepalive_options

#: How long a broker that owes an answer may be silent, in seconds.
SILENCE = 5.0
#: How often AMQP peers show each other that they live, in seconds; twice that without a sign ends the connection.
HEARTBEAT = 30


def network_options(driver: str) -> dict[str, Any]:
    """kombu's transport options for a driver: ``redis`` (Valkey and Sentinel too), ``amqp``; none for others.

    Redis: the consumer's long poll is not touched by ``socket_timeout``. It asks for 1 s at most and its answer is read
    when it is there; an overdue one is what ``health_check_interval`` looks for. ``retry_on_timeout`` stays off: it would
    send a batch of messages twice, and kombu gives up pipelining where it is on.

    AMQP: py-amqp's own TCP_USER_TIMEOUT (1 s) stays. Its ``read_timeout`` is of no use, for a read that ran into it is
    begun again; see :func:`bound_waits`.
    """
    if driver == "redis":
        return {
            "socket_timeout": SILENCE,
            "socket_connect_timeout": SILENCE,
            "socket_keepalive": True,
            "socket_keepalive_options": keepalive_options(),
            "health_check_interval": 10,
        }
    if driver == "amqp":
        return {"socket_settings": keepalive_options(user_timeout=False)}
    return {}


def bound_waits(connection: Connection) -> None:
    """Let no answer on an open AMQP connection be waited for longer than ``SILENCE``: those of declarations and confirms
    have no limit. Only for connections that nobody reads from otherwise."""
    if connection.transport.driver_type == "amqp":
        connection.connection.transport.sock.settimeout(SILENCE)
