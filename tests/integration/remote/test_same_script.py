"""One script, played with the client on the store and the one over HTTP, in plain and in async code: all see the same."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from petiole import AsyncClient, Client, RunHandle
from petiole.client.dead_letters import DeadLetter
from petiole.client.history import HistoryEntry
from petiole_stores.checkpoint import Checkpoint
from petiole_stores.errors import PetioleError
from petiole_workers.snapshot import StateSnapshot
from petiole_workers.streaming.following import StreamEvent
from tests.integration.remote.conftest import Pair
from tests.unit.api.asking import MOMENT

#: What gives one thing after another.
ITERATED = {"list_runs", "state_history", "dead_letters", "replay_all", "cancel_all", "stream"}
#: Ids, and what names the player: no two plays have the same.
OWN = re.compile(
    r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{32}\b|\b(direct|remote)-(plain|async)\b"
)


class Plain:
    """A client or a handle of plain code, in the clothes of async code."""

    def __init__(self, it: Client | RunHandle) -> None:
        self._it = it

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._it, name)
        if not callable(found):
            return found

        async def steps(*args: Any, **options: Any) -> AsyncIterator[Any]:
            for one in found(*args, **options):
                yield one

        async def call(*args: Any, **options: Any) -> Any:
            made = await asyncio.to_thread(found, *args, **options)
            return Plain(made) if isinstance(made, RunHandle) else made

        return steps if name in ITERATED else call


def shown(value: Any) -> Any:
    """What two plays have in common of a value."""
    match value:
        case Checkpoint():
            return (
                "checkpoint",
                value.ns and "inner",
                value.step,
                value.source,
                value.node_names,
                value.next,
                value.state,
            )
        case HistoryEntry():
            return (
                shown(value.checkpoint),
                sorted((task.node, task.status, task.attempt) for task in value.tasks),
            )
        case StateSnapshot():
            tasks = [
                (
                    it.name,
                    it.path,
                    shown(it.interrupts),
                    shown(it.state),
                    it.result,
                    it.error and it.error.type,
                )
                for it in value.tasks
            ]
            told = {key: one for key, one in (value.metadata or {}).items() if key in ("source", "step")}
            return (
                value.values,
                value.next,
                told,
                tasks,
                shown(value.interrupts),
                value.parent_config is None,
            )
        case StreamEvent():
            return (value.mode, shown(value.data), len(value.ns), value.node, value.attempt)
        case DeadLetter():
            return (
                value.task.node,
                value.failure.type,
                value.failure.message,
                value.run.status,
                value.attempts,
            )
        case dict():
            return {shown(key): shown(one) for key, one in value.items()}
        case list() | tuple():
            return [shown(one) for one in value]
        case str():
            return OWN.sub("…", value)
        case Exception():
            return (type(value).__name__, shown(str(value)))
        case _ if hasattr(value, "id") and hasattr(value, "value"):
            return ("asked", value.value)
        case _:
            return value


class Play:
    """What one player sees, in the order of his asking."""

    def __init__(self, client: Any, name: str, pair: Pair) -> None:
        self.client, self.name, self._pair = client, name, pair
        self.seen: list[Any] = []

    def see(self, *values: Any) -> None:
        self.seen += [shown(value) for value in values]

    async def refused(self, call: Awaitable[Any]) -> None:
        """It raises one of Petiole's errors, the same for all."""
        with pytest.raises((PetioleError, ValueError)) as caught:
            await call
        self.see(type(caught.value).__name__)
        if (
            type(caught.value).__name__ != "NotFoundError"
        ):  # what is not there is said of the store, or of the API
            self.see(caught.value)

    async def work(self) -> None:
        await asyncio.to_thread(self._pair.work)

    def thread(self, name: str) -> str:
        return f"{self.name}:{name}"


async def all_of(steps: AsyncIterator[Any]) -> list[Any]:
    return [one async for one in steps]


