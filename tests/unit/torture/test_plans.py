"""The random graphs of the torture harness: the same from one seed, and calm or disturbed of one result."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.graphs import journal
from tests.torture.graphs import MENDED, Doom, make_graph, run_input
from tests.torture.oracle import Oracle, difference, essence
from tests.torture.plans import make_plans


def test_a_seed_gives_the_same_plans_and_another_gives_others() -> None:
    assert make_plans(7, 6) == make_plans(7, 6)
    assert make_plans(7, 6) != make_plans(8, 6)


def test_plans_cover_every_shape() -> None:
    plans = make_plans(1, 30)
    assert {route.kind for plan in plans for route in plan.routes} == {"one", "some", "loop", "spread"}
    assert any(plan.joins for plan in plans)
    assert any(node.text > 4096 for plan in plans for node in plan.nodes)
    assert any(node.fails and node.is_item for plan in plans for node in plan.nodes)


@pytest.mark.parametrize("plan", make_plans(3, 4), ids=lambda plan: plan.name)
def test_a_run_that_sleeps_and_fails_ends_as_the_oracle_says(
    plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for salt in range(3):
        desk = tmp_path / str(salt)
        desk.mkdir()
        final = make_graph(plan).invoke(run_input(plan, salt, desk=str(desk)))
        assert essence(final) == Oracle(3, 4).final(plan.name, [salt])
        fails = {node.name: node.fails for node in plan.nodes}
        executions = journal(desk)
        tasks = {line.task: line.node for line in executions}
        assert len(executions) == sum(1 + fails[node] for node in tasks.values())


def test_a_doomed_node_fails_until_it_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    plan = make_plans(3, 1)[0]
    given = run_input(plan, 0, desk=str(tmp_path), doomed=plan.nodes[0].name)
    with pytest.raises(Doom):
        make_graph(plan).invoke(given)
    (tmp_path / MENDED).touch()
    assert essence(make_graph(plan).invoke(given)) == Oracle(3, 1).final("g1", [0])


def test_the_second_run_of_a_thread_depends_on_the_first() -> None:
    oracle = Oracle(3, 1)
    alone, after = oracle.final("g1", [1]), oracle.final("g1", [0, 1])
    assert len(after["trail"]) > len(alone["trail"])
    assert difference(alone, after).startswith("facts is ")
