"""From a program to a graph, of either library: its nodes do the same for the same state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Protocol

from langchain_core.runnables import RunnableConfig, RunnableLambda

from tests.parity.program import Aim, Goes, Node, Packet, Program, Router
from tests.parity.state import schemas

#: From here on no router and no Command of a program that counts its hops leads on.
ENOUGH = 9
#: For so many turns no coroutine of a program is called: then the others are at their ends.
QUIET = 400


class Broken(Exception):
    """A node fails until it is mended."""


class Stumble(Exception):
    """A node's first attempt fails, the next one does not."""


class Mendable(Protocol):
    """How often the program that runs on a thread was mended."""

    def mended(self, thread_id: str) -> int: ...


def build(program: Program, library: SimpleNamespace, world: Mendable) -> Any:
    """The library's StateGraph, not compiled."""
    return _Building(library, world).graph(program)


class _Building:
    def __init__(self, library: SimpleNamespace, world: Mendable) -> None:
        self._library, self._world = library, world
        self._calls = 0

    def graph(self, program: Program, *, inner: bool = False) -> Any:
        whole, narrow = schemas(self._library, inner=inner)
        builder = self._library.StateGraph(whole)
        for node in program.nodes:
            if node.child is not None:
                within = self.graph(node.child, inner=True).compile(checkpointer=node.keeps)
                builder.add_node(node.name, within, defer=node.defer)
                continue
            builder.add_node(
                node.name,
                self._function(node),
                defer=node.defer,
                input_schema=narrow if node.narrow else None,
                retry_policy=self._policy() if node.stumbles else None,
            )
        for start, end in program.edges:
            builder.add_edge(start, end)
        for join in program.joins:
            builder.add_edge(list(join.starts), join.end)
        for number, router in enumerate(program.routers):
            builder.add_conditional_edges(router.after, self._router(number, router))
        return builder

    def _policy(self) -> Any:
        # Where coroutines take turns no clock is to come in between.
        interval = 0.0 if self._library.is_async else 0.001
        return self._library.RetryPolicy(
            initial_interval=interval, max_attempts=2, jitter=False, retry_on=Stumble
        )

    # ---------------------------------------------------------------- nodes

    def _function(self, node: Node) -> Callable[..., Any]:
        def work(state: Any, config: RunnableConfig) -> Any:
            answers = self._before(node, state, config)
            return self._output(node, state, answers)

        async def work_in_turn(state: Any, config: RunnableConfig) -> Any:
            self._calls += 1
            try:
                return work(state, config)
            except Broken:
                await self._others()
                raise

        return work_in_turn if self._library.is_async else work

    async def _others(self) -> None:
        """LangGraph cancels the siblings of a node that fails: they get to their ends before it."""
        quiet, calls = 0, self._calls
        while quiet < QUIET:
            await asyncio.sleep(0)
            quiet, calls = (quiet + 1 if calls == self._calls else 0), self._calls

    def _before(self, node: Node, state: Any, config: Any) -> list[Any]:
        """Stumble, ask and fail; gives the answers."""
        if node.stumbles and self._library.get_runtime().execution_info.node_attempt == 1:
            raise Stumble(f"{node.name} stumbles")
        place = [node.name, state.get("depth", ""), state.get("hops", "")]
        answers = [self._library.interrupt([*place, number]) for number in range(node.asks)]
        if self._world.mended(config["configurable"]["thread_id"]) < node.fails:
            raise Broken(f"broken, to be mended {node.fails} times")
        return answers

    def _output(self, node: Node, state: Any, answers: list[Any]) -> Any:
        if node.silent and node.goto is None and node.leaves is None:
            return None
        update = {} if node.silent else self._update(node, state, answers)
        if node.leaves is not None:
            if state.get("hops", ENOUGH) >= ENOUGH:
                return update
            return self._library.Command(
                graph=self._library.Command.PARENT, update=update, goto=list(node.leaves)
            )
        if node.goto is None:
            return update
        return self._library.Command(update=update, goto=self._aims(node.goto, state))

    def _aims(self, goes: Goes, state: Any) -> list[Any]:
        if state.get("hops", ENOUGH) >= min(goes.below, ENOUGH):
            return []
        return [self._aim(aim) for aim in goes.aims]

    def _aim(self, aim: Aim) -> Any:
        if isinstance(aim, Packet):
            return self._library.Send(aim.to, {"depth": aim.number, "log": [f"sent {aim.number}"]})
        return aim

    def _update(self, node: Node, state: Any, answers: list[Any]) -> dict[str, Any]:
        name, hops = node.name, state.get("hops", 0)
        seen = [name, state.get("depth", ""), state.get("once", ""), state.get("topic", "")]
        said = [" ".join(map(str, [*seen, *answers])), *state.get("secret", [])]
        update = {
            "log": self._library.Overwrite(said) if node.overwrites else said,
            "hops": 1,
            "seen": {name: hops},
            "top": len(state.get("log", [])),
            "maybe": [name],
            "once": name,
            "topic": [name],
        }
        if node.narrow:
            update["secret"] = [name]
        if node.last:
            update["last"] = name
        if node.talks:
            update["talk"] = self._talk(node, state)
        return update

    def _talk(self, node: Node, state: Any) -> list[Any]:
        """Messages with ids of their own: both libraries would make up others."""
        talk = state.get("talk") or []
        if node.talks == "removes" and talk:
            return [self._library.RemoveMessage(id=talk[-1].id)]
        if node.talks == "changes" and talk:
            return [{"role": "user", "content": f"{node.name} changed it", "id": talk[0].id}]
        said = {"role": "assistant", "content": node.name, "id": f"{node.name} {len(talk)}"}
        return [said, {"role": "user", "content": "so", "id": f"so {node.name}"}]

    # ---------------------------------------------------------------- routers

    def _router(self, number: int, router: Router) -> Any:
        def path(state: Any) -> Any:
            hops = state.get("hops", 0)
            for case in router.cases:
                if hops < case.below and hops < ENOUGH:
                    return [self._aim(aim) for aim in case.aims]
            return self._library.END

        async def path_in_turn(state: Any) -> Any:
            return path(state)

        path.__name__ = f"router{number}"
        # LangGraph calls it either way, whatever called the graph.
        return RunnableLambda(path, path_in_turn, path.__name__) if self._library.is_async else path
