"""Chunks and states without what is each library's own: ids, times, classes of messages."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

#: Keys for one superstep alone. LangGraph's ``get_state`` leaves out what an unfinished superstep has written of them, though
#: its ``invoke`` returns it; in the history they are.
FLEETING = ("once", "topic")
#: The key that narrow nodes have for themselves.
PRIVATE = "secret"
ROLES = {"human": "user", "ai": "assistant"}


def plain_chunk(ns: tuple[str, ...], data: Any) -> tuple[str, Any]:
    """The names of a chunk's namespace, and its data.

    Of the nodes within a graph that is a node, LangGraph streams the keys of its output alone.
    """
    shown = plain_value(data)
    if ns:
        shown = {
            node: {key: wrote[key] for key in wrote if key != PRIVATE} if isinstance(wrote, dict) else wrote
            for node, wrote in shown.items()
        }
    return "|".join(part.partition(":")[0] for part in ns), shown


def plain_state(
    state: Any, *, tasks: bool = True, failed: bool = False, left: Collection[str] = ()
) -> dict[str, Any]:
    """A StateSnapshot; with its tasks and, where they have them, their states.

    failed: it is looked at after a failure: then it counts that there are errors, else which questions there are.
        LangGraph goes on showing errors that were made good, and questions that were answered before a failure; and of
        several tasks that fail in one superstep it cancels some.
    left: nodes whose graphs have a memory and may have been left: their states are not shown.
    """
    metadata = state.metadata or {}
    shown = {
        "next": state.next,
        "source": metadata.get("source"),
        "step": metadata.get("step"),
        "has_parent": state.parent_config is not None,
        "values": plain_value(state.values),
    }
    if tasks:
        shown["values"] = {key: value for key, value in shown["values"].items() if key not in FLEETING}
        plain = [_plain_task(task, task.name in state.next, failed, left) for task in state.tasks]
        shown["tasks"] = sorted(plain, key=repr)
        if failed:
            shown["failed"] = any(task.error is not None for task in state.tasks)
    return shown


def _plain_task(task: Any, waits: bool, failed: bool, left: Collection[str]) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": task.name, "result": plain_value(task.result)}
    if not failed:
        shown["interrupts"] = sorted(repr(it.value) for it in task.interrupts)
    # Of a graph that was left by a Command to its parent, LangGraph shows the checkpoint before that.
    if waits and not task.result and task.name not in left and hasattr(task.state, "tasks"):
        shown["state"] = plain_state(task.state, failed=failed, left=left)
        shown["state"].pop("failed", None)
    return shown


def plain_value(value: Any) -> Any:
    if hasattr(value, "content") and hasattr(value, "id"):
        kind = value.type if hasattr(value, "type") else value.role
        return {"role": ROLES.get(kind, kind), "content": value.content, "id": value.id}
    if type(value).__name__ == "Interrupt":
        return {"asked": value.value}
    if type(value).__name__ == "Overwrite":
        return {"over": plain_value(value.value)}
    if isinstance(value, dict):
        # A dict's order tells nothing.
        return {key: plain_value(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    return value
