"""``petiole run``: submit runs, look at them, steer them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petiole.cli import parsing
from petiole.cli.options import Broker, Busy, Format, Graphs, Output, RunId, Store, Thread, Timeout, Wait
from petiole.cli.session import connected, tell

if TYPE_CHECKING:
    from petiole.client import Client, RunHandle

app = typer.Typer(
    no_args_is_help=True, help="Submit runs, look at them, steer them. A verb with a THREAD means the thread's newest run."
)


@app.command(
    "start",
    epilog="Example: petiole run start shop.order --input '{\"id\": 7}' --idempotency-key order-7 --wait",
)
def start(
    ctx: typer.Context,
    graph: Annotated[str, typer.Argument(metavar="GRAPH", help="A graph's name, or module:attribute (input is checked).")],
    input: Annotated[str, typer.Option("--input", metavar="JSON|@FILE|-", help="JSON, a file of it, or standard input.")],
    thread: Annotated[str | None, typer.Option("--thread", metavar="ID", help="An existing or new thread.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", metavar="KEY", help="The same key gives the same run.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="To find it by; may be repeated.")] = None,
    metadata: Annotated[str | None, typer.Option("--metadata", metavar="JSON", help="An object kept with the run.")] = None,
    if_busy: Annotated[Busy, typer.Option("--if-busy", help="On a thread with an active run.")] = Busy.reject,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="Not before this ISO 8601 time.")] = None,
    after: Annotated[str | None, typer.Option("--in", metavar="DURATION", help="Not before 30s, 5m, 2h … from now.")] = None,
    recursion_limit: Annotated[
        int | None, typer.Option("--recursion-limit", metavar="N", help="Supersteps that the run may take.")
    ] = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Submit a run. Once this returns, the run is stored and a worker will take it up."""
    value = parsing.json_value("--input", input)
    extra = parsing.json_object("--metadata", metadata)
    when = parsing.start_time(at, after)
    with connected(ctx, store, broker, notes=True) as client:
        handle = client.submit(
            _graph(graph),
            value,
            thread_id=thread,
            idempotency_key=idempotency_key,
            tags=tag or (),
            metadata=extra,
            at=when,
            if_busy=if_busy.value,
            recursion_limit=recursion_limit,
        )
        _warn_unserved(client, handle)
        _settle(client, handle, wait, timeout, output)


