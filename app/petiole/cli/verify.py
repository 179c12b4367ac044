"""``petiole db verify``: is everything that the store holds what was written? And mending what can be mended."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from petiole.cli.options import Format, Graphs, Output, Store

if TYPE_CHECKING:
    from petiole_stores.store import Store as OpenStore
    from petiole_workers.registry import Registry
    from petiole_workers.repair import Finding

#: After so many threads the command says how far it is.
STEP = 500


def verify(
    ctx: typer.Context,
    repair: Annotated[
        bool, typer.Option("--repair", help="Rebuild damaged checkpoints where a digest proves the copy.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only reach the store and check its schema and settings.")
    ] = False,
    thread: Annotated[str | None, typer.Option("--thread", metavar="ID", help="Only this thread.")] = None,
    graphs: Graphs = None,
    output: Output = Format.text,
    store: Store = None,
) -> None:
    """Check the store's schema and settings, and every checkpoint and blob against its digest.

    A damaged checkpoint is rebuilt with --repair from its parent and the outputs between them, which takes the graph
    (--graphs or the settings). What cannot be proven is quarantined: nothing starts from it any more. Ends with 1
    when something is wrong and was not mended.
    """
    from petiole.cli import output as out
    from petiole.cli.session import settings_of, tell
    from petiole.defaults import ground
    from petiole_stores.opening import open_store
    from petiole_workers.registry import Registry, load_registry

    settings = settings_of(ctx, store=store, graphs=list(graphs or []))
    opened = open_store(ground(settings).store_url, migrate=False)
    try:
        opened.validate()
        registry = load_registry(settings.graphs) if repair else Registry()
        for graph in registry:
            graph.register_types(opened.serde)
        findings = [] if quick else list(_progressing(opened, thread))
        mended = dict(_mended(opened, registry, findings)) if repair else {}
        where, warnings = opened.url.shown, opened.durability()
    finally:
        opened.close()
    left = [finding for index, finding in enumerate(findings) if mended.get(index, "") is not None]
    if output is not Format.text:
        document = {
            "store": where,
            "ok": not left,
            "warnings": warnings,
            "findings": [_document(finding, mended.get(index, "")) for index, finding in enumerate(findings)],
        }
        out.write_json(document, output)
    else:
        for index, finding in enumerate(findings):
            why = mended.get(index, "")
            print(f"{finding}{'; mended' if why is None else f'; not mended: {why}' if why else ''}")
        print(f"{where} {_verdict(len(findings), len(left), quick)}")
        tell(warnings)
        if left and not repair:
            tell(["--repair --graphs MODULE:ATTR mends what can be proven"])
    if left:
        raise typer.Exit(1)


def _progressing(store: OpenStore, thread: str | None) -> Iterator[Finding]:
    """What is wrong, thread by thread, saying on a terminal how far it is."""
    from petiole_workers.repair import verify as look

    for number, one in enumerate([thread] if thread is not None else store.threads(), 1):
        yield from look(store, one)
        if number % STEP == 0 and sys.stderr.isatty():
            print(f"petiole: {number} threads checked", file=sys.stderr, flush=True)


def _mended(
    store: OpenStore, registry: Registry, findings: list[Finding]
) -> Iterator[tuple[int, str | None]]:
    """Each finding's number with ``None`` where it was mended, else why not."""
    from petiole_workers.documents import Documents
    from petiole_workers.repair import Repair

    documents = Documents(store)
    # The oldest first: a checkpoint is rebuilt from its parent.
    for index, finding in reversed(list(enumerate(findings))):
        graph = registry.get(finding.graph)
        record = store.get_checkpoint(finding.checkpoint_id) if finding.checkpoint_id else None
        if record is None:
            yield (
                index,
                "there is no checkpoint to rebuild: restore a backup, or replay the run from an earlier one",
            )
        elif graph is None:
            yield index, f"it is of graph {finding.graph!r}: name it with --graphs"
        else:
            why = Repair(store, documents, graph.definition).mend(record)
            if why is not None:
                store.quarantine(record.checkpoint_id, finding.what)
            elif record.run_id is not None:
                _let_go(store, record.run_id)
            yield index, why


def _let_go(store: OpenStore, run_id: str) -> None:
    """A run that was held back for the damage may go on; a worker's sweep publishes its tasks."""
    import msgspec

    run = store.get_run(run_id)
    if run is None or run.status != "blocked" or run.reason is None:
        return
    if msgspec.json.decode(run.reason).get("type") == "Corruption":
        store.unblock([run_id])


def _document(finding: Finding, why: str | None) -> dict[str, object]:
    return {
        "thread_id": finding.thread_id,
        "kind": finding.kind,
        "subject": finding.subject,
        "what": finding.what,
        "graph": finding.graph,
        "checkpoint_id": finding.checkpoint_id,
        "quarantined": finding.quarantined,
        "mended": why is None,
        "reason": why or None,
    }


def _verdict(found: int, left: int, quick: bool) -> str:
    if quick:
        return "can be worked with"
    if not found:
        return "is sound"
    return f"has {found} damaged rows, of which {found - left} were mended"
