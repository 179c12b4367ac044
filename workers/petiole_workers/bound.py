"""A compiled graph with a config of its own: what ``graph.with_config(...)`` gives."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from petiole_workers.compiled import CompiledGraph

Config = Mapping[str, Any]


class BoundGraph:
    """Everything that ``graph`` has; each of its methods that takes a config gets this one, the caller's before it."""

    def __init__(self, graph: CompiledGraph, config: Config) -> None:
        self.graph, self.config = graph, config

    def with_config(self, config: Config | None = None, **more: Any) -> BoundGraph:
        """The graph with this config before the one that it has."""
        return BoundGraph(self.graph, merged(self.config, merged(config, more)))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.graph, name)
        if not inspect.ismethod(found) or "config" not in inspect.signature(found).parameters:
            return found

        @functools.wraps(found)
        def method(*args: Any, **options: Any) -> Any:
            given = inspect.signature(found).bind_partial(*args, **options)
            its = given.arguments.get("config")
            if isinstance(its, Sequence):  # of a batch
                given.arguments["config"] = [merged(self.config, one) for one in its]
            else:
                given.arguments["config"] = merged(self.config, its)
            return found(*given.args, **given.kwargs)

        return method

    def __repr__(self) -> str:
        return f"{self.graph!r} with {dict(self.config)!r}"


def merged(first: Config | None, second: Config | None) -> dict[str, Any]:
    """Both configs: of two values the second's, of tags both, of metadata and configurable key by key. LangGraph's rule."""
    both = dict(first or {})
    for key, value in (second or {}).items():
        if not value:
            continue
        if key in ("metadata", "configurable"):
            both[key] = {**both.get(key, {}), **value}
        elif key == "tags":
            both[key] = [*both.get(key, ()), *value]
        else:
            both[key] = value
    return both
