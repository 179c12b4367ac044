"""``petiole dlq``: tasks that failed for good, to be read, replayed or dropped."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petiole.cli import parsing
from petiole.cli.options import Broker, ErrorType, Format, GraphName, Graphs, Limit, Output, Store, Yes
from petiole.cli.session import connected, tell

if TYPE_CHECKING:
    from petiole.client import Client, DeadLetter

app = typer.Typer(
    no_args_is_help=True,
    help="Dead letters: tasks that failed for good and were neither replayed nor dropped.",
)

Node = Annotated[str | None, typer.Option("--node", metavar="NAME", help="Of this node.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Failed since: ISO 8601, or 2h ago.")
]
Poison = Annotated[
    bool, typer.Option("--poison", help="Only those whose process died under them, max_crashes times.")
]
Tasks = Annotated[list[str] | None, typer.Argument(metavar="TASK…", help="Ids of the tasks.")]
All = Annotated[bool, typer.Option("--all", help="All that the filters leave.")]


@app.command("list", epilog="Example: petiole dlq list --graph shop.order --error-type Declined --since 1d")
def list_(
    ctx: typer.Context,
    graph: GraphName = None,
    node: Node = None,
    error_type: ErrorType = None,
    since: Since = None,
    poison: Poison = False,
    limit: Limit = 50,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """List dead letters, those of the newest runs first."""
    from petiole import documents
    from petiole.cli import output as out
    from petiole.client.naming import label_of

    with connected(ctx, store, broker) as client:
        letters = [*islice(_filtered(client, graph, node, error_type, since, poison), limit + 1)]
    shown = letters[:limit]
    if output is not Format.text:
        out.write_json([documents.letter_document(letter) for letter in shown], output)
    else:
        out.write_table(
            ("THREAD", "NODE", "ERROR", "MESSAGE", "ATTEMPTS", "CRASHES", "WHEN", "TASK", "RUN"),
            (
                (
                    one.task.thread_id,
                    label_of(one.task),
                    one.failure.type,
                    _line(one.failure.message),
                    one.attempts,
                    one.task.crashes,
                    out.ago(one.task.ended_at),
                    one.task.task_id,
                    one.run.run_id,
                )
                for one in shown
            ),
            empty="no dead letter matches",
        )
    if len(letters) > limit:
        tell([f"there are more than {limit}: --limit shows them"])


@app.command("show")
def show(
    ctx: typer.Context,
    target: Annotated[
        str,
        typer.Argument(metavar="TASK|THREAD", help="A task's id, or a thread's (its newest run is meant)."),
    ],
    graphs: Graphs = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Show dead letters with traceback, attempts, input and argument."""
    from petiole.cli import output as out

    with connected(ctx, store, broker, graphs=graphs) as client:
        letters = _of_thread(client, target) or _of_tasks(client, [target])
        names = {worker.worker_id: worker.name for worker in client.workers()}
        shown = [_whole(client, letter, names) for letter in letters]
    if output is not Format.text:
        out.write_json(shown, output)
        return
    for number, document in enumerate(shown):
        if number:
            print()
        trace, tries = document.pop("traceback"), document.pop("tries")
        out.write_fields(document.items())
        out.write_table(
            ("ATTEMPT", "WORKER", "SLOT", "OUTCOME", "ENDED", "ERROR"),
            (
                (one["attempt"], one["worker"], one["slot"], one["outcome"], one["ended_at"], one["error"])
                for one in tries
            ),
            empty="",
        )
        if trace:
            print(f"\n{trace.rstrip()}")


