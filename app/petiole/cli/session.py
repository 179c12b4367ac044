"""From a command's options to a client; from errors to a message and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from petiole.cli.options import Common

if TYPE_CHECKING:
    from petiole.audit.client import AuditedClient
    from petiole.client import Client, RunHandle
    from petiole_workers.settings import Settings


def settings_of(ctx: typer.Context, **flags: object) -> Settings:
    """The settings in force; an option after the command's name is stronger than one before it."""
    from petiole_workers.settings import load_settings

    return load_settings(flags_of(ctx, **flags))


def flags_of(ctx: typer.Context, **flags: object) -> dict[str, object]:
    """What was set by options; those that were not given are left out."""
    common = common_of(ctx)
    merged = {"store": common.store, "broker": common.broker} | {
        k: v for k, v in flags.items() if v not in (None, [])
    }
    return {name: value for name, value in merged.items() if value is not None}


def common_of(ctx: typer.Context) -> Common:
    found = ctx.find_object(Common)
    return found if found is not None else Common()


@contextmanager
def connected(
    ctx: typer.Context,
    store: str | None,
    broker: str | None,
    *,
    graphs: Sequence[str] | None = None,
    notes: bool = False,
) -> Iterator[Client]:
    """A client for one command; what it changes is put into the audit log (over HTTP the server does that).

    ``notes``: say on stderr when the store or broker is an embedded one.
    """
    from petiole.access.local import me
    from petiole.audit.client import AuditedClient
    from petiole.audit.entry import Origin
    from petiole.client import Client

    settings = settings_of(ctx, store=store, broker=broker, graphs=list(graphs or []))
    with Client(settings=settings) as client:
        if notes:
            tell(client.place.notes)
        # A client over HTTP is of another class: it is the server that records.
        yield AuditedClient(client, Origin(actor=me(), via="cli")) if type(client) is Client else client


@contextmanager
def at_store(ctx: typer.Context, store: str | None, broker: str | None) -> Iterator[AuditedClient]:
    """As :func:`connected`, for commands that need the store itself. Raises ConfigurationError for a server's URL."""
    from petiole.audit.client import AuditedClient
    from petiole_stores.errors import ConfigurationError

    with connected(ctx, store, broker) as client:
        if not isinstance(client, AuditedClient):
            raise ConfigurationError(
                "the store that is set is a server (http://…), and this command needs the store itself: name it with --store, or ask the "
                "server (docs/http-api.md)"
            )
        yield client


def handle_of(client: Client, thread: str, run: str | None) -> RunHandle:
    """The run that a command means. Raises NotFoundError, also for a run of another thread."""
    from petiole_stores.errors import NotFoundError

    handle = client.handle(run or thread)
    if run is not None and thread not in (handle.thread_id, handle.run_id):
        raise NotFoundError(f"run {run!r} is of thread {handle.thread_id!r}, not of {thread!r}")
    return handle


def tell(lines: Sequence[str]) -> None:
    """Write to people, beside the output."""
    for line in lines:
        print(f"petiole: {line}", file=sys.stderr, flush=True)
