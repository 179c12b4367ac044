"""The authoring model and the superstep engine: pure code that knows no store, no clock and no Celery."""

from __future__ import annotations

from petiole_workers.graph.builder import StateGraph
from petiole_workers.graph.cache import CachePolicy
from petiole_workers.graph.callables import GraphFunction, acall, call, run_awaitable
from petiole_workers.graph.command import Command
from petiole_workers.graph.definition import GraphDefinition
from petiole_workers.graph.errors import HANDLER_PREFIX, NodeError
from petiole_workers.graph.names import DEFAULT_RECURSION_LIMIT, END, MISSING, START
from petiole_workers.graph.nodes import acall_node, call_node
from petiole_workers.graph.parts import Branch, Join, NodeSpec
from petiole_workers.graph.retry import RetryPolicy
from petiole_workers.graph.runtime import Runtime
from petiole_workers.graph.schema import Channel, Schema
from petiole_workers.graph.send import Send
from petiole_workers.graph.snapshot import Snapshot, TaskOutput, TaskSpec
from petiole_workers.graph.superstep import advance, begin, check_limit, next_names, stop_step
from petiole_workers.graph.updates import result, task_input, task_output

__all__ = [
    "DEFAULT_RECURSION_LIMIT",
    "END",
    "HANDLER_PREFIX",
    "MISSING",
    "START",
    "Branch",
    "CachePolicy",
    "Channel",
    "Command",
    "GraphDefinition",
    "GraphFunction",
    "Join",
    "NodeError",
    "NodeSpec",
    "RetryPolicy",
    "Runtime",
    "Schema",
    "Send",
    "Snapshot",
    "StateGraph",
    "TaskOutput",
    "TaskSpec",
    "acall",
    "acall_node",
    "advance",
    "begin",
    "call",
    "call_node",
    "check_limit",
    "next_names",
    "result",
    "run_awaitable",
    "stop_step",
    "task_input",
    "task_output",
]
