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