async def running(play: Play) -> None:
    """Runs that succeed and fail, lists, states and histories."""
    client, thread, tag = play.client, play.thread("a"), f"tag-{play.name}"
    handle = await client.submit("counting", {"n": 1}, thread_id=thread, tags=[tag], metadata={"k": [1]})
    play.see(await handle.status(), handle.thread_id)
    await play.refused(client.submit("counting", {"n": 1}, thread_id=thread))
    await play.refused(handle.result(timeout=0.01))
    await play.work()
    run = await handle.wait(10)
    play.see(
        run.status, run.tags, json.loads(run.metadata), await handle.result(10), await handle.outcome(run)
    )
    play.see(await client.value(thread, (await client.get_run(thread)).input))
    play.see(await client.state(thread), await client.history(thread), await client.history(thread, limit=1))
    play.see(await client.history(thread, run=run.run_id))
    play.see(await client.get_state(thread), await all_of(client.state_history(thread)))
    play.see(await all_of(client.state_history(thread, filter={"source": "input"}, limit=1)))
    play.see(await all_of(handle.stream(["values", "updates", "tasks", "messages", "custom"], timeout=10)))
    play.see([one.data["values"] for one in await all_of(handle.stream("checkpoints", timeout=10))])
    play.see([(one.mode, one.data["step"]) for one in await all_of(handle.stream("debug", timeout=10))])
    told = await all_of(client.stream(thread, stream_mode="values", output_keys="n", timeout=10))
    play.see(
        told, await all_of(client.stream(thread, after=told[1].id, stream_mode="values", output_keys="n"))
    )
    play.see(await all_of(client.stream(thread, stream_mode="updates", output_keys=["n"])))
    play.see(
        [one.thread_id for one in await all_of(client.list_runs(tag=tag))], await client.count_runs(tag=tag)
    )
    play.see(
        [one.thread_id for one in await all_of(client.list_runs(namespaces=[play.name], graphs=["counting"]))]
    )
    play.see(await client.count_runs(namespaces=[play.name, "x"], graphs=["none"]))
    play.see(sorted((one.node, one.status) for one in await client.tasks(thread)))
    play.see([one.node for one in (await client.tasks_page(thread, node="double", limit=1)).tasks])
    play.see(
        (await client.explain(thread)).summary,
        await client.thread_of(run.run_id),
        await client.thread_of(thread),
    )
    for call in (
        client.get_run("nobody"), client.state("nobody"), client.history("nobody"), client.get_state("nobody"),
        client.replay("nobody"), client.cancel("nobody"), client.load_checkpoint("nobody"), client.explain("nobody"),
        client.thread_of("nobody"), client.interrupts("nobody"), client.state(thread, checkpoint="nothing"),
        client.replay(thread), client.resume(thread), client.resume(thread, 1), client.submit("counting", None),
    ):  # fmt: skip
        await play.refused(call)


async def failing(play: Play) -> None:
    """Failures, dead letters and replays."""
    client, thread = play.client, play.thread("b")
    play._pair.switch.broken = True
    handle = await client.submit("counting", {"n": 5}, thread_id=thread)
    await play.work()
    with pytest.raises(PetioleError) as caught:
        await handle.result(10)
    failure = caught.value.failure  # type: ignore[attr-defined]
    play.see(caught.value, failure.type, failure.node, failure.attempt, failure.message)
    await play.refused(all_of(handle.stream(timeout=10)))
    play.see((await client.get_state(thread)).next, await client.get_state(thread))
    letters = await all_of(client.dead_letters(thread_id=thread))
    play.see(letters, await all_of(client.dead_letters(thread_id=thread, node="other")))
    play.see(
        await client.drop_dead_letters([letters[0].task.task_id]),
        await all_of(client.dead_letters(thread_id=thread)),
    )
    play._pair.switch.broken = False
    play.see([one.result for one in await all_of(client.replay_all(client_runs(play, thread)))])
    await play.work()
    play.see(await handle.result(10))
    again = await client.replay(thread, from_node="last")
    await play.work()
    play.see(again.run_id != handle.run_id, await again.result(10))


