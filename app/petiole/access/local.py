"""Who works at this machine's command line."""

from __future__ import annotations

import getpass
import platform


def me() -> str:
    """``cli:user@host``, as the audit log names who used the command line."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in containers
        user = "unknown"
    return f"cli:{user}@{platform.node()}"
