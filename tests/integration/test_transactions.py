"""``runtime.transaction()``: a node's own writes and its checkpoint happen together or not at all, whatever is lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from petiole_stores.errors import StoreUnavailableError
from petiole_stores.opening import open_store
from petiole_stores.store import Store, StoreTransaction
from petiole_workers.failure import parse_failure
from petiole_workers.graph import START, RetryPolicy, Runtime, Send, StateGraph
from tests.cluster.worker import IMPORTS
from tests.unit.engine.bench import State, chain, says
from tests.unit.engine.driven import Driven
from tests.waiting import wait_until


class Accounts:
    """A table of the user's own in the store's database; ``mark`` is how the driver writes a parameter."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.mark = "%s" if url.startswith("postgresql") else "?"
        with closing(self._connect()) as db, db:
            db.execute("CREATE TABLE paid (thread text NOT NULL, amount integer NOT NULL)")

    def _connect(self) -> Any:
        if self.url.startswith("postgresql"):
            return psycopg.connect(self.url)
        return sqlite3.connect(self.url.removeprefix("sqlite:///"))

    def pay(self, connection: Any, amount: int) -> None:
        connection.execute(f"INSERT INTO paid VALUES ({self.mark}, {self.mark})", ("t", amount))

    def paid(self) -> list[int]:
        with closing(self._connect()) as db, db:
            return [row[0] for row in db.execute("SELECT amount FROM paid ORDER BY amount").fetchall()]


