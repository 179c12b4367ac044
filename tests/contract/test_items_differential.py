"""Random puts, reads and purges of items on the memory store and on a real one: every answer must agree."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from petiole_stores.ids import new_id
from petiole_stores.items import Namespace, NewItem, split
from petiole_stores.memory import MemoryStore
from petiole_stores.opening import open_store
from petiole_stores.store import Store
from tests.contract.backends import REAL

EXAMPLES = int(os.environ.get("PETIOLE_FUZZ_EXAMPLES", "30"))
#: Later than any scene of the kit, and a sequence later than the one before.
_START = 9_000_000_000.0
_SEQUENCES = itertools.count(1)

LABELS = ["a", "b", "ab", "A", "é", "*"]
namespaces = st.lists(st.sampled_from(LABELS), max_size=4).map(tuple)
keys = st.sampled_from(["k", "K", "l", "ü", "k k"])
values = st.sampled_from(["1", "2", '"ü"', None, '"' + "long " * 400 + '"'])
puts = st.builds(
    lambda namespace, key, value, ttl, if_absent: (
        namespace,
        key,
        value,
        None if value is None else ttl,
        if_absent and value is not None,
    ),
    namespaces,
    keys,
    values,
    st.sampled_from([None, None, 1.5, 4.0, 20.0]),
    st.booleans(),
)
pages = {"limit": st.integers(1, 6), "offset": st.integers(0, 4)}
steps = st.one_of(
    st.tuples(st.just("put"), st.lists(puts, min_size=1, max_size=5)),
    st.tuples(st.just("put"), st.lists(puts, min_size=1, max_size=5)),
    st.tuples(st.just("get"), st.lists(st.tuples(namespaces, keys), min_size=1, max_size=4), st.booleans()),
    st.tuples(st.just("search"), namespaces, st.fixed_dictionaries(pages)),
    st.tuples(
        st.just("list"),
        namespaces,
        namespaces,
        st.fixed_dictionaries({**pages, "max_depth": st.sampled_from([None, 1, 2, 3])}),
    ),
    st.tuples(st.just("remove"), namespaces, st.integers(1, 3)),
    st.tuples(st.just("purge"), st.integers(1, 3)),
    st.tuples(st.just("tick"), st.sampled_from([0.5, 1.0, 3.0, 10.0])),
    st.tuples(st.just("reopen")),
)


@dataclass
class Sequence:
    """One sequence's items: below a label of its own."""

    prefix: str
    now: float

    def below(self, labels: Namespace) -> Namespace:
        return (self.prefix, *labels)

    def make(self, store: Store, step: tuple[Any, ...]) -> Any:
        match step:
            case "put", batch:
                return store.put_items([NewItem(self.below(put[0]), *put[1:]) for put in batch])
            case "get", places, refresh:
                return store.get_items([(self.below(n), key) for n, key in places], refresh=refresh)
            case "search", prefix, options:
                return store.search_items(self.below(prefix), **options)
            case "list", prefix, suffix, options:
                return store.list_namespaces(self.below(prefix), suffix, **options)
            case "remove", prefix, limit:
                gone = [store.remove_items(self.below(prefix), limit=limit)]
                while gone[-1] == limit:  # which of them go first is left open
                    gone.append(store.remove_items(self.below(prefix), limit=limit))
                return sum(gone)
            case "purge", limit:
                return store.purge_items(limit)
        return None


def everything(store: Store, prefix: Namespace = ()) -> Any:
    found = store.search_items(prefix, limit=1000)
    return found, store.list_namespaces(prefix, limit=1000)


def reached(step: tuple[Any, ...], answer: Any) -> set[str]:
    """What an answer shows, for statistics."""
    if step[0] == "put":
        return {f"put {said}" for said in answer} | {"delete" for put in step[1] if put[2] is None}
    if step[0] == "get":
        return {f"get {'some' if item else 'none'}" for item in answer}
    return {f"{step[0]} {'some' if answer else 'none'}"}


class Subject:
    def __init__(self, url: str) -> None:
        self.url = url
        self.store = open_store(url)

    def reopen(self) -> None:
        clock = self.store.clock
        self.store.close()
        self.store = open_store(self.url)
        self.store.clock = clock


@pytest.fixture(scope="module")
def subject(store_url: str) -> Iterator[Subject]:
    found = Subject(store_url)
    yield found
    found.store.close()


WANTED = {
    "put True",
    "put False",
    "delete",
    "get some",
    "get none",
    "search some",
    "search none",
    "list some",
    "list none",
    "remove some",
    "remove none",
    "purge some",
    "purge none",
}
met: Counter[str] = Counter()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("store_url", REAL, indirect=True, scope="module")
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(script=st.lists(steps, min_size=10, max_size=50))
def test_agrees_with_the_model(subject: Subject, script: list[tuple[Any, ...]]) -> None:
    model = MemoryStore()
    sequence = Sequence(new_id()[-12:], _START + next(_SEQUENCES) * 10_000.0)
    model.clock = subject.store.clock = lambda: sequence.now
    while subject.store.purge_items():  # what an earlier sequence left would be counted
        pass
    for step in script:
        if step[0] == "tick":
            sequence.now += step[1]
        elif step[0] == "reopen":
            subject.reopen()
        else:
            wanted = sequence.make(model, step)
            met.update(reached(step, wanted))
            for word in reached(step, wanted):
                event(word)
            assert sequence.make(subject.store, step) == wanted, step
    assert everything(subject.store, (sequence.prefix,)) == everything(model)
    whole = subject.store.search_items(limit=1000)
    assert [item for item in whole if item.namespace[0] == sequence.prefix] == everything(model)[0]
    there = [NewItem(item.namespace, item.key, None) for item in everything(model)[0]]
    subject.store.put_items(there)
    assert everything(subject.store, (sequence.prefix,)) == ([], [])


def test_sequences_reach_every_answer() -> None:
    """Last in this module: the sequences above have to mean something."""
    if EXAMPLES >= 30 and met:
        assert met.keys() >= WANTED


def test_a_joined_namespace_is_split_again() -> None:
    assert split("a\x1fb\x1f") == ("a", "b")
    assert split("") == ()
