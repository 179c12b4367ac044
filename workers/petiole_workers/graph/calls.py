"""Calling a node's function with what it takes."""

from __future__ import annotations

from typing import Any

from petiole_workers.graph.definition import NodeSpec
from petiole_workers.graph.runtime import Runtime


def call_node(spec: NodeSpec, input: object, runtime: Runtime) -> Any:
    return spec.fn(input, runtime) if spec.takes_runtime else spec.fn(input)
