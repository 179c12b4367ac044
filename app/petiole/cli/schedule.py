"""``petiole schedule``: runs that workers submit when their time comes."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from petiole.cli import parsing
from petiole.cli.options import Broker, Busy, Format, IdempotencyKey, Output, Store
from petiole.cli.session import connected, tell

if TYPE_CHECKING:
    from petiole.client import Client
    from petiole_workers.compiled import CompiledGraph
    from petiole_workers.schedules.schedule import Schedule

app = typer.Typer(
    no_args_is_help=True,
    help="Schedules: runs that workers submit when their time comes, once for each time.",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]


class Missed(StrEnum):
    skip = "skip"
    all = "all"


@app.command(
    "create",
    epilog="Examples: petiole schedule create nightly shop.report --cron '0 3 * * *' --timezone Europe/Berlin; "
    "petiole schedule create poll shop.poll --every 30s --thread poller --input '{\"n\": 1}'",
)
def create(
    ctx: typer.Context,
    name: Name,
    graph: Annotated[
        str, typer.Argument(metavar="GRAPH", help="A graph's name, or module:attribute (input is checked).")
    ],
    input: Annotated[
        str, typer.Option("--input", metavar="JSON|@FILE|-", help="What each run starts with. Default: {}.")
    ] = "{}",
    cron: Annotated[
        str | None,
        typer.Option("--cron", metavar="EXPRESSION", help="Minute, hour, day of month, month, day of week."),
    ] = None,
    timezone: Annotated[
        str, typer.Option("--timezone", metavar="NAME", help="Where --cron is read, as Europe/Berlin.")
    ] = "UTC",
    every: Annotated[
        str | None, typer.Option("--every", metavar="DURATION", help="In place of --cron: 30s, 5m, 2h …")
    ] = None,
    thread: Annotated[
        str | None, typer.Option("--thread", metavar="ID", help="Of all runs. Default: a new one for each.")
    ] = None,
    if_busy: Annotated[
        Busy, typer.Option("--if-busy", help="While another run is active on --thread.")
    ] = Busy.reject,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TAG", help="Of its runs; may be repeated.")
    ] = None,
    metadata: Annotated[
        str | None, typer.Option("--metadata", metavar="JSON", help="An object kept with its runs.")
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option("--deadline", metavar="DURATION", help="Fail runs that take longer than this."),
    ] = None,
    missed: Annotated[
        Missed, typer.Option("--missed", help="Of times that passed unseen: make up for the newest, or all.")
    ] = Missed.skip,
    catch_up: Annotated[
        str, typer.Option("--catch-up", metavar="DURATION", help="Give up what was missed longer ago.")
    ] = "1h",
    jitter: Annotated[
        str, typer.Option("--jitter", metavar="DURATION", help="Start each run up to so long after its time.")
    ] = "0",
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="No time after this, in ISO 8601.")
    ] = None,
    max_runs: Annotated[
        int | None, typer.Option("--max-runs", metavar="N", help="End after so many runs.")
    ] = None,
    paused: Annotated[bool, typer.Option("--paused", help="Fire nothing before it is unpaused.")] = False,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Make a schedule."""
    value = parsing.json_value("--input", input)
    extra = parsing.json_object("--metadata", metadata)
    with connected(ctx, store, broker, notes=True) as client:
        made = client.create_schedule(
            name,
            _graph(graph),
            value,
            cron=cron,
            timezone=timezone,
            every=None if every is None else parsing.duration("--every", every),
            thread_id=thread,
            if_busy=if_busy.value,
            tags=tag or (),
            metadata=extra,
            deadline=None if deadline is None else parsing.duration("--deadline", deadline),
            missed=missed.value,
            catch_up=parsing.duration("--catch-up", catch_up),
            jitter=parsing.duration("--jitter", jitter),
            until=None if until is None else parsing.moment("--until", until),
            max_runs=max_runs,
            paused=paused,
        )
        _show(client, made, output)


@app.command("list")
def list_(
    ctx: typer.Context, output: Output = Format.text, store: Store = None, broker: Broker = None
) -> None:
    """List schedules by name."""
    from petiole import documents
    from petiole.cli import output as out

    with connected(ctx, store, broker) as client:
        found = client.list_schedules()
        tell(list(client.damaged_schedules().values()))
        if output is not Format.text:
            out.write_json([documents.schedule_document(one, client.store.serde) for one in found], output)
            return
    out.write_table(
        ("NAME", "GRAPH", "WHEN", "STATUS", "NEXT", "RUNS", "LAST"),
        (
            (
                one.name,
                one.graph,
                documents.timing_text(one.timing),
                one.status,
                out.ago(one.next_at),
                one.fired,
                one.last.result if one.last else "",
            )
            for one in found
        ),
        empty="there is no schedule",
    )


@app.command("show")
def show(
    ctx: typer.Context, name: Name, output: Output = Format.text, store: Store = None, broker: Broker = None
) -> None:
    """Show a schedule with its next time and what came of its last one."""
    with connected(ctx, store, broker) as client:
        _show(client, client.get_schedule(name), output)


@app.command("pause")
def pause(
    ctx: typer.Context, name: Name, output: Output = Format.text, store: Store = None, broker: Broker = None
) -> None:
    """Let a schedule fire nothing until it is unpaused; runs that it has submitted go on."""
    with connected(ctx, store, broker) as client:
        _show(client, client.pause_schedule(name), output)


@app.command("unpause")
def unpause(
    ctx: typer.Context, name: Name, output: Output = Format.text, store: Store = None, broker: Broker = None
) -> None:
    """Let a paused schedule fire again, from its next time on."""
    with connected(ctx, store, broker) as client:
        _show(client, client.unpause_schedule(name), output)


@app.command("trigger", epilog="Example: petiole schedule trigger nightly --idempotency-key release-7")
def trigger(
    ctx: typer.Context,
    name: Name,
    idempotency_key: IdempotencyKey = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Submit a run of a schedule now, paused or not; its times stay as they are."""
    from petiole.cli.results import settle

    with connected(ctx, store, broker) as client:
        handle = client.trigger_schedule(name, idempotency_key=idempotency_key)
        settle(client, handle, False, None, output)


@app.command("delete")
def delete(ctx: typer.Context, name: Name, store: Store = None, broker: Broker = None) -> None:
    """Remove a schedule; runs that it has submitted stay."""
    from petiole_stores.errors import NotFoundError

    with connected(ctx, store, broker) as client:
        if not client.delete_schedule(name):
            raise NotFoundError(f"there is no schedule {name!r}: see petiole schedule list")
    print(f"schedule {name} is deleted")


def _show(client: Client, schedule: Schedule, output: Format) -> None:
    from petiole import documents
    from petiole.cli import output as out

    document = documents.schedule_document(schedule, client.store.serde)
    if output is not Format.text:
        out.write_json(document, output)
        return
    last = document.pop("last") or {}
    out.write_fields([*document.items(), *((f"last {key}", value) for key, value in last.items())])


def _graph(text: str) -> str | CompiledGraph:
    """A graph's name, or the graph itself at module:attribute."""
    if ":" not in text:
        return text
    from petiole_workers.registry import load_graph

    return load_graph(text)
