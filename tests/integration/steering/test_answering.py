"""Questions of interrupted runs and their answers, by workers on every store that is at hand without a server."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from petiole import (
    END,
    START,
    Client,
    CompiledGraph,
    ConflictError,
    InputError,
    RunInterruptedError,
    Settings,
    StateGraph,
    UnfitError,
    interrupt,
)
from petiole.testing import LocalWorker
from tests.integration.steering.conftest import Serve


class Talk(TypedDict, total=False):
    said: Annotated[list[str], operator.add]


def asking(*names: str, **options: Any) -> CompiledGraph:
    """Nodes side by side that ask ``<name>?`` each, beside one that does not; then ``end``."""
    builder = StateGraph(Talk)
    for name in names:
        builder.add_node(name, lambda state, name=name: {"said": [f"{name}: {interrupt(f'{name}?')}"]})
    builder.add_node("busy", lambda state: {"said": ["busy"]})
    builder.add_node("end", lambda state: {"said": ["end"]})
    for name in (*names, "busy"):
        builder.add_edge(START, name)
    builder.add_edge([*names, "busy"], "end")
    builder.add_edge("end", END)
    return builder.compile(name="asking", **options)


def nested(inner: Any) -> CompiledGraph:
    """``inner`` as the node ``talk`` of a graph that is the node ``outer`` of another."""
    middle, top = StateGraph(Talk), StateGraph(Talk)
    middle.add_node("talk", inner)
    middle.add_edge(START, "talk")
    below: Any = middle.compile(name="middle")
    top.add_node("outer", below)
    top.add_edge(START, "outer")
    return top.compile(name="top")


def test_one_question_takes_a_bare_answer(serve: Serve) -> None:
    worker = serve(asking("who"))
    run = worker.client.submit("asking", {}, thread_id="t")
    worker.run_until_idle()
    [question] = worker.client.interrupts("t")
    assert question.value == "who?"
    assert run.interrupts() == [question]
    again = worker.client.resume("t", "Ann")
    worker.run_until_idle()
    assert again.run_id == run.run_id
    assert run.result(0)["said"] == ["busy", "who: Ann", "end"]
    assert worker.client.interrupts("t") == []


@pytest.mark.parametrize("answer", [None, False, {}, {"approved": True}])
def test_any_value_is_an_answer(serve: Serve, answer: Any) -> None:
    worker = serve(asking("who"))
    run = worker.client.submit("asking", {}, thread_id="t")
    worker.run_until_idle()
    worker.client.resume("t", answer)
    worker.run_until_idle()
    assert f"who: {answer}" in run.result(0)["said"]


def test_the_result_of_an_interrupted_run_brings_the_questions(serve: Serve) -> None:
    worker = serve(asking("who", "what"))
    run = worker.client.submit("asking", {}, thread_id="my thread")
    worker.run_until_idle()
    with pytest.raises(RunInterruptedError) as caught:
        run.result(0)
    assert caught.value.interrupts == worker.client.interrupts("my thread")
    for question in worker.client.interrupts("my thread"):
        assert f"petiole run resume 'my thread' --id {question.id} --value JSON" in str(caught.value)
    assert 'who asks "who?"' in str(caught.value)


def test_several_questions_are_answered_by_id_alone(serve: Serve) -> None:
    worker = serve(asking("who", "what"))
    run = worker.client.submit("asking", {}, thread_id="t")
    worker.run_until_idle()
    what, who = worker.client.interrupts("t")
    assert (what.value, who.value) == ("what?", "who?")
    with pytest.raises(
        InputError, match=f"2 interrupts .* wait .*{what.id} of what.*petiole run interrupts t"
    ):
        worker.client.resume("t", "Ann")
    worker.client.resume("t", "Ann", id=who.id)
    worker.run_until_idle()
    assert run.status() == "interrupted"
    assert worker.client.interrupts("t") == [what]
    worker.client.resume("t", "tea")
    worker.run_until_idle()
    assert run.result(0)["said"] == ["busy", "what: tea", "who: Ann", "end"]


@pytest.mark.parametrize("as_value", [False, True])
def test_all_answers_at_once(serve: Serve, as_value: bool) -> None:
    worker = serve(asking("who", "what"))
    run = worker.client.submit("asking", {}, thread_id="t")
    worker.run_until_idle()
    answers = {question.id: question.value.upper() for question in worker.client.interrupts("t")}
    if as_value:
        worker.client.resume("t", answers)
    else:
        worker.client.resume("t", answers=answers)
    worker.run_until_idle()
    assert run.result(0)["said"] == ["busy", "what: WHAT?", "who: WHO?", "end"]


def test_the_first_answer_to_an_id_counts_whatever_comes_of_the_run(serve: Serve) -> None:
    worker = serve(asking("who"))
    run = worker.client.submit("asking", {}, thread_id="t")
    worker.run_until_idle()
    [question] = worker.client.interrupts("t")
    worker.client.resume("t", "Ann", id=question.id)
    assert worker.client.resume("t", "Bob", id=question.id).run_id == run.run_id
    worker.run_until_idle()
    assert worker.client.resume("t", "Bob", id=question.id).run_id == run.run_id
    assert run.result(0)["said"] == ["busy", "who: Ann", "end"]
    later = worker.client.submit("asking", {}, thread_id="t")
    worker.run_until_idle()
    assert worker.client.resume("t", "Bob", id=question.id).run_id == run.run_id
    assert later.status() == "interrupted"


def test_an_answer_finds_the_active_run_past_those_that_wait_behind_it(serve: Serve) -> None:
    worker = serve(asking("who"))
    first = worker.client.submit("asking", {}, thread_id="t")
    worker.run_until_idle()
    worker.client.submit("asking", {}, thread_id="t", if_busy="enqueue")
    assert worker.client.resume("t", "Ann").run_id == first.run_id
    worker.run_until_idle()
    assert first.result(0)["said"] == ["busy", "who: Ann", "end"]


def test_a_question_is_answered_while_siblings_still_run(serve: Serve) -> None:
    worker = serve(asking("a_who"))
    run = worker.client.submit("asking", {}, thread_id="t")
    while not worker.client.interrupts("t"):
        worker.step()
    assert (run.status(), worker.messages.nodes) == ("running", ["busy"])
    kinds = [wait.kind for wait in worker.client.explain("t").waits]
    assert (kinds[0], "message" in kinds) == ("interrupt", True)
    worker.client.resume("t", "Ann")
    worker.run_until_idle()
    assert run.result(0)["said"] == ["a_who: Ann", "busy", "end"]


def test_a_run_that_has_failed_asks_nothing(serve: Serve) -> None:
    builder = StateGraph(Talk)
    builder.add_node("who", lambda state: {"said": [interrupt("who?")]})
    builder.add_node("broken", lambda state: {"said": [str(1 // len(state["said"]))]})
    builder.add_edge(START, "who")
    builder.add_edge(START, "broken")
    worker = serve(builder.compile(name="half"))
    worker.client.submit("half", {"said": []}, thread_id="t")
    worker.run_until_idle()
    assert worker.client.get_run("t").status == "failed"
    assert worker.client.interrupts("t") == []
    assert [wait.kind for wait in worker.client.explain("t").waits] == ["dead_letter"]
    with pytest.raises(ConflictError, match="petiole run replay t"):
        worker.client.resume("t", "Ann")


def test_what_cannot_be_an_answer_is_refused(serve: Serve) -> None:
    worker = serve(asking("who"))
    run = worker.client.submit("asking", {}, thread_id="t")
    with pytest.raises(ConflictError, match="nothing in it waits for an answer"):
        worker.client.resume("t", "Ann")
    worker.run_until_idle()
    with pytest.raises(InputError, match="no interrupt of the id 'nonsense'"):
        worker.client.resume("t", "Ann", id="nonsense")
    with pytest.raises(InputError, match="named without an answer"):
        worker.client.resume("t", id="nonsense")
    with pytest.raises(InputError, match="all answers by id, or one value"):
        worker.client.resume("t", 1, answers={"x": 1})
    with pytest.raises(InputError, match="answers is empty"):
        worker.client.resume("t", answers={})
    assert run.status() == "interrupted"


def test_without_an_answer_the_question_is_asked_again(serve: Serve) -> None:
    worker = serve(asking("who"))
    worker.client.submit("asking", {}, thread_id="t")
    worker.run_until_idle()
    before = worker.client.interrupts("t")
    worker.client.resume("t")
    worker.run_until_idle()
    assert [it.value for it in worker.client.interrupts("t")] == [it.value for it in before]


def test_a_question_is_explained_with_the_command_that_answers_it(serve: Serve) -> None:
    worker = serve(asking("who"))
    worker.client.submit("asking", {}, thread_id="t")
    worker.run_until_idle()
    [question] = worker.client.interrupts("t")
    [wait] = worker.client.explain("t").waits
    assert (wait.kind, wait.subject) == ("interrupt", "who")
    assert wait.detail == f'who asks "who?" and waits for the answer (id {question.id})'
    assert wait.command == f"petiole run resume t --id {question.id} --value JSON"


def test_a_question_in_a_subgraph_is_asked_once_and_by_the_node_itself(serve: Serve) -> None:
    worker = serve(nested(asking("who")))
    run = worker.client.submit("top", {}, thread_id="t")
    worker.run_until_idle()
    [question] = worker.client.interrupts("t")
    found = worker.client.explain("t")
    assert [(wait.kind, wait.subject) for wait in found.waits] == [
        ("interrupt", "who"),
        ("subgraph", "outer"),
        ("subgraph", "talk"),
    ]
    assert found.waits[0].detail.startswith('outer/talk/who asks "who?"')
    assert "outer waits for its subgraph, in which outer/talk/who is interrupted" in found.waits[1].detail
    worker.client.resume("t", "Ann", id=question.id)
    worker.run_until_idle()
    assert run.result(0)["said"][-2:] == ["who: Ann", "end"]


def test_many_questions_are_told_by_the_first_few(serve: Serve) -> None:
    worker = serve(asking(*(f"n{number}" for number in range(8))))
    run = worker.client.submit("asking", {}, thread_id="t")
    worker.run_until_idle()
    with pytest.raises(
        RunInterruptedError, match=r"n4 asks .* and 3 more: petiole run interrupts t"
    ) as caught:
        run.result(0)
    assert len(caught.value.interrupts) == 8


def test_an_update_inside_a_subgraph_lets_the_node_around_it_go_on(serve: Serve) -> None:
    worker = serve(nested(asking("who")))
    run = worker.client.submit("top", {}, thread_id="t")
    worker.run_until_idle()
    [asked] = worker.client.questions(run.run)
    graph = nested(asking("who"))
    state = worker.client.get_state("t", ns=asked.task.ns, graph=graph)
    assert [task.name for task in state.tasks if task.interrupts] == ["who"]
    worker.client.update_state("t", {"said": ["who: Eve"]}, as_node="end", ns=asked.task.ns, graph=graph)
    assert worker.messages.nodes == ["talk"]
    worker.run_until_idle()
    assert run.result(0)["said"] == ["who: Eve"]  # what busy said went with the rest of its superstep


@dataclass
class Offer:
    """What a client without the graph does not know."""

    amount: int


class Deal(TypedDict, total=False):
    offer: Offer
    said: str


def test_a_question_that_cannot_be_read_here_is_answered_all_the_same(tmp_path: Path) -> None:
    builder = StateGraph(Deal)
    builder.add_node("who", lambda state: {"said": interrupt(Offer(7))})
    builder.add_edge(START, "who")
    url = f"sqlite:///{tmp_path}/deal.db"
    with (
        LocalWorker([builder.compile(name="deal")], url) as worker,
        Client(url, settings=Settings()) as client,
    ):
        worker.client.submit("deal", {}, thread_id="t")
        worker.run_until_idle()
        assert worker.client.interrupts("t")[0].value == Offer(7)
        with pytest.raises(UnfitError, match="Offer"):
            client.interrupts("t")
        with pytest.raises(
            RunInterruptedError, match="who asks something that cannot be read here"
        ) as caught:
            client.handle("t").result(0)
        assert caught.value.interrupts == []
        [question] = client.questions(client.get_run("t"))
        assert question.command in client.explain("t").waits[0].command
        client.resume("t", "Ann", id=question.id)
        worker.clock.tick(60)  # the client goes by the store's own clock
        worker.run_until_idle()
        assert client.state("t")["said"] == "Ann"


def test_a_run_s_id_means_that_run(serve: Serve) -> None:
    worker = serve(asking("who"))
    first = worker.client.submit("asking", {}, thread_id="t")
    worker.run_until_idle()
    second = worker.client.submit("asking", {}, thread_id="t", if_busy="enqueue")
    assert [it.value for it in worker.client.interrupts(first.run_id)] == ["who?"]
    assert worker.client.interrupts(second.run_id) == []
    assert worker.client.resume(first.run_id, "Ann").run_id == first.run_id
