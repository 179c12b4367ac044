"""docs/cli.md names every command, option and exit code; the help is quick to come."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from petiole.cli.exits import Exit, code_of
from petiole.cli.tree import app
from petiole_stores import errors

TEXT = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
SHARED = {
    "--store",
    "--broker",
    "--output",
    "-o",
    "--help",
    "--run",
    "--debug",
    "--install-completion",
    "--show-completion",
}


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, f"{path} {name}")


TREE = dict(commands(typer.main.get_command(app), "petiole"))


def section(path: str) -> str:
    """The part of the page under the heading that begins with this command."""
    found = re.search(
        rf"^(#+) {re.escape(path)}(?: [A-Z]+)*\n(.*?)(?=^#+ |\Z)", TEXT, re.MULTILINE | re.DOTALL
    )
    assert found, f"docs/cli.md has no heading for `{path}`"
    return found[2]


@pytest.mark.parametrize("path", [path for path in TREE if path != "petiole"])
def test_every_command_and_option_is_on_the_page(path: str) -> None:
    text = section(path)
    options = {
        name
        for param in TREE[path].params
        for name in (*param.opts, *param.secondary_opts)
        if name.startswith("-")
    }
    missing = sorted(name for name in options - SHARED if not re.search(rf"`[^`]*{name}\b", text))
    assert not missing, f"docs/cli.md, {path}: {missing}"


def test_the_shared_options_are_on_the_page() -> None:
    assert not [name for name in SHARED if name not in TEXT]


def test_the_page_has_no_command_or_option_that_does_not_exist() -> None:
    headings = re.findall(r"^#+ (petiole(?: [a-z]+)+)", TEXT, re.MULTILINE)
    assert set(headings) == set(TREE) - {"petiole"}
    real = {
        name
        for command in TREE.values()
        for param in command.params
        for name in (*param.opts, *param.secondary_opts)
    }
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT)) <= real | {"--help"}


def test_every_option_and_command_has_a_help_text() -> None:
    silent = [
        f"{path} {param.name}"
        for path, command in TREE.items()
        for param in command.params
        if not getattr(param, "help", "")
    ]
    silent += [path for path, command in TREE.items() if not command.help]
    assert not silent


def test_every_exit_code_is_on_the_page() -> None:
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    assert table == {int(code) for code in Exit}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("RunFailedError", Exit.FAILED),
        ("RunCancelledError", Exit.FAILED),
        ("RunInterruptedError", Exit.FAILED),
        ("RunTimeoutError", Exit.TIMEOUT),
        ("ConfigurationError", Exit.USAGE),
        ("InvalidUpdateError", Exit.USAGE),
        ("InputError", Exit.USAGE),
        ("SerializationError", Exit.USAGE),
        ("NotFoundError", Exit.NOT_FOUND),
        ("ThreadBusyError", Exit.CONFLICT),
        ("IdempotencyError", Exit.CONFLICT),
        ("StoreUnavailableError", Exit.UNAVAILABLE),
        ("SchemaError", Exit.UNAVAILABLE),
        ("CorruptionError", Exit.UNAVAILABLE),
        ("BrokerError", Exit.UNAVAILABLE),
    ],
)
def test_errors_have_their_codes(name: str, code: Exit) -> None:
    assert code_of(getattr(errors, name)("x")) is code
