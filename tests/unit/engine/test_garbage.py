"""A hop leaves nothing to the cycle collector: its runs stop a pool process that has much loaded."""

from __future__ import annotations

import gc
from collections import Counter

from tests.unit.engine.bench import Bench, chain, says


def test_hops_leave_no_cycles() -> None:
    bench = Bench(chain(**{f"n{number}": says(str(number)) for number in range(20)}))
    bench.submit()
    bench.drain()  # what is made once is made now
    gc.collect()
    gc.disable()
    try:
        gc.set_debug(gc.DEBUG_SAVEALL)
        bench.submit()
        bench.drain()
        gc.collect()
        left = Counter(type(thing).__qualname__ for thing in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert {name: count for name, count in left.items() if count >= 20} == {}
