"""``petiole bulk``: bulk jobs, which servers do behind a request of the API or the dashboard."""

from __future__ import annotations

from typing import Annotated

import typer

from petiole.cli.options import Broker, Format, Output, Store
from petiole.cli.session import at_store, tell

app = typer.Typer(
    no_args_is_help=True,
    help="Bulk jobs: actions on many runs that a server does behind a request of the API or the dashboard.",
)

Id = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]


@app.command("list", epilog="Example: petiole bulk list -o json")
def list_(
    ctx: typer.Context, output: Output = Format.text, store: Store = None, broker: Broker = None
) -> None:
    """List the jobs of the last week, those heard of last first."""
    from petiole.bulk.kept import KeptJobs
    from petiole.cli import output as out
    from petiole.documents import job_document

    with at_store(ctx, store, broker) as client:
        found = KeptJobs(client.store).recent()
    if output is not Format.text:
        out.write_json([job_document(job) for job in found], output)
        return
    out.write_table(
        ("ID", "ACTION", "STATUS", "RUNS", "DONE", "ALREADY", "REFUSED", "BY", "BEGUN"),
        (
            (
                job.id,
                job.wanted.action,
                job.status,
                job.total,
                job.done,
                job.already,
                sum(job.refused.values()),
                job.by,
                out.ago(job.created_at),
            )
            for job in found
        ),
        empty="no bulk job in the last week; `petiole run replay --status failed` treats many runs from here",
    )


@app.command("get", epilog="Example: petiole bulk get 0199a2f4-7c1e-7aaa-8bbb-0123456789ab")
def get(
    ctx: typer.Context, id: Id, output: Output = Format.text, store: Store = None, broker: Broker = None
) -> None:
    """Show how far a job has come, and what it was refused."""
    from petiole.bulk.kept import KeptJobs
    from petiole.cli import output as out
    from petiole.documents import job_document

    with at_store(ctx, store, broker) as client:
        document = job_document(KeptJobs(client.store).find(id))
    if output is not Format.text:
        out.write_json(document, output)
        return
    refusals, refused = document.pop("refusals"), document.pop("refused")
    out.write_fields(document.items())
    for reason, number in refused.items():
        print(f"{number} refused: {reason}")
    out.write_table(
        ("THREAD", "RUN", "REASON"),
        ((one["thread_id"], one["run_id"], one["reason"]) for one in refusals),
        empty="",
    )


@app.command("cancel", epilog="Example: petiole bulk cancel 0199a2f4-7c1e-7aaa-8bbb-0123456789ab")
def cancel(ctx: typer.Context, id: Id, store: Store = None, broker: Broker = None) -> None:
    """End a job after the runs that it has in hand; what is done stays done."""
    from petiole.bulk.asking import cancel

    with at_store(ctx, store, broker) as client:
        job = cancel(client, id)
    tell([f"bulk job {job.id} ends after the runs that it has in hand: {job.done} of {job.total} were done"])
