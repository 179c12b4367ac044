"""Random operations while what carries them out is killed: servers between two calls, processes within one.

A call that died before its answer is made again. The store must then show what the memory store shows after one call, or
after two where the first had been committed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from petiole_stores.conformance.scene import snapshot
from petiole_stores.errors import StoreUnavailableError
from petiole_stores.opening import open_store
from tests.contract.calls import Call, Walk
from tests.contract.operations import KINDS, MAX_CRASHES, Director
from tests.contract.steps_of_readers import Pages
from tests.contract.test_differential import compare, mine, shown
from tests.servers import OwnPostgres, OwnRedis, OwnServer

SEEDS = range(int(os.environ.get("PETIOLE_KILL_SEEDS", "1")))
STEPS = 110
ROOT = Path(__file__).parents[2]


def sequence(director: Director, dice: random.Random) -> Iterator[Call]:
    """Calls of one random sequence; each must be made on the model before the next is asked for."""
    for _ in range(STEPS):
        for call in director.calls(dice.choice(KINDS), dice.getrandbits(48)):
            if not isinstance(call, Walk | Pages) and call.method not in ("reopen", "expired"):
                yield call


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(OwnPostgres, marks=pytest.mark.postgres, id="postgresql"),
        pytest.param(OwnRedis, marks=pytest.mark.redis, id="redis"),
    ],
)
def test_a_server_killed_between_calls(
    own_server: Callable[[type[OwnServer]], OwnServer], kind: type[OwnServer], seed: int
) -> None:
    """SIGKILL of the server before every seventeenth call; Redis has ``appendfsync always``."""
    server, dice = own_server(kind), random.Random(seed)
    director, kills = Director(), 0
    with open_store(server.url) as store:
        store.clock, store.max_crashes = director.model.clock, MAX_CRASHES
        for number, call in enumerate(sequence(director, dice), 1):
            # A relaxed commit may go with the server: Postgres keeps it in memory at first.
            if call.method == "finish":
                for outcome in call.args[2]:
                    outcome.relaxed = False
            wanted = call.on(director.model)
            if number % 17 == 0:
                server.kill()
                server.start()
                kills += 1
            found = patiently(lambda call=call: call.on(store))  # type: ignore[misc]
            compare(director, mine(director, found), mine(director, wanted), "the last answer")
        compare(director, shown(director, store), shown(director, director.model), "what the stores show")
    assert kills >= 3


def patiently(call: Callable[[], Any], most: int = 40) -> Any:
    """Make a call again while the store cannot be reached: its connections died with the server."""
    for _ in range(most - 1):
        try:
            return call()
        except StoreUnavailableError:
            continue
    return call()


def bare(director: Director, answer: Any) -> Any:
    """An answer as it comes through JSON."""
    return json.loads(json.dumps(mine(director, answer)))


def alike(director: Director, found: Any, wanted: Any) -> bool:
    return bool(bare(director, found) == bare(director, wanted))


class Child:
    """The process that makes the calls."""

    def __init__(self, url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.calling_child", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(["app", "workers", "stores", "."])},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == '"ready"'

    def ask(self, call: Call, now: float, die: int | None) -> Any:
        """The answer; EOFError when the process killed itself."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = json.dumps({"call": str(call), "method": call.method, "now": now, "die": die})
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            assert self.process.wait(10) == -signal.SIGKILL, "it died of something else"
            raise EOFError
        return json.loads(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scheme", ["sqlite", "file"])
def test_a_process_killed_within_a_call(tmp_path: Path, scheme: str, seed: int) -> None:
    """SIGKILL before a statement of its transaction, or after the commit and before the answer."""
    url = f"sqlite:///{tmp_path}/store.db" if scheme == "sqlite" else f"file://{tmp_path}/files"
    open_store(url).close()
    dice, director = random.Random(seed), Director()
    deaths = {"within": 0, "after": 0}
    child = Child(url)
    try:
        for call in sequence(director, dice):
            die = dice.choice([None, None, None, dice.randrange(12), dice.randrange(60), -1])
            wanted = call.on(director.model)
            try:
                found = child.ask(call, director.scene.now, die)
            except EOFError:
                child.__exit__()
                child = Child(url)
                found = child.ask(call, director.scene.now, None)
                deaths["after" if die == -1 else "within"] += 1
                # The file store reads once more after its commit: death within a call may have come too late as well.
                if die == -1 or not alike(director, found, wanted):
                    wanted = call.on(director.model)
            compare(director, bare(director, found), bare(director, wanted), "the last answer")
        with open_store(url) as store:
            store.clock = director.model.clock
            compare(director, shown(director, store), shown(director, director.model), "what the stores show")
            assert snapshot(store, director.threads) == snapshot(director.model, director.threads)
    finally:
        child.__exit__()
    assert min(deaths.values()) >= 5, deaths
