"""``petiole audit``: who changed what, when and from where."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from petiole.cli import parsing
from petiole.cli.options import Broker, Format, Limit, OfThread, Output, Store
from petiole.cli.session import at_store, tell

if TYPE_CHECKING:
    from petiole.audit.log import Query

app = typer.Typer(no_args_is_help=True, help="The audit log: who changed what, when and from where.")

Actor = Annotated[
    str | None,
    typer.Option("--actor", metavar="NAME", help="By this actor: key:ID, jwt:SUBJECT, cli:USER@HOST."),
]
Action = Annotated[
    str | None, typer.Option("--action", metavar="NAME", help="run.cancel, or run for all that begin so.")
]
ResultName = Annotated[
    str | None, typer.Option("--result", metavar="NAME", help="done, already, refused or failed.")
]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="Since: ISO 8601, or 2h ago.")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before: ISO 8601, or 2h ago.")]


@app.command("list", epilog="Example: petiole audit list --action run --result refused --since 1d")
def list_(
    ctx: typer.Context,
    actor: Actor = None,
    action: Action = None,
    thread: OfThread = None,
    result: ResultName = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """List changes, the newest first."""
    from itertools import islice

    from petiole.cli import output as out
    from petiole.documents import audit_document

    with at_store(ctx, store, broker) as client:
        query = _query(actor, action, thread, result, since, until)
        found = [*islice(client.audit.all(query), limit + 1)]
    shown = found[:limit]
    if output is not Format.text:
        out.write_json([audit_document(entry) for entry in shown], output)
    else:
        out.write_table(
            ("WHEN", "ACTOR", "FROM", "ACTION", "RESULT", "THREAD", "RUN", "REASON"),
            (
                (
                    out.ago(entry.at),
                    entry.actor,
                    entry.address or entry.via,
                    entry.action,
                    entry.result,
                    entry.thread_id,
                    entry.run_id,
                    entry.reason,
                )
                for entry in shown
            ),
            empty="nothing was changed, or nothing that matches",
        )
    if len(found) > limit:
        tell([f"there are more than {limit}: --limit shows them"])


@app.command("export", epilog="Example: petiole audit export --since 30d > audit.jsonl")
def export(
    ctx: typer.Context,
    actor: Actor = None,
    action: Action = None,
    thread: OfThread = None,
    result: ResultName = None,
    since: Since = None,
    until: Until = None,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Write changes as JSON, one a line, the newest first."""
    from petiole.documents import audit_document

    with at_store(ctx, store, broker) as client:
        for entry in client.audit.all(_query(actor, action, thread, result, since, until)):
            print(json.dumps(audit_document(entry), ensure_ascii=False))


def _query(
    actor: str | None,
    action: str | None,
    thread: str | None,
    result: str | None,
    since: str | None,
    until: str | None,
) -> Query:
    from petiole.audit.log import Query
    from petiole_workers.times import epoch

    return Query(
        actor=actor,
        action=action,
        thread_id=thread,
        result=result,
        since=epoch(parsing.past("--since", since)),
        until=epoch(parsing.past("--until", until)),
    )
