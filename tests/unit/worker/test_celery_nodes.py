# mypy: disable-error-code="untyped-decorator"
"""Celery tasks as nodes: what they are given, what they give, and their own rules of retrying."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import celery._state
import pytest
from celery import Celery, Task, current_task, shared_task
from celery.exceptions import Ignore, MaxRetriesExceededError, Reject

from petiole import (
    START,
    CompiledGraph,
    Fixed,
    GraphValidationError,
    InvalidUpdateError,
    NodeTimeoutError,
    RunFailedError,
    Send,
    StateGraph,
    celery_node,
)
from petiole.testing import LocalWorker


class State(TypedDict, total=False):
    order: int
    price: float
    tax: float
    note: str


class Declined(Exception):
    """A payment was declined."""


class Shop(Celery):  # type: ignore[misc]
    """An app whose tasks are no other app's."""

    def task(self, *args: Any, **options: Any) -> Any:
        return super().task(*args, **{"shared": False, **options})


@pytest.fixture
def app() -> Iterator[Celery]:
    """An app whose broker does not exist: whatever sends a message fails."""
    app = Shop("shop", broker="amqp://nobody.invalid//", set_as_current=False)
    app.conf.broker_connection_retry_on_startup = False
    app.conf.broker_transport_options = {"max_retries": 0}
    yield app
    app.close()


def graph_of(node: Any, **options: Any) -> CompiledGraph:
    return StateGraph(State).add_node("node", node, **options).add_edge(START, "node").compile(name="g")


def invoke(node: Any, state: dict[str, Any], **options: Any) -> Any:
    return graph_of(node, **options).invoke(state)


# ---------------------------------------------------------------- arguments and results


def test_parameters_are_filled_by_name(app: Any) -> None:
    @app.task
    def add_tax(order: int, price: float, rate: float = 0.5) -> dict[str, float]:
        assert order == 7
        return {"tax": price * rate}

    assert invoke(add_tax, {"order": 7, "price": 10.0})["tax"] == 5.0


def test_a_single_parameter_that_is_no_key_gets_the_state(app: Any) -> None:
    @app.task
    def whole(state: State) -> dict[str, str]:
        return {"note": f"{state['order']} of {sorted(state)}"}

    assert invoke(whole, {"order": 1})["note"] == "1 of ['order']"


def test_a_single_parameter_may_ask_for_less(app: Any) -> None:
    class Narrow(TypedDict, total=False):
        order: int

    def whole(state: Narrow) -> dict[str, str]:
        return {"note": str(sorted(state))}

    whole.__annotations__ = {"state": Narrow}
    assert invoke(app.task(whole), {"order": 1, "price": 2.0})["note"] == "['order']"


def test_arguments_and_result_are_named(app: Any) -> None:
    @app.task
    def times(n: int, by: int, *, plus: int = 0) -> int:
        return n * by + plus

    node = celery_node(times, arguments={"n": "order", "by": lambda state: state["order"] + 1}, result="tax")
    assert invoke(node, {"order": 3})["tax"] == 12
    node = celery_node(times, arguments=lambda state: {"n": 1, "by": 2, "plus": state["order"]}, result="tax")
    assert invoke(node, {"order": 3})["tax"] == 5


def test_a_send_gives_the_arguments(app: Any) -> None:
    @app.task
    def price_of(order: int) -> dict[str, float]:
        return {"price": order * 2.0}

    builder = StateGraph(State).add_node("price", price_of)
    builder.add_conditional_edges(START, lambda state: [Send("price", {"order": 4})], ["price"])
    assert builder.compile().invoke({"order": 1})["price"] == 8.0


def test_states_that_are_no_dicts(app: Any) -> None:
    @dataclass
    class Order:
        order: int
        note: str = ""

    @app.task
    def label(order: int, note: str) -> dict[str, str]:
        return {"note": f"{note}#{order}"}

    graph = StateGraph(Order).add_node("label", label).add_edge(START, "label").compile()
    assert graph.invoke(Order(5, "n"))["note"] == "n#5"


def test_a_node_is_called_after_its_task(app: Any) -> None:
    @app.task(name="shop.tasks.other")
    def charge(order: int) -> None: ...

    assert [*StateGraph(State).add_node(charge).nodes] == ["charge"]
    assert [*StateGraph(State).add_node(celery_node(charge)).nodes] == ["charge"]


def test_shared_tasks_and_class_based_ones(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery._state._tls, "current_app", app)

    @shared_task
    def shared(order: int) -> dict[str, str]:
        return {"note": f"shared {order}"}

    class Counting(Task):  # type: ignore[misc]
        name = "counting"
        seen = 0

        def run(self, order: int) -> dict[str, str]:
            self.seen += 1
            return {"note": f"{order} seen {self.seen}"}

    counting = app.register_task(Counting())
    assert invoke(shared, {"order": 1})["note"] == "shared 1"
    graph = graph_of(counting)
    assert [graph.invoke({"order": 2})["note"] for _ in "ab"] == ["2 seen 1", "2 seen 2"]
    assert counting.seen == 2


