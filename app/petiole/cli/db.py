"""``petiole db``: the store's schema, its soundness, and copies of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petiole.cli.options import Format, Output, Store
from petiole.cli.pruning import prune
from petiole.cli.session import settings_of
from petiole.cli.variadic import VariadicCommand
from petiole.cli.verify import verify

if TYPE_CHECKING:
    from petiole_stores.store import Store as OpenStore

app = typer.Typer(no_args_is_help=True, help="Look after the store: schema, checks, backup.")


class Dialect(StrEnum):
    postgresql = "postgresql"
    sqlite = "sqlite"


@app.command("upgrade")
def upgrade(ctx: typer.Context, output: Output = Format.text, store: Store = None) -> None:
    """Bring the store's schema to this version; an empty store is set up."""
    from petiole.cli import output as out
    from petiole.defaults import ground, without_password
    from petiole_stores.opening import upgrade_store

    url = ground(settings_of(ctx, store=store)).store_url
    steps, where = upgrade_store(url), without_password(url)
    if output is not Format.text:
        out.write_json({"store": where, "steps": steps}, output)
        return
    for step in steps:
        print(step)
    print(f"{where} is up to date")


app.command("verify", cls=VariadicCommand)(verify)
app.command("prune", epilog="Example: petiole db prune --older-than 30d --status succeeded --yes")(prune)


@app.command("sql")
def sql(
    dialect: Annotated[Dialect, typer.Option("--dialect", help="Of which database.")] = Dialect.postgresql,
    start: Annotated[
        str | None, typer.Option("--from", metavar="REVISION", help="Only the steps after it. Default: all.")
    ] = None,
) -> None:
    """Print the schema's steps as SQL, for those who apply them by other means."""
    from petiole_stores.sql import migrate

    print(migrate.sql(dialect.value, start=start), end="")


@app.command("backup", epilog="Example: petiole db backup shop.petiole --store postgresql://shop@db/shop")
def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that does not exist yet.")],
    store: Store = None,
) -> None:
    """Write what the store keeps to a new file."""
    from petiole_stores.errors import InputError

    with _opened(ctx, store) as opened:
        try:
            count = opened.backup(file)
        except FileExistsError:
            raise InputError(f"{file} exists: name a new file") from None
        except OSError as error:
            raise InputError(f"{file} cannot be written: {error}") from None
        print(f"{count} checkpoints of {opened.url.shown} are in {file}")


@app.command("restore")
def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `petiole db backup` wrote.")],
    store: Store = None,
) -> None:
    """Bring back what a backup has."""
    from petiole_stores.errors import InputError

    with _opened(ctx, store) as opened:
        try:
            count = opened.restore(file)
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error}") from None
        print(f"{count} checkpoints of {file} are in {opened.url.shown}")


@contextmanager
def _opened(ctx: typer.Context, url: str | None) -> Iterator[OpenStore]:
    """The store in force, its schema left as it is."""
    from petiole.defaults import ground
    from petiole_stores.opening import open_store

    store = open_store(ground(settings_of(ctx, store=url)).store_url, migrate=False)
    try:
        yield store
    finally:
        store.close()
