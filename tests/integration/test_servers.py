"""Each private server really starts, is killed, comes back with its data, and never outlives the test process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import amqp
import psycopg
import pytest
import redis

from tests.discovery import PostgresDatabases, RedisDatabases, VirtualHosts
from tests.processes import Leashed, alive, answers
from tests.servers import HOST, OwnPostgres, OwnRabbitMQ, OwnRedis, rabbitmq_answers
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


@pytest.mark.redis
def test_redis_keeps_its_data_over_a_kill_and_loses_them_by_a_flush(own_redis: OwnRedis) -> None:
    url = own_redis.url
    with redis.Redis.from_url(url) as client:
        client.set("key", "value")
        own_redis.kill()
        assert not answers(HOST, own_redis.port)
        with pytest.raises(redis.ConnectionError):
            client.get("key")
        own_redis.start()
        assert client.get("key") == b"value"
        own_redis.restart()
        assert client.get("key") == b"value"
        own_redis.flush()
        assert client.dbsize() == 0
    assert own_redis.url == url


@pytest.mark.redis
def test_a_paused_redis_hangs(own_redis: OwnRedis) -> None:
    assert own_redis.process is not None
    own_redis.process.pause()
    try:
        with (
            redis.Redis.from_url(own_redis.url, socket_timeout=0.2) as client,
            pytest.raises(redis.TimeoutError),
        ):
            client.ping()
    finally:
        own_redis.process.unpause()
    with redis.Redis.from_url(own_redis.url, socket_timeout=5) as client:
        assert client.ping()


@pytest.mark.postgres
def test_postgres_keeps_its_data_over_a_kill_and_loses_them_by_a_flush(own_postgres: OwnPostgres) -> None:
    with psycopg.connect(own_postgres.url, autocommit=True) as connection:
        connection.execute("create table t (n int)")
        connection.execute("insert into t values (7)")
    own_postgres.kill()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(own_postgres.url, connect_timeout=2)
    own_postgres.start()
    with psycopg.connect(own_postgres.url) as connection:
        assert connection.execute("select n from t").fetchall() == [(7,)]
    own_postgres.restart()
    own_postgres.flush()
    with psycopg.connect(own_postgres.url) as connection:
        assert connection.execute(
            "select count(*) from pg_tables where schemaname = 'public'"
        ).fetchone() == (0,)


@pytest.mark.postgres
@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_postgres_runs_where_its_user_cannot_reach_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := OwnPostgres.missing():
        pytest.skip(reason)
    monkeypatch.setattr("tests.servers.reachable", lambda folder: False)
    with OwnPostgres() as server, psycopg.connect(server.url) as connection:
        assert server.binaries().is_relative_to(server.folder)
        assert connection.execute("select 1").fetchone() == (1,)
    assert not server.folder.exists()


@pytest.mark.rabbitmq
@pytest.mark.slow
def test_rabbitmq_keeps_durable_messages_over_a_kill_and_loses_them_by_a_flush(
    own_rabbitmq: OwnRabbitMQ,
) -> None:
    def channel() -> amqp.Channel:
        connection = amqp.Connection(f"{HOST}:{own_rabbitmq.port}", virtual_host=own_rabbitmq.virtual_host)
        connection.connect()
        return connection.channel()

    first = channel()
    first.confirm_select()
    first.queue_declare("q", durable=True, auto_delete=False)
    first.basic_publish_confirm(amqp.Message("hello", delivery_mode=2), routing_key="q")
    own_rabbitmq.kill()
    assert not rabbitmq_answers(own_rabbitmq.url)
    first.connection.collect()
    own_rabbitmq.start()
    second = channel()
    assert second.basic_get("q", no_ack=True).body == "hello"
    second.connection.close()
    own_rabbitmq.flush()
    third = channel()
    with pytest.raises(amqp.NotFound):
        third.queue_declare("q", passive=True)
    third.connection.close()


@pytest.mark.postgres
def test_databases_are_made_copied_and_dropped(postgres_databases: PostgresDatabases) -> None:
    with postgres_databases.fresh() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create table t (n int)")
        copy = postgres_databases.create(template=url)
        try:
            with psycopg.connect(copy) as connection:
                assert connection.execute("select count(*) from t").fetchone() == (0,)
        finally:
            postgres_databases.drop(copy)
    for gone in (url, copy):
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(gone)


@pytest.mark.postgres
def test_databases_of_dead_processes_only_are_dropped(own_postgres: OwnPostgres) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    server = f"postgresql://postgres@{HOST}:{own_postgres.port}/postgres"
    stale, live, other = (
        f"petiole_test_{ended.pid}_1",
        f"petiole_test_{os.getpid()}_900",
        "petiole_test_notes",
    )
    with psycopg.connect(server, autocommit=True) as connection:
        for name in (stale, live, other):
            connection.execute(f"create database {name}")
        PostgresDatabases(server).drop_leftovers()
        rows = connection.execute(
            "select datname from pg_database where datname like 'petiole_test%'"
        ).fetchall()
        assert {name for (name,) in rows} == {live, other}
        for name in (live, other):
            connection.execute(f"drop database {name}")


@pytest.mark.redis
def test_numbered_databases_are_exclusive_emptied_and_never_a_strangers(own_redis: OwnRedis) -> None:
    lender = RedisDatabases(f"redis://{HOST}:{own_redis.port}", own_redis.folder / "locks")
    with redis.Redis(port=own_redis.port, db=15) as stranger:
        stranger.set("precious", "1")
        with lender.fresh() as one, lender.fresh() as two:
            assert one.endswith("/14")
            assert two.endswith("/13")
            with redis.Redis.from_url(one) as client:
                client.set("rubbish", "1")
        with lender.fresh() as again:
            assert again == one
            with redis.Redis.from_url(again) as client:
                assert client.dbsize() == 0
        assert stranger.get("precious") == b"1"


@pytest.mark.rabbitmq
def test_a_virtual_host_of_ones_own(rabbitmq_hosts: VirtualHosts) -> None:
    if rabbitmq_hosts.control is None:
        pytest.skip("this RabbitMQ lets nobody make virtual hosts: it is shared as it is")
    with rabbitmq_hosts.fresh() as url:
        assert rabbitmq_answers(url)
    assert not rabbitmq_answers(url)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_children_die_with_the_process_that_started_them(tmp_path: Path, number: signal.Signals) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom tests.processes import Leashed\n"
        f"child = Leashed(['sleep', '600'], log=Path({str(tmp_path / 'log')!r}))\n"
        "print(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.send_signal(number)
        parent.wait(10)
    wait_until(lambda: not alive(child), 10, f"the end of process {child}")


def test_a_leashed_command_reports_its_end(tmp_path: Path) -> None:
    script = "import sys; print('bye'); sys.exit(3)"
    ended = Leashed([sys.executable, "-c", script], log=tmp_path / "log")
    assert ended.wait(20) == 3
    assert ended.tail().strip() == "bye"
    assert not ended.running()
    assert ended.kill() == 3


def test_a_leashed_command_is_stopped_by_its_signal_or_killed_in_the_end(tmp_path: Path) -> None:
    polite = Leashed(["sleep", "600"], log=tmp_path / "polite")
    assert polite.stop() == 128 + signal.SIGTERM
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    deaf = Leashed([sys.executable, "-c", script], log=tmp_path / "deaf")
    wait_until(lambda: "deaf" in deaf.tail(), 20)
    assert deaf.stop(timeout=0.2) == -signal.SIGKILL
    assert not alive(deaf.pid)


def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="could not start no-such-command"):
        Leashed(["no-such-command"], log=tmp_path / "log")
