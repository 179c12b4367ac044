"""What the config of ``graph.invoke`` says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from petiole_stores.errors import InputError
from petiole_stores.ids import new_id
from petiole_workers.given import Given, checked_tags
from petiole_workers.graph import DEFAULT_RECURSION_LIMIT
from petiole_workers.hop import AS_COMPILED, Stops

#: The keys of a config that are not ``configurable`` ones.
CONFIG_KEYS = frozenset(
    {
        "tags",
        "metadata",
        "callbacks",
        "run_name",
        "max_concurrency",
        "recursion_limit",
        "configurable",
        "run_id",
    }
)
#: How many nodes of a superstep run side by side when ``max_concurrency`` is not given.
CONCURRENCY = min(32, (os.cpu_count() or 1) + 4)


@dataclass(frozen=True)
class InvokeOptions:
    """What ``config`` says."""

    thread_id: str
    checkpoint_id: str | None = None
    recursion_limit: int = DEFAULT_RECURSION_LIMIT
    max_concurrency: int = CONCURRENCY
    durability: str | None = None
    stops: Stops = AS_COMPILED
    run_id: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    given: Given = field(default_factory=Given)

    @classmethod
    def of(
        cls,
        config: Mapping[str, Any] | None,
        *,
        needs_thread: bool,
        durability: str | None = None,
        stops: Stops = AS_COMPILED,
        context: Any = None,
    ) -> InvokeOptions:
        """What a config in LangGraph's shape says; keys that it does not know count as ``configurable`` ones there.

        Raises InputError when the thread id is missing or a value is out of range.
        """
        config = config or {}
        unknown = {key: value for key, value in config.items() if key not in CONFIG_KEYS}
        configurable = {**unknown, **(config.get("configurable") or {})}
        thread_id = configurable.get("thread_id")
        if thread_id is None and needs_thread:
            raise InputError(
                'a graph with a checkpointer needs a thread: pass {"configurable": {"thread_id": "..."}} as config'
            )
        limit = config.get("recursion_limit", DEFAULT_RECURSION_LIMIT)
        if not isinstance(limit, int) or limit < 1:
            raise InputError(f"recursion_limit is {limit!r}: take a whole number from 1")
        side_by_side = config.get("max_concurrency") or CONCURRENCY
        if not isinstance(side_by_side, int) or side_by_side < 1:
            raise InputError(f"max_concurrency is {side_by_side!r}: take a whole number from 1")
        run_id, metadata = config.get("run_id"), config.get("metadata") or {}
        if not isinstance(metadata, Mapping):
            raise InputError(f"metadata is {metadata!r}: take a dict")
        return cls(
            thread_id=str(thread_id) if thread_id is not None else new_id(),
            checkpoint_id=configurable.get("checkpoint_id"),
            recursion_limit=limit,
            max_concurrency=side_by_side,
            durability=durability,
            stops=stops,
            run_id=None if run_id is None else str(run_id),
            tags=checked_tags(config.get("tags") or ()),
            metadata=metadata,
            given=Given.of(configurable, context, config.get("callbacks")),
        )