def client_runs(play: Play, thread: str) -> list[Any]:
    """The runs of a thread as the client on the store has them: bulk calls take plain iterables."""
    return [*play._pair.direct.list_runs(thread_id=thread)]


async def asking(play: Play) -> None:
    """Questions, answers, and values that are more than JSON."""
    client, thread = play.client, play.thread("c")
    handle = await client.submit("asking", {"n": 2}, thread_id=thread)
    await play.work()
    await client.submit("asking", {"n": 9}, thread_id=thread, if_busy="enqueue")
    asked = await client.interrupts(thread)
    play.see(asked, (await client.asking_run(thread)).run_id == handle.run_id, await handle.interrupts())
    with pytest.raises(PetioleError) as caught:
        await handle.result(10)
    play.see(caught.value, caught.value.interrupts)  # type: ignore[attr-defined]
    play.see(
        [
            (one.task.node, one.value, one.command)
            for one in await client.questions(await client.get_run(handle.run_id))
        ]
    )
    play.see((await client.get_state(thread)).interrupts)
    await play.refused(client.resume(thread, 1, answers={"a": 1}))
    await play.refused(client.resume(thread, id=asked[0].id))
    await play.refused(client.resume(thread, 1, id="nothing"))
    await play.refused(client.resume(thread, 1, resume_from=["price"]))
    going = await client.resume(thread, {"at": MOMENT, "who": {"ann"}})
    play.see(going.run_id == handle.run_id)
    await play.work()
    play.see(await handle.result(10), await client.interrupts(thread))
    play.see(
        [one.result for one in await all_of(client.cancel_all(client_runs(play, thread), reason="enough"))]
    )
    await play.work()
    await play.refused((await client.handle(thread)).result(10))


async def changing(play: Play) -> None:
    """States changed, forked, kept by hand and removed; threads steered."""
    client, thread = play.client, play.thread("d")
    await client.submit("counting", {"n": 1}, thread_id=thread)
    await play.work()
    config = await client.update_state(thread, {"n": 40}, as_node="double")
    play.see(config, await client.state(thread))
    play.see(
        await client.bulk_update_state(thread, [[({"n": 7}, "add")], [({"n": 8}, "double"), ({}, "note")]])
    )
    play.see(await client.get_state(thread), await client.list_checkpoints(thread, limit=3))
    await play.refused(client.update_state(thread, {"n": 1}, as_node="nobody"))
    await play.refused(client.bulk_update_state(thread, []))
    points = await client.list_checkpoints(thread)
    play.see(points, await client.load_checkpoint(points[0].id), await client.named_checkpoint(thread))
    play.see([(one.path, one.kind) for one in await client.diff(points[-1].id, thread)])
    first = points[-2].id
    fork = await client.fork(thread, first)
    play.see(
        await client.pause(thread, reason="hold"), await client.pause(thread), await client.unpause(thread)
    )
    await play.refused(client.delete(thread))
    await play.work()
    play.see(await fork.result(10))
    await play.refused(client.cancel(thread))
    play.see(await (await client.fork(thread, first, {"n": 100}, "add")).cancel("no"))
    play.see(
        await client.signal(thread, "paid", {"at": MOMENT}, id="s"),
        await client.signal(thread, "paid", {"at": MOMENT}, id="s"),
    )
    await play.refused(client.signal(thread, "paid", "other", id="s"))
    made = await client.import_thread(await client.export_thread(thread), thread_id=play.thread("e"))
    play.see(made.thread_id, made.checkpoints, await client.state(play.thread("e")))
    await client.delete_checkpoint((await client.list_checkpoints(thread))[0].id)
    play.see(await client.state(thread))
    await client.clear_checkpoints(thread)
    play.see(await client.list_checkpoints(thread))
    await client.clear_cache("counting", ["double"])
    await client.clear_cache("counting")
    play.see(await client.delete(thread), await client.delete(thread))


