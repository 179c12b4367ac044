"""``petiole`` exports what it says, and loads nothing before it is asked for."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import petiole
from petiole_stores import errors

SLOW = (
    "typer",
    "rich",
    "fastapi",
    "alembic",
    "celery",
    "kombu",
    "sqlalchemy",
    "redis",
    "langgraph",
    "langchain_core",
)


def test_every_name_can_be_had_and_is_the_one_of_its_home() -> None:
    for name in petiole.__all__:
        assert getattr(petiole, name) is not None
        assert name in dir(petiole)


def test_the_names_are_those_that_the_type_checker_sees() -> None:
    """``__all__``, the table of homes and the imports under TYPE_CHECKING are one list."""
    tree = ast.parse(Path(petiole.__file__).read_text())
    branch = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name for node in branch.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed | {"__version__"} == set(petiole.__all__) == {*petiole._HOME_OF, "__version__"}


def test_the_list_is_sorted_and_without_doubles() -> None:
    assert petiole.__all__ == sorted(set(petiole.__all__), key=_isort)


def test_every_error_is_exported() -> None:
    found = {
        name
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, errors.PetioleError)
    }
    assert found <= set(petiole.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(petiole, "nothing_of_the_kind")


def test_authoring_imports_nothing_slow() -> None:
    program = "import petiole, sys; from petiole import StateGraph, Send, Checkpoint; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {name.partition(".")[0] for name in loaded} & set(SLOW)


def test_help_imports_no_engine() -> None:
    program = "import petiole.cli, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    slow = {"celery", "kombu", "sqlalchemy", "alembic", "redis", "pydantic", "rich"}
    assert not {name.partition(".")[0] for name in loaded} & slow


def _isort(name: str) -> tuple[int, str]:
    """The order of ruff's RUF022: constants, classes, the rest."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)