def test_a_call_of_its_own_stands_before_the_function(app: Any) -> None:
    class Loud(Task):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            found = super().__call__(*args, **kwargs)
            return {"note": found["note"].upper()}

    @app.task(base=Loud, bind=True)
    def speak(self: Any, order: int) -> dict[str, str]:
        return {"note": f"order {order} in {self.request.id is not None}"}

    assert invoke(speak, {"order": 1})["note"] == "ORDER 1 IN TRUE"


@pytest.mark.parametrize("returned", [5, "text", [1, 2]])
def test_another_result_is_refused(app: Any, returned: Any) -> None:
    @app.task(autoretry_for=(Exception,))
    def wrong(order: int) -> Any:
        return returned

    with pytest.raises(InvalidUpdateError, match=r"celery_node\(task, result='key'\)"):
        invoke(wrong, {"order": 1})


@pytest.mark.parametrize("kind", [Ignore, Reject])
def test_what_has_no_meaning_for_a_node_is_refused(app: Any, kind: type[Exception]) -> None:
    @app.task
    def wrong(order: int) -> Any:
        raise kind()

    with pytest.raises(InvalidUpdateError, match=f"raised {kind.__name__}, which a node has no use for"):
        invoke(wrong, {"order": 1})


def test_replace_is_refused(app: Any) -> None:
    @app.task(bind=True)
    def wrong(self: Any, order: int) -> Any:
        return self.replace(wrong.s(order))

    with pytest.raises(InvalidUpdateError, match=r"called replace\(\)"):
        invoke(wrong, {"order": 1})


def test_faults_are_told_when_the_node_is_added(app: Any) -> None:
    @app.task
    def two(order: int, other: int) -> None: ...

    @app.task(rate_limit="10/m")
    def limited(order: int) -> None: ...

    def fault(node: Any) -> str:
        with pytest.raises(GraphValidationError) as raised:
            StateGraph(State).add_node("n", node)
        return str(raised.value)

    assert "asks for 'other', no key of the state" in fault(two)
    assert "has no parameter 'third'" in fault(celery_node(two, arguments={"third": "order", "other": "tax"}))
    assert "'gone', which is no key" in fault(celery_node(two, arguments={"other": "gone"}))
    assert "'gone', which is no key" in fault(celery_node(two, arguments={"other": "tax"}, result="gone"))
    assert "rate_limit '10/m'" in fault(limited)
    with pytest.raises(GraphValidationError, match="give a Celery task"):
        celery_node(print)
    StateGraph(State).add_node("n", celery_node(limited, ignore_rate_limit=True))


def test_a_missing_key_is_named(app: Any) -> None:
    @app.task
    def wants(order: int, price: float) -> None: ...

    with pytest.raises(InvalidUpdateError, match="needs 'price', and the state has no 'price' yet"):
        invoke(wants, {"order": 1})


# ---------------------------------------------------------------- retries


def test_self_retry_is_a_retry_of_the_node(app: Any) -> None:
    seen: list[tuple[int, bool]] = []

    @app.task(bind=True, max_retries=2, default_retry_delay=60)
    def charge(self: Any, order: int) -> dict[str, str]:
        seen.append((self.request.retries, current_task.request.id == self.request.id == charge.request.id))
        if self.request.retries < 2:
            try:
                raise Declined("no")
            except Declined as error:
                raise self.retry(exc=error, countdown=100 if self.request.retries else None) from error
        return {"note": self.request.kwargs["order"]}

    with LocalWorker([graph_of(charge)]) as worker:
        run = worker.client.submit("g", {"order": 7})
        worker.run_until_idle()
        [task] = [task for task in worker.client.tasks(run.run_id) if task.node == "node"]
        assert task.status == "parked", "it waits without a slot"
        assert task.run_at == pytest.approx(worker.clock() + 60)
        assert "Declined" in (task.error or "")
        assert "will be tried again after" in worker.client.explain(run.thread_id).summary
        assert worker.run_through_timers() == pytest.approx(160, abs=1)
        assert run.result(0)["note"] == 7
    assert seen == [(0, True), (1, True), (2, True)]


def test_self_retry_gives_up(app: Any) -> None:
    calls: list[int] = []

    @app.task(bind=True, max_retries=1)
    def charge(self: Any, order: int) -> None:
        calls.append(order)
        self.retry(exc=Declined("no") if order else None, countdown=0)

    with pytest.raises(Declined):
        invoke(charge, {"order": 7})
    assert len(calls) == 2
    with pytest.raises(MaxRetriesExceededError, match="Can't retry"):
        invoke(charge, {"order": 0})
    assert len(calls) == 4


