"""Random histories, kept by the saver and by LangGraph's ``InMemorySaver``: whatever is asked, both answer the same."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple, empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME

from petiole.langgraph import PetioleSaver

THREADS = ("one", "two")
NAMESPACES = ("", "child:1")
CHANNELS = ("a", "b", "c", "branch:to:x")

# What LangGraph's serializer keeps as it is: it makes lists of tuples, and refuses larger integers and lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
integers = st.integers(-(2**63), 2**63 - 1)
values = st.recursive(
    st.none() | st.booleans() | integers | texts | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
places = st.tuples(st.sampled_from(THREADS), st.sampled_from(NAMESPACES))
puts = st.tuples(
    st.just("put"),
    places,
    st.integers(0, 3),  # how far back the parent is
    st.dictionaries(st.sampled_from(CHANNELS), values),  # what is written
    st.sets(st.sampled_from(CHANNELS)),  # what is emptied
    st.fixed_dictionaries({"source": st.sampled_from(["input", "loop", "fork"]), "step": st.integers(-1, 3)}),
)
writes = st.tuples(
    st.just("write"),
    places,
    st.integers(0, 3),
    st.lists(st.tuples(st.sampled_from([*CHANNELS, ERROR, INTERRUPT, RESUME]), values), max_size=3),
    st.sampled_from(["task 1", "task 2"]),
)
deletes = st.tuples(st.just("delete"), st.sampled_from(THREADS))


class Kept:
    """One saver under the test: where its checkpoints are, and the versions that it counts by itself."""

    def __init__(self, saver: BaseCheckpointSaver[Any], run: str) -> None:
        self.saver = saver
        self.run = run
        self.made: dict[tuple[str, str], list[RunnableConfig]] = {}

    def config(self, place: tuple[str, str]) -> RunnableConfig:
        return {"configurable": {"thread_id": f"{place[0]} {self.run}", "checkpoint_ns": place[1]}}

    def at(self, place: tuple[str, str], back: int) -> RunnableConfig:
        made = self.made.get(place, [])
        return made[-1 - back] if back < len(made) else self.config(place)

    def do(self, id: str, operation: tuple[Any, ...]) -> None:
        match operation:
            case ("put", place, back, written, emptied, metadata):
                self.put(id, place, back, written, emptied, metadata)
            case ("write", place, back, written, task_id):
                at = self.at(place, back)
                if "checkpoint_id" in at["configurable"]:
                    self.saver.put_writes(at, written, task_id, f"~{task_id}")
            case ("delete", thread):
                self.saver.delete_thread(f"{thread} {self.run}")
                for ns in NAMESPACES:
                    self.made.pop((thread, ns), None)

    def put(self, id: str, place: Any, back: int, written: Any, emptied: Any, metadata: Any) -> None:
        parent = self.at(place, back)
        before = self.saver.get_tuple(parent) if "checkpoint_id" in parent["configurable"] else None
        base = before.checkpoint if before else empty_checkpoint()
        changed = {*written, *(name for name in emptied if name in base["channel_values"])}
        next_version: Callable[..., Any] = self.saver.get_next_version
        new = {name: next_version(base["channel_versions"].get(name), None) for name in changed}
        kept = {name: value for name, value in base["channel_values"].items() if name not in emptied}
        checkpoint = {
            **base,
            "id": id,
            "channel_values": kept | written,
            "channel_versions": base["channel_versions"] | new,
            "versions_seen": {"x": dict(base["channel_versions"])},
        }
        made = self.saver.put(parent, checkpoint, metadata, new)  # type: ignore[arg-type]
        self.made.setdefault(place, []).append(made)

    def shown(self, found: CheckpointTuple | None) -> Any:
        """A tuple without the versions themselves: the two savers count in different ways."""
        if found is None:
            return None
        rest = {key: value for key, value in found.checkpoint.items() if key not in ("ts", "v")}
        versions = found.checkpoint["channel_versions"]
        rest["channel_versions"] = sorted(versions)
        rest["versions_seen"] = {
            node: sorted(seen) for node, seen in found.checkpoint["versions_seen"].items()
        }
        where = (found.config, found.parent_config)
        return where, rest, found.metadata, found.pending_writes

    def answers(self) -> list[Any]:
        """All that can be asked."""
        told: list[Any] = []
        for thread in THREADS:
            whole: RunnableConfig = {"configurable": {"thread_id": f"{thread} {self.run}"}}
            told.append(sorted(self._ids(self.saver.list(whole))))
            for ns in NAMESPACES:
                config, made = self.config((thread, ns)), self.made.get((thread, ns), [])
                told.append(self.shown(self.saver.get_tuple(config)))
                told.append([self.shown(each) for each in self.saver.list(config)])
                told.append(self._ids(self.saver.list(config, filter={"source": "loop"}, limit=2)))
                told.append(self._ids(self.saver.list(config, filter={"source": "fork", "step": 1})))
                for each in made:
                    told.append(self.shown(self.saver.get_tuple(each)))
                    told.append(self._ids(self.saver.list(config, before=each, limit=3)))
                    told.append(self.saver.get_delta_channel_history(config=each, channels=["a", "b"]))
        return told

    def _ids(self, found: Any) -> list[str]:
        return [each.checkpoint["id"] for each in found]


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(operations=st.lists(st.one_of(puts, puts, puts, writes, writes, deletes), max_size=12))
def test_random_histories(saver: PetioleSaver, operations: list[tuple[Any, ...]]) -> None:
    run = uuid.uuid4().hex
    kept = [Kept(saver, run), Kept(InMemorySaver(), run)]
    for number, operation in enumerate(operations):
        for each in kept:
            each.do(f"{number:04}", operation)
    assert kept[0].answers() == kept[1].answers()
    for thread in THREADS:
        saver.delete_thread(f"{thread} {run}")
