"""Petiole for those who use LangGraph: the optional extra ``langgraph``, which nothing else of Petiole imports."""

from __future__ import annotations

from petiole.langgraph.saver import PetioleSaver

__all__ = ["PetioleSaver"]
