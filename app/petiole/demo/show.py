"""The demo itself: start, submit, kill, compare, and show what happened."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from petiole.client import Client, RunHandle
from petiole.defaults import Ground, ground
from petiole.demo import corpus, timeline
from petiole.demo.crew import DemoWorker, start_worker, wait_for
from petiole_stores.errors import InputError, RunTimeoutError
from petiole_stores.records import SETTLED, Run, Task
from petiole_stores.store import Store
from petiole_workers.settings import Settings, environment, load_settings

GRAPH = "petiole.examples.wordcount:graph"
LEASE = 3.0
COLOURS = {"w1": "cyan", "w2": "green", "w3": "magenta", "w4": "yellow"}


@dataclass(frozen=True)
class Options:
    """What ``petiole demo`` was asked for."""

    input: Path | None = None
    broker: str | None = None
    store: str | None = None
    data_dir: Path | None = None
    workers: int = 2
    kill: bool = True
    top: int = 10
    limit_bytes: int = corpus.DEFAULT_BYTES
    timeout: float = 300.0


def main(options: Options, console: Console | None = None) -> int:
    """Run the demo; 0 only if the result equals a single process's."""
    console = console or Console()
    folder = (options.input or corpus.default_folder()).resolve()
    if not folder.is_dir():
        raise InputError(f"--input {folder} is no folder: name one that holds text files")
    if options.workers < (2 if options.kill else 1):
        raise InputError(f"--workers is {options.workers}: take at least 2, for one of them is killed")
    data_dir = (options.data_dir or Path(tempfile.mkdtemp(prefix="petiole-demo-"))).resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    settings = load_settings(
        {
            "store": options.store,
            "broker": options.broker,
            "data_dir": str(data_dir),
            "lease": LEASE,
            "sweep": 0.5,
        }
    )
    with ExitStack() as stack:
        place = stack.enter_context(ground(settings))
        return _Demo(options, place, folder, data_dir, console).run(stack)


