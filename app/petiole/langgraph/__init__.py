"""Petiole for those who use LangGraph: the optional extra ``langgraph``, which nothing else of Petiole imports.

`PetioleSaver` needs ``langgraph-checkpoint`` alone, so what needs the whole of LangGraph is imported when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from petiole.langgraph.saver import PetioleSaver

if TYPE_CHECKING:
    from petiole.langgraph.porting import from_langgraph

__all__ = ["PetioleSaver", "from_langgraph"]


def __getattr__(name: str) -> Any:
    if name != "from_langgraph":
        raise AttributeError(f"module 'petiole.langgraph' has no attribute {name!r}")
    return importlib.import_module("petiole.langgraph.porting").from_langgraph
