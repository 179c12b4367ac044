"""The verbs of ``petiole run`` that look: list, get, watch, tasks, state, history."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from petiole.cli import parsing
from petiole.cli.options import (
    Broker,
    ErrorType,
    Format,
    GraphName,
    Graphs,
    Limit,
    OfThread,
    Output,
    RunId,
    Since,
    Statuses,
    Store,
    Tag,
    Text,
    Thread,
    Timeout,
    Tracebacks,
    Until,
)
from petiole.cli.session import connected, handle_of, tell

if TYPE_CHECKING:
    from petiole.client import Client
    from petiole.client.answering import Question
    from petiole_stores.records import Run


def list_(
    ctx: typer.Context,
    graph: GraphName = None,
    status: Statuses = None,
    thread: OfThread = None,
    tag: Tag = None,
    error_type: ErrorType = None,
    text: Text = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """List runs, newest first."""
    from itertools import islice

    from petiole import documents
    from petiole.cli import output as out

    parsing.statuses(status or [])
    with connected(ctx, store, broker) as client:
        found = client.list_runs(
            graph=graph,
            status=status or (),
            thread_id=thread,
            tag=tag,
            error_type=error_type,
            text=text,
            since=parsing.past("--since", since),
            until=parsing.past("--until", until),
        )
        runs = [*islice(found, limit)]
    if output is not Format.text:
        out.write_json([documents.run_document(run) for run in runs], output)
        return
    out.write_table(
        ("THREAD", "RUN", "GRAPH", "STATUS", "SUBMITTED", "TOOK", "TAGS", "NOTE"),
        (
            (
                r.thread_id,
                r.run_id,
                r.graph,
                r.status,
                out.ago(r.created_at),
                out.took(r.started_at, r.ended_at),
                r.tags,
                _note(r),
            )
            for r in runs
        ),
        empty="no run matches",
    )


def get(
    ctx: typer.Context,
    thread: Thread,
    run: RunId = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Show one run: status, error, how many of its tasks are where."""
    from petiole import documents
    from petiole.cli import output as out
    from petiole.cli.progress import counts
    from petiole.client.answering import told
    from petiole.client.reasons import reason_of
    from petiole_stores.records import SETTLED

    with connected(ctx, store, broker) as client:
        found = handle_of(client, thread, run).run
        tasks = client.store.list_tasks(found.run_id)
        questions = client.questions(found)
    document = documents.run_document(found) | {
        "tasks": counts(tasks),
        "interrupts": [documents.question_document(one) for one in questions],
        **documents.family_document(found, tasks),
    }
    if output is not Format.text:
        out.write_json(document, output)
        return
    error = document["error"] or {}
    trace = error.pop("traceback", "")
    document["tasks"] = ", ".join(f"{number} {status}" for status, number in document["tasks"].items())
    where = f" in {error['node']}" if error.get("node") else ""
    attempt = f" (attempt {error['attempt']})" if error.get("attempt", 0) > 1 else ""
    document["error"] = f"{error.get('type')}{where}{attempt}: {error.get('message')}" if error else None
    document["reason"] = reason_of(found)
    if parent := document["parent"]:
        document["parent"] = f"node {parent['node']} of run {parent['run_id']}, thread {parent['thread_id']}"
    document["children"] = "\n".join(
        f"run {child['run_id']} of graph {child['graph']}, thread {child['thread_id']}"
        for child in document["children"]
    )
    document["interrupts"] = "\n".join(told(questions))
    if found.deadline is not None and found.ended_at is None:
        document["deadline"] = f"{document['deadline']} ({out.ago(found.deadline)})"
    out.write_fields(document.items())
    if trace:
        print(f"\n{trace.rstrip()}")
    if found.status == "failed":
        tell([f"mended? `petiole run replay {found.thread_id}` goes on from the failed nodes"])
    elif found.status not in SETTLED:
        tell([f"`petiole run explain {found.thread_id}` says what it waits for"])


