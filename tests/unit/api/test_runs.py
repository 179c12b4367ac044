"""Runs over HTTP: submit, look, wait, steer."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from petiole.api.access import Principal
from petiole_stores.serde import Serde
from tests.unit.api.asking import MOMENT, Price, asking
from tests.unit.api.serving import API, Served, serving
from tests.unit.driving import Switch, counting

SWITCH = Switch()
TYPED = "application/vnd.petiole.typed+json"


@pytest.fixture
def served() -> Iterator[Served]:
    SWITCH.broken = False
    with serving(counting(SWITCH), asking()) as made:
        yield made


def submit(served: Served, thread_id: str = "t", graph: str = "counting", **more: object) -> str:
    run_id: str = served.post("/runs", {"graph": graph, "input": {"n": 1}, "thread_id": thread_id, **more})[
        "run_id"
    ]
    return run_id


def test_a_run_from_its_submission_to_its_result(served: Served) -> None:
    answer = served.http.post(
        f"{API}/runs",
        json={
            "graph": "counting",
            "input": {"n": 1},
            "thread_id": "t",
            "tags": ["web"],
            "metadata": {"a": 1},
        },
    )
    assert answer.status_code == 201
    run = answer.json()
    assert (run["status"], run["tags"], run["metadata"]) == ("queued", ["web"], {"a": 1})
    path = answer.headers["location"].removeprefix(API)
    assert "has no result yet" in served.refused("GET", f"{path}/result", 409)
    served.work()
    assert served.get(path)["status"] == "succeeded"
    assert served.get(path)["input"] == {"n": 1}
    assert served.get(f"{path}/wait", timeout=5)["status"] == "succeeded"
    assert served.get(f"{path}/result")["result"]["n"] == 4
    first = served.get(f"{path}/tasks", limit=2)
    rest = served.get(f"{path}/tasks", cursor=first["next"])
    nodes = [task["node"] for task in [*first["items"], *rest["items"]] if task["kind"] == "node"]
    assert sorted(nodes) == ["add", "double", "last", "note"]
    assert [task["node"] for task in served.get(f"{path}/tasks", node="last")["items"]] == ["last"]
    counts = {(it["node"], it["status"]): it["count"] for it in served.get(f"{path}/task-counts")["items"]}
    assert counts["double", "done"] == 1
    assert served.get(f"{path}/explain")["status"] == "succeeded"


def test_one_key_gives_one_run(served: Served) -> None:
    body = {"graph": "counting", "input": {"n": 1}}
    first = served.http.post(f"{API}/runs", json=body, headers={"idempotency-key": "k"})
    again = served.http.post(f"{API}/runs", json=body, headers={"idempotency-key": "k"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["run_id"] == again.json()["run_id"]
    other = body | {"input": {"n": 2}}
    assert "'k'" in served.refused("POST", "/runs", 409, json=other, headers={"idempotency-key": "k"})


def test_runs_are_listed_filtered_and_counted(served: Served) -> None:
    for number in range(5):
        submit(served, f"t{number}", tags=["even" if number % 2 == 0 else "odd"])
    served.work()
    submit(served, "waiting", in_seconds=60)
    page = served.get("/runs", limit=4)
    assert [run["thread_id"] for run in page["items"]] == ["waiting", "t4", "t3", "t2"]
    assert [run["thread_id"] for run in served.get("/runs", cursor=page["next"])["items"]] == ["t1", "t0"]
    assert [run["thread_id"] for run in served.get("/runs", tag="odd")["items"]] == ["t3", "t1"]
    assert served.get("/runs", text="WAIT")["items"][0]["status"] == "waiting"
    found = served.get("/runs", status=["waiting", "failed"])["items"]
    assert [run["thread_id"] for run in found] == ["waiting"]
    counts = served.get("/runs/counts", graph="counting")
    assert (counts["total"], counts["counts"]["succeeded"], counts["counts"]["waiting"]) == (6, 5, 1)
    for wrong in ({"limit": 0}, {"status": "lost"}, {"cursor": "zzz"}, {"since": "2030-01-01T00:00:00"}):
        served.refused("GET", "/runs", 422, params=wrong)


def test_an_interrupt_is_answered(served: Served) -> None:
    run_id = submit(served, graph="asking")
    served.work()
    [asked] = served.get(f"/runs/{run_id}/interrupts")["items"]
    assert asked["value"] == {"ok": 100, "by": "2030-01-31T18:00:00Z"}
    [task] = served.get(f"/runs/{run_id}/tasks", status="interrupted")["items"]
    assert task["interrupt"]["id"] == asked["id"]
    assert "is interrupted" in served.refused("GET", f"/runs/{run_id}/result", 409)
    both = {"value": 1, "update": {"n": 2}}
    served.refused("POST", f"/runs/{run_id}/resume", 422, json=both)
    served.refused("POST", f"/runs/{run_id}/resume", 422, json={"id": "nobody's", "value": 1})
    served.post(f"/runs/{run_id}/resume", {"id": asked["id"], "value": None})
    served.work()
    assert served.get(f"/runs/{run_id}/result")["result"]["answer"] is None


def test_an_interrupted_run_goes_on_elsewhere_with_another_state(served: Served) -> None:
    run_id = submit(served, graph="asking")
    served.work()
    served.post(f"/runs/{run_id}/resume", {"update": {"n": 7}, "as_node": "__start__", "goto": ["price"]})
    served.work()
    [asked] = served.get(f"/runs/{run_id}/interrupts")["items"]
    assert asked["value"]["ok"] == 700


def test_values_come_back_as_they_were_where_that_is_asked_for(served: Served) -> None:
    run_id = submit(served, graph="asking")
    served.work()
    serde = Serde([Price])
    accept = {"accept": TYPED}
    answer = served.http.get(f"{API}/threads/t/state", headers=accept)
    assert answer.headers["content-type"] == TYPED
    state = serde.load_whole(json.dumps(answer.json()["values"]))
    assert state == {"n": 1, "price": Price(100), "due": MOMENT, "seen": {"a"}}
    plain = served.get("/threads/t/state")["values"]
    assert plain == {"n": 1, "price": {"cents": 100}, "due": "2030-01-31T18:00:00Z", "seen": ["a"]}
    sent = json.dumps({"value": json.loads(serde.dump_whole({Price(5).cents, 6}))})
    answer = served.http.post(f"{API}/runs/{run_id}/resume", content=sent, headers={"content-type": TYPED})
    assert answer.status_code == 200, answer.text
    served.work()
    result = served.http.get(f"{API}/runs/{run_id}/result", headers=accept).json()["result"]
    assert serde.load_whole(json.dumps(result))["answer"] == {5, 6}


def test_a_run_is_seen_where_the_classes_of_its_input_are_not_known(served: Served) -> None:
    body = {
        "graph": "asking",
        "thread_id": "t",
        "input": json.loads(Serde([Price]).dump_whole({"price": Price(7)})),
    }
    answer = served.http.post(f"{API}/runs", content=json.dumps(body), headers={"content-type": TYPED})
    assert answer.status_code == 201, answer.text
    assert served.get("/runs/t")["input"] == {"price": {"cents": 7}}
    served.client.store.serde = Serde()
    [(tag, _)] = served.get("/runs/t")["input"]["price"].items()
    assert tag.startswith("$")


def test_runs_are_held_back_let_go_and_cancelled(served: Served) -> None:
    run_id = submit(served)
    held = served.post(f"/runs/{run_id}/pause", {"reason": "the bank is down"})
    assert (held["changed"], held["run"]["reason"]["message"]) == (True, "the bank is down")
    assert served.post(f"/runs/{run_id}/pause")["changed"] is False
    assert served.post(f"/runs/{run_id}/unpause")["run"]["status"] == "queued"
    assert served.post(f"/runs/{run_id}/unpause")["changed"] is False
    assert served.post(f"/runs/{run_id}/cancel", {"reason": "no"})["run"]["status"] == "cancelled"
    served.refused("POST", f"/runs/{run_id}/pause", 409)


def test_a_failed_run_is_replayed_and_forked(served: Served) -> None:
    SWITCH.broken = True
    run_id = submit(served)
    served.work()
    assert "double is broken" in served.refused("GET", f"/runs/{run_id}/result", 409)
    [letter] = served.get("/dead-letters", node="double")["items"]
    assert served.get(f"/dead-letters/{run_id}/{letter['task_id']}")["task"]["status"] == "failed"
    SWITCH.broken = False
    assert served.post(f"/runs/{run_id}/replay")["run_id"] == run_id
    served.work()
    assert served.get("/dead-letters")["items"] == []
    history = served.get("/threads/t/history")["items"]
    before = next(entry for entry in history if entry["next"] == ["add"])
    forked = served.post(
        f"/runs/{run_id}/fork",
        {"checkpoint_id": before["checkpoint_id"], "values": {"n": 10}, "as_node": "__start__"},
    )
    served.work()
    assert served.get(f"/runs/{forked['run_id']}/result")["result"]["n"] == 22
    found = served.get("/runs/diff", a=run_id, b=forked["run_id"])["items"]
    assert {"path": "n", "kind": "changed", "before": 4, "after": 22} in found
    again = served.post(f"/runs/{run_id}/replay", {"from_node": "last"})
    assert again["run_id"] not in (run_id, forked["run_id"])
    served.refused("POST", f"/runs/{run_id}/replay", 404, json={"checkpoint": "nobody's"})


def test_dead_letters_are_dropped_and_replayed_one_by_one(served: Served) -> None:
    SWITCH.broken = True
    first, second = submit(served, "a"), submit(served, "b")
    served.work()
    letters = {it["run_id"]: it["task_id"] for it in served.get("/dead-letters")["items"]}
    assert served.post(f"/dead-letters/{first}/{letters[first]}/drop") == {"dropped": 1}
    served.refused("POST", f"/dead-letters/{first}/{letters[first]}/drop", 404)
    SWITCH.broken = False
    served.post(f"/dead-letters/{second}/{letters[second]}/replay")
    served.work()
    assert served.get(f"/runs/{second}")["status"] == "succeeded"


def test_threads_are_changed_told_and_deleted(served: Served) -> None:
    run_id = submit(served, "a/b", graph="asking")
    served.work()
    assert served.get("/threads/a/b/state")["next"] == ["ask"]
    assert served.get("/threads/a%2Fb/runs")["items"][0]["run_id"] == run_id
    page = served.get("/threads/a/b/history", limit=1)
    older = served.get("/threads/a/b/history", before=page["next"])["items"]
    assert page["items"][0]["checkpoint_id"] not in {entry["checkpoint_id"] for entry in older}
    assert older[0]["next"] == ["price"]
    made = served.post("/threads/a/b/state", {"values": {"n": 5}})
    state = served.get("/threads/a/b/state")
    assert (state["checkpoint_id"], state["values"]["n"]) == (made["checkpoint_id"], 5)
    old = served.get("/threads/a/b/state", checkpoint=page["items"][0]["checkpoint_id"])
    assert old["values"]["n"] == 1
    sent = served.post("/threads/a/b/signals", {"name": "paid", "payload": 7, "id": "one"})
    assert sent == {"id": "one"}
    assert "active run" in served.refused("DELETE", "/threads/a/b", 409)
    assert served.http.delete(f"{API}/threads/a/b", params={"force": True}).json() == {"deleted": True}
    served.refused("GET", "/threads/a/b/state", 404)


def test_what_a_principal_does_not_see_does_not_exist(served: Served) -> None:
    own, other = submit(served, "acme:1"), submit(served, "other:1")
    foreign = submit(served, "acme:2", graph="asking")
    served.work()
    served.principal = Principal(
        name="key:1", scopes=frozenset({"operate"}), graphs=("counting",), namespaces=("acme",)
    )
    assert [run["run_id"] for run in served.get("/runs")["items"]] == [own]
    assert served.get("/runs/counts")["total"] == 1
    assert [graph["graph"] for graph in served.get("/graphs")["items"]] == ["counting"]
    for run_id in (other, foreign):
        for method, rest in (
            ("GET", ""),
            ("GET", "/tasks"),
            ("GET", "/events"),
            ("GET", "/export"),
            ("POST", "/cancel"),
        ):
            served.refused(method, f"/runs/{run_id}{rest}", 404)
        served.refused("GET", "/runs/diff", 404, params={"a": own, "b": run_id})
    for thread_id in ("other:1", "acme:2"):
        for method, rest in (("GET", "/state"), ("GET", "/history"), ("DELETE", ""), ("POST", "/signals")):
            body = {"json": {"name": "x"}} if method == "POST" else {}
            served.refused(method, f"/threads/{thread_id}{rest}", 404, **body)
    served.refused("POST", "/runs", 404, json={"graph": "counting", "input": {}, "thread_id": "other:2"})
    served.refused("POST", "/runs", 404, json={"graph": "asking", "input": {}})
    made = served.post("/runs", {"graph": "counting", "input": {"n": 1}})
    assert made["thread_id"].startswith("acme:")
    served.principal = Principal(name="key:2", scopes=frozenset({"read"}))
    assert "operate" in served.refused("POST", f"/runs/{own}/cancel", 403)


def test_graphs_workers_and_queues(served: Served) -> None:
    submit(served)
    graph = served.get("/graphs/counting")
    assert graph["nodes"] == ["add", "double", "note", "last"]
    assert graph["loaded"] is True
    assert graph["served"][0]["workers"] == [served.worker.holder]
    assert graph["runs"]["queued"] == 1
    schema = served.get("/graphs/counting/schema")
    assert (schema["input"]["properties"]["n"]["type"], schema["context"]) == ("integer", None)
    assert "double" in served.get("/graphs/counting/mermaid")["mermaid"]
    assert "start it with --graphs" in served.refused("GET", "/graphs/elsewhere/schema", 404)
    served.refused("GET", "/graphs/elsewhere", 404)
    assert served.get("/workers")["items"][0]["worker_id"] == served.worker.holder
    [queue] = served.get("/queues")["items"]
    assert (queue["ready"], queue["priority"]) == (1, "default")
    assert queue["oldest"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"graph": "counting", "input": {}, "colour": "red"},
        {"graph": "counting", "input": {}, "at": "2030-01-01T00:00:00"},
        {"graph": "counting", "input": {}, "in_seconds": 1e300},
        {"graph": "counting", "input": {}, "durability": "sometimes"},
        {"graph": "counting", "input": {}, "thread_id": "a\nb"},
        {"graph": "counting", "input": None},
        {"graph": "counting", "input": {}, "at": "2030-01-01T00:00:00Z", "in_seconds": 5},
    ],
)
def test_what_cannot_be_taken_is_named(served: Served, body: dict[str, object]) -> None:
    served.refused("POST", "/runs", 422, json=body)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"{", 422),
        (b'{"graph": "counting", "input": ' + b"[" * 500 + b"]" * 500 + b"}", 422),
        (b'{"graph": "counting", "input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 422),
        (b'{"graph": "counting", "input": {}, "\\ud800": 1}', 422),
        (b'{"graph": "\\ud800", "input": {}}', 422),
        (b"\xff\xfe", 422),
    ],
)
def test_malformed_bodies_get_a_clear_answer(served: Served, text: bytes, status: int) -> None:
    served.refused("POST", "/runs", status, content=text, headers={"content-type": "application/json"})


@pytest.mark.parametrize(
    "text", [b'{"n": "\\ud800"}', b'{"n": NaN}', b'{"n": 123456789012345678901234567890}']
)
def test_what_json_can_hardly_say_is_shown_all_the_same(served: Served, text: bytes) -> None:
    body = b'{"graph": "counting", "thread_id": "t", "input": ' + text + b"}"
    answer = served.http.post(f"{API}/runs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 201, answer.text
    assert served.http.get(f"{API}/runs/t").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        (
            "GET",
            "/nothing",
            404,
            "there is no GET /api/v1/nothing: /api/v1/openapi.json and /reference list what there is",
        ),
        (
            "PUT",
            "/graphs",
            405,
            "there is no PUT /api/v1/graphs, but GET: /api/v1/openapi.json and /reference list",
        ),
    ],
)
def test_an_address_that_is_none_says_where_they_are_listed(
    served: Served, method: str, path: str, status: int, words: str
) -> None:
    assert words in served.refused(method, path, status)


def test_a_body_that_is_no_json_says_where_it_ends_to_be(served: Served) -> None:
    said = served.refused(
        "POST", "/runs", 422, content=b'{"graph": ', headers={"Content-Type": "application/json"}
    )
    assert said == "body: no JSON: Expecting value, at character 10"
