"""``petiole worker``: run one under a supervisor; ``petiole worker list``: see them all."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from petiole.cli.options import Broker, Format, Graphs, Output, Store
from petiole.cli.session import connected, settings_of, tell
from petiole.cli.spooling import spool
from petiole.cli.variadic import VariadicGroup

app = typer.Typer(cls=VariadicGroup, help="Run a worker, or list those there are.")


class Pool(StrEnum):
    prefork = "prefork"
    threads = "threads"
    gevent = "gevent"
    solo = "solo"


class Chain(StrEnum):
    broker = "broker"
    inline = "inline"


class LogLevel(StrEnum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class NodeLogs(StrEnum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"
    off = "off"


Queues = Annotated[
    list[str] | None,
    typer.Option(
        "--queues", metavar="QUEUE…", help="Queues to consume; several may follow. Default: its graphs'."
    ),
]
PoolOption = Annotated[Pool | None, typer.Option("--pool", help="How nodes run side by side.")]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency", metavar="N", min=1, help="Slots of the pool. Default: the machine's cores."
    ),
]


@app.callback(
    invoke_without_command=True,
    epilog="Example: petiole worker --graphs shop.flows:order shop.flows:refund --concurrency 4",
)
def worker(
    ctx: typer.Context,
    graphs: Graphs = None,
    queues: Queues = None,
    pool: PoolOption = None,
    concurrency: Concurrency = None,
    grace: Annotated[
        float | None,
        typer.Option("--grace", metavar="SECONDS", help="How long a warm stop waits for running nodes."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Shown as NAME@HOST; unique on its host.")
    ] = None,
    lease: Annotated[
        float | None,
        typer.Option("--lease", metavar="SECONDS", help="Silence after which others take its tasks."),
    ] = None,
    chain: Annotated[
        Chain | None, typer.Option("--chain", help="inline: go on with a run's single next node.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", metavar="N", min=1, help="Waiting messages that a slot takes together."),
    ] = None,
    max_tasks_per_child: Annotated[
        int | None,
        typer.Option(
            "--max-tasks-per-child", metavar="N", min=1, help="Replace a prefork process after so many."
        ),
    ] = None,
    log_level: Annotated[
        LogLevel | None, typer.Option("--log-level", case_sensitive=False, help="What is logged.")
    ] = None,
    node_logs: Annotated[
        NodeLogs | None,
        typer.Option(
            "--node-logs", case_sensitive=False, help="From which level on is kept what nodes log, or off."
        ),
    ] = None,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Run a worker: a supervised Celery process that is started again when it dies.

    SIGTERM or Ctrl-C stop it warmly (running nodes get --grace seconds, the rest goes to other workers at once), a second
    Ctrl-C at once; SIGHUP restarts it with the code as it is then.
    """
    if ctx.invoked_subcommand is not None:
        return
    settings = settings_of(
        ctx,
        store=store,
        broker=broker,
        graphs=graphs,
        queues=queues,
        pool=pool,
        concurrency=concurrency,
        grace=grace,
        lease=lease,
        chain=chain,
        batch=batch,
        max_tasks_per_child=max_tasks_per_child,
        log_level=log_level,
        node_logs=node_logs,
    )
    from petiole.defaults import ground
    from petiole.supervisor import Supervisor

    place = ground(settings)
    tell(place.notes)
    with place:
        raise typer.Exit(Supervisor(place, [name or f"petiole-{os.getpid()}"]).run())


app.command("spool")(spool)


@app.command("list")
def list_(
    ctx: typer.Context,
    all_: Annotated[bool, typer.Option("--all", help="Those too that have stopped or died.")] = False,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """List the workers that are alive, and what they have done.

    LOST are slots whose node cannot be ended, DONE are tasks that were committed, FENCED are outputs that were refused
    because the task had gone to another worker or its run was over.
    """
    from petiole import documents
    from petiole.cli import output as out

    with connected(ctx, store, broker) as client:
        workers = [w for w in client.workers() if all_ or w.status in ("alive", "stopping")]
    if output is not Format.text:
        out.write_json([documents.worker_document(one) for one in workers], output)
        return
    out.write_table(
        (
            "NAME",
            "STATUS",
            "POOL",
            "SLOTS",
            "BUSY",
            "LOST",
            "DONE",
            "FENCED",
            "QUEUES",
            "GRAPHS",
            "STARTED",
            "BEAT",
        ),
        (
            (
                w.name,
                w.status,
                w.pool,
                w.concurrency,
                *(int(w.stats.get(count, 0)) for count in ("busy", "lost_slots", "committed", "refused")),
                w.queues,
                sorted(w.graphs),
                out.ago(w.started_at),
                out.ago(w.beat_at),
            )
            for w in workers
        ),
        empty="no worker is alive: start one with `petiole worker --graphs module:attribute`",
    )
