"""Drawings: every notation shows every node and arrow, and a run's statuses on them."""

from __future__ import annotations

import re
from typing import Any, Literal, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petiole_stores.records import Run, Task
from petiole_workers import graph as petiole
from petiole_workers.graph import END, START, Command, StateGraph
from petiole_workers.graph.drawing import Drawing, DrawnEdge, DrawnNode
from petiole_workers.graph.drawing.layers import layered
from petiole_workers.shown import statuses_of


class State(TypedDict, total=False):
    n: int


def quiet(state: State) -> None: ...


def leads(state: State) -> Command[Literal["reserve", "ship"]] | None: ...


def path(state: State) -> str:
    return END


def shop(library: Any = petiole) -> Any:
    graph = library.StateGraph(State).add_node("reserve", quiet).add_node("charge", quiet)
    graph.add_node("notify", quiet, destinations={"reserve": "again"} if library is petiole else ("reserve",))
    graph.add_node("ship", quiet).add_node("audit", quiet, defer=True)
    graph.add_edge(START, "reserve").add_edge("reserve", "charge").add_edge("reserve", "notify")
    graph.add_edge(["charge", "notify"], "ship").add_edge("ship", "audit").add_edge("audit", END)
    return graph.add_conditional_edges("charge", path, {"retry": "charge", "lost": END})


def drawing() -> Drawing:
    return shop().compile().get_graph()


def test_the_arrows_are_langgraphs() -> None:
    library = pytest.importorskip("langgraph.graph", reason="langgraph is not installed")
    theirs = {(e.source, e.target, e.conditional) for e in shop(library).compile().get_graph().edges}
    drawn = drawing()
    joins = {key for key, node in drawn.nodes.items() if node.kind == "join"}
    after = {edge.source: edge.target for edge in drawn.edges if edge.source in joins}
    ours = {
        (edge.source, after.get(edge.target, edge.target), edge.conditional)
        for edge in drawn.edges
        if edge.source not in joins
    }
    assert ours == theirs


def test_destinations_of_commands_are_dotted_arrows_with_labels() -> None:
    graph = StateGraph(State).add_node("reserve", quiet).add_node("ship", quiet).add_node(leads)
    edges = graph.add_edge(START, "leads").compile().get_graph().edges
    assert {(edge.target, edge.label) for edge in edges if edge.conditional} == {
        ("reserve", None),
        ("ship", None),
    }
    assert DrawnEdge("notify", "reserve", True, "again") in drawing().edges


def test_mermaid_and_dot_have_every_box_and_arrow() -> None:
    drawn = drawing()
    mermaid, dot = drawn.draw_mermaid(), drawn.draw_dot()
    assert len(re.findall(r"-->|-\.->|\.->", mermaid)) == len(re.findall(" -> ", dot)) == len(drawn.edges)
    for node in drawn.nodes.values():
        assert mermaid.count(f'"{node.label}"') == dot.count(f'label="{node.label}"') == 1
    assert 'n1 -. "retry" .-> n1' in mermaid
    assert 'n1 -> n1 [style=dashed, label="retry"];' in dot


def test_names_and_labels_are_quoted() -> None:
    nodes = {'a"\\b': DrawnNode('a"\\b', 'a"\\b#')}
    drawn = Drawing(nodes, (DrawnEdge('a"\\b', 'a"\\b', True, 'x"\ny'),))
    assert '["a#quot;\\b#35;"]' in drawn.draw_mermaid()
    assert 'label="a\\"\\\\b#"' in drawn.draw_dot()
    assert 'label="x\\"\\ny"' in drawn.draw_dot()


def test_ascii_draws_boxes_lines_and_notes() -> None:
    graph = (
        StateGraph(State).add_node("a", quiet).add_node("b", quiet).add_edge(START, "a").add_edge("a", "b")
    )
    text = graph.add_edge(START, "b").add_edge("b", "a").compile().get_graph().draw_ascii()
    assert text.splitlines()[-1] == "b --> a"
    boxes = [line.split("|")[1].strip() for line in text.splitlines() if re.search(r"\| \w+ \|", line)]
    assert boxes == ["__start__", "a", "b"]
    assert "v" in text


@st.composite
def graphs(draw: st.DrawFn) -> Drawing:
    names = [f"n{number}" for number in range(draw(st.integers(1, 8)))]
    name = st.sampled_from(names)
    edges = draw(
        st.lists(st.builds(DrawnEdge, name, name, st.booleans(), st.sampled_from([None, "say"])), max_size=16)
    )
    return Drawing({name: DrawnNode(name, name) for name in names}, tuple(edges))


