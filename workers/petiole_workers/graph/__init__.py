"""The authoring model and the superstep engine: pure code that knows no store, no clock and no Celery."""

from __future__ import annotations

from petiole_workers.graph.builder import StateGraph
from petiole_workers.graph.cache import CachePolicy
from petiole_workers.graph.callables import GraphFunction, acall, call, run_awaitable
from petiole_workers.graph.channels import (
    AnyValue,
    BinaryOperatorAggregate,
    DeltaChannel,
    EphemeralValue,
    LastValue,
    Topic,
    UntrackedValue,
)
from petiole_workers.graph.children import child
from petiole_workers.graph.command import Command
from petiole_workers.graph.definition import GraphDefinition
from petiole_workers.graph.errors import HANDLER_PREFIX, NodeError
from petiole_workers.graph.interrupts import GraphInterrupt, Interrupt, interrupt
from petiole_workers.graph.managed import IsLastStep, RemainingSteps
from petiole_workers.graph.messages import REMOVE_ALL_MESSAGES, MessagesState, RemoveMessage, add_messages
from petiole_workers.graph.names import DEFAULT_RECURSION_LIMIT, END, INTERRUPT, MISSING, START
from petiole_workers.graph.nodes import acall_node, call_node
from petiole_workers.graph.overwrite import Overwrite, is_overwrite
from petiole_workers.graph.parts import Branch, Join, NodeSpec, Subgraph
from petiole_workers.graph.retry import RetryPolicy
from petiole_workers.graph.runtime import (
    Caller,
    ExecutionInfo,
    Runtime,
    get_config,
    get_runtime,
    get_stream_writer,
)
from petiole_workers.graph.schema import Channel, Schema
from petiole_workers.graph.send import Send
from petiole_workers.graph.snapshot import Snapshot, TaskOutput, TaskSpec
from petiole_workers.graph.superstep import advance, begin, check_limit, next_names, stop_step
from petiole_workers.graph.timeout import TimeoutPolicy
from petiole_workers.graph.updates import from_below, result, task_input, task_output

__all__ = [
    "DEFAULT_RECURSION_LIMIT",
    "END",
    "HANDLER_PREFIX",
    "INTERRUPT",
    "MISSING",
    "REMOVE_ALL_MESSAGES",
    "START",
    "AnyValue",
    "BinaryOperatorAggregate",
    "Branch",
    "CachePolicy",
    "Caller",
    "Channel",
    "Command",
    "DeltaChannel",
    "EphemeralValue",
    "ExecutionInfo",
    "GraphDefinition",
    "GraphFunction",
    "GraphInterrupt",
    "Interrupt",
    "IsLastStep",
    "Join",
    "LastValue",
    "MessagesState",
    "NodeError",
    "NodeSpec",
    "Overwrite",
    "RemainingSteps",
    "RemoveMessage",
    "RetryPolicy",
    "Runtime",
    "Schema",
    "Send",
    "Snapshot",
    "StateGraph",
    "Subgraph",
    "TaskOutput",
    "TaskSpec",
    "TimeoutPolicy",
    "Topic",
    "UntrackedValue",
    "acall",
    "acall_node",
    "add_messages",
    "advance",
    "begin",
    "call",
    "call_node",
    "check_limit",
    "child",
    "from_below",
    "get_config",
    "get_runtime",
    "get_stream_writer",
    "interrupt",
    "is_overwrite",
    "next_names",
    "result",
    "run_awaitable",
    "stop_step",
    "task_input",
    "task_output",
]
