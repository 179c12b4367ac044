"""One script for two libraries: what a person does with a graph, written once, played on Petiole and on LangGraph."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


def petiole(store: Any = None) -> SimpleNamespace:
    """Ours, on a store of its own in memory unless one is given."""
    from petiole_stores.memory import MemoryStore
    from petiole_workers import graph

    return _library(graph, graph, graph, graph, store or MemoryStore())


def langgraph(*, is_async: bool = False) -> SimpleNamespace:
    """Theirs; ``is_async``: programs get coroutines for nodes, whose turns come in the same order each time."""
    import langgraph.graph
    import langgraph.runtime
    import langgraph.types
    from langgraph.checkpoint.memory import InMemorySaver

    made = _library(
        langgraph.graph, langgraph.types, langgraph.runtime, langgraph.graph.message, InMemorySaver()
    )
    made.is_async = is_async
    return made


def _library(graph: Any, types: Any, runtime: Any, messages: Any, checkpointer: Any) -> SimpleNamespace:
    places = [
        (graph, ["StateGraph", "START", "END"]),
        (types, ["Command", "Send", "interrupt", "Overwrite", "RetryPolicy"]),
        (runtime, ["get_runtime"]),
        (messages, ["add_messages", "RemoveMessage"]),
    ]
    found = {name: getattr(module, name) for module, names in places for name in names}
    return SimpleNamespace(checkpointer=checkpointer, is_async=False, **found)


@dataclass
class Diary:
    """What was seen, in plain values that both libraries can agree on: ids and times are left out."""

    config: dict[str, Any]
    seen: list[Any] = field(default_factory=list)

    def invoked(self, returned: Any) -> Any:
        """Note what ``invoke`` returned; gives it back."""
        shown = dict(returned or {})
        if "__interrupt__" in shown:
            shown["__interrupt__"] = sorted(repr(it.value) for it in shown["__interrupt__"])
        self.seen.append(("returned", shown))
        return returned

    def raised(self, error: BaseException) -> None:
        self.seen.append(("raised", type(error).__name__, str(error)))

    def looked(self, graph: Any, **options: Any) -> Any:
        """Note the newest state and the whole history; gives the state."""
        state = graph.get_state(self.config, **options)
        self.seen.append(("state", plain(state)))
        self.seen.append(("history", [plain(it, tasks=False) for it in graph.get_state_history(self.config)]))
        return state


def plain(state: Any, *, tasks: bool = True) -> dict[str, Any]:
    """A StateSnapshot without ids and times."""
    metadata = state.metadata or {}
    shown = {
        "values": state.values,
        "next": state.next,
        "source": metadata.get("source"),
        "step": metadata.get("step"),
        "has_parent": state.parent_config is not None,
    }
    if tasks:
        shown["interrupts"] = sorted(repr(it.value) for it in state.interrupts)
        shown["tasks"] = [
            {
                "name": task.name,
                "result": task.result,
                "interrupts": sorted(repr(it.value) for it in task.interrupts),
                "failed": task.error is not None,
                "state": plain(task.state) if hasattr(task.state, "values") and not isinstance(task.state, dict)
                else None if task.state is None else "config",
            }
            for task in state.tasks
        ]  # fmt: skip
    return shown
