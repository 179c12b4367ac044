"""Under gevent, in a process of its own: what native threads must not share, and async nodes side by side."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("gevent")

PROLOGUE = """
from gevent import monkey
monkey.patch_all()
import asyncio, gevent, sys, warnings
from tests.unit.engine.bench import State, chain, says
from petiole_workers.caller import NodeCaller
from petiole_workers.celery.app import context_of, make_app
from petiole_workers.graph import Runtime
from petiole_workers.registry import Registry
from petiole_workers.settings import Settings
"""


def run(body: str) -> str:
    """What the program says; it fails here if it fails there."""
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE + textwrap.dedent(body)],
        capture_output=True, text=True, timeout=60, env={"PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_async_nodes_run_side_by_side() -> None:
    assert run(
        """
        met = []
        async def node(state):
            met.append(1)
            while len(met) < 3:  # all three must be running to go on
                await asyncio.sleep(0.01)
            return {"n": 1}
        spec = chain(a=node).compile().definition.nodes["a"]
        jobs = [gevent.spawn(NodeCaller().call, spec, {}, Runtime()) for _ in range(3)]
        gevent.joinall(jobs, timeout=30, raise_error=True)
        print([job.value for job in jobs])
        """
    ) == str([{"n": 1}] * 3)


def test_native_threads_have_stores_and_brokers_connections_of_their_own() -> None:
    assert (
        run(
            """
            app = make_app(Settings(store="memory://", broker="memory://"), Registry([chain(a=says("a")).compile()]))
            context = context_of(app)
            mine = context.store
            theirs = gevent.get_hub().threadpool.apply(lambda: context.store)
            assert gevent.spawn(lambda: context.store).get() is mine
            assert theirs is not mine
            def line():
                with context.publisher._line() as line:
                    return line
            first = line()
            assert gevent.spawn(line).get() is first
            assert gevent.get_hub().threadpool.apply(line) is not first
            print("fine")
            """
        )
        == "fine"
    )


SAYING = """
import logging
from petiole import START, Settings, StateGraph
from petiole.testing import LocalWorker
from tests.unit.engine.bench import State
logging.getLogger().setLevel(logging.INFO)
def sync(state, runtime):
    logging.getLogger("shop").info("sync")
    runtime.stream_writer("sync")
    return {}
async def node(state, runtime):
    for number in range(3):
        logging.getLogger("shop").info("logged %d", number)
        runtime.stream_writer(number)
        await asyncio.sleep(0.001)
    await asyncio.to_thread(runtime.stream_writer, "from a thread")
    return {}
builder = StateGraph(State)
for number in range(4):
    builder.add_node(f"node{number}", node).add_edge(START, f"node{number}")
builder.add_node("sync", sync).add_edge(START, "sync")
graph = builder.compile(name="saying")
"""


def test_what_async_nodes_say_and_log_in_native_threads_is_kept() -> None:
    said = run(
        SAYING
        + textwrap.dedent(
            """
            with LocalWorker([graph], settings=Settings()) as worker:
                handle = worker.client.submit(graph, {})
                worker.run_until_idle()
                by_node = {}
                for event in handle.stream("custom"):
                    by_node.setdefault(event.node, []).append(event.data)
                for entry in worker.client.logs(handle.run_id):
                    by_node.setdefault(entry.node, []).append(entry.message)
                assert by_node.pop("sync") == ["sync", "sync"], by_node
                print(sorted(by_node), *map(repr, {repr(one): one for one in by_node.values()}.values()))
            """
        )
    )
    told = [0, 1, 2, "from a thread", "logged 0", "logged 1", "logged 2"]
    assert said == f"{['node0', 'node1', 'node2', 'node3']} {told}"


def test_it_is_written_while_the_node_goes_on() -> None:
    assert (
        run(
            """
            import time
            from types import SimpleNamespace
            from petiole_stores.memory import MemoryStore
            from petiole_workers.streaming.speaking import Speaker, Spoken
            written = []
            store = MemoryStore()
            store.append_events = lambda thread, run, events: written.extend(event.event_id for event in events)
            speaker = Speaker(store)
            ids = iter(range(10_000))
            by = SimpleNamespace(
                task=SimpleNamespace(thread_id="t", run_id="r"), spoken=Spoken("id", "node", "", "p", 1, 1, "t"),
                utterance=lambda: str(next(ids)),
            )
            def node():
                speaker.say("custom", 1, by)
                until = time.monotonic() + 20
                while not written and time.monotonic() < until:
                    original_sleep(0.01)
                return list(written)
            original_sleep = monkey.get_original("time", "sleep")
            seen = gevent.get_hub().threadpool.apply(node)
            assert seen == ["0"], seen
            gevent.get_hub().threadpool.apply(lambda: [speaker.say("custom", n, by) for n in range(300)])
            speaker.close()
            gevent.get_hub().threadpool.apply(lambda: speaker.say("custom", "late", by))
            assert written == [str(n) for n in range(301)], written
            print("fine")
            """
        )
        == "fine"
    )
