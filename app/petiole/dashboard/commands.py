"""The commands that do in a shell what the dashboard's buttons do."""

from __future__ import annotations

import shlex
from typing import Any

import msgspec

from petiole.client.plain import plain
from petiole_stores.records import Run


class Commands:
    """Commands about one run. ``newest``: it is its thread's newest, so that the thread's id is enough."""

    def __init__(self, run: Run, *, newest: bool) -> None:
        self._thread = run.thread_id
        self._run = () if newest else ("--run", run.run_id)

    def get(self) -> str:
        return self._command("get")

    def explain(self) -> str:
        return self._command("explain")

    def tasks(self) -> str:
        return self._command("tasks", "--tracebacks")

    def history(self) -> str:
        return self._command("history")

    def stream(self) -> str:
        return self._command("stream", "--mode", "custom")

    def logs(self) -> str:
        return self._command("logs", "--follow")

    def logs_of(self, task_id: str) -> str:
        return self._command("logs", "--task", task_id)

    def cancel(self) -> str:
        return self._command("cancel")

    def pause(self) -> str:
        return self._command("pause")

    def unpause(self) -> str:
        return self._command("unpause")

    def replay(self) -> str:
        return self._command("replay")

    def replay_from(self, node: str) -> str:
        return self._command("replay", "--from", node)

    def replay_all(self, checkpoint: str) -> str:
        return self._command("replay", "--checkpoint", checkpoint)

    def resume(self, id: str | None, value: Any = None) -> str:
        return self._command("resume", *(["--id", id, "--value", compact(value)] if id else []))

    def fork(self, checkpoint: str, values: Any = None) -> str:
        given = [] if values is None else ["--values", compact(values)]
        return shlex.join(["petiole", "run", "fork", self._thread, "--checkpoint", checkpoint, *given])

    def _command(self, verb: str, *options: str) -> str:
        return shlex.join(["petiole", "run", verb, self._thread, *self._run, *options])


def compact(value: Any) -> str:
    """A value as JSON on one line."""
    return msgspec.json.encode(plain(value)).decode()
