"""Replaying and cancelling many runs: how many match, a question, progress, and what became of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import typer

from petiole.cli import output as out
from petiole.cli.confirming import confirm
from petiole.cli.exits import Exit
from petiole.cli.options import Format
from petiole.cli.session import tell
from petiole_stores.errors import InputError
from petiole_workers.failure import parse_failure

if TYPE_CHECKING:
    from petiole.client import Client, Treated
    from petiole_stores.records import Run

#: Seconds between two lines of progress.
STEP = 2.0


@dataclass(frozen=True)
class Verb:
    """What is done to the runs, in words."""

    name: str
    done: str


REPLAY, CANCEL = Verb("replay", "replayed"), Verb("cancel", "cancelled")


@dataclass(frozen=True)
class Filters:
    """Which runs are meant when no thread is named."""

    status: Sequence[str] = ()
    graph: str | None = None
    tag: str | None = None
    error_type: str | None = None
    text: str | None = None
    since: str | None = None
    until: str | None = None

    def __bool__(self) -> bool:
        return any((self.status, self.graph, self.tag, self.error_type, self.text, self.since, self.until))

    def find(self, client: Client) -> list[Run]:
        """The runs, newest first, without their inputs: there may be many."""
        from petiole.cli import parsing

        runs = client.list_runs(
            status=self.status,
            graph=self.graph,
            tag=self.tag,
            error_type=self.error_type,
            text=self.text,
            since=parsing.past("--since", self.since),
            until=parsing.past("--until", self.until),
            brief=True,
        )
        return [msgspec.structs.replace(run, metadata="{}") for run in runs]


def check_target(thread: str | None, filters: Filters, yes: bool, single: Mapping[str, object]) -> bool:
    """Whether many runs are meant. Raises InputError when it is not clear whether one thread is or many runs are."""
    if thread is not None:
        if filters or yes:
            raise InputError(
                f"both the thread {thread!r} and filters (--status, --graph … or --yes) are given: name one thread, or filter"
            )
        return False
    if not filters:
        raise InputError(
            "name a THREAD, or say which runs are meant: --status, --graph, --error-type, --since …"
        )
    given = [name for name, value in single.items() if value]
    if given:
        raise InputError(f"{', '.join(given)} is for one THREAD, and none is named")
    return True


def treat(
    verb: Verb,
    runs: Sequence[Run],
    act: Callable[[Iterable[Run]], Iterator[Treated]],
    *,
    yes: bool,
    format: Format,
) -> None:
    """Show what matches, ask, do it run by run, and say what became of them; exit code 1 if any was refused."""
    if not runs:
        tell(["no run matches"])
        _report(verb, 0, Counter(), format)
        return
    tell(_counted(runs))
    confirm(f"{verb.name} {_number(runs)}?", yes=yes)
    counts: Counter[tuple[str, str]] = Counter()
    try:
        for treated in _progressing(verb, act(runs), len(runs), counts):
            if format is Format.jsonl:
                out.write_json(
                    {
                        "thread_id": treated.run.thread_id,
                        "run_id": treated.run.run_id,
                        "result": treated.result,
                        "reason": treated.reason or None,
                    },
                    format,
                )
    finally:  # also when the store goes away in the middle
        _report(verb, len(runs), counts, format)
    if any(result == "refused" for result, _ in counts):
        raise typer.Exit(Exit.FAILED)


def _counted(runs: Sequence[Run]) -> list[str]:
    """How many match, by graph, status and type of error."""
    found: Counter[tuple[str, str]] = Counter()
    for run in runs:
        failure = parse_failure(run.error)
        found[run.graph, failure.type if failure else run.status] += 1
    lines = [f"  {count:>7}  {graph}  {what}" for (graph, what), count in found.most_common()]
    return [f"{_number(runs)} {'matches' if len(runs) == 1 else 'match'}:", *lines]


def _progressing(
    verb: Verb, treated: Iterator[Treated], total: int, counts: Counter[tuple[str, str]]
) -> Iterator[Treated]:
    said = time.monotonic()
    for number, one in enumerate(treated, 1):
        counts[one.result, one.reason] += 1
        yield one
        if time.monotonic() - said >= STEP:
            said = time.monotonic()
            tell([f"{number} of {total} runs are {verb.done}{_refused(counts)}"])


def _refused(counts: Counter[tuple[str, str]]) -> str:
    number = sum(count for (result, _), count in counts.items() if result == "refused")
    return f" or refused ({number} refused)" if number else ""


def _report(verb: Verb, matched: int, counts: Counter[tuple[str, str]], format: Format) -> None:
    sums: Counter[str] = Counter()
    for (result, _), count in counts.items():
        sums[result] += count
    refused = {reason: count for (result, reason), count in counts.most_common() if result == "refused"}
    if format is Format.json:
        out.write_json(
            {"matched": matched, "done": sums["done"], "already": sums["already"], "refused": refused},
            format,
        )
    elif matched:
        lines = [f"{sums['done']} of {matched} {verb.done}"]
        lines += [f"{sums['already']} were before"] if sums["already"] else []
        lines += [f"{count} refused: {reason}" for reason, count in refused.items()]
        if format is Format.text:
            print("\n".join(lines))
        else:
            tell(lines)


def _number(runs: Sequence[Run]) -> str:
    return "1 run" if len(runs) == 1 else f"{len(runs)} runs"
