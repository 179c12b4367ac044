"""The command line. Nothing here is imported but typer until a command runs: ``petiole --help`` answers at once."""

from petiole.cli.tree import main

__all__ = ["main"]
