"""The tree of commands, and ``main``: one clear message and an exit code for each error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from petiole.cli import auditing, db, dead_letters, graph, jobs, keys, run, schedule, tools, worker
from petiole.cli.options import Broker, Common, Store
from petiole.cli.serving import serve
from petiole.cli.variadic import VariadicCommand

app = typer.Typer(
    name="petiole",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Durable graph workflows on Celery: every node is checkpointed before the next is chained.",
    epilog="Begin with: petiole dev --graphs module:attribute, and from another terminal: petiole run start GRAPH --input '{}'",
)
app.add_typer(run.app, name="run")
app.add_typer(dead_letters.app, name="dlq")
app.add_typer(jobs.app, name="bulk")
app.add_typer(schedule.app, name="schedule")
app.add_typer(worker.app, name="worker")
app.add_typer(graph.app, name="graph")
app.add_typer(db.app, name="db")
app.add_typer(keys.app, name="key")
app.add_typer(auditing.app, name="audit")
app.command(
    "serve", cls=VariadicCommand, epilog="Example: petiole serve --graphs shop.flows:order --port 8642"
)(serve)
app.command("dev", cls=VariadicCommand)(tools.dev)
app.command("doctor", cls=VariadicCommand)(tools.doctor)
app.command("demo")(tools.demo)
app.command("version")(tools.version)


def _version(wanted: bool) -> None:
    if wanted:
        tools.version()
        raise typer.Exit


@app.callback()
def petiole(
    ctx: typer.Context,
    store: Store = None,
    broker: Broker = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="As the command version.")
    ] = False,
) -> None:
    """Durable graph workflows on Celery: every node is checkpointed before the next is chained."""
    ctx.obj = Common(store=store, broker=broker, debug=debug)


class Voice(logging.Handler):
    """Warnings of the client, in the words and place of the command line's own."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"petiole: {record.getMessage()}", file=sys.stderr, flush=True)


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if args is None else args)
    logger = logging.getLogger("petiole")
    if not any(isinstance(handler, Voice) for handler in logger.handlers):
        logger.addHandler(Voice(logging.WARNING))
    try:
        app(arguments, prog_name="petiole")
    except SystemExit as exit:
        return exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from petiole.cli.exits import code_of
        from petiole_stores.errors import PetioleError

        if not isinstance(error, PetioleError) or "--debug" in arguments:
            raise
        print(f"petiole: {error}", file=sys.stderr)
        return int(code_of(error))
    return 0
