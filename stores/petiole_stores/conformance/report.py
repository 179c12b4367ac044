"""Checks with names, and the report of having run them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from petiole_stores.errors import ConfigurationError

T = TypeVar("T")


class NotOffered(Exception):
    """Raised by a check of a part that the store need not have and does not."""


@dataclass(frozen=True)
class Check(Generic[T]):
    """One rule of a contract: ``run`` raises AssertionError where it is broken."""

    name: str
    rule: str
    run: Callable[[T], None]


@dataclass
class Report:
    """What held, what did not, and what the store does not offer; prints as one line a check."""

    subject: str
    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  #: name -> why
    skipped: dict[str, str] = field(default_factory=dict)  #: name -> why

    @property
    def ok(self) -> bool:
        return not self.failed

    def __str__(self) -> str:
        lines = [f"  passed   {name}" for name in self.passed]
        lines += [f"  skipped  {name}: {why}" for name, why in self.skipped.items()]
        for name, why in self.failed.items():
            lines.append(f"  FAILED   {name}")
            lines += [f"             {line}" for line in why.splitlines()]
        counts = f"{len(self.passed)} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"
        return "\n".join([self.subject, *lines, counts])

    def require(self) -> None:
        """Raise AssertionError with the whole report unless every check passed or was skipped."""
        if not self.ok:
            raise AssertionError(str(self))


class Catalogue(Generic[T]):
    """The checks of one contract, in the order in which they were written."""

    def __init__(self) -> None:
        self.checks: dict[str, Check[T]] = {}

    def __call__(self, function: Callable[[T], None]) -> Callable[[T], None]:
        """Decorate a check: its name is the function's, its rule the docstring's first line."""
        name = function.__name__
        if name in self.checks:
            raise ConfigurationError(f"two checks are named {name}: rename one")
        self.checks[name] = Check(name, (function.__doc__ or name).strip().splitlines()[0], function)
        return function


def run_checks(
    subject: str, checks: Iterable[Check[T]], each: Callable[[Callable[[T], None]], None]
) -> Report:
    """Run checks through ``each``, which gives a check what it looks at, and say how they went."""
    report = Report(subject)
    for check in checks:
        try:
            each(check.run)
        except NotOffered as reason:
            report.skipped[check.name] = str(reason)
        except Exception as error:  # noqa: BLE001 - whatever an adapter raises is its finding
            where = traceback.extract_tb(error.__traceback__)[-1]
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            report.failed[check.name] = f"{check.rule}\n{kind}{error}\nat {where.filename}:{where.lineno}"
        else:
            report.passed.append(check.name)
    return report


def same(found: object, wanted: object, what: str) -> None:
    """Raise AssertionError unless ``found`` equals ``wanted``; unlike ``assert`` it stays under ``python -O``."""
    if found != wanted:
        raise AssertionError(f"{what}: expected {wanted!r}, found {found!r}")


def holds(condition: object, what: str) -> None:
    """Raise AssertionError with ``what`` unless ``condition`` is true."""
    if not condition:
        raise AssertionError(what)
