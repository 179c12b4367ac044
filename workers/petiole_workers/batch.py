"""Many inputs to one graph in this process: ``graph.batch`` and ``graph.abatch``, as LangChain's runnables have them."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from petiole_stores.errors import InputError

Config = Mapping[str, Any]
Configs = Config | Sequence[Config] | None

#: How many inputs are run side by side where no config has a ``max_concurrency``.
SIDE_BY_SIDE = 8


def batch(
    invoke: Callable[[Any, Config], Any], inputs: Sequence[Any], config: Configs, return_exceptions: bool
) -> list[Any]:
    """The results in the order of the inputs; an exception in its place, or raised once all others have ended."""
    configs = each_config(config, len(inputs))

    def one(given: tuple[Any, Config]) -> Any:
        try:
            return invoke(*given)
        except Exception as error:
            if return_exceptions:
                return error
            raise

    if not inputs:
        return []
    with concurrent.futures.ThreadPoolExecutor(_limit(configs), thread_name_prefix="petiole-batch") as pool:
        return list(pool.map(one, zip(inputs, configs, strict=True)))


async def abatch(
    ainvoke: Callable[[Any, Config], Awaitable[Any]],
    inputs: Sequence[Any],
    config: Configs,
    return_exceptions: bool,
) -> list[Any]:
    """As `batch`, on the caller's event loop."""
    configs = each_config(config, len(inputs))
    if not inputs:
        return []
    free = asyncio.Semaphore(_limit(configs))

    async def one(input: Any, its: Config) -> Any:
        async with free:
            return await ainvoke(input, its)

    jobs = [one(input, its) for input, its in zip(inputs, configs, strict=True)]
    return await asyncio.gather(*jobs, return_exceptions=return_exceptions)


def each_config(config: Configs, number: int) -> list[Config]:
    """One config an input. A ``run_id`` that is given for all is the first one's. Raises InputError for another number."""
    if isinstance(config, Sequence):
        if len(config) != number:
            raise InputError(
                f"there are {number} inputs and {len(config)} configs: give one each, or one for all"
            )
        return list(config)
    first: Config = config or {}
    rest: Config = {key: value for key, value in first.items() if key != "run_id"}
    return [first, *([rest] * (number - 1))][:number]


def _limit(configs: Sequence[Config]) -> int:
    return next((it["max_concurrency"] for it in configs if it.get("max_concurrency")), SIDE_BY_SIDE)
