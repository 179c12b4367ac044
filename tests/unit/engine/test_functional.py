"""Workflows as functions: steps that are made once, questions in between, and what one run leaves for the next."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from petiole_stores.errors import ConfigurationError, GraphValidationError, InputError
from petiole_stores.memory import MemoryStore
from petiole_stores.opening import open_store
from petiole_stores.store import Store
from petiole_workers.functional import entrypoint, task
from petiole_workers.graph import Command, Runtime, interrupt
from petiole_workers.retry import Fixed

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}}


@pytest.fixture(params=["memory://", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    if request.param == "memory://":
        yield MemoryStore()
        return
    with open_store(f"sqlite:///{tmp_path}/t.db") as opened:
        yield opened


def test_steps_are_made_once_however_often_the_workflow_runs(store: Store) -> None:
    made: list[Any] = []

    @task
    def double(number: int) -> int:
        made.append(number)
        return number * 2

    @task(name="slow")
    async def plus_one(number: int) -> int:
        await asyncio.sleep(0)
        made.append("slow")
        return number + 1

    @entrypoint(checkpointer=store)
    def workflow(count: int) -> str:
        futures = [double(number) for number in range(count)]
        total = plus_one(sum(future.result() for future in futures)).result()
        return f"{interrupt({'total': total})} {total}"

    asked = workflow.invoke(3, CONFIG)
    assert [it.value for it in asked["__interrupt__"]] == [{"total": 7}]
    assert workflow.invoke(Command(resume="yes"), CONFIG) == "yes 7"
    assert sorted(map(str, made)) == ["0", "1", "2", "slow"]
    assert store.search_items(("petiole",), limit=100) == []


def test_async_workflows_await_their_steps(store: Store) -> None:
    @task
    async def add(one: int, other: int) -> int:
        await asyncio.sleep(0)
        return one + other

    @task
    def double(number: int) -> int:
        return number * 2

    @entrypoint(checkpointer=store)
    async def workflow(number: int) -> list[int]:
        pair = await asyncio.gather(add(number, 1), add(number, 2))
        return [*pair, await double(pair[0])]

    assert asyncio.run(workflow.ainvoke(1, CONFIG)) == [2, 3, 4]


def test_a_run_leaves_what_it_says_for_the_next(store: Store) -> None:
    @entrypoint(checkpointer=store)
    def workflow(number: int, *, previous: int | None) -> Any:
        return entrypoint.final(value=previous, save=number + (previous or 0))

    assert [workflow.invoke(number, CONFIG) for number in (1, 2, 3)] == [None, 1, 3]


def test_a_failed_step_is_tried_again_and_those_before_it_are_not(store: Store) -> None:
    made: list[str] = []

    @task
    def first() -> str:
        made.append("first")
        return "a"

    @task(retry_policy=Fixed(interval=0.001, max_retries=2))
    def shaky() -> str:
        made.append("shaky")
        if len(made) < 4:
            raise ConnectionError("not yet")
        return "b"

    @entrypoint(checkpointer=store)
    def workflow(_: None) -> str:
        return first().result() + shaky().result()

    assert workflow.invoke({}, CONFIG) == "ab"
    assert made == ["first", "shaky", "shaky", "shaky"]


def test_a_workflow_that_failed_goes_on_from_its_steps(store: Store) -> None:
    made: list[str] = []

    @task
    def first() -> str:
        made.append("first")
        return "a"

    @entrypoint(checkpointer=store)
    def workflow(given: Any) -> str:
        got = first().result()
        made.append("body")
        if made.count("body") == 1:
            raise ValueError("broken")
        return got

    with pytest.raises(ValueError, match="broken"):
        workflow.invoke({}, CONFIG)
    assert workflow.invoke(None, CONFIG) == "a"
    assert made == ["first", "body", "body"]


def test_steps_in_another_order_are_refused(store: Store) -> None:
    order = ["one", "two"]
    tasks = {name: task(lambda name=name: name, name=name) for name in order}

    @entrypoint(checkpointer=store)
    def workflow(_: Any) -> Any:
        tasks[order.pop()]().result()
        return interrupt("?")

    workflow.invoke({}, CONFIG)
    with pytest.raises(InputError, match="step 0 of this workflow is 'one' now and was 'two' before"):
        workflow.invoke(Command(resume=1), CONFIG)


def test_what_a_workflow_may_ask_for() -> None:
    @entrypoint()
    def workflow(given: int, runtime: Runtime[Any]) -> str:
        return f"{given} {runtime.node}"

    assert workflow.invoke(5) == "5 workflow"
    with pytest.raises(GraphValidationError, match="entrypoint 'odd' asks for 'other'"):

        @entrypoint()
        def odd(given: int, other: int) -> None:
            """Nothing gives ``other``."""

    @task
    def step() -> None:
        """A step."""

    with pytest.raises(ConfigurationError, match="the task 'step' was called outside"):
        step()
