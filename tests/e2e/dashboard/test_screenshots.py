"""The pictures of the documentation, light and dark: ``PETIOLE_TEST_SCREENSHOTS=1`` writes them into ``docs/screenshots``."""

from __future__ import annotations

import os
import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.e2e.dashboard.conftest import PATIENCE, Site
from tests.waiting import wait_until

expect.set_options(timeout=PATIENCE)

DOCS = Path(__file__).parents[3] / "docs" / "screenshots"
WRITES = bool(os.environ.get("PETIOLE_TEST_SCREENSHOTS"))
VIEWS = {
    "runs": "/?text=pictured",
    "failed": "/threads/pictured-2",
    "question": "/threads/pictured-3",
    "checkpoints": "/threads/pictured-1 checkpoints",
    "events": "/threads/pictured-2 events",
    "logs": "/threads/pictured-2 logs",
    "explain": "/threads/pictured-3 explain",
    "tree": "/threads/pictured-1/tree",
    "graph": "/graphs/board",
    "graphs": "/graphs",
    "workers": "/workers",
    "dead-letters": "/dead-letters",
    "bulk": "/bulk",
    "schedules": "/schedules",
    "audit": "/audit",
    "keys": "/keys",
    "reference": "/reference",
    "login": "/login",
}


@pytest.fixture(scope="module")
def pictured(site: Site) -> None:
    """Runs that show what there is to see: one that succeeded and was forked, a failed one, one that asks; a schedule."""
    shell = site.shell
    site.start("pictured-1", text="tea")
    shell.run("run", "watch", "pictured-1")
    point = shell.json("run", "history", "pictured-1")[1]["checkpoint_id"]
    shell.run("run", "replay", "pictured-1", "--checkpoint", point, "--wait")
    site.start("pictured-2", text="tea", mended="order-7.csv")
    shell.run("run", "watch", "pictured-2", code=1)
    site.start("pictured-3", text="tea", ask=True)
    shell.questions("pictured-3")
    site.start("pictured-4", text="tea", ask=True)
    shell.questions("pictured-4")
    wanted = {"action": "cancel", "filter": {"text": "pictured-4"}, "reason": "sold out", "dry_run": False}
    httpx.post(f"{site.url}/api/v1/bulk", json=wanted).raise_for_status()
    wait_until(lambda: shell.json("run", "get", "pictured-4")["status"] == "cancelled", 60)
    shell.run("schedule", "create", "nightly", "board", "--input", '{"text": "tea"}', "--cron", "0 3 * * *")


@pytest.mark.parametrize("theme", ["light", "dark"] if WRITES else ["dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_picture(pictured: None, closed: str, page: Page, theme: str, view: str, tmp_path: Path) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": 1200, "height": 760})
    path, _, tab = VIEWS[view].partition(" ")
    page.goto(closed + path if view == "login" else path)
    if tab:
        page.get_by_role("link", name=re.compile(tab, re.IGNORECASE)).first.click()
        expect(page).to_have_url(re.compile(tab))
    expect(page.get_by_role("heading").first).to_be_visible()
    page.wait_for_load_state("load")
    folder = DOCS if WRITES else tmp_path
    folder.mkdir(exist_ok=True)
    picture = folder / f"{view}-{theme}.png"
    page.screenshot(path=picture)
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    lightness = sum(map(int, re.findall(r"\d+", background)[:3])) / 3
    assert (lightness > 127) == (theme == "light"), f"{background} in {theme}"
    assert picture.stat().st_size < 300_000, "too large for the documentation"
