"""Streams of runs over HTTP: resumed without gap or repeat, shared by many, slow readers in nobody's way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from petiole.api import hub as hubs
from petiole.api.access import ANONYMOUS, Principal
from petiole.api.feed import Watcher
from petiole.api.hub import End, Frame, Hub
from petiole.api.sse import BEAT, beating
from petiole_workers.streaming import Modes
from tests.unit.api.listening import Told, listening, told
from tests.unit.api.serving import API, Served, serving
from tests.unit.driving import counting
from tests.waiting import wait_until

MODES = [("mode", "updates"), ("mode", "values"), ("mode", "tasks")]


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(counting()) as made:
        yield made


@pytest.fixture
def url(served: Served) -> Iterator[str]:
    with listening(served.app) as found:
        yield found + API


def submit(served: Served, thread_id: str = "t") -> str:
    run_id: str = served.post("/runs", {"graph": "counting", "input": {"n": 1}, "thread_id": thread_id})[
        "run_id"
    ]
    return run_id


def follow(
    url: str, run_id: str, *, after: str | None = None, most: int | None = None, modes: Any = None
) -> list[Told]:
    """The events of a run up to its end, or the first ``most``."""
    headers = {"last-event-id": after} if after else {}
    found: list[Told] = []
    with httpx.stream(
        "GET", f"{url}/runs/{run_id}/events", params=modes or MODES, headers=headers, timeout=30
    ) as it:
        assert it.status_code == 200
        assert it.headers["content-type"].startswith("text/event-stream")
        for event in told(it):
            found.append(event)
            if event.name == "end" or len(found) == most:
                break
    return found


def test_a_stream_is_the_same_however_often_it_breaks(served: Served, url: str) -> None:
    run_id = submit(served)
    followed: list[Told] = []
    thread = threading.Thread(target=lambda: followed.extend(follow(url, run_id)))
    thread.start()
    wait_until(lambda: getattr(served.app.state, "hub", None), message="the follower")
    while served.worker.step() or served.worker.sweep():
        pass
    thread.join(30)
    assert followed[-1].name == "end"
    assert followed[-1].data["status"] == "succeeded"
    whole = follow(url, run_id)
    assert [(it.name, it.data) for it in whole] == [(it.name, it.data) for it in followed]
    broken: list[Told] = []
    while not broken or broken[-1].name != "end":
        broken += follow(url, run_id, after=broken[-1].id if broken else None, most=2)
    assert broken == whole
    assert follow(url, run_id, after=whole[-2].id) == whole[-1:]


def test_what_cannot_be_followed_is_refused(served: Served) -> None:
    first, second = submit(served, "a"), submit(served, "b")
    served.work()
    events = served.http.get(f"{API}/runs/{first}/events").text
    id = next(line for line in events.splitlines() if line.startswith("id: "))[4:]
    assert "another run" in served.refused("GET", f"/runs/{second}/events", 422, params={"after": id})
    served.refused("GET", f"/runs/{second}/events", 422, headers={"last-event-id": "nonsense"})
    served.refused("GET", f"/runs/{second}/events", 422, params={"mode": "everything"})
    served.refused("GET", "/runs/nobody/events", 404)


async def collected(
    hub: Hub, served: Served, run_id: str, after: str | None = None, pause: float = 0
) -> list[str]:
    """The ids of a run's events; with a ``pause`` after each by a reader who is slow."""
    client = served.client
    run = client.get_run(run_id)
    found: list[str] = []
    async for one in hub.follow(client, run, Modes.of(["updates", "tasks"]), after):
        if isinstance(one, Frame):
            found.append(one.event.id)
            await asyncio.sleep(pause)
        else:
            assert isinstance(one, End)
    return found


def test_many_followers_share_one_poller_and_a_slow_one_catches_up(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "RING", 3)
    run_id = submit(served)
    hub = Hub()

    async def all_of_them() -> tuple[list[list[str]], int, list[str]]:
        followers = [asyncio.ensure_future(collected(hub, served, run_id)) for _ in range(300)]
        slow = asyncio.ensure_future(collected(hub, served, run_id, pause=0.05))
        await asyncio.to_thread(
            wait_until, lambda: hub.channels and hub.channels[0].subscribers == 301, message="all followers"
        )
        threads = threading.active_count()
        await asyncio.to_thread(served.work)
        return await asyncio.gather(*followers), threads, await slow

    found, threads, slow = asyncio.run(all_of_them())
    whole = asyncio.run(collected(hub, served, run_id))
    assert len(whole) > hubs.RING
    assert all(len(ids) == len(whole) and len(set(ids)) == len(ids) for ids in [*found, slow])
    assert threads < 60
    assert hub.channels == []


def test_an_interrupted_stream_ends_and_begins_again_where_it_stood(served: Served) -> None:
    run_id = submit(served)
    served.worker.step()
    served.post(f"/runs/{run_id}/cancel")
    events = served.http.get(f"{API}/runs/{run_id}/events").text
    assert "event: end" in events
    assert '"status":"cancelled"' in events


def test_a_reader_who_goes_is_noticed(served: Served, url: str) -> None:
    run_id = submit(served)
    with httpx.stream("GET", f"{url}/runs/{run_id}/events", timeout=30) as it:
        texts = it.iter_raw()
        next(texts)
        hub = wait_until(lambda: getattr(served.app.state, "hub", None))
        wait_until(lambda: len(hub.channels) == 1, message="the channel")
    wait_until(lambda: hub.channels == [], message="the channel's end")


def test_silences_are_filled_with_comments() -> None:
    async def run() -> list[bytes]:
        gate = asyncio.Event()

        async def events() -> Any:
            await gate.wait()
            yield b"data"

        found = []
        async for text in beating(events(), 0.01):
            found.append(text)
            if len(found) == 3:
                gate.set()
        return found

    found = asyncio.run(run())
    assert found[:3] == [BEAT] * 3
    assert found[-1] == b"data"


def test_the_feed_tells_of_new_and_changed_runs(served: Served, url: str) -> None:
    submit(served, "before")
    with httpx.stream("GET", f"{url}/events", timeout=30) as it:
        events = told(it)
        wait_until(lambda: getattr(served.app.state, "feed", None) and served.app.state.feed.looks)
        run_id = submit(served, "after")
        first = next(events)
        assert (first.name, first.data["run_id"], first.data["status"]) == ("run", run_id, "queued")
        served.work()
        seen = {first.data["thread_id"]: "queued"}
        while [*seen.values()].count("succeeded") < 2:
            event = next(events)
            seen[event.data["thread_id"]] = event.data["status"]
        assert seen == {"before": "succeeded", "after": "succeeded"}


def test_a_watcher_hears_of_his_own_and_of_each_run_once(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(served, "acme:1")
    submit(served, "other:1")
    runs = [*served.client.list_runs()]

    async def run() -> None:
        limited = Watcher(Principal(name="key:1", scopes=frozenset({"read"}), namespaces=("acme",)))
        for one in [*runs, *runs]:
            limited.put(one)
        assert [change.run.thread_id for change in limited.take() if change.run] == ["acme:1"]
        monkeypatch.setattr("petiole.api.feed.BACKLOG", 1)
        behind = Watcher(ANONYMOUS)
        for one in runs:
            behind.put(one)
        assert [change.run for change in behind.take()] == [None]

    asyncio.run(run())
