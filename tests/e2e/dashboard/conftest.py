"""A server, a worker and a browser: all real, one of each for the whole package."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import unavailable
from tests.e2e.shell import ENVIRONMENT, PETIOLE, Shell, serving
from tests.processes import Leashed, answers, free_port
from tests.waiting import wait_until

MODULE = "board_flow"
#: Long enough for a machine that does other things too.
PATIENCE = 20_000

GRAPH = """
import logging, os, time
from typing import Any, TypedDict
from petiole import END, START, StateGraph, interrupt


logger = logging.getLogger("shop.orders")


class State(TypedDict, total=False):
    text: str
    gate: str
    mended: str
    ask: bool
    answer: Any


def read(state):
    logger.info("reading %r", state.get("text", ""))
    return {"text": state.get("text", "") + "!"}


def work(state):
    if state.get("mended"):
        logger.warning("the order has a file: %s", state["mended"])
    if state.get("gate"):
        logger.info("waiting at %s", os.path.basename(state["gate"]))
    while state.get("gate") and not os.path.exists(state["gate"]):
        time.sleep(0.02)
    if state.get("mended") and not os.path.exists(state["mended"]):
        try:
            raise LookupError(f"no file {state['mended']}")
        except LookupError:
            logger.exception("the file cannot be read")
            raise
    return {}


def approve(state):
    return {"answer": interrupt({
        "question": "Ship it?",
        "schema": {"type": "object", "required": ["approved"], "properties": {
            "approved": {"type": "boolean", "title": "Approved"}, "note": {"type": "string", "title": "Note"}}},
    })} if state.get("ask") else {}


graph = StateGraph(State)
for node in (read, work, approve):
    graph.add_node(node)
graph.add_edge(START, "read")
graph.add_edge("read", "work")
graph.add_edge("work", "approve")
graph.add_edge("approve", END)
graph = graph.compile(name="board")
"""


class Site(NamedTuple):
    """Where the dashboard is, and the folder in which commands act on the same runs."""

    url: str
    shell: Shell

    def start(self, thread: str, **input: object) -> None:
        """Submit a run."""
        self.shell.run("run", "start", "board", "--thread", thread, "--input", json.dumps(input))


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A worker and a server on one embedded store."""
    folder: Path = tmp_path_factory.mktemp("board")
    with serving(folder, MODULE, GRAPH) as shell:
        port = free_port()
        server = Leashed(
            [*PETIOLE, "serve", "--port", str(port), "--graphs", f"{MODULE}:graph"],
            log=folder / "server.log",
            env=ENVIRONMENT,
            cwd=folder,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: answers("127.0.0.1", port), 60, server.tail)
            yield Site(url, shell)
        finally:
            server.stop()


@pytest.fixture(scope="package")
def closed(site: Site) -> Iterator[str]:
    """Another server on the same store, for those who have a key."""
    port = free_port()
    site.shell.run("key", "create", "first", "--scope", "read")
    server = Leashed(
        [*PETIOLE, "serve", "--auth", "--port", str(port), "--graphs", f"{MODULE}:graph"],
        log=site.shell.folder / "closed.log",
        env=ENVIRONMENT,
        cwd=site.shell.folder,
    )
    try:
        wait_until(lambda: answers("127.0.0.1", port), 60, server.tail)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The machine's own Chromium, without a window."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        unavailable("no chromium on this machine: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, site: Site) -> Iterator[Page]:
    """A new tab; what its console says against the page fails the test."""
    context = chromium.new_context(base_url=site.url, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda said: (
            faults.append(said.text) if said.type == "error" and "status of 4" not in said.text else None
        ),
    )
    yield page
    context.close()
    assert faults == []