@app.command("list", epilog="Example: petiole run list --status failed --since 2h -o jsonl")
def list_(
    ctx: typer.Context,
    graph: Annotated[str | None, typer.Option("--graph", metavar="NAME", help="Of this graph.")] = None,
    status: Annotated[list[str] | None, typer.Option("--status", metavar="STATUS", help="In it; may be repeated.")] = None,
    thread: Annotated[str | None, typer.Option("--thread", metavar="ID", help="On this thread.")] = None,
    tag: Annotated[str | None, typer.Option("--tag", metavar="TAG", help="With this tag.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="Submitted since: ISO 8601, or 2h ago.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Submitted before.")] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 20,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """List runs, newest first."""
    from itertools import islice

    from petiole.cli import documents
    from petiole.cli import output as out

    _check_statuses(status or [])
    with connected(ctx, store, broker) as client:
        found = client.list_runs(
            graph=graph,
            status=status or (),
            thread_id=thread,
            tag=tag,
            since=parsing.past("--since", since),
            until=parsing.past("--until", until),
        )
        runs = [*islice(found, limit)]
    if output is not Format.text:
        out.write_json([documents.run_document(run) for run in runs], output)
        return
    out.write_table(
        ("THREAD", "RUN", "GRAPH", "STATUS", "SUBMITTED", "TOOK", "TAGS"),
        (
            (r.thread_id, r.run_id, r.graph, r.status, out.ago(r.created_at), _took(r.started_at, r.ended_at), r.tags)
            for r in runs
        ),
        empty="no run matches",
    )


@app.command("get")
def get(
    ctx: typer.Context,
    thread: Thread,
    run: RunId = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Show one run: status, error, how many of its tasks are where."""
    from petiole.cli import documents
    from petiole.cli import output as out
    from petiole.cli.progress import counts

    with connected(ctx, store, broker) as client:
        found = _handle(client, thread, run).run
        tasks = client.store.list_tasks(found.run_id)
    document = documents.run_document(found) | {"tasks": counts(tasks)}
    if output is not Format.text:
        out.write_json(document, output)
        return
    error = document["error"] or {}
    trace = error.pop("traceback", "")
    document["tasks"] = ", ".join(f"{number} {status}" for status, number in document["tasks"].items())
    document["error"] = f"{error.get('type')} in {error.get('node')}: {error.get('message')}" if error else None
    out.write_fields(document.items())
    if trace:
        print(f"\n{trace.rstrip()}")
    if found.status == "failed":
        tell([f"mended? `petiole run replay {found.thread_id}` goes on from the failed nodes"])


@app.command("watch")
def watch(
    ctx: typer.Context,
    thread: Thread,
    run: RunId = None,
    timeout: Timeout = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Follow a run until it has ended; the exit code is 0 only if it succeeded."""
    from petiole.cli.progress import follow
    from petiole.client.handle import check_succeeded

    with connected(ctx, store, broker) as client:
        check_succeeded(follow(client, _handle(client, thread, run), timeout=timeout, format=output))


@app.command("tasks")
def tasks(
    ctx: typer.Context,
    thread: Thread,
    run: RunId = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """List a run's tasks with their attempts."""
    from petiole.cli import documents
    from petiole.cli import output as out

    with connected(ctx, store, broker) as client:
        found = client.store.list_tasks(_handle(client, thread, run).run_id)
        names = {worker.worker_id: worker.name for worker in client.workers()}
    if output is not Format.text:
        out.write_json([documents.task_document(task) for task in found], output)
        return
    out.write_table(
        ("NODE", "STATUS", "ATTEMPT", "WORKER", "TOOK", "TASK", "ERROR"),
        (
            (
                t.node,
                t.status,
                t.attempt,
                names.get(t.holder or "", t.holder),
                _took(t.claimed_at, t.ended_at),
                t.task_id,
                _error_line(t.error),
            )
            for t in found
        ),
        empty="the run has no task yet",
    )


@app.command("state")
def state(
    ctx: typer.Context,
    thread: Thread,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", metavar="ID", help="At this checkpoint.")] = None,
    run: RunId = None,
    graphs: Graphs = None,
    output: Output = Format.json,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Print the values of a thread's state: now, at a checkpoint, or as a run left it."""
    from petiole.cli import documents
    from petiole.cli import output as out

    with connected(ctx, store, broker, graphs=graphs) as client:
        if run is not None and checkpoint is None:
            checkpoint = _handle(client, thread, run).run.checkpoint_id
        values = client.state(_thread(client, thread), checkpoint=checkpoint)
    plain = documents.plain(values)
    if output is Format.text:
        out.write_fields((key, value if isinstance(value, str) else _short(value)) for key, value in plain.items())
    else:
        out.write_json(plain, output)


@app.command("history")
def history(
    ctx: typer.Context,
    thread: Thread,
    run: RunId = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many, the newest.")] = None,
    graphs: Graphs = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """List a thread's checkpoints, newest first, and the tasks that ran after each."""
    from petiole.cli import documents
    from petiole.cli import output as out

    with connected(ctx, store, broker, graphs=graphs) as client:
        entries = client.history(_thread(client, thread), run=run, limit=limit)
    if output is not Format.text:
        out.write_json([documents.entry_document(entry) for entry in entries], output)
        return
    out.write_table(
        ("CHECKPOINT", "STEP", "AFTER", "MADE", "NEXT"),
        (
            (
                e.checkpoint.id if e.checkpoint else "-",
                e.checkpoint.step if e.checkpoint else "",
                (e.checkpoint.node_names or (e.checkpoint.source,)) if e.checkpoint else "",
                out.ago(e.checkpoint.timestamp.timestamp()) if e.checkpoint else "",
                [f"{t.node} {t.status}" + (f" (attempt {t.attempt})" if t.attempt > 1 else "") for t in e.tasks],
            )
            for e in entries
        ),
        empty="no checkpoint yet",
    )


@app.command("replay", epilog="Example: petiole run replay order-7 --from charge --wait")
def replay(
    ctx: typer.Context,
    thread: Thread,
    run: RunId = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", metavar="ID", help="A new run from here.")] = None,
    from_node: Annotated[
        str | None, typer.Option("--from", metavar="NODE", help="A new run from the newest checkpoint before NODE.")
    ] = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Let a failed run go on from its failed nodes, or start anew from an earlier checkpoint."""
    with connected(ctx, store, broker) as client:
        handle = client.replay(thread, run=run, checkpoint=checkpoint, from_node=from_node)
        _warn_unserved(client, handle)
        _settle(client, handle, wait, timeout, output)


@app.command("resume")
def resume(
    ctx: typer.Context,
    thread: Thread,
    run: RunId = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Let an interrupted run go on (see interrupt_before and interrupt_after of compile)."""
    with connected(ctx, store, broker) as client:
        _settle(client, client.resume(thread, run=run), wait, timeout, output)


@app.command("cancel")
def cancel(
    ctx: typer.Context,
    thread: Thread,
    run: RunId = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the run.")] = "",
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Cancel a run; the outputs of nodes that still run are dropped."""
    with connected(ctx, store, broker) as client:
        client.cancel(thread, run=run, reason=reason)
        _settle(client, _handle(client, thread, run), False, None, output)


def _settle(client: Client, handle: RunHandle, wait: bool, timeout: float | None, format: Format) -> None:
    """Print what a command did to a run; with ``wait`` its final state, once it has one."""
    from petiole.cli import documents
    from petiole.cli import output as out

    if not wait:
        run = handle.run
        if format is Format.text:
            out.write_fields((("thread", run.thread_id), ("run", run.run_id), ("status", run.status)))
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


def _warn_unserved(client: Client, handle: RunHandle) -> None:
    graph = handle.run.graph
    if not any(worker.status == "alive" and graph in worker.graphs for worker in client.workers()):
        tell([f"no worker that is alive serves graph {graph!r}: the run waits for one (petiole worker --graphs module:attribute)"])


def _graph(text: str) -> Any:
    if ":" not in text:
        return text
    from petiole_workers.registry import load_graph

    return load_graph(text)


def _handle(client: Client, thread: str, run: str | None) -> RunHandle:
    from petiole_stores.errors import NotFoundError

    handle = client.handle(run or thread)
    if run is not None and thread not in (handle.thread_id, handle.run_id):
        raise NotFoundError(f"run {run!r} is of thread {handle.thread_id!r}, not of {thread!r}")
    return handle


def _thread(client: Client, thread: str) -> str:
    """The thread's id, also where a run's was given or the thread has checkpoints alone."""
    return thread if client.store.head(thread) is not None else client.handle(thread).thread_id


def _check_statuses(statuses: list[str]) -> None:
    from typing import get_args

    from petiole_stores.errors import InputError
    from petiole_stores.records import RunStatus

    for status in statuses:
        if status not in get_args(RunStatus):
            raise InputError(f"--status is {status!r}: take one of {', '.join(get_args(RunStatus))}")


def _took(began: float | None, ended: float | None) -> str:
    from petiole.cli.output import span

    return span(ended - began) if began is not None and ended is not None else ""


def _error_line(document: str | None) -> str:
    from petiole_workers.failure import parse_failure

    failure = parse_failure(document)
    return f"{failure.type}: {failure.message}".splitlines()[0] if failure else ""


def _short(value: object) -> str:
    import json

    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 400 or not sys.stdout.isatty() else text[:400] + "…"