@given(graphs())
def test_any_graph_is_drawn_in_characters_with_each_box_whole(drawn: Drawing) -> None:
    text = drawn.draw_ascii()
    for name in drawn.nodes:
        assert len(re.findall(rf"\| {name} \|", text)) == 1
    loops = [edge for edge in drawn.edges if edge.source == edge.target]
    for edge in loops:
        assert re.search(rf"{edge.source} (--|\.\.)> {edge.target}", text)


@given(graphs())
def test_layers_lead_downwards_row_by_row(drawn: Drawing) -> None:
    arrows = [(edge.source, edge.target) for edge in drawn.edges]
    layers = layered(list(drawn.nodes), arrows)
    row = {key: index for index, keys in enumerate(layers.rows) for key in keys}
    assert all(row[lower] == row[upper] + 1 for upper, lower, _ in layers.steps)
    assert {number for *_, number in layers.steps} | set(layers.back) == set(range(len(arrows)))
    assert sorted(key for keys in layers.rows for key in keys if key not in layers.bends) == sorted(
        drawn.nodes
    )


def test_a_subgraph_is_drawn_in_its_nodes_place() -> None:
    inner = (
        StateGraph(State).add_node("x", quiet).add_edge(START, "x").add_edge("x", END).compile().get_graph()
    )
    outer = shop().compile().get_graph(xray=True, subgraphs={"ship": inner})
    assert {"ship:__start__", "ship:x", "ship:__end__"} <= set(outer.nodes)
    assert "ship" not in outer.nodes
    assert DrawnEdge("ship:__end__", "audit") in outer.edges
    assert '["ship"]\n    n3(["__start__"])' in outer.draw_mermaid()
    assert 'label="ship";' in outer.draw_dot()
    assert "| ship:x |" in outer.draw_ascii()
    twice = outer.expanded("charge", outer)
    assert twice.nodes["charge:ship:x"].group == ("charge", "charge:ship")
    ids = re.findall(r"subgraph (\w+)", twice.draw_mermaid())
    assert len(ids) == len(set(ids)) == 3


def test_a_run_is_shown_by_its_newest_superstep_at_each_node() -> None:
    def task(node: str, status: Any, checkpoint: str, **more: Any) -> Task:
        return Task(
            task_id=f"{node}{checkpoint}{status}", run_id="r", thread_id="t", ns="", checkpoint_id=checkpoint, path=node,
            kind="node", node=node, queue="q", priority="default", status=status, created_at=0.0, **more,
        )  # fmt: skip

    run = Run(run_id="r", thread_id="t", graph="g", status="running", created_at=0.0, started_at=1.0, seq=1)
    tasks = [
        task("reserve", "failed", "1"),
        task("reserve", "done", "2"),
        task("charge", "done", "3"),
        task("charge", "claimed", "3"),
        task("charge", "failed", "3", replaced=True),
        task("notify", "parked", "3"),
    ]
    statuses = statuses_of(run, tasks)
    assert statuses == {START: "done", "reserve": "done", "charge": "running", "notify": "waiting"}
    shown = drawing().with_statuses(statuses)
    assert "class s,n0 done" in shown.draw_mermaid()
    assert "| [>] charge |" in shown.draw_ascii()
    assert 'label="notify", shape=box, style="rounded,filled", fillcolor="#f2f2f2"' in shown.draw_dot()


def test_xray_shows_what_is_within_as_deep_as_it_is_told() -> None:
    inmost = StateGraph(State).add_node("deepest", lambda state: {}).add_edge(START, "deepest").compile()
    middle = StateGraph(State).add_node("deeper", inmost).add_edge(START, "deeper").compile()
    graph = StateGraph(State).add_node("deep", middle).add_edge(START, "deep").compile()
    shown = [graph.get_graph(xray=depth).draw_mermaid() for depth in (False, 1, 2, True)]
    assert ["deeper" in text for text in shown] == [False, True, True, True]
    assert ["deepest" in text for text in shown] == [False, False, True, True]


def test_a_node_that_leads_nowhere_leads_to_the_end_and_so_out_of_its_subgraph() -> None:
    inner = StateGraph(State).add_node("draft", quiet).add_edge(START, "draft")
    outer = StateGraph(State).add_node("write", inner.compile()).add_node("send", quiet)
    drawing = outer.add_edge(START, "write").add_edge("write", "send").compile(name="g").get_graph(xray=True)
    ways = {(edge.source, edge.target) for edge in drawing.edges}
    assert {("write:draft", "write:__end__"), ("write:__end__", "send"), ("send", END)} <= ways
