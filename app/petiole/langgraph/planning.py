"""Which nodes come after a LangGraph checkpoint: it does not say so, but its channels do."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from langgraph.checkpoint.base import Checkpoint

_START = "__start__"
_SENDS = "__pregel_tasks"
_BRANCH = "branch:to:"
_JOIN = "join:"


def planned(
    checkpoint: Checkpoint, *, kept: Collection[str] = (), before: Collection[str] = ()
) -> tuple[str, ...]:
    """The nodes that a ``StateGraph`` runs next, those of ``Send`` first; of other graphs as far as can be told.

    An edge to a node is a channel ``branch:to:NODE`` that holds a value until the node has seen it; one from several
    nodes is ``join:A+B:NODE``, which holds the names that have ended; packets sent wait in a channel of their own.
    ``kept`` are the channels that stand as in the parent checkpoint, after which the nodes ``before`` came next: what
    they lead to did come next there too.
    """
    nodes = (
        node
        for channel, value in checkpoint["channel_values"].items()
        if (node := _led_to(channel)) is not None
        and _is_new(checkpoint, channel, node)
        and (node in before if channel in kept else _is_full(channel, value))
    )
    return (*_sent(checkpoint["channel_values"]), *sorted(set(nodes)))


def _sent(values: Mapping[str, Any]) -> Iterator[str]:
    for packet in values.get(_SENDS) or ():
        node = getattr(packet, "node", None)
        if isinstance(node, str):
            yield node


def _led_to(channel: str) -> str | None:
    """The node that a channel triggers, as far as its name tells."""
    if channel == _START:
        return _START
    if channel.startswith(_BRANCH):
        return channel.removeprefix(_BRANCH)
    return channel.rpartition(":")[2] if channel.startswith(_JOIN) else None


def _is_new(checkpoint: Checkpoint, channel: str, node: str) -> bool:
    seen = checkpoint["versions_seen"].get(node, {}).get(channel)
    return seen is None or seen != checkpoint["channel_versions"].get(channel)


def _is_full(channel: str, value: Any) -> bool:
    """Whether the value triggers the node. That of a deferred node has beside it whether nothing else is left to run."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], bool):
        value, others_ended = value
        if not others_ended:
            return False
    if not channel.startswith(_JOIN):
        return True
    starts = channel.removeprefix(_JOIN).rpartition(":")[0]
    # Names may hold a "+": all are there when they make the text as long as it is.
    return isinstance(value, set) and len("+".join(map(str, [*value]))) == len(starts)
