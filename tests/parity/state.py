"""The state that all programs share, in either library's terms."""

from __future__ import annotations

import operator
from types import SimpleNamespace
from typing import Annotated, Any, TypedDict

from langgraph.channels import EphemeralValue, Topic


def newest(current: int, update: int) -> int:
    return max(current, update)


def schemas(library: SimpleNamespace, *, inner: bool) -> tuple[Any, Any]:
    """The whole state, and what narrow nodes read: fewer keys, and one that is theirs alone.

    inner: of a graph that is a node: without the key that several of these would write at once.

    Petiole takes LangGraph's own channels for its own of that name.
    """
    log = Annotated[list[str], operator.add]
    hops = Annotated[int, operator.add]
    whole: dict[str, Any] = {
        "log": log,
        "hops": hops,
        "seen": Annotated[dict[str, int], operator.or_],
        "top": Annotated[int, newest],
        "maybe": Annotated[list[str] | None, operator.add],
        "last": str,
        "once": Annotated[str, EphemeralValue(str, guard=False)],
        "topic": Annotated[list[str], Topic(str)],
        "talk": Annotated[list, library.add_messages],
    }
    if inner:
        del whole["last"]
    narrow: dict[str, Any] = {"log": log, "hops": hops, "secret": Annotated[list[str], operator.add]}
    return TypedDict("Whole", whole, total=False), TypedDict("Narrow", narrow, total=False)  # type: ignore[operator]
