"""Whole threads: listing, copying, pruning, deleting; and what is stored of them once, or not at all any more."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointMetadata, empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command

from petiole.langgraph import PetioleSaver
from petiole_stores.errors import ConfigurationError, InputError
from petiole_stores.memory import MemoryStore
from petiole_stores.records import Blob, NewCheckpoint
from petiole_stores.serde import Serde
from tests.integration.langgraph import graphs
from tests.integration.langgraph.graphs import Graph, Saver


def new_thread() -> RunnableConfig:
    return {"configurable": {"thread_id": uuid.uuid4().hex}}


def id_of(config: RunnableConfig) -> str:
    return str(config["configurable"]["thread_id"])


def put(
    saver: PetioleSaver,
    config: RunnableConfig,
    values: dict[str, Any],
    versions: dict[str, int],
    new: dict[str, int],
    metadata: CheckpointMetadata | None = None,
) -> RunnableConfig:
    """Put a checkpoint after that of ``config`` (none, if that names a thread alone)."""
    checkpoint = empty_checkpoint() | {"channel_values": values, "channel_versions": versions}
    return saver.put(config, checkpoint, metadata or {"source": "loop", "step": 0}, new)  # type: ignore[arg-type]


# -------------------------------------------------------------------- values


def test_an_unchanged_value_is_the_parents_and_is_stored_once(
    saver: PetioleSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, big = new_thread(), {"text": "x" * 100_000}
    first = put(saver, config, {"big": big, "n": 1}, {"big": 1, "n": 1}, {"big": 1, "n": 1})
    sent: list[Blob] = []
    save = saver.store._save

    def watched(
        checkpoint: NewCheckpoint, thread_id: str, run_id: str | None, at: float, blobs: Sequence[Blob]
    ) -> None:
        sent.extend(blobs)
        save(checkpoint, thread_id, run_id, at, blobs)

    monkeypatch.setattr(saver.store, "_save", watched)
    big["text"] = "changed by the graph while it was saved"
    second = put(saver, first, {"big": big, "n": 2}, {"big": 1, "n": 2}, {"n": 2})
    third = put(saver, second, {"big": big, "n": 3}, {"big": 2, "n": 3}, {"big": 2, "n": 3})

    found = [saver.get_tuple(each) for each in (first, second, third)]
    values = [each.checkpoint["channel_values"] for each in found if each]
    assert [(value["big"]["text"][:7], value["n"]) for value in values] == [
        ("xxxxxxx", 1),
        ("xxxxxxx", 2),
        ("changed", 3),
    ]
    assert sent == []


def test_a_parent_that_is_gone_is_not_missed(saver: PetioleSaver) -> None:
    config = new_thread()
    first = put(saver, config, {"a": 1}, {"a": 1}, {"a": 1})
    saver.delete_thread(id_of(config))
    second = put(saver, first, {"a": 1}, {"a": 1}, {})

    found = saver.get_tuple(second)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"a": 1}
    assert found.parent_config == first


# -------------------------------------------------------------------- listing


def test_a_list_of_every_thread(saver: PetioleSaver) -> None:
    mark = uuid.uuid4().hex
    configs = [new_thread() for _ in range(3)]
    for config in configs:
        for step in range(2):
            put(saver, config, {}, {}, {}, {"source": "loop", "step": step, "mark": mark})  # type: ignore[typeddict-unknown-key]

    found = [*saver.list(None, filter={"mark": mark})]
    assert sorted(id_of(each.config) for each in found) == sorted([id_of(each) for each in configs] * 2)
    assert [each.metadata["step"] for each in found] == [1, 0] * 3
    assert len([*saver.list(None, filter={"mark": mark}, limit=4)]) == 4
    assert [*saver.list(None, limit=0)] == []


def test_a_list_is_in_the_order_of_storing_whatever_the_ids_say(saver: PetioleSaver) -> None:
    """LangGraph's ids hold the clock of who made them; here each is made by an earlier clock than the one before."""
    config = new_thread()
    ids = [f"1f0{9 - number}0000-0000-6000-8000-000000000000" for number in range(5)]
    for id in ids:
        saver.put(config, empty_checkpoint() | {"id": id}, {}, {})

    assert [each.checkpoint["id"] for each in saver.list(config)] == ids[::-1]
    newest = saver.get_tuple(config)
    assert newest is not None
    assert newest.checkpoint["id"] == ids[-1]
    before = {"configurable": {**config["configurable"], "checkpoint_id": ids[2]}}
    assert [each.checkpoint["id"] for each in saver.list(config, before=before)] == ids[1::-1]


