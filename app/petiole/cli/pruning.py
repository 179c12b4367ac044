"""``petiole db prune`` and ``petiole run delete``: what is kept no longer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from petiole.cli import parsing
from petiole.cli.options import Broker, Format, Output, Store, Thread
from petiole.cli.session import at_store, connected

if TYPE_CHECKING:
    from petiole_stores.store import Store as OpenStore

#: Threads looked at in one go.
BATCH = 500
STATUSES = ("succeeded", "failed", "cancelled")


def prune(
    ctx: typer.Context,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="DURATION", help="Delete threads whose newest run ended before."
        ),
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status", metavar="STATUS", help="Only those that ended so; may be repeated. Default: all."
        ),
    ] = None,
    max_checkpoints: Annotated[
        int | None,
        typer.Option("--max-checkpoints", metavar="N", min=1, help="Keep the newest N of each thread."),
    ] = None,
    thread: Annotated[
        str | None, typer.Option("--thread", metavar="ID", help="Trim only this thread.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, threads are only counted.")] = False,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Remove old threads and checkpoints, safely while runs go on. Workers do the same by their settings."""
    from petiole.cli import output as out
    from petiole_stores.errors import InputError

    wrong = [name for name in status or () if name not in STATUSES]
    if wrong:
        raise InputError(f"--status is {wrong[0]!r}: take {', '.join(STATUSES)}")
    if older_than is None and max_checkpoints is None:
        raise InputError("nothing to remove was named: give --older-than DURATION, or --max-checkpoints N")
    document: dict[str, object] = {"done": yes}
    with at_store(ctx, store, broker) as client:
        if older_than is not None:
            age = parsing.duration("--older-than", older_than)
            ages = dict.fromkeys(status or STATUSES, age)
            if yes:
                with client.recording("db.prune", details={"older_than": age, "status": [*ages]}) as entry:
                    document["threads"] = _delete(client.store, ages)
                    entry.after = {"threads": document["threads"]}
            else:
                document["threads"] = len(client.store.expired(ages, limit=10**6))
        if max_checkpoints is not None:
            names = [thread] if thread is not None else list(client.store.threads())
            if yes:
                asked = {"max_checkpoints": max_checkpoints}
                with client.recording("db.prune", thread_id=thread, details=asked) as entry:
                    entry.after = _trim(client.store, names, max_checkpoints, yes)
                    document |= entry.after
            else:
                document |= _trim(client.store, names, max_checkpoints, yes)
    if output is not Format.text:
        out.write_json(document, output)
        return
    verb = "are removed" if yes else "would be removed; --yes removes them"
    for name in ("threads", "checkpoints"):
        if name in document:
            print(f"{document[name]} {name} {verb}")


def _delete(store: OpenStore, ages: dict[str, float]) -> int:
    from petiole_workers.deletion import delete_thread

    deleted = 0
    while threads := store.expired(ages, limit=BATCH):
        gone = sum(delete_thread(store, thread_id) for thread_id in threads)
        deleted += gone
        if sys.stderr.isatty():
            print(f"petiole: {deleted} threads are removed", file=sys.stderr, flush=True)
        if not gone:
            break
    return deleted


def _trim(store: OpenStore, threads: list[str], most: int, yes: bool) -> dict[str, object]:
    """Only threads that workers run: what ``graph.invoke`` or other programs keep is kept whole."""
    from petiole_workers.celery.janitor import is_workers

    count = 0
    for thread_id in threads:
        if not is_workers(store, thread_id):
            continue
        if yes:
            count += store.trim(thread_id, most).checkpoints
        else:
            by_namespace: dict[str, int] = {}
            for record in store.list_checkpoints(thread_id, ns=None):
                by_namespace[record.ns] = by_namespace.get(record.ns, 0) + 1
            count += sum(max(0, number - most) for number in by_namespace.values())
    return {"checkpoints": count}


def delete(
    ctx: typer.Context,
    thread: Thread,
    force: Annotated[bool, typer.Option("--force", help="Cancel its active runs first.")] = False,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Remove a thread with its runs, checkpoints and tasks. An active run has to be cancelled first, or --force does."""
    with connected(ctx, store, broker) as client:
        gone = client.delete(thread, force=force)
    print(f"thread {thread} is removed" if gone else f"there is no thread {thread}")
