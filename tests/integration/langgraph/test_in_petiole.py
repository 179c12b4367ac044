"""A LangGraph thread in Petiole's own tools, and what of it is on disk."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send

from petiole import Checkpoint
from petiole.cli import main
from petiole.client import Client
from petiole.langgraph import PetioleSaver
from petiole_stores.codec import AesGcmCodec
from petiole_stores.errors import UnfitError
from petiole_stores.serde import Serde
from tests.integration.langgraph import graphs
from tests.integration.langgraph.graphs import Graph, Log, Saver


def new_thread() -> tuple[str, RunnableConfig]:
    thread_id = uuid.uuid4().hex
    return thread_id, {"configurable": {"thread_id": thread_id}}


def waiting_send(saver: Saver) -> Graph:
    """Stops before packets that were sent beside an edge to a plain node."""
    builder = StateGraph(Log)
    builder.add_node("split", graphs.says("split"))
    builder.add_node("work", lambda packet: {"log": [packet]})
    builder.add_node("plain", graphs.says("plain"))
    builder.add_edge(START, "split")
    builder.add_conditional_edges("split", lambda state: [Send("work", "x"), Send("work", "y"), "plain"])
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (graphs.diamond, {"log": ["in"]}),
        (graphs.loop, {"left": 3}),
        (graphs.fan, {"left": 3}),
        (graphs.asking, {"log": []}),
        (waiting_send, {"log": []}),
    ],
)
def test_the_history_is_one_of_petioles(
    saver: PetioleSaver, make: Callable[[Saver], Graph], given: dict[str, Any]
) -> None:
    graph = make(saver)
    thread_id, config = new_thread()
    graph.invoke(given, config)
    graph.invoke(given, config)  # a second round, on channels that the first has used
    shots = [*graph.get_state_history(config)]
    found = saver.store.list(thread_id)

    # LangGraph shows a list that nothing was written to as empty; the checkpoint has none.
    assert [{"log": [], **_user_keys(each.state)} for each in found] == [
        {"log": [], **shot.values} for shot in shots
    ]
    assert [(each.source, each.step) for each in found] == [
        (shot.metadata["source"], shot.metadata["step"]) for shot in shots if shot.metadata
    ]
    # LangGraph leaves out of ``next`` what has ended after the newest checkpoint.
    assert [sorted(each.next) for each in found[1:]] == [sorted(shot.next) for shot in shots[1:]]
    assert [each.timestamp.isoformat() for each in found] == [shot.created_at for shot in shots]
    assert [each.parent_id for each in found] == [each.id for each in found[1:]] + [None]
    ran = [sorted(name for name in each.next if not name.startswith("__")) for each in found[1:]] + [[]]
    assert [sorted(each.node_names) for each in found] == [
        names if each.source == "loop" else [] for each, names in zip(found, ran, strict=True)
    ]


def _user_keys(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if not key.startswith(("__", "branch:", "join:"))}


def test_the_command_line_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    thread_id, config = new_thread()
    with PetioleSaver(url) as saver:
        graphs.asking(saver).invoke({"log": ["in"]}, config)

    def run(*words: str) -> Any:
        capsys.readouterr()
        assert main(("run", *words, "--store", url, "-o", "json")) == 0
        return json.loads(capsys.readouterr().out)

    state = run("state", thread_id)
    assert state["log"] == ["in", "a"]
    history = run("history", thread_id)
    assert [entry["next"] for entry in history] == [["ask", "b"], ["a"], ["__start__"]]
    old = run("state", thread_id, "--checkpoint", history[1]["checkpoint_id"])
    assert old["log"] == ["in"]


def test_petioles_client_reads_values_that_only_langgraph_knows(saver: PetioleSaver) -> None:
    thread_id, config = new_thread()
    graphs.chat(saver).invoke({"messages": ["hello"]}, config)

    [newest, *_] = Client(saver.store, broker="memory://").history(thread_id)
    assert newest.checkpoint is not None
    [kind, data] = newest.checkpoint.state["messages"]["__langgraph__"]
    assert kind == "msgpack"
    assert b"5 letters" in data


def test_checkpoints_of_petioles_own_graphs_are_passed_over(saver: PetioleSaver) -> None:
    thread_id, config = new_thread()
    graphs.loop(saver).invoke({"left": 1}, config)
    newest = graphs.loop(saver).get_state(config)
    saver.store.save(Checkpoint(thread_id=thread_id, state={"other": 1}))

    assert graphs.loop(saver).get_state(config) == newest
    assert all("other" not in each.checkpoint["channel_values"] for each in saver.list(config))
    assert all(each.config["configurable"]["thread_id"] for each in saver.list(None))


# -------------------------------------------------------------------- encryption

SECRET = "the treasure is under the oak"
KEYS = {"first": bytes(range(32))}


def stored_bytes(url: str) -> bytes:
    """All that is in the store, as it lies there."""
    if url.startswith("sqlite"):
        folder = Path(url.removeprefix("sqlite:///")).parent
    else:
        folder = Path(url.removeprefix("file://"))
    if url.startswith(("sqlite", "file")):
        return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    if url.startswith("postgresql"):
        import psycopg

        with psycopg.connect(url) as connection:
            tables = ("checkpoints", "blobs", "items", "heads", "threads")
            rows = [connection.execute(f"SELECT t::text FROM {name} t").fetchall() for name in tables]
            raw = [connection.execute(f"SELECT data FROM {name}").fetchall() for name in ("blobs", "items")]
        return str(rows).encode() + b"".join(bytes(data) for table in raw for (data,) in table)
    import redis

    with redis.Redis.from_url(url) as client:
        return b"".join(_redis_value(client, key) for key in client.scan_iter(count=1000))


def _redis_value(client: Any, key: bytes) -> bytes:
    match client.type(key):
        case b"string":
            return bytes(client.get(key))
        case b"hash":
            return b"".join(part for pair in client.hgetall(key).items() for part in pair)
        case b"zset":
            return b"".join(client.zrange(key, 0, -1))
        case b"set":
            return b"".join(client.smembers(key))
        case other:
            raise AssertionError(f"{key!r} is a {other!r}: read it too")


def test_encryption_covers_values_and_writes(url: str) -> None:
    if url == "memory://":
        pytest.skip("the memory store has nothing that could be read from outside")
    _, config = new_thread()

    def use(serde: Serde) -> Any:
        with PetioleSaver(url, store_serde=serde) as saver:
            graph = graphs.asking(saver)
            graph.invoke({"log": [SECRET]}, config)  # in the state, and "b" among the pending writes
            graphs.chat(saver).invoke({"messages": [SECRET]}, new_thread()[1])
            graph.invoke(Command(resume=SECRET), config)  # a resume value among the pending writes
            return graph.get_state(config)

    state = use(Serde(codec=AesGcmCodec(KEYS)))
    assert state.values["log"][0] == SECRET
    assert SECRET.encode() not in stored_bytes(url)

    with PetioleSaver(url) as saver, pytest.raises(UnfitError, match="encrypted with the key 'first'"):
        graphs.asking(saver).get_state(config)
    with PetioleSaver(url, store_serde=Serde(codec=AesGcmCodec(KEYS))) as saver:
        assert graphs.asking(saver).invoke(Command(resume="two"), config)["answer"] == f"{SECRET} two"


def test_without_encryption_the_secret_would_be_found(url: str) -> None:
    """The search above can fail."""
    if url == "memory://":
        pytest.skip("the memory store has nothing that could be read from outside")
    with PetioleSaver(url) as saver:
        graphs.loop(saver).invoke({"left": 1, "log": [SECRET]}, new_thread()[1])
    assert SECRET.encode() in stored_bytes(url)
