"""A node's own table and its checkpoint change together or not at all, on Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from petiole_stores.conformance import Scene
from petiole_stores.errors import InputError, StoreError, StoreUnavailableError, UnstorableError
from petiole_stores.opening import open_store
from petiole_stores.sql.postgres import PostgresStore
from tests.cutting import CuttingProxy
from tests.processes import free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def url(module_postgres_url: str) -> str:
    open_store(module_postgres_url).close()
    with psycopg.connect(module_postgres_url) as connection:
        connection.execute("CREATE TABLE accounts (id text PRIMARY KEY, money numeric CHECK (money >= 0))")
    return module_postgres_url


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    with PostgresStore(url) as found:
        yield found


def at_a_node(store: PostgresStore) -> Scene:
    """A claimed node ``n`` under token ``k``, alone in its superstep, and its row in ``accounts``."""
    scene = Scene(store)
    scene.begin("n")
    scene.claimed("n", "k")
    store.connections.rows("INSERT INTO accounts VALUES (%s, 100) RETURNING id", (scene.prefix,))
    return scene


def ended(scene: Scene, **fields: Any) -> Any:
    """The outcome that ends the node and its run."""
    return scene.outcome("n", "k", settle=scene.settle("c1", "r.c0"), **fields)


def spend(connection: Any, scene: Scene, amount: int = 30) -> None:
    connection.execute("UPDATE accounts SET money = money - %s WHERE id = %s", (amount, scene.prefix))


def money(store: PostgresStore, scene: Scene) -> int:
    return int(store.connections.rows("SELECT money FROM accounts WHERE id = %s", (scene.prefix,))[0][0])


def test_both_are_committed(store: PostgresStore) -> None:
    scene = at_a_node(store)
    with store.transaction() as transaction:
        spend(transaction.connection, scene)
        assert money(store, scene) == 100, "nobody else sees it yet"
        (answer,) = transaction.finish(scene.id("w"), "s", [ended(scene)])
    assert (answer.result, answer.run_status) == ("committed", "succeeded")
    assert (money(store, scene), scene.head()) == (70, "c1")


def test_nothing_is_committed_without_a_finish(store: PostgresStore) -> None:
    scene = at_a_node(store)
    with store.transaction() as transaction:
        spend(transaction.connection, scene)

    def broken() -> None:
        with store.transaction() as transaction:
            spend(transaction.connection, scene)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert (money(store, scene), scene.head(), scene.task("n").status) == (100, "r.c0", "claimed")


def test_a_fenced_token_takes_the_changes_with_it(store: PostgresStore) -> None:
    scene = at_a_node(store)
    with store.transaction() as transaction:
        spend(transaction.connection, scene)
        store.release(scene.id("w"))
        scene.claimed("n", "k2")
        (answer,) = transaction.finish(scene.id("w"), "s", [ended(scene)])
    assert (answer.result, answer.reason) == ("refused", "fenced")
    assert (money(store, scene), scene.head(), scene.task("n").token) == (100, "r.c0", scene.id("k2"))


def test_one_refused_of_many_refuses_all(store: PostgresStore) -> None:
    scene = Scene(store)
    scene.begin("a", "b")
    scene.claimed("a", "k")
    store.connections.rows("INSERT INTO accounts VALUES (%s, 100) RETURNING id", (scene.prefix,))
    with store.transaction() as transaction:
        spend(transaction.connection, scene)
        answers = transaction.finish(scene.id("w"), "s", [scene.outcome("a", "k"), scene.outcome("b", "k")])
    assert [(a.result, a.reason) for a in answers] == [("committed", ""), ("refused", "fenced")]
    assert (money(store, scene), scene.task("a").status) == (100, "claimed")


def test_the_same_attempt_again_changes_nothing_twice(store: PostgresStore) -> None:
    scene = at_a_node(store)
    for result in ("committed", "already"):
        with store.transaction() as transaction:
            spend(transaction.connection, scene)
            (answer,) = transaction.finish(scene.id("w"), "s", [ended(scene)])
        assert answer.result == result
    assert money(store, scene) == 70


def test_a_backend_killed_before_the_commit(store: PostgresStore) -> None:
    scene = at_a_node(store)
    with store.transaction() as transaction:
        spend(transaction.connection, scene)
        kill(store, transaction.connection.info.backend_pid)
        with pytest.raises(StoreUnavailableError, match="cannot be reached"):
            transaction.finish(scene.id("w"), "s", [ended(scene)])
    assert (money(store, scene), scene.head()) == (100, "r.c0")
    assert store.holds(scene.id("n"), scene.id("k")), "the node may do it all again"


def test_a_backend_killed_under_a_statement_of_the_node(store: PostgresStore) -> None:
    scene = at_a_node(store)

    def node() -> None:
        with store.transaction() as transaction:
            kill(store, transaction.connection.info.backend_pid)
            spend(transaction.connection, scene)

    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        node()


def kill(store: PostgresStore, pid: int) -> None:
    store.connections.rows("SELECT pg_terminate_backend(%s)", (pid,))
    gone = "SELECT FROM pg_stat_activity WHERE pid = %s"
    wait_until(lambda: not store.connections.rows(gone, (pid,)), 10, "the backend to be gone")


@pytest.mark.parametrize("delivered", [False, True], ids=["the commit is lost", "its answer is lost"])
def test_a_connection_cut_at_the_commit(url: str, delivered: bool) -> None:
    proxy = CuttingProxy(url)
    try:
        with PostgresStore(proxy.url) as store:
            scene = at_a_node(store)
            with store.transaction() as transaction:
                spend(transaction.connection, scene)
                proxy.cut(b"COMMIT", delivered=delivered)
                with pytest.raises(StoreUnavailableError, match="cannot be reached"):
                    transaction.finish(scene.id("w"), "s", [ended(scene)])
            assert proxy.cuts == 1
            if delivered:
                wait_until(lambda: scene.head() == "c1", 10, "the server to have committed")
                assert money(store, scene) == 70
                assert not store.holds(scene.id("n"), scene.id("k"))
            else:
                # This waits for the server to have noticed: the row is locked till then.
                store.connections.rows("SELECT FROM accounts WHERE id = %s FOR UPDATE", (scene.prefix,))
                assert (money(store, scene), scene.head()) == (100, "r.c0")
                assert store.holds(scene.id("n"), scene.id("k"))
    finally:
        proxy.close()


def test_the_connection_is_psycopgs_own(url: str) -> None:
    mark = "&" if "?" in url else "?"
    with PostgresStore(f'{url}{mark}schema=the "3"&pool_size=1&max_overflow=0') as store:
        store.migrate_schema()
        scene = Scene(store)
        scene.begin("n")
        scene.claimed("n", "k")
        with store.transaction() as transaction:
            connection = transaction.connection
            assert isinstance(connection, psycopg.Connection)
            assert connection.execute("SELECT current_schema(), '[1]'::jsonb, 1.5::numeric").fetchone() == (
                'the "3"', [1], Decimal("1.5"),
            )  # fmt: skip
            connection.row_factory = dict_row
            connection.execute("CREATE TABLE mine (n int)")
            with pytest.raises(psycopg.errors.UndefinedTable), connection.transaction():
                connection.execute("SELECT FROM nothing")
            with connection.transaction():
                connection.execute("INSERT INTO mine VALUES (1)")
            with pytest.raises(psycopg.ProgrammingError):
                connection.commit()
            with pytest.raises(psycopg.ProgrammingError):
                connection.rollback()
            # The pool's one connection is free all the while.
            assert store.holds(scene.id("n"), scene.id("k"))
            (answer,) = transaction.finish(scene.id("w"), "s", [ended(scene)])
        assert answer.result == "committed"
        assert store.connections.rows("SELECT n FROM mine", ()) == [(1,)]
        with pytest.raises(StoreError, match="is over"):
            transaction.finish(scene.id("w"), "s", [ended(scene)])


def test_what_cannot_be_committed_is_said(store: PostgresStore) -> None:
    scene = at_a_node(store)
    with store.transaction() as transaction:
        with pytest.raises(psycopg.errors.CheckViolation):
            spend(transaction.connection, scene, 500)
        with pytest.raises(StoreError, match="savepoint"):
            transaction.finish(scene.id("w"), "s", [ended(scene)])
    with store.transaction() as transaction:
        spend(transaction.connection, scene)
        with pytest.raises(UnstorableError, match=scene.id("n")):
            transaction.finish(scene.id("w"), "s", [ended(scene, output='"\\u0000"')])
    with store.transaction() as transaction, pytest.raises(InputError):
        transaction.finish(scene.id("w"), "s", [scene.outcome("n", "k", advance_id="")])
    with psycopg.connect(store.url.text, autocommit=True) as other:
        other.execute(
            "CREATE TABLE debts (id text, owner text, FOREIGN KEY (owner) REFERENCES accounts (id) "
            "DEFERRABLE INITIALLY DEFERRED)"
        )
    with store.transaction() as transaction:
        spend(transaction.connection, scene)
        transaction.connection.execute("INSERT INTO debts VALUES ('d', 'nobody')")
        with pytest.raises(StoreError, match="foreign key"):
            transaction.finish(scene.id("w"), "s", [ended(scene)])
    assert (money(store, scene), scene.head()) == (100, "r.c0")


def test_a_server_that_is_not_there() -> None:
    store = PostgresStore(f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    store.connections.patience = 0.2
    with pytest.raises(StoreUnavailableError, match="cannot be reached"), store.transaction():
        pass
