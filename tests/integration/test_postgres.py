"""What is Postgres' own: concurrency, cut connections, round trips, values that JSONB cannot hold, backups."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.conformance import Scene
from petiole_stores.conformance.scene import plain
from petiole_stores.errors import ConfigurationError, StoreError, StoreUnavailableError, UnstorableError
from petiole_stores.leaves import replaceable
from petiole_stores.opening import open_store
from petiole_stores.records import Amendment, Resumption
from petiole_stores.sql.postgres import PostgresStore
from tests.discovery import PostgresDatabases
from tests.processes import free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def url(module_postgres_url: str) -> str:
    open_store(module_postgres_url).close()
    return module_postgres_url


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    with PostgresStore(url) as found:
        yield found


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """``work(0)`` … ``work(count - 1)`` in threads that start together; the answers in order."""
    barrier = threading.Barrier(count)
    answers: list[Any] = [None] * count
    faults: list[BaseException] = []

    def run(number: int) -> None:
        try:
            barrier.wait(20)
            answers[number] = work(number)
        except BaseException as error:  # noqa: BLE001 - raised again below
            faults.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if faults:
        raise faults[0]
    return answers


def fan_out(scene: Scene, width: int) -> list[str]:
    """A run whose first superstep has ``width`` ready tasks, n0 …; returns their names."""
    holder = scene.worker()
    scene.store.submit([scene.new_run()])
    scene.store.claim(holder, "0", [(scene.id("r.start"), scene.id("k"))])
    names = [f"n{number}" for number in range(width)]
    settle = scene.settle("c0", None, *(scene.new_task(name) for name in names))
    (answer,) = scene.store.finish(holder, "0", [scene.outcome("r.start", "k", settle=settle)])
    assert answer.result == "committed"
    return names


# ---------------------------------------------------------------- concurrency


def test_a_task_is_claimed_once(store: PostgresStore) -> None:
    scene = Scene(store)
    names = fan_out(scene, 20)

    def claim(slot: int) -> list[str]:
        order = random.Random(slot).sample(names, len(names))
        wants = [(scene.id(name), scene.id(f"{name}.{slot}")) for name in order]
        answers = store.claim(scene.id("w"), str(slot), wants)
        return [answer.task_id for answer in answers if answer.result == "committed"]

    claimed = Counter(task for tasks in at_once(8, claim) for task in tasks)
    assert claimed == {scene.id(name): 1 for name in names}


def test_the_last_of_many_joins_once(store: PostgresStore) -> None:
    scene = Scene(store)
    names = fan_out(scene, 100)
    groups = [names[slot::8] for slot in range(8)]

    def work(slot: int) -> list[Any]:
        holder, mine = scene.id("w"), groups[slot]
        store.claim(holder, str(slot), [(scene.id(name), scene.id(f"{name}.k")) for name in mine])
        answers = []
        for name in mine:
            answers += store.finish(holder, str(slot), [scene.outcome(name, f"{name}.k")])
        return answers

    answers = [answer for group in at_once(8, work) for answer in group]
    assert {answer.result for answer in answers} == {"committed"}
    joined = [answer for answer in answers if answer.advance is not None]
    assert len(joined) == 1
    assert len(joined[0].advance.outputs) == 100
    # The last one opens the advance, so open is 1 for it, and 99 … 1 for the others.
    assert sorted(answer.open for answer in answers if answer.advance is None) == list(range(1, 100))


def test_sweeps_never_pick_a_task_twice(store: PostgresStore) -> None:
    scene = Scene(store)
    fan_out(scene, 60)
    scene.tick(1000)

    def pick(_: int) -> list[str]:
        picked: list[str] = []
        while found := store.due(limit=7, queue=scene.queue):
            picked += [ref.task_id for ref in found]
        return picked

    picked = Counter(task for tasks in at_once(6, pick) for task in tasks)
    assert picked == {scene.id(f"n{number}"): 1 for number in range(60)}


def test_enqueued_runs_start_whatever_happens_at_the_same_time(store: PostgresStore) -> None:
    """A submit that sees the thread busy, and the finish that ends the busy run, must not miss each other."""
    scene = Scene(store)
    holder = scene.worker()
    for turn in range(25):
        thread, first, second = f"t{turn}", f"a{turn}", f"b{turn}"
        store.submit([scene.new_run(first, thread)])
        store.claim(holder, "0", [(scene.id(f"{first}.start"), scene.id("k"))])

        def race(number: int, thread: str = thread, first: str = first, second: str = second) -> None:
            if number:
                store.submit([scene.new_run(second, thread, if_busy="enqueue")])
            else:
                settle = scene.settle(f"{first}.c", None)
                store.finish(holder, "0", [scene.outcome(f"{first}.start", "k", settle=settle)])

        at_once(2, race)
        (task,) = store.list_tasks(scene.id(second))
        assert task.status == "ready", f"turn {turn}: the queued run was forgotten"


def test_random_batches_never_deadlock(url: str) -> None:
    with PostgresStore(url) as store:
        before = deadlocks(store)
        scene = Scene(store)
        holder = scene.worker()
        threads = [f"t{number}" for number in range(12)]
        store.submit([scene.new_run(f"r.{thread}", thread) for thread in threads])
        ends = time.monotonic() + 4

        def work(number: int) -> int:
            dice, calls, slot = random.Random(number), 0, str(number)
            while time.monotonic() < ends:
                calls += 1
                chosen = dice.sample(threads, dice.randint(1, 8))
                tasks = [scene.id(f"r.{thread}.start") for thread in chosen]
                runs = [scene.id(f"r.{thread}") for thread in chosen]
                match dice.randrange(16):
                    case 0:
                        new = [
                            scene.new_run(
                                f"r.{thread}.{number}.{calls}", thread, if_busy="enqueue", lifetime=0.2
                            )
                            for thread in chosen
                        ]
                        store.submit(new)
                    case 1:
                        store.cancel([scene.id(f"r.{thread}.{number}.{calls - 1}") for thread in chosen])
                    case 2:
                        scene.tick(0.1)
                        store.sweep()
                    case 3:
                        store.due(limit=5, queue=scene.queue)
                    case 4:
                        store.release(holder, slots=[str(dice.randrange(6))], crashed=dice.random() < 0.5)
                    case 5:
                        store.postpone(tasks, 0)
                    case 6:
                        store.beat(plain_worker(holder), published=tasks)
                    case 7:
                        store.pause(runs)
                        store.block(runs[:2], kind="Unserved", reason="")
                    case 8:
                        store.unpause(runs)
                        store.unblock(runs)
                    case 9:
                        store.trim(scene.id(chosen[0]), 1)
                        store.recent()
                    case 10:
                        store.drop(tasks)
                    case 11:
                        store.cancel(runs[:1])
                        store.delete_thread(scene.id(chosen[0]))
                        store.submit([scene.new_run(f"r.{chosen[0]}", chosen[0], if_busy="enqueue")])
                    case _:
                        key = f"{number}.{calls}"
                        wants = [(task, scene.id(key)) for task in tasks]
                        got = store.claim(holder, slot, wants, published=tasks[:2])
                        outcomes = [
                            scene.outcome(answer.task_id.removeprefix(f"{scene.prefix}-"), key, "retry")
                            for answer in got
                            if answer.result == "committed"
                        ]
                        dice.shuffle(outcomes)
                        for outcome in outcomes[:1]:
                            store.note(outcome.task_id, outcome.token, "{}")
                        store.finish(holder, slot, outcomes)
            return calls

        assert min(at_once(6, work)) > 5
        store.close()
        with PostgresStore(url) as again:
            assert deadlocks(again) == before


def test_namespaces_hardly_deadlock(url: str) -> None:
    """Owners are locked after what is below them: nests, answers, amendments, signals and crashes beside all else.

    A call that names an owner and a task below it locks both by their ids, which may be the other way round: one of the two
    is made again then, by the store itself. That stays rare even where all that can meet does.
    """
    with PostgresStore(url) as store:
        before = deadlocks(store)
        scene = Scene(store)
        store.max_crashes = 2
        holder = scene.worker()
        threads = [f"t{number}" for number in range(6)]
        store.submit([scene.new_run(f"r.{thread}", thread) for thread in threads])
        ends = time.monotonic() + 4
        leaves: list[str] = []

        def work(number: int) -> int:
            dice, calls, slot = random.Random(number), 0, str(number)
            while time.monotonic() < ends:
                calls += 1
                key = f"{number}.{calls}"
                thread = dice.choice(threads)
                run_id, thread_id = scene.id(f"r.{thread}"), scene.id(thread)
                tasks = [scene.id(f"r.{it}.start") for it in threads] + leaves[-12:]
                chosen = dice.sample(tasks, min(len(tasks), dice.randint(1, 6)))
                match dice.randrange(12):
                    case 0:
                        known = store.list_tasks(run_id)
                        store.resume(run_id, [
                            Resumption(task_id=it.task_id, token=it.done_token or "")
                            for it in known if it.status == "interrupted" and dice.random() < 0.7
                        ])  # fmt: skip
                    case 1:
                        store.wake(thread_id, "s")
                    case 2:
                        head = store.head(thread_id)
                        made = scene.new_checkpoint(f"c.{key}", head.checkpoint_id if head else None)
                        store.amend(Amendment(
                            thread_id=thread_id, head_id=head.checkpoint_id if head else None, checkpoints=[made],
                            tasks=[scene.new_task(f"leaf.{key}.{it}", status="interrupted") for it in range(2)],
                        ))  # fmt: skip
                    case 3:
                        scene.tick(0.1)
                        store.sweep()
                        store.due(limit=5, queue=scene.queue)
                    case 4:
                        store.release(holder, slots=[str(dice.randrange(6))], crashed=True)
                        store.beat(plain_worker(holder), published=chosen)
                    case 5:
                        store.postpone(chosen, 0)
                        store.drop(chosen)
                    case 6:
                        store.pause([run_id])
                        store.unpause([run_id])
                    case 7:
                        failed = replaceable(store.list_tasks(run_id))
                        store.replay(
                            run_id,
                            [(it.task_id, scene.id(f"again.{key}.{n}")) for n, it in enumerate(failed)],
                        )
                        leaves.extend(scene.id(f"again.{key}.{n}") for n in range(len(failed)))
                    case 8:
                        store.trim(thread_id, 2)
                    case _:
                        wants = [(task, scene.id(f"{key}.{n}")) for n, task in enumerate(chosen)]
                        outcomes = []
                        for n, answer in enumerate(store.claim(holder, slot, wants)):
                            if answer.claim is None:
                                continue
                            name = answer.task_id.removeprefix(f"{scene.prefix}-")
                            ending = dice.choice(
                                ["nest", "nest", "done", "failed", "interrupted", "retry", "awaits"]
                            )
                            if ending == "nest" and not answer.claim.task.child:
                                ns = f"{answer.claim.task.ns}|n:{key}.{n}".lstrip("|")
                                below = [scene.new_task(f"leaf.{key}.{n}.{it}") for it in range(2)]
                                leaves.extend(task.task_id for task in below)
                                nest = scene.settle(f"n.{key}.{n}", None, *below, ns=ns)
                                outcomes.append(scene.outcome(name, f"{key}.{n}", "parked", nest=nest))
                            elif ending in ("awaits", "nest"):
                                outcomes.append(scene.outcome(name, f"{key}.{n}", "parked", awaits="s"))
                            elif not (ending == "done" and answer.claim.task.kind == "advance"):
                                outcomes.append(scene.outcome(name, f"{key}.{n}", ending))
                        dice.shuffle(outcomes)
                        store.finish(holder, slot, outcomes)
            return calls

        calls = at_once(6, work)
        assert min(calls) > 5
        assert any(task.child for it in threads for task in store.list_tasks(scene.id(f"r.{it}")))
        store.close()
        with PostgresStore(url) as again:
            assert deadlocks(again) - before <= max(1, sum(calls) / 100)


def plain_worker(worker_id: str) -> Any:
    from petiole_stores.records import Worker

    return Worker(worker_id=worker_id, name="w")


def deadlocks(store: PostgresStore) -> int:
    with store.connections.engine.connect() as connection:
        return int(
            connection.scalar(
                sa.text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
            )
            or 0
        )


# ---------------------------------------------------------------- connections


def test_a_claim_and_a_finish_are_one_round_trip_each(url: str) -> None:
    mark = "&" if "?" in url else "?"
    with PostgresStore(f"{url}{mark}pool_size=1&max_overflow=0&prepare_threshold=0") as store:
        scene = Scene(store)
        names = fan_out(scene, 4)
        with store.connections.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
        for name in names:  # the second time around everything is prepared
            with tempfile.TemporaryFile() as trace:
                driver.pgconn.trace(trace.fileno())
                store.claim(scene.id("w"), "0", [(scene.id(name), scene.id("k2"))])
                store.finish(scene.id("w"), "0", [scene.outcome(name, "k2")])
                driver.pgconn.untrace()
                trace.seek(0)
                sent = [
                    line.split(b"\t")[3] for line in trace.read().splitlines() if line.split(b"\t")[1] == b"F"
                ]
        assert sent == [b"Bind", b"Describe", b"Execute", b"Sync"] * 2


def test_a_connection_cut_before_the_commit_is_made_good(store: PostgresStore, url: str) -> None:
    scene = Scene(store)
    fan_out(scene, 2)
    store.claim(scene.id("w"), "0", [(scene.id("n0"), scene.id("k0"))])
    answers: list[Any] = []
    with psycopg.connect(url) as other:
        other.execute("SELECT FROM heads WHERE thread_id = %s FOR UPDATE", (scene.id("t"),))
        finishing = threading.Thread(
            target=lambda: answers.extend(store.finish(scene.id("w"), "0", [scene.outcome("n0", "k0")]))
        )
        finishing.start()
        with psycopg.connect(url, autocommit=True) as third:
            wait_until(
                lambda: third.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%petiole_finish%'"
                ).fetchone(),
                10,
                "the finish to wait for the lock",
            )
    finishing.join(20)
    assert [(answer.result, answer.open) for answer in answers] == [("committed", 1)]


def test_idle_connections_that_died_are_not_noticed(store: PostgresStore, url: str) -> None:
    at_once(4, lambda _: store.get_run("none"))
    with psycopg.connect(url, autocommit=True) as other:
        killed = other.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'petiole'"
        ).fetchone()
    assert killed is not None
    assert killed[0] > 0
    for _ in range(6):
        assert store.get_run("none") is None


def test_the_same_finish_again_is_already(store: PostgresStore) -> None:
    scene = Scene(store)
    fan_out(scene, 1)
    store.claim(scene.id("w"), "0", [(scene.id("n0"), scene.id("k0"))])
    outcome = scene.outcome("n0", "k0")
    first, second = (store.finish(scene.id("w"), "0", [outcome])[0] for _ in range(2))
    assert (first.result, second.result) == ("committed", "already")
    assert first.advance == second.advance
    assert len(store.list_tasks(scene.id("r"))) == 3


def test_a_server_that_is_not_there() -> None:
    store = PostgresStore(f"postgresql://nobody:secret@127.0.0.1:{free_port()}/none")
    store.connections.patience = 0.2
    with pytest.raises(StoreUnavailableError, match="cannot be reached") as caught:
        store.connect()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("option", ["pool_size=many", "prepare_threshold=-1"])
def test_options_that_cannot_be_read(option: str) -> None:
    with pytest.raises(ConfigurationError, match=option.partition("=")[0]):
        PostgresStore(f"postgresql://localhost/x?{option}")


def test_the_options_of_the_url_reach_the_server(url: str) -> None:
    mark = "&" if "?" in url else "?"
    with PostgresStore(f"{url}{mark}synchronous_commit=off") as store:
        shown = "SELECT current_setting('synchronous_commit') || ' ' || current_setting('application_name')"
        assert store.connections.call(shown, ()) == "off petiole"


FORKED = """
import os, sys
from petiole_stores.sql.postgres import PostgresStore
store = PostgresStore(sys.argv[1])
mine = store.connections.call("SELECT pg_backend_pid()::text", ())
child = os.fork()
if child == 0:
    theirs = store.connections.call("SELECT pg_backend_pid()::text", ())
    store.close()
    os._exit(0 if theirs != mine else 9)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert store.connections.call("SELECT pg_backend_pid()::text", ()) == mine
