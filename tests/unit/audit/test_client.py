"""What an audited client records: who, what, before, after, refusals, and no values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

import pytest

from petiole import END, START, Client, Settings, StateGraph
from petiole.audit.client import AuditedClient
from petiole.audit.entry import Entry, Origin
from petiole_stores.errors import ConflictError, NotFoundError, StoreUnavailableError, ThreadBusyError
from petiole_stores.memory import MemoryStore

SECRET = "4711-secret-value"


class State(TypedDict, total=False):
    n: int
    card: str


GRAPH = (
    StateGraph(State)
    .add_node("one", lambda state: {})
    .add_edge(START, "one")
    .add_edge("one", END)
    .compile(name="shop.order")
)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def client(store: MemoryStore) -> AuditedClient:
    origin = Origin(actor="key:abc", via="api", address="10.0.0.7", user_agent="curl/8\n" + "x" * 999)
    return AuditedClient(Client(store, settings=Settings(), graphs=[GRAPH]), origin)


def entries(client: AuditedClient) -> list[Entry]:
    """All entries, the oldest first."""
    return sorted(client.audit.all(), key=lambda entry: (entry.at, entry.id))


def last(client: AuditedClient) -> Entry:
    return entries(client)[-1]


def test_a_submit_says_who_from_where_and_which_run(client: AuditedClient) -> None:
    handle = client.submit("shop.order", {"card": SECRET}, thread_id="t", idempotency_key="k")
    entry = last(client)
    assert (entry.actor, entry.via, entry.address) == ("key:abc", "api", "10.0.0.7")
    assert entry.user_agent.startswith("curl/8 ")
    assert len(entry.user_agent) == 300
    assert (entry.action, entry.result, entry.graph) == ("run.submit", "done", "shop.order")
    assert (entry.thread_id, entry.run_id) == ("t", handle.run_id)
    assert entry.details == {"idempotency_key": "k"}


ACTIONS: list[tuple[str, Callable[[Client], Any]]] = [
    ("run.cancel", lambda client: client.cancel("t", reason="why")),
    ("run.cancel", lambda client: client.handle("t").cancel()),
    ("run.pause", lambda client: client.pause("t")),
    ("run.signal", lambda client: client.signal("t", "paid", {"card": SECRET})),
    ("thread.delete", lambda client: client.delete("t", force=True)),
]


@pytest.mark.parametrize(("action", "act"), ACTIONS)
def test_a_change_has_where_the_thread_stood_and_stands(
    client: AuditedClient, action: str, act: Callable[[Client], Any]
) -> None:
    run_id = client.submit("shop.order", {"n": 1}, thread_id="t").run_id
    act(client)
    entry = last(client)
    assert (entry.action, entry.result, entry.thread_id, entry.run_id) == (action, "done", "t", run_id)
    assert entry.before["status"] == "queued"
    expected = {"run.cancel": "cancelled", "run.pause": "paused", "run.signal": "queued"}
    assert entry.after.get("status") == expected.get(action)


def test_a_second_cancel_changed_nothing(client: AuditedClient) -> None:
    client.submit("shop.order", {"n": 1}, thread_id="t")
    client.cancel("t")
    client.cancel("t")
    assert [entry.result for entry in entries(client)] == ["done", "done", "already"]


def test_a_state_by_hand_names_the_checkpoints_and_keys_and_no_value(client: AuditedClient) -> None:
    first = client.save_checkpoint("t", {"n": 1}, graph=GRAPH)
    client.update_state("t", {"card": SECRET}, as_node="one", graph=GRAPH)
    entry = last(client)
    assert entry.action == "thread.update"
    assert entry.before == {"checkpoint_id": first}
    assert entry.after["checkpoint_id"] not in (None, first)
    assert entry.details["keys"] == ["card"]


def test_a_fork_within_a_resume_is_part_of_it(client: AuditedClient) -> None:
    checkpoint = client.save_checkpoint("t", {"n": 1}, next=["one"], graph=GRAPH)
    handle = client.resume("t", checkpoint=checkpoint, graph=GRAPH)
    assert [entry.action for entry in entries(client)] == ["checkpoint.save", "run.resume"]
    assert (last(client).run_id, last(client).after["status"]) == (handle.run_id, "queued")


@pytest.mark.parametrize(
    ("error", "act"),
    [
        (ThreadBusyError, lambda client: client.submit("shop.order", {}, thread_id="t")),
        (ThreadBusyError, lambda client: client.delete("t")),
        (ConflictError, lambda client: client.replay("t")),
        (NotFoundError, lambda client: client.cancel("nowhere")),
    ],
)
def test_a_refusal_is_recorded_with_its_reason(
    client: AuditedClient, error: type[Exception], act: Callable[[Client], Any]
) -> None:
    client.submit("shop.order", {"n": 1}, thread_id="t")
    with pytest.raises(error) as raised:
        act(client)
    entry = last(client)
    assert entry.result == "refused"
    assert entry.reason == str(raised.value)[:300]


def test_what_broke_down_is_not_called_refused(
    client: AuditedClient, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.submit("shop.order", {"n": 1}, thread_id="t")

    def away(*_: object) -> None:
        raise StoreUnavailableError("the store is away")

    monkeypatch.setattr(store, "_cancel", away)
    with pytest.raises(StoreUnavailableError):
        client.cancel("t")
    assert last(client).result == "failed"


def test_each_run_of_many_has_an_entry_also_when_the_caller_stops(client: AuditedClient) -> None:
    for name in "abc":
        client.submit("shop.order", {"n": 1}, thread_id=name)
    client.cancel("a")
    before = len(entries(client))
    treated = client.cancel_all([*client.list_runs()], reason="over")
    kinds = {one.run.thread_id: one.result for one in treated}
    found = entries(client)[before:]
    assert kinds == {"a": "already", "b": "done", "c": "done"}
    assert {entry.thread_id: entry.result for entry in found} == kinds
    assert all(entry.details == {"bulk": True, "reason": "over"} for entry in found)

    client.submit("shop.order", {"n": 1}, thread_id="d")
    client.submit("shop.order", {"n": 1}, thread_id="e")
    before = len(entries(client))
    stopped = client.cancel_all([*client.list_runs(status="queued")])
    next(stopped)
    stopped.close()
    assert len(entries(client)) == before + 2, "both were cancelled in one transaction"


def test_no_value_of_an_input_state_or_signal_is_in_the_log(
    client: AuditedClient, store: MemoryStore
) -> None:
    client.submit("shop.order", {"card": SECRET}, thread_id="t")
    client.signal("t", "paid", {"card": SECRET})
    client.cancel("t")
    client.update_state("t2", {"card": SECRET}, as_node="one", graph=GRAPH)
    items = store.search_items(("petiole", "audit"), limit=100)
    assert len(items) == 4
    assert not [item for item in items if SECRET in item.value]


def test_reading_leaves_no_trace(client: AuditedClient) -> None:
    client.submit("shop.order", {"n": 1}, thread_id="t")
    before = len(entries(client))
    client.get_run("t")
    [*client.list_runs()]
    client.explain("t")
    assert len(entries(client)) == before


def test_schedules_are_on_record(client: AuditedClient) -> None:
    client.create_schedule("nightly", "shop.order", {"card": SECRET}, every=60.0)
    client.pause_schedule("nightly")
    client.pause_schedule("nightly")
    client.update_schedule("nightly", input={"card": SECRET * 2})
    handle = client.trigger_schedule("nightly")
    client.delete_schedule("nightly")
    client.delete_schedule("nightly")
    found = entries(client)
    assert [(entry.action, entry.result) for entry in found] == [
        ("schedule.create", "done"),
        ("schedule.pause", "done"),
        ("schedule.pause", "already"),
        ("schedule.update", "done"),
        ("schedule.trigger", "done"),
        ("schedule.delete", "done"),
        ("schedule.delete", "already"),
    ]
    assert (found[1].before["paused"], found[1].after["paused"]) == (False, True)
    assert found[3].details["changed"] == ["input"]
    assert found[4].run_id == handle.run_id


def test_an_import_is_on_record(client: AuditedClient) -> None:
    client.submit("shop.order", {"n": 1}, thread_id="t")
    brought = client.import_thread(client.export_thread("t"), thread_id="copy")
    assert (last(client).action, last(client).thread_id, last(client).run_id) == (
        "thread.import",
        "copy",
        brought.run_id,
    )


#: What changes nothing of a thread or schedule, or does so through a method that is recorded.
READING = {
    "aio", "asking_run", "backlogs", "check_succeeded", "count_runs", "damaged_schedules", "dead_letters", "diff", "dispatch", "explain",
    "export_thread", "get_run", "get_schedule", "get_state", "graph_of", "handle", "history", "interrupts",
    "known_graphs", "learn_graphs", "list_checkpoints", "list_runs", "list_schedules", "load_checkpoint", "loaded_graphs", "logs",
    "logs_page", "memory",
    "named_checkpoint", "now", "outcome", "place", "publish", "questions", "run_of", "runs_page", "state",
    "state_history", "store", "stream", "task_counts", "tasks", "tasks_page", "thread_of", "typed", "update_state",
    "value", "workers", "close",
}  # fmt: skip


def test_every_method_that_changes_something_is_recorded() -> None:
    public = {name for name in dir(Client) if not name.startswith("_")}
    own = {name for name in vars(AuditedClient) if not name.startswith("_")}
    assert public - own - READING == set(), "record it in AuditedClient, or name it here"
