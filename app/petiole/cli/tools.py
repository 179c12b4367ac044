"""Commands without a group: ``dev``, ``doctor``, ``demo``, ``version``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from petiole.cli.options import Broker, Format, Graphs, Output, Store
from petiole.cli.serving import Host, Port
from petiole.cli.session import flags_of, settings_of, tell
from petiole.cli.worker import Concurrency, PoolOption


def dev(
    ctx: typer.Context,
    graphs: Graphs = None,
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=1, help="Worker processes.")] = 1,
    pool: PoolOption = None,
    concurrency: Concurrency = None,
    reload: Annotated[
        bool, typer.Option("--reload/--no-reload", help="Restart when the graphs' files change.")
    ] = True,
    ui: Annotated[
        bool, typer.Option("--ui/--no-ui", help="Serve the HTTP API and the dashboard, too.")
    ] = True,
    host: Host = None,
    port: Port = None,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Run everything on this machine: store, broker, server, and workers that are restarted when the code changes."""
    from petiole.defaults import ground
    from petiole.supervisor import Supervisor
    from petiole.watching import FileWatch, folders_of

    settings = settings_of(
        ctx,
        store=store,
        broker=broker,
        graphs=graphs,
        pool=pool,
        concurrency=concurrency or _dev_slots(ctx),
        host=host,
        port=port,
    )
    place = ground(settings)
    tell(place.notes)
    with place:
        names = [f"dev-{number}" for number in range(1, workers + 1)]
        folders = folders_of(settings.graphs) if reload else []
        # What no change of a file can mend is not waited for.
        supervisor = Supervisor(place, names, patient=bool(folders), server=ui)
        watch = FileWatch(folders, supervisor.restart)
        if folders:
            watch.start()
            tell([f"watching {', '.join(map(str, folders))}; Ctrl-C stops"])
        try:
            raise typer.Exit(supervisor.run())
        finally:
            watch.stop()


def doctor(
    ctx: typer.Context,
    graphs: Graphs = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Check settings, store, broker, graphs, workers and clocks; exit code 1 if something is wrong."""
    import msgspec

    from petiole.cli import output as out
    from petiole.cli.checks import examine
    from petiole.cli.exits import Exit
    from petiole.defaults import ground
    from petiole_workers.settings import load_settings, origins

    flags = flags_of(ctx, store=store, broker=broker, graphs=graphs)
    findings = [*examine(ground(load_settings(flags)), origins(flags))]
    if output is not Format.text:
        out.write_json([msgspec.to_builtins(finding) for finding in findings], output)
    else:
        out.write_table(
            ("STATUS", "CHECK", "FOUND", "REMEDY"),
            ((f.status, f.check, f.detail, f.remedy if f.status != "ok" else "") for f in findings),
            empty="nothing to check",
        )
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(Exit.FAILED)


def demo(
    input: Annotated[
        Path | None,
        typer.Option("--input", metavar="DIR", help="Text files to read. Default: installed packages'."),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", min=1, max=4, help="Worker processes.")
    ] = 2,
    kill: Annotated[
        bool, typer.Option("--kill/--no-kill", help="Kill one of them with SIGKILL in mid-run.")
    ] = True,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="Lines of the ranking.")] = 10,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep", metavar="DIR", help="Keep store, logs and report here, not in a temporary folder."
        ),
    ] = None,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Count words of real files on two workers, kill one in mid-run, and show that nothing is lost."""
    from petiole.demo.show import Options, main

    options = Options(
        input=input, broker=broker, store=store, data_dir=keep, workers=workers, kill=kill, top=top
    )
    raise typer.Exit(main(options))


def version(output: Output = Format.text) -> None:
    """Print the versions of Petiole and Python."""
    import platform

    from petiole import __version__
    from petiole.cli import output as out

    if output is Format.text:
        print(f"petiole {__version__} (Python {platform.python_version()})")
    else:
        out.write_json({"petiole": __version__, "python": platform.python_version()}, output)


def _dev_slots(ctx: typer.Context) -> int | None:
    """Two slots a worker, where nothing else is set: enough to see nodes run side by side."""
    return None if settings_of(ctx).concurrency else 2
