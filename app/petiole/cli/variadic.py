"""Options that take several values in a row: ``--graphs a:b c:d --queues q``."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup

VARIADIC = ("--graphs", "--queues")


def spread(args: Iterable[str], stops: Collection[str] = ()) -> list[str]:
    """The arguments with each further value of a variadic option given an option of its own.

    Values may also be joined by commas. A value ends at the next option, or at one of ``stops``.
    """
    result: list[str] = []
    option = ""
    for arg in args:
        name, given, value = arg.partition("=")
        if name in VARIADIC:
            option = name
            result += [part for one in _split(value) for part in (name, one)] if given else []
        elif option and not arg.startswith("-") and arg not in stops:
            result += [part for one in _split(arg) for part in (option, one)]
        else:
            option = ""
            result.append(arg)
    return result


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


class VariadicGroup(TyperGroup):
    """A group whose own options may take several values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args, self.commands))


class VariadicCommand(TyperCommand):
    """A command with such options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args))
