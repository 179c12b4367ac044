"""``petiole worker spool``: outcomes that wait on this machine, or in the backup store, for the store to answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from petiole.cli.options import Broker, Format, Output, Store
from petiole.cli.session import connected

if TYPE_CHECKING:
    from petiole_workers.settings import Settings
    from petiole_workers.spool import Entry, Spool


@dataclass(frozen=True)
class Waiting:
    """One outcome of a worker's spool; of a damaged entry nothing more is known."""

    holder: str
    entry: str
    at: float | None = None
    graph: str | None = None
    node: str | None = None
    thread_id: str | None = None
    task_id: str | None = None


def spool(
    ctx: typer.Context,
    send: Annotated[bool, typer.Option("--send", help="Send what waits to the store now.")] = False,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """List outputs that workers could not bring to the store: they send them themselves when it answers.

    What a dead worker left is sent by the next one on its machine, or by --send. The store refuses what it has given to
    another worker meanwhile.
    """
    from msgspec import to_builtins

    from petiole.cli import output as out
    from petiole_workers.spool import Report, SpoolFolder
    from petiole_workers.spool import send as send_spool

    with connected(ctx, store, broker) as client:
        settings = client.settings
        folder, sent = SpoolFolder(settings.data_dir), Report()
        rows: list[Waiting] = []
        with _spools(settings) as found:
            for holder, one in found:
                if send:
                    report, publish = send_spool(one, client.store)
                    folder.keep_report(holder, report)
                    client.publish(publish)
                    sent += report
                rows += [row for key, entry in one.entries() for row in _rows(holder, key, entry)]
    if output is not Format.text:
        out.write_json({"waiting": to_builtins(rows), "reports": to_builtins(folder.reports())}, output)
        return
    if sent:
        print(f"sent: {sent}")
    out.write_table(
        ("HOLDER", "SINCE", "GRAPH", "NODE", "THREAD", "TASK"),
        (
            (it.holder, out.ago(it.at), it.graph, it.node or "damaged", it.thread_id, it.task_id)
            for it in rows
        ),
        empty="nothing waits for the store",
    )  # fmt: skip
    for kept in folder.reports()[-3:]:
        print(f"{out.ago(kept.at)}: of worker {kept.holder} {kept.report}")


def _rows(holder: str, key: str, entry: Entry | None) -> list[Waiting]:
    if entry is None:
        return [Waiting(holder, key)]
    return [
        Waiting(holder, key, entry.at, ref.graph, ref.node, ref.thread_id, ref.task_id) for ref in entry.refs
    ]


@contextmanager
def _spools(settings: Settings) -> Iterator[list[tuple[str, Spool]]]:
    """Every spool of this machine and of the backup store, with its worker."""
    from petiole_stores.opening import open_checkpoint_store
    from petiole_workers.spool import BackupSpool, SpoolFolder, left_in

    folder = SpoolFolder(settings.data_dir)
    found: list[tuple[str, Spool]] = [(holder, folder.of(holder)) for holder in folder.holders()]
    if settings.backup_store is None:
        yield found
        return
    with open_checkpoint_store(settings.backup_store) as backup:
        yield [*found, *((holder, BackupSpool(backup, holder)) for holder in left_in(backup))]