"""


def test_a_fork_opens_connections_of_its_own(url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, url],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- values


def test_a_value_that_cannot_be_stored_harms_no_neighbour(store: PostgresStore) -> None:
    scene = Scene(store)
    fan_out(scene, 3)
    names = ["n0", "n1", "n2"]
    store.claim(scene.id("w"), "0", [(scene.id(name), scene.id("k")) for name in names])
    outcomes = [scene.outcome(name, "k") for name in names]
    outcomes[1].output = '{"a": "\\u0000"}'
    with pytest.raises(UnstorableError, match=scene.id("n1")):
        store.finish(scene.id("w"), "0", outcomes)
    found = {task.node: task.status for task in store.list_tasks(scene.id("r")) if task.kind == "node"}
    assert found == {"n0": "done", "n1": "claimed", "n2": "done"}


# ---------------------------------------------------------------- backup


def test_a_backup_is_the_whole_store(postgres_databases: PostgresDatabases, tmp_path: Path) -> None:
    file = tmp_path / "store.zip"
    with postgres_databases.fresh() as one, postgres_databases.fresh() as two:
        with open_store(one) as source:
            scene = Scene(source)
            fan_out(scene, 3)
            source.save(Checkpoint(id=scene.id("hand"), thread_id=scene.id("u"), state={"big": "x" * 9000}))
            assert source.backup(file) == 2
            with pytest.raises(FileExistsError):
                source.backup(file)
            wanted = [plain(task) for task in source.list_tasks(scene.id("r"))]
        with PostgresStore(two) as target:
            assert target.restore(file) == 2
            assert [plain(task) for task in target.list_tasks(scene.id("r"))] == wanted
            assert target.load(scene.id("hand")).state == {"big": "x" * 9000}
            with pytest.raises(StoreError, match="already holds"):
                target.restore(file)
            # The sequences go on behind what was restored.
            (answer,) = target.submit([scene.new_run("later", "v")])
            assert answer.result == "committed"
            assert list(target.threads()) == sorted([scene.id("t"), scene.id("u")])


def test_a_damaged_backup_restores_nothing(postgres_databases: PostgresDatabases, tmp_path: Path) -> None:
    file = tmp_path / "store.zip"
    with postgres_databases.fresh() as one, postgres_databases.fresh() as two:
        with open_store(one) as source:
            fan_out(Scene(source), 50)
            source.backup(file)
        data = bytearray(file.read_bytes())
        spot = data.index(b"tasks.copy") + 200
        data[spot : spot + 20] = bytes(20)
        file.write_bytes(data)
        with PostgresStore(two) as target:
            with pytest.raises(StoreError, match="damaged"):
                target.restore(file)
            assert list(target.threads()) == []
            (tmp_path / "text").write_text("no zip")
            with pytest.raises(StoreError, match="no backup"):
                target.restore(tmp_path / "text")
