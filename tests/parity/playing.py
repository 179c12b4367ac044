"""A program played on one engine, and what is seen of it in plain values that both libraries can agree on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from difflib import unified_diff
from itertools import zip_longest
from pprint import pformat
from types import SimpleNamespace
from typing import Any, Protocol

from tests.parity.building import build
from tests.parity.libraries import langgraph
from tests.parity.program import Program
from tests.parity.seen import plain_chunk, plain_state

#: What was seen, in order: a name and a plain value each.
Seen = list[tuple[str, Any]]
#: More calls than this are a program that does not end.
MOST_CALLS = 25
#: By these a thread can go on from where it stands.
PASSING = ("Broken", "GraphRecursionError")
#: In updates that are told again, as their tasks had ended before the thread went on.
RETOLD = "__metadata__"
#: Streamed where a run stops. LangGraph has it also after a last node in ``interrupt_after``, when nothing comes next, and
#: anew for each question that still waits when another one is answered. The state tells what is asked.
ASKED = "__interrupt__"


class Engine(Protocol):
    """What a program is played on."""

    def stream(self, value: Any, config: dict[str, Any]) -> Iterable[tuple[tuple[str, ...], str, Any]]:
        """Chunks with namespace and mode; raises what the run fails of, after them."""

    def get_state(self, config: dict[str, Any], *, subgraphs: bool = False) -> Any: ...

    def get_state_history(self, config: dict[str, Any]) -> Iterable[Any]: ...


class World:
    """How often each thread's program was mended, in this process."""

    def __init__(self) -> None:
        self._mended: dict[str, int] = {}

    def mended(self, thread_id: str) -> int:
        return self._mended.get(thread_id, 0)

    def mend(self, thread_id: str) -> None:
        self._mended[thread_id] = self.mended(thread_id) + 1


