"""``petiole serve``: the HTTP API and the dashboard."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from petiole.cli.options import Broker, Graphs, Store
from petiole.cli.session import settings_of, tell

Host = Annotated[
    str | None, typer.Option("--host", metavar="ADDRESS", help="Where to listen. Default: 127.0.0.1.")
]
Port = Annotated[
    int | None, typer.Option("--port", metavar="N", min=0, max=65535, help="Default: 8642; 0: any free one.")
]


def serve(
    ctx: typer.Context,
    host: Host = None,
    port: Port = None,
    auth: Annotated[
        bool | None,
        typer.Option(
            "--auth/--no-auth",
            help="Whether a key or token is needed. Default: where there are any, and on all but loopback addresses.",
        ),
    ] = None,
    graphs: Graphs = None,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Serve the HTTP API and the dashboard.

    Graphs that are given (or set) are drawn, have start forms, and bring the classes of their states.
    """
    from petiole.api.serving import serve as run
    from petiole.client import Client
    from petiole_stores.errors import ConfigurationError
    from petiole_workers.launch import EXIT_CONFIGURATION, SERVER_SUPERVISOR_VARIABLE

    if supervisor := os.environ.pop(SERVER_SUPERVISOR_VARIABLE, None):
        from petiole_workers.celery.parent import die_with

        die_with(int(supervisor))
    settings = settings_of(ctx, store=store, broker=broker, graphs=graphs, host=host, port=port)
    with Client(settings=settings) as client:
        tell(client.place.notes)
        client.loaded_graphs()
        try:
            run(client, host=settings.host, port=settings.port, auth=auth, say=lambda line: tell([line]))
        except ConfigurationError as error:
            if supervisor is None:
                raise
            tell([str(error)])
            raise typer.Exit(EXIT_CONFIGURATION) from None
