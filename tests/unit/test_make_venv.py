"""The bootstrap of the virtual environment, where Debian has neither ``ensurepip`` nor pip."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_venv.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_venv", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A package index in files whose server gives ``index.html`` for a folder."""
    (tmp_path / "pip").mkdir()
    return tmp_path


def offer(index: Path, *links: str) -> str:
    """Write the index's page of pip and give the index's URL. The page stands where the URL's last slash leads."""
    page = "".join(f'<a href="{link}">{link}</a>' for link in links)
    (index / "pip" / "page.html").write_text(page)
    return (index / "pip" / "page.html").as_uri()


@pytest.fixture
def fetch(
    script: ModuleType, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Path]:
    """Fetch pip from the fake index into a folder."""
    real = script.urllib.request.urlopen

    def urlopen(url: str, timeout: float) -> object:
        # A web server would give the page for the folder; a file URL does not.
        path = url.partition("#")[0]
        return real(path + "page.html" if path.endswith("/") else path, timeout=timeout)

    monkeypatch.setattr(script.urllib.request, "urlopen", urlopen)
    target = tmp_path / "target"
    target.mkdir()
    return lambda: script.fetch_pip(index.as_uri(), target)


def test_the_newest_wheel_is_fetched_and_checked(index: Path, fetch: Callable[[], Path]) -> None:
    for version in ("9.0.3", "25.1", "25.1.1", "26.0b1"):
        (index / "pip" / f"pip-{version}-py3-none-any.whl").write_text(version)
    digest = hashlib.sha256(b"25.1.1").hexdigest()
    offer(
        index,
        "pip-9.0.3-py3-none-any.whl",
        f"../pip/pip-25.1.1-py3-none-any.whl#sha256={digest}",
        "pip-25.1-py3-none-any.whl",
        "pip-26.0b1-py3-none-any.whl",
        "pip-99.tar.gz",
    )
    assert fetch().name == "pip-25.1.1-py3-none-any.whl"
    assert fetch().read_text() == "25.1.1"


def test_a_damaged_wheel_is_refused(index: Path, fetch: Callable[[], Path]) -> None:
    (index / "pip" / "pip-25.1-py3-none-any.whl").write_text("not what was promised")
    offer(index, f"pip-25.1-py3-none-any.whl#sha256={'0' * 64}")
    with pytest.raises(LookupError, match="is damaged"):
        fetch()


def test_an_index_without_pip_is_named(index: Path, fetch: Callable[[], Path]) -> None:
    offer(index)
    with pytest.raises(LookupError, match="/pip/ lists no wheel of pip"):
        fetch()


def test_the_variable_goes_before_the_files(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.Path, "home", lambda: tmp_path)
    (tmp_path / ".pip").mkdir()
    (tmp_path / ".pip" / "pip.conf").write_text("[global]\nindex-url = https://files.example/simple\n")
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    assert script.configured_index() == "https://files.example/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "https://variable.example/simple")
    assert script.configured_index() == "https://variable.example/simple"


def test_without_any_way_it_says_what_to_install(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(script, "configured_index", lambda: None)
    monkeypatch.setattr(script.os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit, match=r"sudo apt-get install python3-venv"):
        script.main(tmp_path / "venv")
    assert not (tmp_path / "venv").exists()
