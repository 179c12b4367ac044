"""Calling a node's function."""

from __future__ import annotations

from typing import Any

from petiole_workers.graph.parts import NodeSpec
from petiole_workers.graph.runtime import Runtime


def call_node(spec: NodeSpec, input: object, runtime: Runtime) -> Any:
    """What the node's function returns for ``input`` (see `task_input`): a coroutine if ``spec.is_async``."""
    return spec.function(input, runtime)
