"""Between LangGraph's classes and Petiole's: what nodes and routers return, what callers give, what nodes fail by."""

from __future__ import annotations

from typing import Any

from langgraph.errors import NodeTimeoutError as TheirNodeTimeoutError
from langgraph.types import Command as TheirCommand
from langgraph.types import Send as TheirSend

from petiole_workers.graph import Command, Send
from petiole_workers.limits import NodeTimeoutError


def returned_by_node(value: object) -> object:
    """What a node returned; a `Send` alone, or in a list, goes where it says, as in LangGraph."""
    if isinstance(value, TheirSend):
        return Command(goto=send(value))
    if isinstance(value, TheirCommand):
        return command(value)
    if isinstance(value, list | tuple) and any(isinstance(item, TheirCommand) for item in value):
        return [returned_by_node(item) for item in value]
    return value


def returned_by_router(value: object) -> object:
    """What a router answered: one answer or several."""
    if isinstance(value, list | tuple):
        return [send(item) if isinstance(item, TheirSend) else item for item in value]
    return send(value) if isinstance(value, TheirSend) else value


def given_by_caller(value: Any) -> Any:
    """An input: a Command of either kind, or a state."""
    return command(value) if isinstance(value, TheirCommand) else value


def command(given: TheirCommand[Any]) -> Command[Any]:
    """The same Command in Petiole's class."""
    goto = given.goto
    where: Any = (goto,) if isinstance(goto, str | TheirSend) else tuple(goto)
    return Command(
        graph=given.graph,
        update=given.update,
        resume=given.resume,
        goto=tuple(send(to) if isinstance(to, TheirSend) else to for to in where),
    )


def send(given: TheirSend) -> Send:
    """The same Send in Petiole's class."""
    limits: Any = given.timeout  # LangGraph's class will do
    return Send(given.node, given.arg, timeout=limits)


def error(raised: BaseException) -> BaseException:
    """An error of Petiole's as LangGraph's functions know it: a timeout is one of LangGraph's, every other one itself."""
    if not isinstance(raised, NodeTimeoutError):
        return raised
    kind = raised.kind or "run"
    limit = raised.run_timeout if kind == "run" else raised.idle_timeout
    if limit is None:
        return raised
    theirs = TheirNodeTimeoutError(
        raised.node, limit, kind=kind, run_timeout=raised.run_timeout, idle_timeout=raised.idle_timeout
    )
    return theirs.with_traceback(raised.__traceback__)