class _Demo:
    def __init__(
        self, options: Options, place: Ground, folder: Path, data_dir: Path, console: Console
    ) -> None:
        self.options, self.place, self.console = options, place, console
        self.folder, self.data_dir = folder, data_dir
        self.settings: Settings = place.settings
        self.workers: list[DemoWorker] = []

    def run(self, stack: ExitStack) -> int:
        say = self.console.print
        client = stack.enter_context(Client(settings=self.settings))
        store = client.store
        say(
            f"[bold]Petiole demo[/]  store [blue]{store.url.shown}[/]  broker [blue]{self.place.broker_shown}[/]"
        )
        say(f"Counting words and word pairs of the text files in {self.folder}")
        env = environment(self.settings) | self.place.environment
        for number in range(1, self.options.workers + 1):
            worker = start_worker(f"w{number}", graph=GRAPH, environment=env, folder=self.data_dir)
            stack.callback(worker.stop)
            self.workers.append(worker)
        with self.console.status("starting the workers…"):
            wait_for(self.workers, store)
        say(f"{len(self.workers)} workers are up; their logs are in {self.data_dir}")
        report = self.data_dir / "report.md"
        handle = client.submit(
            "wordcount",
            {
                "folder": str(self.folder),
                "report": str(report),
                "limit_bytes": self.options.limit_bytes,
                "shard_bytes": max(self.options.limit_bytes // 32, 50_000),
                "top": self.options.top,
            },
            tags=["demo"],
        )
        say(f"submitted: thread [bold]{handle.thread_id}[/], run {handle.run_id}")
        run = self._follow(store, handle)
        return self._judge(store, handle, run, report)

    def _follow(self, store: Store, handle: RunHandle) -> Run:
        """Show progress until the run has settled, and kill a worker on the way."""
        until = time.monotonic() + self.options.timeout
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as progress:
            bar = progress.add_task("planning", total=None)
            while True:
                tasks = store.list_tasks(handle.run_id)
                run = store.get_run(handle.run_id)
                assert run is not None
                done = sum(task.status == "done" for task in tasks)
                states = Counter(task.node for task in tasks if task.status == "claimed")
                running = ", ".join(f"{node} x{n}" if n > 1 else node for node, n in sorted(states.items()))
                progress.update(bar, completed=done, total=len(tasks) + 2, description=running or run.status)
                if run.status in SETTLED:
                    progress.update(bar, completed=done, total=done, description=run.status)
                    return run
                if self.options.kill and not any(worker.killed_at for worker in self.workers):
                    self._maybe_kill(store, tasks, progress.console)
                if time.monotonic() > until:
                    raise RunTimeoutError(
                        f"the run has not ended in {self.options.timeout:g} s; see {self.data_dir}"
                    )
                time.sleep(0.05)

    def _maybe_kill(self, store: Store, tasks: Sequence[Task], console: Console) -> None:
        """When a third of the shards is counted: SIGKILL to a worker that is counting one just now."""
        counting = [task for task in tasks if task.node == "count"]
        done = sum(task.status == "done" for task in counting)
        if not counting or done * 3 < len(counting):
            return
        holders = {worker.worker_id: worker.name.partition("@")[0] for worker in store.list_workers()}
        for task in counting:
            name = holders.get(task.holder or "") if task.status == "claimed" else None
            victim = next((worker for worker in self.workers if worker.name == name), None)
            if victim is not None:
                victim.kill()
                console.print(
                    f"[bold red]SIGKILL[/] to worker [bold]{victim.name}[/] (process group {victim.process.pid}) "
                    f"while it counts shard {int(task.path[5:])}; {done} of {len(counting)} shards are checkpointed"
                )
                return

    def _judge(self, store: Store, handle: RunHandle, run: Run, report: Path) -> int:
        say = self.console.print
        tasks = store.list_tasks(handle.run_id)
        deaths = {worker.name: worker.killed_at for worker in self.workers if worker.killed_at}
        found = timeline.spans(tasks, store.list_workers(), deaths)
        if found:
            say()
            say(timeline.table(found, COLOURS, self.console.width))
            for lost, after in timeline.takeovers(found):
                say(
                    f"[red]{lost.label}[/] was lost with {lost.worker} and taken up by {after.worker}, "
                    f"[bold]{after.began - lost.ended:.1f} s[/] after the kill (lease {LEASE:g} s)"
                )
        if run.status != "succeeded":
            say(f"[bold red]the run {run.status}[/]: {run.error or ''}")
            return 1
        state = handle.result()
        right = corpus.expected(self.folder, limit=self.options.limit_bytes, top=self.options.top)
        say()
        say(_ranking(state["ranking"]))
        say(f"report: {report}")
        wrong = corpus.differences(state, right)
        if not report.is_file():
            wrong.append(f"the report {report} was not written")
        if self.options.kill and not deaths:
            wrong.append("the run was over before a worker could be killed: give it more text (--limit)")
        for line in wrong:
            say(f"[bold red]not equal[/]  {line}")
        if not wrong:
            words, pairs = sum(right["words"].values()), sum(right["pairs"].values())
            say(
                f"[bold green]equal to a single process[/]: {right['files']} files, {words} words, {pairs} pairs; "
                f"{len(tasks)} tasks, {sum(task.attempt for task in tasks)} attempts"
            )
        self._look_further(handle)
        return 1 if wrong else 0

    def _look_further(self, handle: RunHandle) -> None:
        where, petiole = f"--store '{self.settings.store}'", program()
        self.console.print("\nLook further:", style="bold")
        for command in (
            f"{petiole} run get {handle.thread_id} {where}",
            f"{petiole} run history {handle.thread_id} {where}",
            f"{petiole} run list {where}",
            f"{petiole} graph show {GRAPH} --format mermaid",
        ):
            self.console.print(f"  {command}", soft_wrap=True, highlight=False)


def program() -> str:
    """How this program is called from here: by its path, where the shell would not find it by its name."""
    called = Path(sys.argv[0])
    if shutil.which("petiole") or called.name != "petiole":
        return "petiole"
    return os.path.relpath(called)


def _ranking(ranking: dict[str, Sequence[tuple[str, int]]]) -> Table:
    table = Table(title="Most frequent", title_justify="left", box=None, pad_edge=False)
    for title in ranking:
        table.add_column(title)
        table.add_column("count", justify="right")
    for rows in zip(*ranking.values(), strict=True):
        table.add_row(*(str(cell) for row in rows for cell in row))
    return table
