"""Where a checkpoint stands: LangGraph's ``config`` taken apart, and the id under which Petiole keeps it."""

from __future__ import annotations

import hashlib
from typing import NamedTuple, cast

from langchain_core.runnables import RunnableConfig

from petiole_stores.errors import InputError

_SUFFIX = "@"
_DIGITS = 16


class Place(NamedTuple):
    """A thread, a namespace in it ("" is the root graph's) and LangGraph's id of a checkpoint there, if one is meant."""

    thread_id: str
    ns: str
    checkpoint_id: str | None = None

    @classmethod
    def of(cls, config: RunnableConfig) -> Place:
        """What a config points at. Raises InputError for one without a thread id."""
        configurable = config.get("configurable") or {}
        thread_id = configurable.get("thread_id")
        if thread_id is None:
            raise InputError(
                'the config names no thread: call the graph with {"configurable": {"thread_id": "..."}}'
            )
        return cls(
            str(thread_id),
            configurable.get("checkpoint_ns") or "",
            configurable.get("checkpoint_id") or None,
        )

    def at(self, checkpoint_id: str) -> Place:
        """Another checkpoint of the same thread and namespace."""
        return self._replace(checkpoint_id=checkpoint_id)

    @property
    def stored_id(self) -> str:
        """The id of Petiole's checkpoint.

        Petiole's ids are unique in a store, LangGraph's only in a thread and namespace (a copied thread has those of its
        source). So a digest of the two follows the id: one look finds the checkpoint, whatever made it.
        """
        if self.checkpoint_id is None:
            raise InputError(
                f"the config names no checkpoint of thread {self.thread_id!r}: put checkpoint_id into it"
            )
        home = hashlib.sha256(f"{len(self.thread_id)}:{self.thread_id}{self.ns}".encode()).hexdigest()
        return f"{self.checkpoint_id}{_SUFFIX}{home[:_DIGITS]}"

    @property
    def config(self) -> RunnableConfig:
        """The config that points here."""
        configurable = {"thread_id": self.thread_id, "checkpoint_ns": self.ns}
        if self.checkpoint_id is not None:
            configurable["checkpoint_id"] = self.checkpoint_id
        return cast("RunnableConfig", {"configurable": configurable})


def langgraph_id(stored_id: str) -> str:
    """LangGraph's id of the checkpoint that Petiole keeps under this one."""
    return stored_id.rpartition(_SUFFIX)[0]
