"""What Redis has acknowledged with ``appendfsync always`` outlives its SIGKILL, in the middle of a stream of commits."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from petiole_stores.integrity import damage_of
from petiole_stores.redis import RedisStore
from tests.processes import Leashed
from tests.redis_watch import Opener, audit
from tests.servers import OwnRedis
from tests.waiting import wait_until

pytestmark = pytest.mark.redis

CHILD = Path(__file__).with_name("redis_child.py")
ROUNDS = 3


def acknowledged(log: Path) -> list[list[str]]:
    """The whole lines that a child has printed."""
    return [line.split() for line in log.read_text().split("\n")[:-1]]


def test_every_acknowledged_commit_outlives_a_sigkill(
    own_redis: OwnRedis, opened: Opener, tmp_path: Path
) -> None:
    store = opened(own_redis.url)
    assert store.durability() == []
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    logs: list[Path] = []
    for number in range(ROUNDS):
        round_logs = [tmp_path / f"{number}.{name}" for name in "ab"]
        children = [
            Leashed([sys.executable, CHILD, own_redis.url, log.name], log=log, env=env) for log in round_logs
        ]
        wait_until(
            lambda logs=round_logs: all(len(acknowledged(log)) > 100 for log in logs),  # type: ignore[misc]
            60.0,
            lambda children=children: "\n".join(child.tail() for child in children),  # type: ignore[misc]
        )
        own_redis.kill()
        assert [child.wait(60.0) for child in children] == [75, 75], "their store is gone"
        own_redis.start()
        logs += round_logs

        assert store.durability() == []
        for log in logs:
            check(store, log)
        with own_redis.client() as client:
            assert audit(client) == [], "what the server was killed in is all there or not at all"


def check(store: RedisStore, log: Path) -> None:
    said = acknowledged(log)
    for word, *ids in said:
        if word == "submitted":
            assert store.get_run(ids[0]) is not None, f"{ids[0]} was accepted"
        elif word == "committed":
            run, checkpoint = store.get_run(ids[0]), store.get_checkpoint(ids[1])
            assert run is not None
            assert run.status == "succeeded"
            assert checkpoint is not None
            assert damage_of(checkpoint) is None
            assert checkpoint.state == f'{{"run": "{ids[0]}"}}'
    assert sum(word == "committed" for word, *_ in said) > 40