def test_before_a_checkpoint_that_is_gone(saver: PetioleSaver) -> None:
    config = new_thread()
    places = [put(saver, config, {}, {}, {}) for _ in range(4)]
    saver.store.delete(next(row.id for row in saver.store.list(id_of(config))[1:2]))

    found = [each.config for each in saver.list(config, before=places[2])]
    assert found == [places[1], places[0]]


def test_more_checkpoints_than_a_page(saver: PetioleSaver) -> None:
    config = new_thread()
    places = [put(saver, config, {}, {}, {}) for _ in range(205)]
    assert [each.config for each in saver.list(config)] == places[::-1]


# -------------------------------------------------------------------- copying and removing


def test_a_copy_goes_its_own_way(saver: PetioleSaver) -> None:
    graph, source, target = graphs.asking(saver), new_thread(), new_thread()
    graph.invoke({"log": []}, source)
    saver.copy_thread(id_of(source), id_of(target))

    graph.invoke({"log": ["for the source alone"]}, source)
    copied = [*graph.get_state_history(target)]
    assert [each.values["log"] for each in copied] == [["a"], [], []]
    assert graph.get_state(target).next == ("ask",)  # b has ended: its writes were copied too
    saver.delete_thread(id_of(source))
    assert [*graph.get_state_history(target)] == copied
    parents = [each.parent_config for each in copied]
    assert parents == [each.config for each in copied[1:]] + [None]
    assert graph.invoke(Command(resume=1), target)["__interrupt__"]
    assert graph.invoke(Command(resume=2), target)["log"] == ["a", "b", "c"]


def test_copying_again_changes_nothing(saver: PetioleSaver) -> None:
    graph, source, target = graphs.loop(saver), new_thread(), new_thread()
    graph.invoke({"left": 2}, source)
    saver.copy_thread(id_of(source), id_of(target))
    once = [*saver.list(target)]
    saver.copy_thread(id_of(source), id_of(target))
    saver.copy_thread(id_of(source), id_of(source))
    assert [*saver.list(target)] == once


def test_runs_are_found_on_every_thread(saver: PetioleSaver) -> None:
    run, other = uuid.uuid4().hex, uuid.uuid4().hex
    threads = [new_thread() for _ in range(3)]
    for config in threads:
        for run_id in (run, other):
            put(saver, config, {"x": "y" * 9000}, {"x": 1}, {"x": 1}, {"source": "loop", "run_id": run_id})
    saver.copy_thread(id_of(threads[0]), "copy of " + id_of(threads[0]))
    threads.append({"configurable": {"thread_id": "copy of " + id_of(threads[0])}})

    saver.delete_for_runs([run])
    assert [[each.metadata["run_id"] for each in saver.list(config)] for config in threads] == [[other]] * 4
    assert saver.store.search_items(("langgraph", "runs", run)) == []
    saver.delete_for_runs([other])
    assert [[*saver.list(config)] for config in threads] == [[]] * 4


def test_what_is_pruned_takes_its_values_with_it(saver: PetioleSaver) -> None:
    config = new_thread()
    place = config
    for number in range(4):
        place = put(saver, place, {"x": f"{number}" * 9000}, {"x": number}, {"x": number})
    documents = [row.state for row in saver.store.list_checkpoints(id_of(config))]
    digests = [saver.store.serde.blob_digests(text)[0] for text in documents]
    assert len(saver.store.get_blobs(id_of(config), digests)) == 4

    saver.prune([id_of(config)])
    assert [*saver.store.get_blobs(id_of(config), digests)] == digests[:1]


def test_a_strategy_that_does_not_exist(saver: PetioleSaver) -> None:
    with pytest.raises(InputError, match="'keep_all' of prune is neither"):
        saver.prune([], strategy="keep_all")


def test_thread_ids_that_are_no_texts(saver: PetioleSaver) -> None:
    """LangGraph takes what it is given; here an id is its text."""
    number = uuid.uuid4().int >> 64
    config: RunnableConfig = {"configurable": {"thread_id": number}}
    graphs.loop(saver).invoke({"left": 1}, config)
    assert {id_of(each.config) for each in saver.list(config)} == {str(number)}
    saver.copy_thread(number, number + 1)  # type: ignore[arg-type]
    saver.prune([number])  # type: ignore[list-item]
    assert len([*saver.list(config)]) == 1
    saver.delete_thread(number)  # type: ignore[arg-type]
    assert saver.get_tuple(config) is None
    assert len([*saver.list({"configurable": {"thread_id": number + 1}})]) == 3


