"""Where gevent has patched the standard library: which native thread this is, and work that needs one.

Sockets and locks that gevent has patched belong to the native thread that made them. What native threads share elsewhere
(the connections of a store, of a broker) each of them must have for itself there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

#: How many async nodes may run side by side under gevent.
THREADS = 64

_pool: Any = None


def is_patched() -> bool:
    """Whether threads are greenlets in this process."""
    monkey: Any = sys.modules.get("gevent.monkey")
    return bool(monkey and monkey.is_module_patched("threading"))


def original(module: str, name: str) -> Any:
    """What gevent has replaced; ``None`` where nothing is patched."""
    return sys.modules["gevent.monkey"].get_original(module, name) if is_patched() else None


def native_thread() -> int:
    """Names the native thread that this greenlet runs in; 0 where greenlets are not used: all may share there."""
    get_ident = original("_thread", "get_ident")
    return int(get_ident()) if get_ident is not None else 0


def greenlets_here() -> Callable[[Callable[[], None]], None] | None:
    """What lets other native threads have work done in a greenlet of this one, soon; ``None`` where greenlets are not used."""
    if not is_patched():
        return None
    import gevent

    hub: Any = gevent.get_hub()
    return lambda work: hub.loop.run_callback_threadsafe(gevent.spawn, work)


def in_native_thread(work: Callable[[], T]) -> T:
    """The result of work that is done in a native thread of its own, while other greenlets go on.

    For event loops: a native thread has at most one that runs, and all greenlets of a worker share theirs.
    """
    global _pool
    if _pool is None:
        from gevent.threadpool import ThreadPool

        _pool = ThreadPool(THREADS)
    result: T = _pool.apply(work)
    return result
