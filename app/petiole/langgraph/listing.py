"""Which checkpoints a list is of: LangGraph's ``config`` and ``before``, looked up in the store's order."""

from __future__ import annotations

from collections.abc import Iterator

from langchain_core.runnables import RunnableConfig

from petiole.langgraph.place import Place
from petiole.langgraph.threads import Threads, place_of
from petiole_stores.records import Checkpointed


def listed(
    threads: Threads, config: RunnableConfig | None, before: RunnableConfig | None
) -> Iterator[Checkpointed]:
    """Checkpoints, newest first: of the config's thread, of its namespace if it names one, and only the one that it names
    if it does; of every thread, one after the other, without a config."""
    if config is None:
        for thread_id in threads.store.threads():
            yield from _older(threads, thread_id, None, before)
        return
    place = Place.of(config)
    ns: str | None = config["configurable"].get("checkpoint_ns")
    for record in _older(threads, place.thread_id, ns, before):
        if place.checkpoint_id in (None, place_of(record).checkpoint_id):
            yield record


def _older(
    threads: Threads, thread_id: str, ns: str | None, before: RunnableConfig | None
) -> Iterator[Checkpointed]:
    """Checkpoints of a thread that are older than ``before``: stored earlier, or, where that one is not of this thread or
    is gone, of a smaller id."""
    configurable = before["configurable"] if before else {}
    before_id: str | None = configurable.get("checkpoint_id")
    if not before_id:
        yield from threads.rows(thread_id, ns)
        return
    bound = threads.find(Place(thread_id, configurable.get("checkpoint_ns") or ns or "", before_id))
    for record in threads.rows(thread_id, ns, bound.seq if bound else None):
        if bound or (place_of(record).checkpoint_id or "") < before_id:
            yield record