# -------------------------------------------------------------------- delta channels


class Deltas(TypedDict):
    items: Annotated[
        list[str],
        DeltaChannel(lambda old, new: [*old, *(x for part in new for x in part)], snapshot_frequency=3),
    ]


def deltas(saver: Saver) -> Graph:
    """Two nodes side by side, each adding a name; a snapshot is stored at every third update."""
    builder = StateGraph(Deltas)
    for name in ("one", "two"):
        builder.add_node(name, lambda state, name=name: {"items": [f"{name} {len(state['items'])}"]})
        builder.add_edge(START, name)
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_delta_channels(saver: PetioleSaver, durability: Literal["sync", "async", "exit"]) -> None:
    config, graph, expected = new_thread(), deltas(saver), deltas(InMemorySaver())
    for turn in range(5):
        given = {"items": [f"turn {turn}"]}
        result = graph.invoke(given, config, durability=durability)
        assert result == expected.invoke(given, config, durability=durability)

    shots = [*graph.get_state_history(config)]
    assert [each.values for each in shots] == [each.values for each in expected.get_state_history(config)]
    stored = [each.checkpoint["channel_values"] for each in saver.list(config)]
    assert {"items" in values for values in stored} == {True, False}
    for shot in shots:
        histories = [
            method(saver, config=shot.config, channels=["items", "unknown"])
            for method in (
                PetioleSaver.get_delta_channel_history,
                BaseCheckpointSaver.get_delta_channel_history,
            )
        ]
        assert histories[0] == histories[1]


def test_pruning_keeps_what_delta_channels_need(saver: PetioleSaver) -> None:
    graph = deltas(saver)
    for turns in range(1, 6):
        config = new_thread()
        for turn in range(turns):
            result = graph.invoke({"items": [f"turn {turn}"]}, config)
        before = len([*saver.list(config)])
        assert before == 3 * turns
        saver.prune([id_of(config)])

        assert graph.get_state(config).values == result
        # A value is told from at most the three updates since its last snapshot, and those take two checkpoints each.
        assert len([*saver.list(config)]) <= min(before, 6)
        assert graph.invoke({"items": ["more"]}, config)["items"][: len(result["items"])] == result["items"]


# -------------------------------------------------------------------- the saver itself


def test_a_given_store_stays_open_and_an_opened_one_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[MemoryStore] = []
    monkeypatch.setattr(MemoryStore, "close", lambda self: closed.append(self))
    store = MemoryStore("memory://")
    with PetioleSaver(store) as given:
        given.setup()
    assert closed == []
    with PetioleSaver.from_conn_string("memory://") as opened:
        graphs.loop(opened).invoke({"left": 1}, new_thread())
    assert closed == [opened.store]


def test_what_the_saver_refuses() -> None:
    with pytest.raises(ConfigurationError, match="store_serde was given with"):
        PetioleSaver(MemoryStore("memory://"), store_serde=Serde())
    with pytest.raises(ConfigurationError, match="no store serves the scheme 'mysql'"):
        PetioleSaver("mysql://host/db")
    with PetioleSaver("memory://") as saver:
        with pytest.raises(InputError, match="the config names no thread"):
            saver.get_tuple({"configurable": {}})
        with pytest.raises(InputError, match="names no checkpoint of thread 't'"):
            saver.put_writes({"configurable": {"thread_id": "t"}}, [("x", 1)], "task")
        with pytest.raises(InputError, match=r"a key 'langgraph\.checkpoint'"):
            put(saver, new_thread(), {}, {}, {}, {"langgraph.checkpoint": 1})  # type: ignore[typeddict-unknown-key]


def test_versions() -> None:
    saver = PetioleSaver("memory://")
    assert saver.get_next_version(None, None) == 1
    assert saver.get_next_version(1, None) == 2
    # As LangGraph's own savers count: numbers in a text, compared as texts.
    old = f"{9:032}.{0.5:016}"
    newer = saver.get_next_version(old, None)  # type: ignore[arg-type]
    assert isinstance(newer, str)
    assert old < newer < f"{11:032}.{0.1:016}"
    saver.close()
