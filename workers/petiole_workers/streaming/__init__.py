"""Streaming: what a run does, as LangGraph's chunks, while it does it.

:mod:`.facts` is what happened, as the ledger has it; :mod:`.deriving` makes chunks of it. In process the facts come from
the runner (:mod:`.live`); of a run on workers they are read back from the store (:mod:`.following`).
"""

from __future__ import annotations

from petiole_workers.streaming.modes import MODES, Chunk, Modes, StreamMode

__all__ = ["MODES", "Chunk", "Modes", "StreamMode"]