def test_autoretry_with_its_backoff(app: Any) -> None:
    calls: list[int] = []

    @app.task(
        autoretry_for=(Declined,), retry_backoff=5, retry_backoff_max=12, retry_jitter=False, max_retries=3
    )
    def charge(order: int) -> None:
        calls.append(order)
        raise Declined("no")

    with LocalWorker([graph_of(charge)]) as worker:
        run = worker.client.submit("g", {"order": 7})
        worker.run_until_idle()
        assert worker.run_through_timers() == pytest.approx(5 + 10 + 12, abs=1)
        with pytest.raises(RunFailedError, match="Declined"):
            run.result(0)
    assert len(calls) == 4


def test_what_autoretry_leaves_alone(app: Any) -> None:
    calls: list[int] = []

    @app.task(
        autoretry_for=(Exception,),
        dont_autoretry_for=(Declined,),
        retry_kwargs={"countdown": 0, "max_retries": 1},
    )
    def charge(order: int) -> None:
        calls.append(order)
        raise Declined("no") if order else OSError("gone")

    with pytest.raises(Declined):
        invoke(charge, {"order": 1})
    with pytest.raises(OSError, match="gone"):
        invoke(charge, {"order": 0})
    assert calls == [1, 0, 0]


def test_a_policy_of_the_node_goes_first_and_defaults_do_not(app: Any) -> None:
    calls: list[int] = []

    @app.task(autoretry_for=(Declined,), max_retries=0)
    def charge(order: int) -> None:
        calls.append(order)
        raise Declined("no")

    with pytest.raises(Declined):
        invoke(charge, {"order": 1}, retry_policy=Fixed(interval=0.001, max_retries=2, retry_on=Declined))
    assert len(calls) == 3
    builder = StateGraph(State).set_node_defaults(retry_policy=Fixed(max_retries=4, retry_on=Declined))
    with pytest.raises(Declined):
        builder.add_node("n", charge).add_edge(START, "n").compile().invoke({"order": 1})
    assert len(calls) == 4


def test_retry_without_throwing_and_with_other_arguments(app: Any) -> None:
    @app.task(bind=True, max_retries=1)
    def later(self: Any, order: int) -> dict[str, str]:
        if not self.request.retries:
            self.retry(countdown=0, throw=False)
        return {"note": f"after {self.request.retries}"}

    @app.task(bind=True)
    def other(self: Any, order: int) -> None:
        self.retry(kwargs={"order": order + 1}, countdown=0)

    assert invoke(later, {"order": 1})["note"] == "after 1"
    with pytest.raises(InvalidUpdateError, match="what a node is given comes from the state"):
        invoke(other, {"order": 1})


# ---------------------------------------------------------------- limits


def test_time_limits_are_the_timeout(app: Any) -> None:
    @app.task(soft_time_limit=0.05, time_limit=5)
    def slow(order: int) -> None:
        import time

        time.sleep(30)

    assert StateGraph(State).add_node("n", slow).nodes["n"].timeout == 0.05
    with pytest.raises(NodeTimeoutError):
        invoke(slow, {"order": 1})


def test_the_queue_is_the_tasks(app: Any) -> None:
    @app.task(queue="slow")
    def work(order: int) -> None: ...

    with pytest.warns(Warning, match="queue"):  # Celery itself has come to prefer task_routes
        node = StateGraph(State).add_node("n", work).nodes["n"]
    assert node.queue == "slow"
    assert StateGraph(State).add_node("n", work, queue="fast").nodes["n"].queue == "fast"


def test_progress_is_kept_as_a_heartbeat(app: Any) -> None:
    seen: list[Any] = []

    @app.task(bind=True, max_retries=1)
    def work(self: Any, order: int) -> dict[str, str]:
        from petiole import get_runtime

        seen.append(get_runtime().details)
        self.update_state(state="PROGRESS", meta={"done": 3})
        if not self.request.retries:
            self.retry(countdown=10)
        return {}

    with LocalWorker([graph_of(work)]) as worker:
        run = worker.client.submit("g", {"order": 1})
        worker.run_through_timers()
        run.result(0)
    assert seen == [None, {"state": "PROGRESS", "meta": {"done": 3}}]


# ---------------------------------------------------------------- stores and imports


def test_a_lost_worker_is_no_retry(app: Any, tmp_path: Path) -> None:
    seen: list[int] = []

    @app.task(bind=True)
    def charge(self: Any, order: int) -> dict[str, str]:
        seen.append(self.request.retries)
        return {"note": "paid"}

    with LocalWorker([graph_of(charge)], f"sqlite:///{tmp_path}/s.db") as worker:
        run = worker.client.submit("g", {"order": 1})
        worker.crash_at("node.after", node="node")
        worker.run_until_idle()
        worker.restart()
        worker.clock.tick(20)
        worker.run_until_idle()
        assert run.result(0)["note"] == "paid"
    assert seen == [0, 0]


def test_graphs_without_such_nodes_do_not_import_celery() -> None:
    code = (
        "import sys\nfrom petiole import MessagesState, StateGraph, START\n"
        "StateGraph(MessagesState).add_node('n', lambda s: {}).add_edge(START, 'n').compile().invoke({})\n"
        "assert 'celery' not in sys.modules, 'celery is imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
