"""Which runs have changed: one look a second, shared by everybody who watches a live list.

Each look reads the newest runs and those that have not ended, briefly, and compares them with the look before. A watcher who
does not keep up gets each run's newest state alone; one who is too far behind is told to load his list anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from petiole.api.access import Principal
from petiole.client import Client
from petiole_stores.records import Run, RunFilter
from petiole_workers.active import OPEN

#: Seconds between two looks.
PACE = 1.0
#: The newest runs, and runs that have not ended, that are looked at; those that were open and are not seen any more.
NEWEST, OPEN_RUNS, VANISHED = 100, 400, 100
#: Changes that wait for one watcher before he is told to load his list anew.
BACKLOG = 1000

log = logging.getLogger(__name__)


class Change(NamedTuple):
    """A run that is new or has changed; ``None``: too much has, load the list anew."""

    run: Run | None


class Watcher:
    """What one watcher has still to be told: of each run the newest state alone."""

    def __init__(self, principal: Principal) -> None:
        self._principal = principal
        self._waiting: dict[str, Run] = {}
        self._reset = False
        self.news = asyncio.Event()

    def put(self, run: Run) -> None:
        if not self._principal.sees(graph=run.graph, thread_id=run.thread_id):
            return
        if len(self._waiting) >= BACKLOG:
            self._waiting.clear()
            self._reset = True
        if not self._reset:
            self._waiting[run.run_id] = run
        self.news.set()

    def take(self) -> list[Change]:
        found = [Change(None)] if self._reset else [Change(run) for run in self._waiting.values()]
        self._waiting.clear()
        self._reset = False
        self.news.clear()
        return found


class Looks:
    """What the looks at a store have found, to be compared with the next one."""

    def __init__(self, client: Client) -> None:
        self._store = client.store
        self._known: dict[str, tuple[Any, ...]] | None = None
        self._open: set[str] = set()

    def look(self) -> list[Run]:
        """The runs that are new or have changed since the look before; none at the first one."""
        store = self._store
        newest = store.list_runs(RunFilter(limit=NEWEST, brief=True)).runs
        open_runs = store.list_runs(RunFilter(status=OPEN, limit=OPEN_RUNS, brief=True)).runs
        found = {run.run_id: run for run in [*newest, *open_runs]}
        for run_id in [*(self._open - found.keys())][:VANISHED]:
            run = store.get_run(run_id)
            if run is not None:
                found[run_id] = msgspec.structs.replace(run, input=None)
        states = {run_id: _state(run) for run_id, run in found.items()}
        known, self._known = self._known, states
        self._open = {run_id for run_id, run in found.items() if run.status in OPEN}
        if known is None:
            return []
        changed = [run for run_id, run in found.items() if known.get(run_id) != states[run_id]]
        return sorted(changed, key=lambda run: (run.created_at, run.seq))


class Feed:
    """The watchers of one process; it looks while there are any."""

    def __init__(self) -> None:
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, set[Watcher]] = WeakKeyDictionary()
        self.looks = 0  #: how often it has looked

    async def watch(self, client: Client, principal: Principal) -> AsyncIterator[Change]:
        """The changes of runs that the principal sees, from now on."""
        watcher = Watcher(principal)
        loop = asyncio.get_running_loop()
        watchers = self._loops.get(loop)
        if not watchers:
            watchers = self._loops[loop] = set()
            watchers.add(watcher)
            looking = loop.create_task(self._look(client, watchers))
            looking.add_done_callback(lambda task: task.cancelled() or task.exception())
        watchers.add(watcher)
        try:
            while True:
                await watcher.news.wait()
                for change in watcher.take():
                    yield change
        finally:
            watchers.discard(watcher)

    async def _look(self, client: Client, watchers: set[Watcher]) -> None:
        looks = Looks(client)
        while watchers:
            try:
                changed = await asyncio.to_thread(looks.look)
            except Exception as error:  # noqa: BLE001 - the watchers would hear of nothing any more
                log.warning(
                    "the feed of changes could not look at the store: %s: %s", type(error).__name__, error
                )
                changed = []
            self.looks += 1
            for run in changed:
                for watcher in [*watchers]:
                    watcher.put(run)
            await asyncio.sleep(PACE)


def _state(run: Run) -> tuple[Any, ...]:
    """What makes a run worth telling of again."""
    return (run.status, run.checkpoint_id, run.started_at, run.ended_at, run.replays, run.reason)
