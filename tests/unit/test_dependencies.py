"""What Petiole's processes import comes with Petiole: a fresh `pip install` must not lack a module at run time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]

# All that a worker, a client and the command line load, the brokers' transports with them.
LOAD = """
import importlib, json, pkgutil, sys
sys.modules["langgraph"] = sys.modules["langchain_core"] = None  # extras: whoever imports them fails
for name in ("petiole", "petiole_workers", "petiole_stores"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        # A plug-in for pytest is imported by pytest alone, petiole.langgraph by users of the extra.
        if not module.name.startswith("petiole.langgraph") and not module.name.endswith(
            ("__main__", ".env", ".pytest_plugin")
        ):
            importlib.import_module(module.name)
for name in ("kombu.transport.redis", "kombu.transport.pyamqp", "celery.bin.celery", "celery.concurrency.prefork"):
    importlib.import_module(name)
print(json.dumps(sorted({name.partition(".")[0] for name, module in sys.modules.items() if module})))
"""

# Distributions that others import when they happen to be there, and do without when not.
OPTIONAL = {
    "gevent",
    "greenlet",
    "numpy",
    "orjson",
    "pytest",
    "pyyaml",
    "setuptools",
    "sniffio",
    "uvloop",
    "xxhash",
    "zope-event",
    "zope-interface",
    "zstandard",
}


def closure(wanted: list[str]) -> set[str]:
    """The distributions that these requirements bring, with what those bring."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in wanted]
    while waiting:
        requirement = waiting.pop()
        extras = sorted(requirement.extras) or [""]
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name = canonicalize_name(requirement.name)
        if name in found and not requirement.extras:
            continue
        found.add(name)
        try:
            below = requires(name) or []
        except PackageNotFoundError:
            continue
        for text in below:
            child = Requirement(text)
            if child.marker is None or any(child.marker.evaluate({"extra": extra}) for extra in extras):
                child.marker = None
                waiting.append(child)
    return found


def test_what_is_imported_is_among_the_dependencies() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    answer = subprocess.run(
        [sys.executable, "-c", LOAD],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("app", "workers", "stores")),
        },
    )
    owners = packages_distributions()
    loaded = {
        canonicalize_name(owner)
        for module in json.loads(answer.stdout)
        for owner in owners.get(module, [])
        if module not in sys.stdlib_module_names
    }
    assert loaded - closure(wanted) - OPTIONAL - {"petiole"} == set()
