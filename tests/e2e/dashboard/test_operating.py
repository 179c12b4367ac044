"""Operators at the dashboard: they start runs from a form, see a worker die and its task go on, replay many, and are kept
to what their keys allow."""

from __future__ import annotations

import os
import re
import signal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.e2e.dashboard.conftest import PATIENCE, Site

expect.set_options(timeout=PATIENCE)


def test_a_run_is_started_from_the_form_and_watched(site: Site, page: Page) -> None:
    page.goto("/graphs")
    page.get_by_role("link", name="board", exact=True).first.click()
    expect(page.locator("[data-box=work]")).to_be_visible()
    page.get_by_label("Text", exact=True).fill("from the form")
    page.get_by_label("Thread", exact=True).fill("formed")
    page.get_by_label("Tags", exact=True).fill("web, form")
    expect(page.locator(".command").last).to_contain_text("--thread formed")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("#run-head .status.pill")).to_have_text("succeeded")
    expect(page.locator("#state")).to_contain_text('"text": "from the form!"')
    run = site.shell.json("run", "get", "formed")
    assert run["tags"] == ["web", "form"]


def test_a_worker_is_killed_and_its_task_taken_over(site: Site, page: Page) -> None:
    gate = site.shell.folder / "takeover"
    site.start("taken", text="tea", gate=str(gate))
    page.goto("/threads/taken")
    expect(page.locator("[data-box=work]")).to_have_class(re.compile("claimed"))
    [worker] = [one for one in site.shell.json("worker", "list") if one["status"] == "alive"]
    os.kill(worker["pid"], signal.SIGKILL)
    expect(page.locator("#bars rect.takeover")).to_have_count(1)
    gate.touch()
    expect(page.locator("#run-head .status.pill")).to_have_text("succeeded")
    [task] = [one for one in site.shell.json("run", "tasks", "taken") if one["node"] == "work"]
    assert [one["outcome"] for one in task["attempts"]] in (["lost"], ["crashed"])
    assert task["holder"] != worker["worker_id"]


def test_failed_runs_are_counted_and_replayed_together(site: Site, page: Page) -> None:
    mended = site.shell.folder / "all-mended"
    for thread in ("batch-1", "batch-2"):
        site.start(thread, text="tea", mended=str(mended))
    page.goto("/?text=batch-&status=failed")
    expect(page.locator("[data-row]")).to_have_count(2)
    mended.touch()
    page.get_by_label("all 2 that match").check()
    page.get_by_role("button", name="Replay failed…").click()
    expect(page.get_by_role("heading", name="Replay 2 failed runs?")).to_be_visible()
    page.get_by_role("button", name="Replay 2").click()
    expect(page.get_by_role("heading", name="Replayed 2 runs")).to_be_visible()
    page.goto("/?text=batch-&status=succeeded")
    expect(page.locator("[data-row]")).to_have_count(2)


def test_a_key_of_too_small_a_scope_sees_and_changes_nothing(site: Site, page: Page, closed: str) -> None:
    site.start("guarded", text="tea", ask=True)
    key = site.shell.run("key", "create", "looker", "--scope", "read").strip()
    page.goto(f"{closed}/threads/guarded")
    expect(page).to_have_url(re.compile("/login"))
    assert Axe().run(page).violations_count == 0
    page.get_by_label("API key").fill("ptl_000000000000_wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(re.compile("failed=1"))
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#run-head .status.pill")).to_have_text("interrupted")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(page.get_by_role("link", name="Audit")).to_have_count(0)
    run = site.shell.json("run", "get", "guarded")["run_id"]
    answer = page.request.post(
        f"{closed}/api/v1/runs/{run}/cancel", data={}, headers={"Origin": closed}, fail_on_status_code=False
    )
    assert answer.status == 403
    assert "needs the scope 'operate'" in answer.json()["detail"]
    page.goto(f"{closed}/audit")
    expect(page.get_by_role("heading", name="Not allowed")).to_be_visible()
    assert site.shell.json("run", "get", "guarded")["status"] == "interrupted"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    "view",
    [
        "/graphs",
        "/graphs/board",
        "/bulk",
        "/workers",
        "/dead-letters",
        "/schedules",
        "/audit",
        "/keys",
        "/reference",
        "/threads/formed/tree",
    ],
)
def test_every_place_is_accessible(page: Page, theme: str, view: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    page.goto(view)
    expect(page.get_by_role("main")).to_be_visible()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.set_viewport_size({"width": 390, "height": 800})
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, "the page is wider than a phone"


@pytest.mark.parametrize("view", ["/?text=folded", "/audit?thread=folded-on-a-phone"])
def test_on_a_phone_a_row_is_a_block_whose_words_stand_beside_each_other(
    site: Site, page: Page, view: str
) -> None:
    thread = "folded-on-a-phone"
    site.start(thread, text="tea")
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(view)
    name, row = page.get_by_text(thread, exact=True).first, page.locator("tbody tr").first
    expect(name).to_be_visible()
    line, block = name.bounding_box(), row.bounding_box()
    assert line is not None
    assert block is not None
    assert line["height"] < 30, "the thread's id is broken"
    assert block["width"] > 300
    assert Axe().run(page).violations_count == 0
