"""Checks of events: numbered without gaps, each once, gone with their thread or when they are old."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from petiole_stores.conformance.report import holds, same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene
from petiole_stores.errors import InputError
from petiole_stores.events import MAX_EVENT, Event, NewEvent, first_seq


def _tell(scene: Scene, *names: str, thread: str = "t", run: str = "r") -> None:
    events = [NewEvent(scene.id(name), "custom", name.encode()) for name in names]
    scene.store.append_events(scene.id(thread), scene.id(run), events)


def _told(scene: Scene, after: int = 0, *, thread: str = "t", limit: int = 1000) -> list[Event]:
    return scene.store.read_events(scene.id(thread), after, limit=limit)


def _words(events: Sequence[Event]) -> list[str]:
    return [event.value.decode() for event in events]


@LEDGER
def events_come_back(scene: Scene) -> None:
    """Events come back whole and in the order written, numbered one after the other, from any number on."""
    scene.begin("a")
    same((_told(scene), scene.store.newest_event(scene.id("t"))), ([], 0), "before any")
    first, began = first_seq(scene.now), scene.now
    _tell(scene, "b", "a")
    scene.tick(1)
    _tell(scene, "c", run="r2")
    _tell(scene)
    wanted = [
        Event(first, scene.id("r"), scene.id("b"), "custom", b"b", began),
        Event(first + 1, scene.id("r"), scene.id("a"), "custom", b"a", began),
        Event(first + 2, scene.id("r2"), scene.id("c"), "custom", b"c", began + 1),
    ]
    same(_told(scene), wanted, "all")
    same(_told(scene, first), wanted[1:], "after the first")
    same(_told(scene, first, limit=1), wanted[1:2], "one after the first")
    same(_told(scene, first + 2), [], "after the last")
    same(scene.store.newest_event(scene.id("t")), first + 2, "the newest")


@LEDGER
def events_are_one_by_their_ids(scene: Scene) -> None:
    """An event that is written again, in its batch or a later one, is the first one; the others get their numbers."""
    scene.begin("a")
    _tell(scene, "a", "b", "a")
    first = _told(scene)
    _tell(scene, "b", "c", "a", "d")
    same(_told(scene)[:2], first, "what was there")
    same(_words(_told(scene)), ["a", "b", "c", "d"], "all")
    same([event.seq - first[0].seq for event in _told(scene)], [0, 1, 2, 3], "their numbers")


@LEDGER
def events_of_threads_apart(scene: Scene) -> None:
    """Each thread counts its own events and shows no others; equal ids on two threads are two events."""
    for name in ("1", "2"):
        scene.begin(f"a{name}", run=f"r{name}", thread=f"t{name}")
    _tell(scene, "a", "b", thread="t1")
    _tell(scene, "a", "c", thread="t2")
    same(_words(_told(scene, thread="t1")), ["a", "b"], "the first thread's")
    same(_words(_told(scene, thread="t2")), ["a", "c"], "the second's")


@LEDGER
def events_go_with_their_thread(scene: Scene) -> None:
    """A deleted thread's events are gone; for a thread that does not exist nothing is written."""
    _tell(scene, "early")
    same(_told(scene), [], "before there is a thread")
    scene.chain("c1")
    _tell(scene, "a")
    scene.end("c1", "c2")
    holds(scene.store.delete_thread(scene.id("t")), "the thread was not deleted")
    _tell(scene, "late")
    same((_told(scene), scene.store.newest_event(scene.id("t"))), ([], 0), "after the deletion")
    scene.tick(1)
    scene.begin("b", run="r2")
    same(_told(scene), [], "of the new thread of that name")
    _tell(scene, "a", run="r2")
    same(_words(_told(scene)), ["a"], "after it said something")


@LEDGER
def events_outlive_their_run(scene: Scene) -> None:
    """What was said before a run ended can be read after it; more of it is still taken."""
    scene.chain("c1")
    _tell(scene, "a")
    scene.end("c1", "c2")
    _tell(scene, "late")
    same(_words(_told(scene)), ["a", "late"], "the events")


@LEDGER
def events_are_purged(scene: Scene) -> None:
    """Old events go, up to a limit at a time and oldest first; a thread's numbers go on rising when all are gone."""
    while scene.store.purge_events(10.0):
        pass
    scene.begin("a")
    _tell(scene, "a", "b", "c")
    scene.tick(5)
    _tell(scene, "d")
    last = _told(scene)[-1].seq
    scene.tick(5)
    same(scene.store.purge_events(10.0), 0, "at 10 s")
    scene.tick(0.5)
    same([scene.store.purge_events(10.0, limit=2), _words(_told(scene))], [2, ["c", "d"]], "two of them")
    same([scene.store.purge_events(10.0, limit=2), _words(_told(scene))], [1, ["d"]], "the rest")
    same(scene.store.purge_events(5.0), 1, "the last one")
    same(_told(scene), [], "what is left")
    _tell(scene, "e", "d")
    same(_words(_told(scene)), ["e", "d"], "what is said later")
    same(_told(scene, last), _told(scene), "after the number that was read last")


@LEDGER
def events_of_many_writers(scene: Scene) -> None:
    """However writers race, a reader who goes on from the last number that it saw misses none and sees none twice."""
    scene.begin("a")
    over = threading.Event()
    seen: list[Event] = []

    def read() -> None:
        last = False
        while not last:
            last = over.is_set()
            while page := _told(scene, seen[-1].seq if seen else 0, limit=7):
                seen.extend(page)

    def write(writer: int) -> None:
        for number in range(10):
            _tell(scene, f"{writer}.{number}.0", f"{writer}.{number}.1")

    with ThreadPoolExecutor(7) as pool:
        reader = pool.submit(read)
        try:
            for _ in pool.map(write, range(6)):
                pass
        finally:
            over.set()
        reader.result()
    same([event.seq - seen[0].seq for event in seen], [*range(120)], "the numbers")
    same(len(set(_words(seen))), 120, "how many different ones were seen")
    for writer in range(6):
        mine = [word for word in _words(seen) if word.startswith(f"{writer}.")]
        same(mine, [f"{writer}.{n}.{k}" for n in range(10) for k in (0, 1)], f"those of writer {writer}")


@LEDGER
def events_hold_any_bytes(scene: Scene) -> None:
    """Values of any bytes come back, up to 1 MiB; larger ones, and ids that cannot be, are refused with their batch."""
    scene.begin("a")
    values = [b"", b"\x00\xff\n'", bytes(range(256)) * 4096]
    events = [NewEvent(scene.id(f"e{n}"), "ü", value) for n, value in enumerate(values)]
    scene.store.append_events(scene.id("t"), scene.id("r"), events)
    same([event.value for event in _told(scene)], values, "the values")
    for bad in (
        NewEvent(scene.id("x"), "custom", b"x" * (MAX_EVENT + 1)),
        NewEvent("", "custom", b""),
        NewEvent(scene.id("x"), "\x00", b""),
    ):
        try:
            scene.store.append_events(scene.id("t"), scene.id("r"), [NewEvent(scene.id("y"), "k", b""), bad])
        except InputError:
            continue
        raise AssertionError(f"an event with the id {bad.event_id!r} and {len(bad.value)} bytes was taken")
    same(len(_told(scene)), 3, "how many there are")
