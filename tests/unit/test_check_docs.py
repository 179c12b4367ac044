"""The checker of the documentation finds what it is for, and the repository's own pages pass it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_docs", ROOT / "scripts" / "check_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def faults(checker: ModuleType, root: Path) -> list[tuple[str, int]]:
    return [(fault.path.name, fault.line) for fault in checker.check(root)]


def test_links_that_lead_nowhere(checker: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "there.md").write_text("# One Heading\n\n## Twice\n\n## Twice\n")
    (tmp_path / "README.md").write_text(
        "[ok](docs/there.md) [ok](docs/there.md#one-heading) [ok](https://example.org/x) [ok](#top)\n"
        "[gone](docs/gone.md)\n"
        "[gone](docs/there.md#other-heading)\n"
        "`[code](gone.md)` [second](docs/there.md#twice-1)\n"
        "[out](../elsewhere.md)\n"
        "# Top\n"
    )
    assert faults(checker, tmp_path) == [("README.md", 2), ("README.md", 3), ("README.md", 5)]


def test_python_that_does_not_compile(checker: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(
        "```python\nawait client.run()\n```\n\n- in a list:\n\n  ```python\n  x = 1\n  ```\n\n```python\nfine = 1\ndef f(:\n```\n```text\ndef f(:\n```\n"
    )
    assert faults(checker, tmp_path) == [("page.md", 13)]


def test_a_fence_left_open(checker: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("text\n```python\nx = 1\n")
    assert faults(checker, tmp_path) == [("page.md", 3)]


def test_paths_of_one_machine(checker: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\nhome = '/" + "root/project/x'\n")
    (tmp_path / "b.toml").write_text(
        "index-url = " + "'https://mirror.example/simple'\nindex" + "-url = https://m\n"
    )
    (tmp_path / "c.bin").write_bytes(b"\xff\xfe/root/x")
    assert faults(checker, tmp_path) == [("a.py", 2), ("b.toml", 2)]


def test_this_repository_has_no_fault(checker: ModuleType) -> None:
    assert [f"{fault.path}:{fault.line}: {fault.what}" for fault in checker.check(ROOT)] == []
