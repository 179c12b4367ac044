"""Asking before much is changed."""

from __future__ import annotations

import sys

import typer


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; elsewhere ``--yes`` must have been given. Raises InputError, or Exit for a no."""
    from petiole.cli.exits import Exit
    from petiole.cli.session import tell
    from petiole_stores.errors import InputError

    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError(f"nothing was changed: {question} Add --yes, for there is no terminal to ask on")
    print(f"petiole: {question} [y/N]: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        tell(["nothing was changed"])
        raise typer.Exit(Exit.FAILED)
