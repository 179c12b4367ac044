"""Checkpoints, states and how threads go on, over HTTP: what is answered, and to whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from petiole.api.access import Principal, Scope
from tests.unit.api.asking import asking
from tests.unit.api.serving import Served, serving
from tests.unit.driving import counting


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(counting(), asking()) as made:
        for thread, graph in (("acme:1", "counting"), ("other:1", "counting"), ("acme:2", "asking")):
            made.post("/runs", {"graph": graph, "input": {"n": 1}, "thread_id": thread})
        made.work()
        yield made


def limited(scope: Scope = "operate", **limits: Any) -> Principal:
    return Principal(name="key:1", scopes=frozenset({scope}), **limits)


def test_checkpoints_are_paged_looked_at_and_removed(served: Served) -> None:
    first = served.get("/threads/acme:1/checkpoints", limit=2)
    assert [one["next"] for one in first["items"]] == [[], ["last"]]
    rest = served.get("/threads/acme:1/checkpoints", limit=2, before=first["next"])
    assert [one["next"] for one in rest["items"]] == [["double", "note"], ["add"]]
    newest = first["items"][0]
    assert served.get(f"/checkpoints/{newest['checkpoint_id']}") == newest
    assert newest["state"]["n"] == 4
    assert served.http.delete(f"/api/v1/checkpoints/{newest['checkpoint_id']}").json() == {"deleted": True}
    assert served.get("/threads/acme:1/state")["checkpoint_id"] == newest["parent_id"]
    assert served.post("/threads/acme:1/checkpoints/clear") == {"cleared": True}
    assert served.get("/threads/acme:1/checkpoints")["items"] == []


def test_a_thread_begins_with_a_state_made_by_hand_and_is_forked_without_a_run(served: Served) -> None:
    body = {"state": {"n": 3, "trail": []}, "next": ["double", "note"], "graph": "counting"}
    saved = served.post("/threads/new/checkpoints", body)["checkpoint_id"]
    shown = served.get("/threads/new/snapshot", graph="counting")
    assert shown["next"] == ["double", "note"]
    assert shown["config"]["configurable"]["checkpoint_id"] == saved
    run = served.post("/threads/new/fork", {"checkpoint_id": saved, "graph": "counting"})
    served.work()
    assert served.get(f"/runs/{run['run_id']}/result")["result"]["n"] == 6
    # Which of two graphs it is of is not clear without a name.
    assert "the thread's graph" in served.refused(
        "POST", "/threads/newer/checkpoints", 409, json={"state": {"n": 3}}
    )


def test_a_thread_s_state_is_shown_with_its_tasks(served: Served) -> None:
    shown = served.get("/threads/acme:2/snapshot")
    [task] = shown["tasks"]
    assert (task["name"], task["interrupts"], shown["next"]) == ("ask", shown["interrupts"], ["ask"])
    assert served.get("/threads/acme:2/interrupts")["items"][0]["id"] == task["interrupts"][0]["id"]
    page = served.get("/threads/acme:2/snapshots", limit=2)
    assert [one["next"] for one in page["items"]] == [["ask"], ["price"]]
    assert served.get("/threads/acme:2/snapshots", before=page["next"])["items"][0]["next"] == ["__start__"]
    answered = served.post("/threads/acme:2/resume", {"value": "yes"})
    served.work()
    assert served.get(f"/runs/{answered['run_id']}")["status"] == "succeeded"


def test_several_updates_are_one_request(served: Served) -> None:
    steps = [[{"values": {"n": 7}, "as_node": "add"}], [{"values": {"n": 8}, "as_node": "double"}]]
    made = served.post("/threads/acme:1/state", {"supersteps": steps})
    assert served.get(f"/checkpoints/{made['checkpoint_id']}")["state"]["n"] == 8
    for body, words in (
        ({"supersteps": steps, "values": {}}, "give one change, or several"),
        ({}, "neither values nor supersteps"),
        ({"supersteps": []}, "an empty list"),
        ({"supersteps": [[]]}, "an empty list"),
    ):
        assert words in served.refused("POST", "/threads/acme:1/state", 422, json=body)


WITHIN = [
    ("GET", "/threads/other:1/checkpoints", None),
    ("POST", "/threads/other:1/checkpoints", {"state": {}}),
    ("POST", "/threads/other:1/checkpoints/clear", None),
    ("GET", "/checkpoints/{checkpoint}", None),
    ("DELETE", "/checkpoints/{checkpoint}", None),
    ("GET", "/threads/other:1/snapshot", None),
    ("GET", "/threads/other:1/snapshots", None),
    ("GET", "/threads/other:1/interrupts", None),
    ("POST", "/threads/other:1/resume", {}),
    ("POST", "/threads/other:1/replay", {}),
    ("POST", "/threads/other:1/fork", {"checkpoint_id": "{checkpoint}"}),
    ("POST", "/threads/other:1/state", {"values": {"n": 1}, "graph": "counting"}),
]


@pytest.mark.parametrize(("method", "path", "body"), WITHIN)
@pytest.mark.parametrize("limits", [{"namespaces": ("acme",)}, {"graphs": ("asking",)}])
def test_what_is_not_his_to_see_is_not_there(
    served: Served, method: str, path: str, body: Any, limits: dict[str, Any]
) -> None:
    point = served.get("/threads/other:1/checkpoints")["items"][0]["checkpoint_id"]
    served.principal = limited(**limits)
    if body and "checkpoint_id" in body:
        body = body | {"checkpoint_id": point}
    served.refused(method, path.format(checkpoint=point), 404, **({"json": body} if body is not None else {}))
    served.principal = None
    assert served.get("/threads/other:1/checkpoints")["items"][0]["checkpoint_id"] == point


@pytest.mark.parametrize(("method", "path", "body"), [one for one in WITHIN if one[0] != "GET"])
def test_who_may_look_may_not_change(served: Served, method: str, path: str, body: Any) -> None:
    point = served.get("/threads/other:1/checkpoints")["items"][0]["checkpoint_id"]
    served.principal = limited("read")
    assert "needs the scope 'operate'" in served.refused(
        method, path.format(checkpoint=point), 403, **({"json": body} if body is not None else {})
    )


def test_who_is_limited_to_graphs_begins_no_thread_by_hand(served: Served) -> None:
    served.principal = limited(graphs=("counting",))
    for path, body in (
        ("/threads/new/checkpoints", {"state": {"n": 3}, "graph": "counting"}),
        ("/threads/new/state", {"values": {"n": 3}, "as_node": "add", "graph": "counting"}),
    ):
        served.refused("POST", path, 404, json=body)
    served.refused("POST", "/threads/acme:1/state", 404, json={"values": {"n": 3}, "graph": "asking"})


def test_cached_results_are_forgotten_by_who_sees_the_graph_and_every_namespace(served: Served) -> None:
    assert served.post("/graphs/counting/cache/clear", {"nodes": ["double"]}) == {"cleared": True}
    for principal, status in (
        (limited(graphs=("asking",)), 404),
        (limited(namespaces=("acme",)), 403),
        (limited("read"), 403),
    ):
        served.principal = principal
        served.refused("POST", "/graphs/counting/cache/clear", status)


def test_lists_are_narrowed_to_what_is_asked_for_and_seen(served: Served) -> None:
    def listed(**query: Any) -> list[str]:
        found = [one["thread_id"] for one in served.get("/runs", **query)["items"]]
        assert served.get("/runs/counts", **query)["total"] == len(found)
        return sorted(found)

    assert listed(namespaces=["acme"], graphs=["counting", "x"]) == ["acme:1"]
    served.principal = limited("read", namespaces=("acme",), graphs=("counting", "asking"))
    assert listed() == ["acme:1", "acme:2"]
    assert listed(namespaces=["acme", "other"]) == ["acme:1", "acme:2"]
    assert listed(namespaces=["other"]) == []
    assert listed(graphs=["asking"]) == ["acme:2"]
    assert listed(graphs=["else"]) == []