class Inline:
    """A compiled graph of Petiole's in this process."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self.get_state, self.get_state_history = graph.get_state, graph.get_state_history

    def stream(self, value: Any, config: dict[str, Any]) -> Iterator[Any]:
        yield from self._graph.stream(value, config, stream_mode=["updates", "values"], subgraphs=True)


class Reference(Inline):
    """A compiled graph of LangGraph's on an event loop, so that tasks come to their ends in the same order each time.

    It saves at once where it can: written behind, its history shares the joins' sets with the run that goes on. With a
    graph in it that has ``checkpointer=False`` its coroutines fail of that.
    """

    def __init__(self, graph: Any, program: Program) -> None:
        super().__init__(graph)
        forgetful = any(node.keeps is False for one in program.family() for node in one.nodes)
        self._durability = "async" if forgetful else "sync"

    def stream(self, value: Any, config: dict[str, Any]) -> Iterator[Any]:
        chunks: list[Any] = []
        error = asyncio.run(self._collect(value, config, chunks))
        yield from chunks
        if error is not None:
            raise error

    async def _collect(self, value: Any, config: dict[str, Any], chunks: list[Any]) -> Exception | None:
        modes = ["updates", "values"]
        try:
            stream = self._graph.astream(
                value, config, stream_mode=modes, subgraphs=True, durability=self._durability
            )
            async for chunk in stream:
                chunks += [chunk]
        except Exception as error:  # noqa: BLE001 - handed on, after the chunks
            return error
        return None


def compiled(program: Program, library: SimpleNamespace, world: World) -> Any:
    """The program's graph of this library, with its stops, on the library's checkpointer."""
    return build(program, library, world).compile(
        checkpointer=library.checkpointer,
        interrupt_before=list(program.before),
        interrupt_after=list(program.after),
    )


def theirs(program: Program) -> Seen:
    """What LangGraph shows of a program."""
    library, world = langgraph(is_async=True), World()
    return Play(program, Reference(compiled(program, library, world), program), library, world, "t").play()


def differences(ours: Seen, reference: Seen) -> str:
    """Where both begin to differ, as text; empty where they do not."""
    for number, (one, other) in enumerate(zip_longest(ours, reference)):
        if one != other:
            lines = (pformat(each, width=110).splitlines() for each in (other, one))
            return "\n".join(
                ["", *unified_diff(*lines, f"LangGraph, entry {number}", "Petiole", lineterm="")]
            )
    return ""


class Play:
    """Plays a program on an engine; ``seen`` is what was seen, in order."""

    def __init__(
        self, program: Program, engine: Engine, library: SimpleNamespace, world: Any, thread_id: str
    ) -> None:
        self._program, self._engine, self._library, self._world = program, engine, library, world
        self._thread_id = thread_id
        self._config = {
            "configurable": {"thread_id": thread_id},
            "recursion_limit": program.limit,
        }
        self.seen: Seen = []
        # What happens in a graph that runs within its node is not streamed here.
        self._within = {node.name for one in program.family() for node in one.nodes if node.keeps is False}
        # LangGraph streams ``{node: None}`` where a node fails after an answer.
        self._fragile = {
            node.name
            for one in program.family()
            for node in one.nodes
            if node.asks and node.fails and not node.silent
        }
        self._left = {
            node.name
            for one in program.family()
            for node in one.nodes
            if node.keeps and node.child and any(within.leaves is not None for within in node.child.nodes)
        }
        self._calls = 0
        self._is_stuck = False
        # The step of the root's checkpoint at which a bare answer was given last.
        self._answered_bare_at: int | None = None

    def play(self) -> Seen:
        for value in self._program.inputs:
            if self._is_stuck:
                break
            self._to_the_end(value)
        history = [*self._engine.get_state_history(self._config)]
        self.seen.append(("history", [plain_state(one, tasks=False) for one in reversed(history)]))
        return self.seen

    def _to_the_end(self, value: Any) -> None:
        """Call, and mend or answer as long as that is asked for."""
        while True:
            self._calls += 1
            if self._calls > MOST_CALLS:
                self.seen.append(("gave up", None))
                self._is_stuck = True
                return
            failure = self._call(value)
            if failure not in (None, *PASSING):
                # LangGraph's get_state fails as well now: it applies what cannot be applied.
                self._is_stuck = True
                return
            state = self._look("state", failed=failure == "Broken")
            if state is None:
                return
            if self._would_be_answered_twice(state, failed=failure == "Broken"):
                self._is_stuck = True
                return
            if failure == "Broken":
                self._world.mend(self._thread_id)
                value = None
            elif not state.next:
                return
            else:
                value = self._answer(state)

    def _call(self, value: Any) -> str | None:
        """The name of what it has failed of."""
        updates, values, failure = [], [], None
        try:
            for ns, mode, data in self._engine.stream(value, self._config):
                if not self._within.intersection(part.partition(":")[0] for part in ns):
                    (updates if mode == "updates" else values).append((mode, *plain_chunk(ns, data)))
        except Exception as error:  # noqa: BLE001 - both have to fail
            failure = error
        # Tasks that run side by side may end in any order.
        self.seen.append(
            ("updates", sorted((one for one in updates if not self._is_noise(one[-1])), key=repr))
        )
        self.seen.append(("values", [data for _, ns, data in values if not ns and ASKED not in data]))
        if failure is not None:
            self.seen.append(("raised", type(failure).__name__))
        return None if failure is None else type(failure).__name__

    def _is_noise(self, update: dict[str, Any]) -> bool:
        return (
            ASKED in update
            or RETOLD in update
            or (all(name in self._fragile and wrote is None for name, wrote in update.items()))
        )

    def _look(self, name: str, *, failed: bool = False) -> Any:
        """Note the state, and give it; ``None`` where what finished tasks have written does not go together."""
        try:
            state = self._engine.get_state(self._config, subgraphs=True)
        except Exception as error:  # noqa: BLE001 - both have to refuse
            self.seen.append((f"no {name}", type(error).__name__))
            self._is_stuck = True
            return None
        self.seen.append((name, plain_state(state, failed=failed, left=self._left)))
        return state

    def _would_be_answered_twice(self, state: Any, *, failed: bool) -> bool:
        """LangGraph keeps a bare answer with the root's checkpoint: a later call without one gives it to another question."""
        return (failed or len(state.interrupts) > 1) and state.metadata["step"] == self._answered_bare_at

    def _answer(self, state: Any) -> Any:
        """What lets the thread go on: the answers, or ``None`` past a stop."""
        asked = sorted(state.interrupts, key=lambda it: repr(it.value))
        if not asked:
            return None
        if len(asked) == 1 and self._program.answers == "value":
            self._answered_bare_at = state.metadata["step"]
            return self._library.Command(resume=f"re {asked[0].value}")
        # Of questions that look the same none is the first.
        alike = len({repr(it.value) for it in asked}) < len(asked)
        chosen = asked[:1] if self._program.answers == "one by one" and not alike else asked
        return self._library.Command(resume={it.id: f"re {it.value}" for it in chosen})
