"""Which nodes come after a LangGraph checkpoint: it does not say so, but its channels do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langgraph.checkpoint.base import Checkpoint

_START = "__start__"
_SENDS = "__pregel_tasks"
_BRANCH = "branch:to:"
_JOIN = "join:"


def planned(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The nodes that a ``StateGraph`` runs next, those of ``Send`` first; of other graphs as far as can be told.

    An edge to a node is a channel ``branch:to:NODE`` that holds a value until the node has seen it; one from several
    nodes is ``join:A+B:NODE``, which holds the names that have ended; packets sent wait in a channel of their own.
    """
    return (*_sent(checkpoint["channel_values"]), *sorted({*_triggered(checkpoint)}))


def _sent(values: Mapping[str, Any]) -> Iterator[str]:
    for packet in values.get(_SENDS) or ():
        node = getattr(packet, "node", None)
        if isinstance(node, str):
            yield node


def _triggered(checkpoint: Checkpoint) -> Iterator[str]:
    for channel, value in checkpoint["channel_values"].items():
        if channel == _START:
            yield _START
        elif channel.startswith(_BRANCH):
            node = channel.removeprefix(_BRANCH)
            if _is_new(checkpoint, channel, node) and not _is_deferred(value):
                yield node
        elif channel.startswith(_JOIN):
            starts, _, node = channel.removeprefix(_JOIN).rpartition(":")
            if _is_new(checkpoint, channel, node) and _is_joined(value, starts):
                yield node


def _is_new(checkpoint: Checkpoint, channel: str, node: str) -> bool:
    seen = checkpoint["versions_seen"].get(node, {}).get(channel)
    return seen is None or seen != checkpoint["channel_versions"].get(channel)


def _is_deferred(value: Any) -> bool:
    """A deferred node's channel holds its value and whether nothing else is left to run."""
    return isinstance(value, tuple) and len(value) == 2 and value[1] is False


def _is_joined(value: Any, starts: str) -> bool:
    if _is_deferred(value):
        return False
    ended = value[0] if isinstance(value, tuple) else value
    # Names may hold a "+": all are there when they make the text as long as it is.
    return isinstance(ended, set) and len("+".join(map(str, ended))) == len(starts)
