"""Running the server: where it listens, whom it lets in, and what it says of it."""

from __future__ import annotations

import ipaddress
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable

import uvicorn

from petiole.access.keys import Keys
from petiole.api.app import create_app
from petiole.client import Client
from petiole_stores.errors import ConfigurationError

#: How long open requests may take at a stop, in seconds; streams are cut then.
GRACE = 5
#: Open files that a server asks for.
FILES = 65_536
#: Names of this machine for itself.
LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})


def serve(client: Client, *, host: str, port: int, auth: bool | None, say: Callable[[str], None]) -> None:
    """Serve until a signal ends it.

    Parameters
        port  0: any that is free
        auth  ``None``: where there are keys or an identity provider, and on every address but loopback

    Raises ConfigurationError: nobody could log in, authentication is to be off on an address that others reach, the
    address cannot be listened at.
    """
    required = is_required(client, host, auth)
    _allow_files()
    listener = _listen(host, port)
    where = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    app = create_app(client, authenticated=required, hosts=frozenset() if required else LOCAL | {host})
    if not required:
        say(
            "WARNING: authentication is off: whoever can reach this machine's loopback address may do anything. "
            "`petiole key create NAME --scope admin` makes a key and turns it on"
        )
    say(f"serving {where} (API under {where}/api/v1); store {client.store.url.shown}; Ctrl-C stops")
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        lifespan="on",
    )
    # uvicorn stops in good order at SIGTERM, and then raises it again.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with listener:
        uvicorn.Server(config).run(sockets=[listener])


def is_required(client: Client, host: str, auth: bool | None) -> bool:
    """Whether requests must say who makes them. Raises ConfigurationError where that cannot work or would be open to all."""
    can = bool(client.settings.oidc_issuer) or any(
        key.revoked_at is None for key in Keys(client.store).list()
    )
    if auth is False and not is_loopback(host):
        raise ConfigurationError(
            f"authentication can be off on a loopback address only, and the host is {host!r}: leave out --no-auth"
        )
    if not can and (auth or not is_loopback(host)):
        raise ConfigurationError(
            f"nobody could log in at {host!r}: make a key with `petiole key create NAME --scope admin`, "
            "or set oidc_issuer and oidc_audience"
        )
    return can if auth is None else auth


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _allow_files() -> None:
    """Let this process have as many files open as it may: each connection is one, and a usual limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen at {host}:{port}: {_words(error)}; give another --host or --port"
        ) from None


def _words(error: OSError) -> str:
    """What the system says of it; Python's own words repeat the address."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
