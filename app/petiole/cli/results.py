"""What a command did to a run: the run as it is then, or its final state once it has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from petiole.cli.options import Format
from petiole.cli.session import tell

if TYPE_CHECKING:
    from petiole.client import Client, RunHandle


def settle(client: Client, handle: RunHandle, wait: bool, timeout: float | None, format: Format) -> None:
    """Print what a command did to a run; with ``wait`` its final state, once it has one."""
    from petiole import documents
    from petiole.cli import output as out
    from petiole.client.reasons import reason_of

    if not wait:
        run = handle.run
        if format is Format.text:
            out.write_fields(
                (
                    ("thread", run.thread_id),
                    ("run", run.run_id),
                    ("status", run.status),
                    ("reason", reason_of(run)),
                )
            )
        else:
            out.write_json(documents.run_document(run), format)
        return
    if format is Format.text:
        tell([f"run {handle.run_id} of thread {handle.thread_id}"])
    result = documents.plain(handle.result(timeout))
    if format is Format.text:
        out.write_json(result, Format.json)
    else:
        out.write_json(documents.run_document(handle.run) | {"result": result}, format)


def warn_unserved(client: Client, handle: RunHandle) -> None:
    """Say so where no worker would take the run up."""
    graph = handle.run.graph
    served = {name for worker in client.workers() if worker.status == "alive" for name in worker.graphs}
    if graph not in served:
        others = f"; served are {', '.join(sorted(served))}" if served else ""
        tell(
            [
                f"no worker that is alive serves graph {graph!r}: the run waits for one (petiole worker --graphs module:attribute){others}"
            ]
        )