async def making(play: Play) -> None:
    """Threads that begin with a state made by hand, and no run."""
    client, thread = play.client, play.thread("f")
    graph = play._pair.graph("counting")
    saved = await client.save_checkpoint(
        thread, {"n": 3, "trail": []}, next=["double", "note"], metadata={"by": "hand"}, graph=graph
    )
    play.see(await client.load_checkpoint(saved), (await client.load_checkpoint(saved)).metadata)
    await play.refused(client.save_checkpoint(thread, {"n": 3}, next=["nobody"], graph=graph))
    play.see(await client.get_state(thread, graph=graph))
    handle = await client.fork(thread, saved, graph=graph)
    await play.work()
    play.see(await handle.result(10))
    other = play.thread("g")
    await client.update_state(other, {"n": 1, "trail": []}, as_node="__start__", graph=graph)
    handle = await client.resume(other, resume_from=["last"], graph=graph)
    await play.work()
    play.see(await handle.result(10))


async def nested(play: Play) -> None:
    """Nodes that are graphs."""
    client, thread = play.client, play.thread("h")
    handle = await client.submit("nesting", {"text": "dear"}, thread_id=thread)
    await play.work()
    play.see(await client.get_state(thread, subgraphs=True), await client.interrupts(thread))
    inner = (await client.get_state(thread)).tasks[0].state["configurable"]["checkpoint_ns"]
    play.see(await client.get_state(thread, ns=inner), await all_of(client.state_history(thread, ns=inner)))
    play.see(
        await client.history(thread, subgraphs=True), len(await client.list_checkpoints(thread, ns=None))
    )
    play.see(await client.list_checkpoints(thread, ns=inner))
    play.see(await all_of(client.stream(thread, stream_mode="updates", subgraphs=True, timeout=10)))
    await client.update_state(thread, {"signed": "bob"}, as_node="pen", ns=inner)
    await client.resume(thread)
    await play.work()
    play.see(await handle.result(10))


async def timing(play: Play) -> None:
    """Schedules."""
    client, name = play.client, f"nightly-{play.name}"
    made = await client.create_schedule(
        name, "asking", {"n": 1, "due": MOMENT}, cron="0 3 * * *", tags=["x"], max_runs=3
    )
    play.see(made.timing, made.tags, await client.value("", made.input), made.status, made.max_runs)
    await play.refused(client.create_schedule(name, "asking", {"n": 1}, cron="0 3 * * *"))
    await play.refused(client.create_schedule("other", "asking", None, every=60))
    changed = await client.update_schedule(name, every=60, input={"n": 2, "due": MOMENT})
    play.see(changed.timing, await client.value("", (await client.get_schedule(name)).input))
    await play.refused(client.update_schedule(name, colour="red"))
    play.see((await client.pause_schedule(name)).status, (await client.unpause_schedule(name)).status)
    handle = await client.trigger_schedule(name, idempotency_key=name)
    play.see(
        name in [one.name for one in await client.list_schedules()],
        (await client.get_run(handle.run_id)).tags,
    )
    play.see(
        await client.cancel(handle.thread_id),
        await client.delete_schedule(name),
        await client.delete_schedule(name),
    )


SCENES: list[Callable[[Play], Awaitable[None]]] = [running, failing, asking, changing, making, nested, timing]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_all_clients_see_the_same(both: Pair, scene: Callable[[Play], Awaitable[None]]) -> None:
    seen: dict[str, list[Any]] = {}
    for kind, client in (("direct", both.direct), ("remote", both.remote)):
        for code, dressed in (("plain", Plain(client)), ("async", AsyncClient(client))):
            play = Play(dressed, f"{kind}-{code}", both)
            asyncio.run(scene(play))  # type: ignore[arg-type]
            seen[play.name] = play.seen
    expected = seen.pop("direct-plain")
    assert expected
    for name, found in seen.items():
        assert len(found) == len(expected)
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert one == other, f"{name} sees another {number}"
