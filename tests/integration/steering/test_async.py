"""The client for ``async`` code steers as the other one does."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from petiole import AsyncClient, Client, RunInterruptedError
from tests.integration.steering.conftest import Serve
from tests.integration.steering.test_answering import asking
from tests.integration.steering.test_forking import trip

#: What looks at this process alone, or is the sync client's own.
OWN = {"aio", "typed", "now", "publish", "graph_of", "value", "outcome", "run_of", "thread_of"} | {
    "asking_run", "loaded_graphs", "questions", "check_succeeded", "named_checkpoint",
}  # fmt: skip


def test_every_method_has_its_twin() -> None:
    methods = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
    assert sorted(methods - OWN - set(dir(AsyncClient))) == []


def test_questions_answers_and_forks(serve: Serve) -> None:
    worker = serve(asking("who"), trip())
    client = worker.client.aio

    async def talk() -> None:
        run = await client.submit("asking", {}, thread_id="t")
        await asyncio.to_thread(worker.run_until_idle)
        [question] = await client.interrupts("t")
        assert await run.interrupts() == [question]
        with pytest.raises(RunInterruptedError) as caught:
            await run.result(0)
        assert caught.value.interrupts == [question]
        await client.resume("t", "Ann", id=question.id)
        await asyncio.to_thread(worker.run_until_idle)
        assert (await run.result(0))["said"] == ["busy", "who: Ann", "end"]

    async def travel() -> Any:
        await client.submit(trip(), {"to": "Oslo"}, thread_id="trip")
        await asyncio.to_thread(worker.run_until_idle)
        states = [state async for state in client.state_history("trip", filter={"step": 1})]
        point = states[0].config["configurable"]["checkpoint_id"]
        fork = await client.fork("trip", point, {"to": "Rome"}, as_node="plan")
        await asyncio.to_thread(worker.run_until_idle)
        assert [one.path for one in await client.diff(point, "trip")] == ["log[1]", "log[2]", "to"]
        return (await fork.result(0))["to"]

    asyncio.run(talk())
    assert asyncio.run(travel()) == "Rome"