@pytest.fixture(params=[pytest.param("postgresql", marks=pytest.mark.postgres), "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = open_store(url)
    yield opened
    opened.close()


@pytest.fixture
def accounts(store: Store, url: str) -> Accounts:
    return Accounts(url)


def test_writes_and_checkpoint_are_committed_together(store: Store, accounts: Accounts) -> None:
    seen: list[list[int]] = []

    def pay(state: State, runtime: Runtime) -> State:
        with runtime.transaction() as connection:
            accounts.pay(connection, 7)
        with runtime.transaction() as connection:  # the same one
            accounts.pay(connection, 8)
        seen.append(accounts.paid())
        return {"log": ["pay"]}

    driven = Driven(store, chain(pay=pay, last=says("last")))
    driven.submit()
    driven.drain()
    assert seen == [[]], "nothing is visible before the commit"
    assert accounts.paid() == [7, 8]
    assert driven.log() == ["pay", "last"]


def test_a_failing_node_leaves_nothing(store: Store, accounts: Accounts) -> None:
    def pay(state: State, runtime: Runtime) -> State:
        with runtime.transaction() as connection:
            accounts.pay(connection, 7)
        raise ValueError("after all")

    driven = Driven(store, chain(pay=pay))
    run_id = driven.submit()
    driven.drain()
    assert driven.run(run_id).status == "failed"
    assert accounts.paid() == []


def test_each_try_has_a_transaction_of_its_own(store: Store, accounts: Accounts) -> None:
    tries: list[int] = []

    def pay(state: State, runtime: Runtime) -> State:
        tries.append(len(tries))
        with runtime.transaction() as connection:
            accounts.pay(connection, len(tries))
        if len(tries) < 3:
            raise ConnectionError("gone")
        return {}

    builder = StateGraph(State)
    builder.add_node("pay", pay, retry_policy=RetryPolicy(initial_interval=0, jitter=False))
    builder.add_edge(START, "pay")
    driven = Driven(store, builder)
    driven.submit()
    driven.drain()
    assert accounts.paid() == [3]


def test_a_block_left_by_an_exception_is_undone_even_if_the_node_goes_on(
    store: Store, accounts: Accounts
) -> None:
    def pay(state: State, runtime: Runtime) -> State:
        try:
            with runtime.transaction() as connection:
                accounts.pay(connection, 1)
                raise KeyError("no")
        except KeyError:
            pass
        with runtime.transaction() as connection:
            accounts.pay(connection, 2)
        return {}

    driven = Driven(store, chain(pay=pay))
    driven.submit()
    driven.drain()
    assert accounts.paid() == [2]


def test_a_worker_that_has_lost_its_claim_writes_nothing(store: Store, accounts: Accounts) -> None:
    calls: list[int] = []

    def pay(state: State, runtime: Runtime) -> State:
        calls.append(1)
        if len(calls) == 1:
            store.release(driven.holder, slots=["1"], crashed=True)
            driven.publish(store.due())
            driven.another("2").run([driven.hint()])
        with runtime.transaction() as connection:
            accounts.pay(connection, len(calls))
        return {"log": ["pay"]}

    driven = Driven(store, chain(pay=pay))
    driven.submit()
    driven.drain()
    assert len(calls) == 2
    assert accounts.paid() == [2]
    assert driven.log() == ["pay"]


def test_branches_of_a_fan_out_pay_once_each(store: Store, accounts: Accounts) -> None:
    def pay(number: int, runtime: Runtime) -> State:
        with runtime.transaction() as connection:
            accounts.pay(connection, number)
        return {"log": [str(number)]}

    builder = StateGraph(State)
    builder.add_node("pay", pay)
    builder.add_node("last", says("last"))
    builder.add_conditional_edges(START, lambda state: [Send("pay", n) for n in range(5)], ["pay"])
    builder.add_edge("pay", "last")
    driven = Driven(store, builder)
    driven.submit()
    driven.drain()
    assert accounts.paid() == [0, 1, 2, 3, 4]
    assert driven.log() == ["0", "1", "2", "3", "4", "last"]


class Doubtful(StoreTransaction):
    """The connection breaks just before or just after the commit reaches the server."""

    def __init__(self, inner: StoreTransaction, *, committed: bool) -> None:
        self._inner, self._committed = inner, committed
        self.connection = inner.connection

    def finish(self, holder: str, slot: str, outcomes: Any) -> Any:
        if self._committed:
            self._inner.finish(holder, slot, outcomes)
        raise StoreUnavailableError("the connection is lost")


@pytest.mark.parametrize("committed", [False, True])
def test_a_commit_in_doubt_pays_once(
    store: Store, accounts: Accounts, committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    whole = store.transaction

    def pay(state: State, runtime: Runtime) -> State:
        calls.append(1)
        with runtime.transaction() as connection:
            accounts.pay(connection, 5)
        return {"log": ["pay"]}

    class Once:
        def __enter__(self) -> StoreTransaction:
            self._context = whole()
            monkeypatch.setattr(store, "transaction", whole)
            return Doubtful(self._context.__enter__(), committed=committed)

        def __exit__(self, *error: Any) -> Any:
            return self._context.__exit__(*error)

    monkeypatch.setattr(store, "transaction", Once)
    driven = Driven(store, chain(pay=pay, last=says("last")))
    run_id = driven.submit()
    driven.drain()
    assert driven.run(run_id).status == "succeeded"
    assert accounts.paid() == [5]
    assert driven.log() == ["pay", "last"]
    assert len(calls) == (1 if committed else 2)
    assert driven.tasks(run_id)["pay"].failures == 0


def test_bad_sql_fails_the_node_with_the_databases_words(store: Store, accounts: Accounts) -> None:
    def pay(state: State, runtime: Runtime) -> State:
        with runtime.transaction() as connection:
            connection.execute("INSERT INTO nowhere VALUES (1)")
        return {}

    driven = Driven(store, chain(pay=pay))
    run_id = driven.submit()
    driven.drain()
    failure = parse_failure(driven.run(run_id).error)
    assert failure is not None
    assert "nowhere" in failure.message


CHILD = """
import sys, time
from pathlib import Path
from petiole_stores.opening import open_store
from tests.unit.engine.bench import chain, says
from tests.unit.engine.driven import Driven

url, reached = sys.argv[1:]

def pay(state, runtime):
    with runtime.transaction() as connection:
        connection.execute("INSERT INTO paid VALUES ('t', 9)")
    Path(reached).touch()
    time.sleep(60)

driven = Driven(open_store(url), chain(pay=pay, last=says("last")), holder="child")
driven.submit()
driven.drain()
"""


def test_a_process_killed_with_its_transaction_open_leaves_nothing_and_another_pays(
    store: Store, accounts: Accounts, url: str, tmp_path: Path
) -> None:
    reached = tmp_path / "reached"
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), url, str(reached)],
        env={**os.environ, "PYTHONPATH": IMPORTS},
    )
    try:
        wait_until(reached.exists, 20, "the child's write")
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
    pay: Callable[..., State]

    def pay(state: State, runtime: Runtime) -> State:
        with runtime.transaction() as connection:
            accounts.pay(connection, 3)
        return {"log": ["pay"]}

    driven = Driven(store, chain(pay=pay, last=says("last")))
    wait_until(
        lambda: store.release("child", crashed=True, final=True) or store.due(published_before=4e9), 10
    )
    driven.take_up()
    driven.drain()
    assert accounts.paid() == [3]
    assert driven.log() == ["pay", "last"]
