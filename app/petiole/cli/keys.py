"""``petiole key``: API keys of the server."""

from __future__ import annotations

from typing import Annotated

import typer

from petiole.cli import parsing
from petiole.cli.options import Broker, Format, Output, Store
from petiole.cli.session import at_store, tell

app = typer.Typer(no_args_is_help=True, help="API keys for `petiole serve`.")

KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `petiole key list` shows it.")]


@app.command(
    "create", epilog="Example: petiole key create billing --scope submit --graph shop.order --expires 90d"
)
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whom or what it is for.")],
    scope: Annotated[
        list[str],
        typer.Option("--scope", metavar="SCOPE", help="read, submit, operate or admin; may be repeated."),
    ],
    graph: Annotated[
        list[str] | None, typer.Option("--graph", metavar="NAME", help="Limited to it; may be repeated.")
    ] = None,
    namespace: Annotated[
        list[str] | None,
        typer.Option("--namespace", metavar="NAME", help="Limited to threads NAME:…; may be repeated."),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="TIME", help="Ends after so long: 90d, 12h. Default: never."),
    ] = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Make an API key. It is printed this once and kept nowhere."""
    from petiole.access.keys import Keys
    from petiole.access.local import me
    from petiole.cli import output as out
    from petiole.documents import key_document

    lifetime = None if expires is None else parsing.duration("--expires", expires)
    with (
        at_store(ctx, store, broker) as client,
        client.recording("key.create", details={"name": name}) as entry,
    ):
        key, token = Keys(client.store).create(
            name, scope, graphs=graph or (), namespaces=namespace or (), lifetime=lifetime, by=me()
        )
        entry.after = key_document(key)
    if output is not Format.text:
        out.write_json(key_document(key) | {"token": token}, output)
        return
    print(token)
    tell([f"key {key.key_id} ({', '.join(key.scopes)}); keep it now: it is not shown again"])


@app.command("list")
def list_(
    ctx: typer.Context, output: Output = Format.text, store: Store = None, broker: Broker = None
) -> None:
    """List all keys, the newest first, those that are over, too."""
    from petiole.access.keys import Keys
    from petiole.cli import output as out
    from petiole.documents import iso, key_document

    with at_store(ctx, store, broker) as client:
        keys = Keys(client.store)
        found = keys.list()
        used = keys.last_used([key.key_id for key in found])
        now = client.now()
    if output is not Format.text:
        out.write_json(
            [key_document(key) | {"last_used_at": iso(used.get(key.key_id))} for key in found], output
        )
        return
    out.write_table(
        ("ID", "NAME", "STATUS", "SCOPES", "GRAPHS", "NAMESPACES", "MADE", "ENDS", "USED"),
        (
            (
                key.key_id,
                key.name,
                key.status(now),
                key.scopes,
                key.graphs,
                key.namespaces,
                out.ago(key.created_at),
                out.ago(key.expires_at) if key.expires_at else "",
                out.ago(used[key.key_id]) if key.key_id in used else "never",
            )
            for key in found
        ),
        empty="no key yet: `petiole key create NAME --scope read` makes one",
    )


@app.command("revoke", epilog="Example: petiole key revoke 3f9a0c1b2d4e")
def revoke(ctx: typer.Context, key_id: KeyId, store: Store = None, broker: Broker = None) -> None:
    """End a key for good, within seconds on every server."""
    from petiole.access.keys import Keys
    from petiole.documents import key_document

    with at_store(ctx, store, broker) as client:
        keys = Keys(client.store)
        with client.recording("key.revoke", details={"key_id": key_id}) as entry:
            before = keys.get(key_id)
            entry.before = key_document(before)
            entry.result = "already" if before.revoked_at is not None else "done"
            key = keys.revoke(key_id)
            entry.after = key_document(key)
    tell([f"key {key.key_id} ({key.name}) is revoked"])
