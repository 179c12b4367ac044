"""The graph model and the supersteps: pure code that knows no store, no clock and no Celery."""

from petiole_workers.graph.definition import GraphDefinition, NodeSpec
from petiole_workers.graph.calls import call_node
from petiole_workers.graph.runtime import Runtime
from petiole_workers.graph.state_graph import StateGraph
from petiole_workers.graph.superstep import Snapshot, TaskOutput, TaskSpec
from petiole_workers.graph.types import END, MISSING, START, RetryPolicy, Send

__all__ = ["END", "MISSING", "START", "GraphDefinition", "NodeSpec", "RetryPolicy", "Runtime", "Send", "Snapshot",
           "StateGraph", "TaskOutput", "TaskSpec", "call_node"]