@app.command("replay", epilog="Example: petiole dlq replay --all --error-type Declined --since 2h --yes")
def replay(
    ctx: typer.Context,
    tasks: Tasks = None,
    all_: All = False,
    graph: GraphName = None,
    node: Node = None,
    error_type: ErrorType = None,
    since: Since = None,
    poison: Poison = False,
    yes: Yes = False,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Let the runs of dead letters go on; a run goes on with all of its failed nodes."""
    from petiole.cli.bulk import REPLAY, treat

    with connected(ctx, store, broker) as client:
        letters = _chosen(client, tasks, all_, graph, node, error_type, since, poison)
        runs = [*{letter.run.run_id: letter.run for letter in letters}.values()]
        treat(REPLAY, runs, client.replay_all, yes=yes or bool(tasks), format=output)


@app.command("drop")
def drop(
    ctx: typer.Context,
    tasks: Tasks = None,
    all_: All = False,
    graph: GraphName = None,
    node: Node = None,
    error_type: ErrorType = None,
    since: Since = None,
    poison: Poison = False,
    yes: Yes = False,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Take tasks off the dead letters; they stay on record, and their runs can still be replayed."""
    from petiole.cli import output as out
    from petiole.cli.confirming import confirm

    with connected(ctx, store, broker) as client:
        letters = _chosen(client, tasks, all_, graph, node, error_type, since, poison)
        if letters:
            confirm(f"take {len(letters)} tasks off the dead letters?", yes=yes)
        for letter in letters:
            client.store.hint(letter.task.thread_id, [letter.task.task_id])
        count = client.drop_dead_letters([letter.task.task_id for letter in letters])
    if output is Format.text:
        print(f"{count} taken off the dead letters")
    else:
        out.write_json({"matched": len(letters), "dropped": count}, output)


def _chosen(
    client: Client,
    tasks: list[str] | None,
    all_: bool,
    graph: str | None,
    node: str | None,
    error_type: str | None,
    since: str | None,
    poison: bool,
) -> list[DeadLetter]:
    """The dead letters that a command is to change: those named, or with ``--all`` those that the filters leave."""
    from petiole_stores.errors import InputError

    filtered = any((graph, node, error_type, since, poison))
    if tasks and (all_ or filtered):
        raise InputError(
            "both TASKs and --all or filters are given: name tasks, or choose by --all with filters"
        )
    if not tasks and not all_:
        raise InputError("name TASKs, or give --all (with --graph, --node, --error-type, --since, --poison)")
    if tasks:
        return _of_tasks(client, tasks)
    return [*_filtered(client, graph, node, error_type, since, poison)]


def _filtered(
    client: Client,
    graph: str | None,
    node: str | None,
    error_type: str | None,
    since: str | None,
    poison: bool,
) -> Any:
    return client.dead_letters(
        graph=graph,
        node=node,
        error_type=error_type,
        since=parsing.past("--since", since),
        poison=poison,
    )


def _of_thread(client: Client, thread: str) -> list[DeadLetter]:
    from petiole_stores.errors import NotFoundError

    try:
        run = client.get_run(thread)
    except NotFoundError:
        return []
    found = [it for it in client.dead_letters(thread_id=run.thread_id) if it.run.run_id == run.run_id]
    if not found:
        raise NotFoundError(
            f"run {run.run_id} of thread {run.thread_id!r} is {run.status} and has no dead letter: `petiole dlq list` shows "
            "what is there"
        )
    return found


def _of_tasks(client: Client, tasks: list[str]) -> list[DeadLetter]:
    """The dead letters of these ids, in that order. Raises NotFoundError for one that is none."""
    from petiole_stores.errors import NotFoundError

    wanted, found = set(tasks), {}
    for letter in client.dead_letters():
        if letter.task.task_id in wanted:
            found[letter.task.task_id] = letter
            if len(found) == len(wanted):
                break
    missing = [task for task in tasks if task not in found]
    if missing:
        raise NotFoundError(
            f"task {missing[0]!r} is not among the dead letters (it may have been replayed or dropped): `petiole dlq list` "
            "shows what is there"
        )
    return [found[task] for task in dict.fromkeys(tasks)]


def _whole(client: Client, letter: DeadLetter, names: dict[str, str]) -> dict[str, Any]:
    from petiole import documents

    task, run = letter.task, letter.run
    tries = [
        {
            "attempt": one.attempt,
            "worker": names.get(one.holder or "", one.holder),
            "slot": one.slot,
            "outcome": one.outcome,
            "error": _error(one.error),
            "claimed_at": documents.iso(one.claimed_at),
            "ended_at": documents.iso(one.ended_at),
        }
        for one in task.attempts
    ]
    if not task.attempts or task.attempts[-1].attempt < task.attempt:
        tries.append(
            {
                "attempt": task.attempt,
                "worker": names.get(task.holder or "", task.holder),
                "slot": task.slot,
                "outcome": "failed",
                "error": _error(task.error),
                "claimed_at": documents.iso(task.claimed_at),
                "ended_at": documents.iso(task.ended_at),
            }
        )
    return documents.letter_document(letter) | {
        "input": _shown(client, run.thread_id, run.input),
        "arg": _shown(client, run.thread_id, task.arg),
        "progress": _shown(client, run.thread_id, task.progress),
        "tries": tries,
        "traceback": letter.failure.traceback or None,
    }


def _shown(client: Client, thread_id: str, document: str | None) -> Any:
    """A document's value as JSON; as it is stored where this process lacks a class for it."""
    import json

    from petiole import documents
    from petiole_stores.errors import UnfitError

    try:
        return documents.plain(client.value(thread_id, document))
    except UnfitError:
        return json.loads(document or "null")


def _error(document: str | None) -> str | None:
    from petiole_workers.failure import parse_failure

    failure = parse_failure(document)
    return _line(f"{failure.type}: {failure.message}") if failure else None


def _line(text: str) -> str:
    first = text.partition("\n")[0]
    return first if len(first) <= 120 else first[:120] + "…"
