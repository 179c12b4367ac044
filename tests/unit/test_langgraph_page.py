"""docs/langgraph.md: its programs run, and the table names what LangGraph's authoring modules export."""

from __future__ import annotations

import importlib
import re
import sys
import types
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "langgraph.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_program_of_the_page_runs(number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    # A module of its own: annotations are looked up there.
    module = types.ModuleType(f"langgraph_page_{number}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(BLOCKS[number], str(PAGE), "exec"), vars(module))  # noqa: S102 - our own page


@pytest.mark.parametrize("name", ["graph", "graph.message", "channels", "managed", "runtime"])
def test_every_public_name_of_authoring_is_in_the_table(name: str) -> None:
    module = pytest.importorskip(f"langgraph.{name}", reason="langgraph is not installed")
    exported = getattr(importlib.import_module(module.__name__), "__all__", ())
    text = PAGE.read_text()
    missing = [one for one in exported if not re.search(rf"\b{one.removesuffix('AfterFinish')}", text)]
    assert not missing
