"""Drawings of graphs, and of runs on them, as text: Mermaid, DOT (Graphviz) and plain characters."""

from __future__ import annotations

from petiole_workers.graph.drawing.drawing import Drawing, DrawnEdge, DrawnNode, Status, draw

__all__ = ["Drawing", "DrawnEdge", "DrawnNode", "Status", "draw"]
