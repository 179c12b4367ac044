"""People at the dashboard: they watch a run, find out why it failed, retry, answer, fork, and never need the mouse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.e2e.dashboard.conftest import PATIENCE, Site

expect.set_options(timeout=PATIENCE)


def expect_ready(page: Page) -> None:
    """A page is seen before its scripts listen to keys."""
    expect(page.locator("html[data-ready]")).to_have_count(1)


def test_a_run_is_watched_live_in_the_list_and_on_its_graph(site: Site, page: Page) -> None:
    page.goto("/?thread=live")
    expect(page.get_by_role("heading", name="No run matches")).to_be_visible()
    site.start("live", text="hello", gate=str(site.shell.folder / "go"))
    row = page.locator("tr", has_text="live")
    expect(row.locator(".status")).to_have_text("running")
    row.get_by_role("link").first.click()
    work = page.locator("[data-box=work]")
    expect(work).to_have_class(re.compile("claimed"))
    (site.shell.folder / "go").touch()
    expect(page.locator("#run-head .status.pill")).to_have_text("succeeded")
    expect(work).to_have_class(re.compile("done"))
    expect(page.locator("#bars .bar-row")).to_have_count(3)


def test_where_it_failed_is_seen_at_once_and_it_is_retried(site: Site, page: Page) -> None:
    mended = site.shell.folder / "mended"
    site.start("broken", text="tea", mended=str(mended))
    page.goto("/threads/broken")
    heading = page.get_by_role("heading", name="Failed in work, attempt 1")
    expect(heading).to_be_visible()
    expect(page.locator("#happened")).to_contain_text(f"LookupError no file {mended}")
    expect(page.locator("#happened")).to_contain_text('"text": "tea!"')
    mended.touch()
    page.get_by_role("button", name="Retry what failed").click()
    expect(page.locator("#run-head .status.pill")).to_have_text("succeeded")
    expect(heading).to_have_count(0)


def test_what_a_run_waits_for_is_told_while_it_waits_and_not_longer(site: Site, page: Page) -> None:
    gate = site.shell.folder / "told"
    site.start("told", text="tea", gate=str(gate))
    page.goto("/threads/told")
    waits = page.locator("#waits")
    expect(waits).to_contain_text("work is run by")
    gate.touch()
    expect(page.locator("#run-head .status.pill")).to_have_text("succeeded")
    expect(waits).to_have_count(0)


def test_a_question_is_answered_by_its_form(site: Site, page: Page) -> None:
    site.start("asked", text="tea", ask=True)
    page.goto("/threads/asked")
    expect(page.get_by_text("Ship it?").first).to_be_visible()
    page.get_by_label("Note").fill("with care")
    page.get_by_label("Approved").select_option("yes")
    page.get_by_role("button", name="Answer and resume").click()
    expect(page.locator("#state")).to_contain_text('"note": "with care"')


def test_what_is_being_written_outlives_a_look(site: Site, page: Page) -> None:
    site.start("written", text="tea", ask=True)
    page.goto("/threads/written")
    page.get_by_label("Note").fill("with care")
    page.get_by_label("Approved").select_option("yes")
    page.get_by_text("Cancel", exact=True).click()
    page.get_by_label("Why").fill("too late")
    looks_anew(page)
    expect(page.get_by_label("Note")).to_have_value("with care")
    expect(page.get_by_label("Approved")).to_have_value("true")
    expect(page.get_by_label("Why")).to_have_value("too late")
    page.get_by_role("button", name="Answer and resume").click()
    expect(page.locator("#state")).to_contain_text('"note": "with care"')


def test_a_menu_never_turns_into_another(site: Site, page: Page, tmp_path: Path) -> None:
    gate = tmp_path / "open"
    site.start("turned", text="tea", gate=str(gate))
    page.goto("/threads/turned")
    page.get_by_text("Pause", exact=True).first.click()
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_visible()
    site.shell.run("run", "pause", "turned")
    expect(page.locator("#run-head .status.pill")).to_have_text("paused")
    expect(page.get_by_role("button", name="Cancel the run")).not_to_be_visible()
    gate.touch()
    site.shell.run("run", "unpause", "turned")
    expect(page.locator("#run-head .status.pill")).to_have_text("succeeded")


def looks_anew(page: Page) -> None:
    """Let the page be asked for and shown once more, as after any event of its run."""
    page.evaluate("""() => new Promise((done) => {
        document.addEventListener("petiole:changed", () => done(), { once: true });
        history.replaceState(null, "", "?again");
        document.dispatchEvent(new Event("petiole:look"));
    })""")


def test_a_fork_goes_on_with_an_edited_state(site: Site, page: Page) -> None:
    site.start("forked", text="tea")
    page.goto("/threads/forked")
    expect(page.locator("#run-head .status.pill")).to_have_text("succeeded")
    page.get_by_role("link", name="Checkpoints").click()
    page.get_by_role("link", name="read", exact=True).click()
    expect(page.locator(".diff")).to_contain_text("tea!")
    values = page.get_by_label("What is written to the state first")
    values.fill("{no")
    expect(page.locator("#values-fault")).to_contain_text("not JSON yet")
    values.fill('{"text": "coffee"}')
    expect(page.locator("form .command").last).to_contain_text('"text":"coffee"')
    page.get_by_role("button", name="Fork").click()
    expect(page.locator("#state")).to_contain_text('"text": "coffee"')
    expect(page.locator("#run-head .status.pill")).to_have_text("succeeded")


def test_the_keyboard_is_enough(site: Site, page: Page) -> None:
    for thread in ("keys-1", "keys-2"):
        site.start(thread, text="tea")
    page.goto("/?text=keys-")
    expect(page.locator("[data-row]")).to_have_count(2)
    expect_ready(page)
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("tr.cursor")).to_contain_text("keys-1")
    page.keyboard.press("x")
    expect(page.locator("[data-bulk-count]")).to_contain_text("1 selected")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="keys-1")).to_be_visible()
    expect_ready(page)
    page.keyboard.press("Control+k")
    expect(page.locator("dialog[open] input")).to_be_focused()
    page.keyboard.type("runs")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    expect_ready(page)
    page.keyboard.press("/")
    page.keyboard.type("keys-2")
    expect(page.locator("[data-row]")).to_have_count(1)
    expect(page).to_have_url(re.compile(r"text=keys-2"))
    page.locator("body").click(position={"x": 700, "y": 700})
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keyboard")).to_be_visible()


def test_many_runs_are_cancelled_at_once(site: Site, page: Page) -> None:
    for thread in ("many-1", "many-2"):
        site.start(thread, text="tea", ask=True)
    page.goto("/?text=many-&status=interrupted")
    expect(page.locator("[data-row]")).to_have_count(2)
    page.get_by_label("all 2 that match").check()
    page.get_by_role("button", name="Cancel…").click()
    expect(page.get_by_role("heading", name="Cancel 2 runs?")).to_be_visible()
    assert Axe().run(page).violations_count == 0
    page.get_by_label("Why").fill("sold out")
    page.get_by_role("button", name="Cancel 2").click()
    expect(page.get_by_role("heading", name="Cancelled 2 runs")).to_be_visible()
    assert Axe().run(page).violations_count == 0
    page.get_by_role("link", name="Bulk jobs").click()
    job = page.locator("[data-row]").filter(has_text="sold out")
    expect(job).to_contain_text("done")
    expect(job.get_by_role("link", name="cancel")).to_have_attribute("href", re.compile("/bulk/."))
    for thread in ("many-1", "many-2"):
        assert site.shell.json("run", "get", thread)["status"] == "cancelled"


def test_logs_are_read_while_their_node_runs(site: Site, page: Page) -> None:
    site.start("talks", text="<b>tea</b>", gate=str(site.shell.folder / "talked"))
    page.goto("/threads/talks")
    page.get_by_role("link", name="Logs").click()
    log = page.locator("#log")
    expect(log.get_by_text("reading '<b>tea</b>'")).to_be_visible()
    expect(log.get_by_text("waiting at talked")).to_be_visible()
    expect(page.locator("#run-head .status.pill")).to_have_text("running")
    page.get_by_role("link", name="errors").click()
    expect(page.get_by_role("heading", name="No record matches")).to_be_visible()
    page.get_by_role("link", name="every level").click()
    log.get_by_role("link", name="work").click()
    expect(page.locator("#task")).to_contain_text("waiting at talked")
    expect(page.locator("#task")).not_to_contain_text("reading")
    (site.shell.folder / "talked").touch()
    expect(page.locator("#run-head .status.pill")).to_have_text("succeeded")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    "view", ["list", "", "/checkpoints", "/events", "/logs", "task", "/explain", "phone"]
)
def test_every_view_is_accessible(seen: str, page: Page, theme: str, view: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    if view == "phone":
        page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"/threads/{seen}")
    expect(page.locator("#run-head .status.pill")).to_have_text("interrupted")
    if view == "list":
        page.goto("/")
    elif view == "task":
        page.locator("#bars a[href*='/tasks/']").first.click()
        expect(page.get_by_role("heading", name="Logs")).to_be_visible()
    elif view.startswith("/"):
        page.goto(page.url + view)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, "the page is wider than its window"


@pytest.fixture(scope="module")
def seen(site: Site) -> str:
    """A thread whose run asks something."""
    site.start("seen", text="tea", ask=True)
    return "seen"
