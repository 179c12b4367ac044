"""Signals: what somebody outside says to a thread, kept until a task of it waits for that.

A signal is an item of the store, and so is the word that a task has taken it; both stay until the thread is removed, so that
neither a signal that is sent again nor a task that runs again can tell the difference. Until its sender has woken who waits for
it, a note beside it says so: should the sender die before, a sweep does it in its place.
"""

from __future__ import annotations

from collections.abc import Iterator

from petiole_stores.ids import derived_id
from petiole_stores.items import Item, Namespace, NewItem
from petiole_stores.records import TaskRef
from petiole_stores.store import Store

#: Where the notes are of signals that nobody was woken for yet.
UNHEARD: Namespace = ("petiole", "unheard signals")
#: How long a sender has for it, in seconds, before a sweep does it.
SENDER = 5.0
_PAGE = 500


def put_signal(store: Store, thread_id: str, name: str, payload: str, id: str) -> bool:
    """Keep a signal for the thread; one of this name and id that is there already stays as it is.

    Parameters
        payload  a document, see :meth:`petiole_stores.serde.Serde.dump_whole`
        id       the sender's: a signal that is sent again under it is one

    Returns whether the signal of this id has this payload. Raises InputError for a name or id that is empty, too long
    or not printable.
    """
    place = store.serde.dump_whole([thread_id, name])
    note = NewItem(UNHEARD, _note(thread_id, name, id), place)  # first, for a batch may end half-way
    return store.put_items([note, NewItem(_sent(thread_id, name), id, payload, if_absent=True)])[1]


def heard(store: Store, thread_id: str, name: str, id: str) -> None:
    """Note that who waits for the signal was woken."""
    store.put_items([NewItem(UNHEARD, _note(thread_id, name, id), None)])


def wake_unheard(store: Store, now: float) -> list[TaskRef]:
    """Wake who waits for signals whose senders have not done so in time; gives what to publish. ``now`` is the store's."""
    publish: list[TaskRef] = []
    for note in _all(store, UNHEARD):
        if note.updated_at <= now - SENDER:
            thread_id, name = store.serde.load_whole(note.value)
            store.hint(thread_id, [])
            publish += store.wake(thread_id, name)
            store.put_items([NewItem(UNHEARD, note.key, None)])
    return publish


def take_signal(store: Store, thread_id: str, name: str, task_id: str, wait: int = 0) -> str | None:
    """The payload of the oldest signal of this name that no other wait has taken; ``None``: there is none yet.

    ``wait`` counts the task's waits from 0. The same wait of the same task gets the same signal whenever it asks, other
    waits get others. What it costs grows with the signals of this name that the thread ever got.
    """
    claim = f'"{task_id}#{wait}"'
    takers = _takers(store, thread_id, name)
    if not any(taker.value == claim for taker in takers):
        taken = {taker.key for taker in takers}
        free = [signal.key for signal in _all(store, _sent(thread_id, name)) if signal.key not in taken]
        if not any(_take(store, thread_id, name, key, claim) for key in free):
            return None
        takers = _takers(store, thread_id, name)
    mine, *more = [taker for taker in takers if taker.value == claim]
    if more:  # two attempts at the task asked in the same moment, and met different signals
        store.put_items([NewItem(taker.namespace, taker.key, None) for taker in more])
    [signal] = store.get_items([(_sent(thread_id, name), mine.key)])
    return None if signal is None else signal.value


def forget_signals(store: Store, thread_id: str) -> None:
    """Remove all signals of a thread, taken or not: it is being removed itself."""
    while store.remove_items(_of(thread_id), limit=_PAGE) == _PAGE:
        pass


def _take(store: Store, thread_id: str, name: str, key: str, claim: str) -> bool:
    return store.put_items([NewItem(_taken(thread_id, name), key, claim, if_absent=True)])[0]


def _takers(store: Store, thread_id: str, name: str) -> list[Item]:
    """Who has taken which signal (the item's key), first come first."""
    return list(_all(store, _taken(thread_id, name)))


def _all(store: Store, namespace: Namespace) -> Iterator[Item]:
    """The items of a namespace, oldest first."""
    found: list[Item] = []
    while True:
        page = store.search_items(namespace, limit=_PAGE, offset=len(found))
        found += page
        if len(page) < _PAGE:
            return iter(sorted(found, key=lambda item: (item.created_at, item.key)))


def _note(thread_id: str, name: str, id: str) -> str:
    return derived_id("unheard", thread_id, name, id)


def _of(thread_id: str) -> Namespace:
    return ("petiole", "signals", thread_id)


def _sent(thread_id: str, name: str) -> Namespace:
    return (*_of(thread_id), "sent", name)


def _taken(thread_id: str, name: str) -> Namespace:
    return (*_of(thread_id), "taken", name)