def watch(
    ctx: typer.Context,
    thread: Thread,
    run: RunId = None,
    timeout: Timeout = None,
    graphs: Graphs = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Follow a run until it has ended, drawn node by node on a terminal; the exit code is 0 only if it succeeded.

    Nodes that are still to come are drawn where the graph is known (--graphs, or the settings).
    """
    from petiole.cli.progress import follow

    with connected(ctx, store, broker, graphs=graphs) as client:
        client.check_succeeded(follow(client, handle_of(client, thread, run), timeout=timeout, format=output))


def tasks(
    ctx: typer.Context,
    thread: Thread,
    run: RunId = None,
    tracebacks: Tracebacks = False,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """List a run's tasks with their attempts."""
    from petiole import documents
    from petiole.cli import output as out
    from petiole.cli import trying

    with connected(ctx, store, broker) as client:
        of = handle_of(client, thread, run).run
        found = client.store.list_tasks(of.run_id)
        questions = by_task(client.questions(of))
        names = {worker.worker_id: worker.name for worker in client.workers()}
    if output is not Format.text:
        out.write_json([documents.task_document(task, questions.get(task.task_id)) for task in found], output)
        return
    out.write_table(
        ("NODE", "STATUS", "ATTEMPT", "WORKER", "TOOK", "TASK", "ERROR"),
        (row for task in found for row in trying.task_rows(task, names, questions)),
        empty="the run has no task yet",
    )
    if tracebacks:
        trying.write_tracebacks(found)


def state(
    ctx: typer.Context,
    thread: Thread,
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", metavar="ID", help="At this checkpoint.")
    ] = None,
    run: RunId = None,
    graphs: Graphs = None,
    output: Output = Format.json,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Print the values of a thread's state: now, at a checkpoint, or as a run left it."""
    from petiole import documents
    from petiole.cli import output as out
    from petiole.client.answering import told

    with connected(ctx, store, broker, graphs=graphs) as client:
        if run is not None and checkpoint is None:
            checkpoint = handle_of(client, thread, run).run.checkpoint_id
        values = client.state(client.thread_of(thread), checkpoint=checkpoint)
        questions = asked(client, client.thread_of(thread)) if checkpoint is None else []
    plain = documents.plain(values)
    if output is Format.text:
        out.write_fields(
            (key, value if isinstance(value, str) else _short(value)) for key, value in plain.items()
        )
    else:
        out.write_json(plain, output)
    tell(told(questions))


def history(
    ctx: typer.Context,
    thread: Thread,
    run: RunId = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many, the newest.")
    ] = None,
    subgraphs: Annotated[
        bool, typer.Option("--subgraphs", help="Those of nodes that are graphs, too.")
    ] = False,
    graphs: Graphs = None,
    tracebacks: Tracebacks = False,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """List a thread's checkpoints, newest first, and the tasks that ran after each."""
    from petiole import documents
    from petiole.cli import output as out
    from petiole.cli import trying
    from petiole.client.naming import graphs_of

    with connected(ctx, store, broker, graphs=graphs) as client:
        entries = client.history(client.thread_of(thread), run=run, limit=limit, subgraphs=subgraphs)
        questions = by_task(asked(client, client.thread_of(thread)))
    if output is not Format.text:
        out.write_json([documents.entry_document(entry, questions) for entry in entries], output)
        return
    out.write_table(
        ("CHECKPOINT", *(["OF"] if subgraphs else []), "STEP", "AFTER", "MADE", "NEXT"),
        (
            (
                e.checkpoint.id if e.checkpoint else "-",
                *([graphs_of(e.checkpoint.ns) if e.checkpoint else ""] if subgraphs else []),
                e.checkpoint.step if e.checkpoint else "",
                out.counted(e.checkpoint.node_names or (e.checkpoint.source,)) if e.checkpoint else "",
                out.ago(e.checkpoint.timestamp.timestamp()) if e.checkpoint else "",
                trying.story(e.tasks, questions),
            )
            for e in entries
        ),
        empty="no checkpoint yet",
    )
    if tracebacks:
        trying.write_tracebacks([task for entry in reversed(entries) for task in entry.tasks])


def asked(client: Client, thread: str) -> list[Question]:
    """What the thread's active run asks; nothing of a thread that has checkpoints alone."""
    return client.questions(client.asking_run(thread)) if client.store.newest_run(thread) else []


def by_task(questions: Iterable[Question]) -> dict[str, Question]:
    """Questions by the ids of the tasks that ask."""
    return {question.task.task_id: question for question in questions}


def _note(run: Run) -> str:
    """What there is to say of a run beside its status: why it is held back, what it failed of, when its time is over."""
    from petiole.cli.output import ago
    from petiole.client.reasons import reason_of

    if run.reason:
        return reason_of(run)
    if run.error:
        return _error_line(run.error)
    waits = f"starts {ago(run.run_at)}" if run.status == "waiting" and run.run_at else ""
    ends = f"deadline {ago(run.deadline)}" if run.deadline is not None and run.ended_at is None else ""
    return ", ".join(filter(None, (waits, ends)))


def _error_line(document: str | None) -> str:
    from petiole.cli.trying import line
    from petiole_workers.failure import parse_failure

    return line(parse_failure(document))


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 400 or not sys.stdout.isatty() else text[:400] + "…"
