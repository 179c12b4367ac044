"""Server-sent events: their text, heartbeats, and the answer that carries them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import msgspec
from starlette.responses import StreamingResponse

from petiole.access.principal import AuthenticationError
from petiole_stores.errors import StoreUnavailableError

MEDIA_TYPE = "text/event-stream"
#: Seconds after which a comment is sent where nothing else was, so that proxies keep the connection and a reader who is
#: gone is noticed.
HEARTBEAT = 15.0
#: How often it is asked whether the reader may still read, in seconds.
RECHECK = 5.0
BEAT = b": beat\n\n"


def event(name: str, data: bytes, id: str | None = None) -> bytes:
    """One event. ``data`` is JSON, which has no line breaks."""
    head = f"id: {id}\n" if id is not None else ""
    return f"{head}event: {name}\ndata: ".encode() + data + b"\n\n"


class EventStream(StreamingResponse):
    """An answer of events, with heartbeats in its silences."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        events: AsyncIterator[bytes],
        *,
        again: Callable[[], object] | None = None,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(
            beating(events if again is None else allowed(events, again), heartbeat), headers=headers
        )


async def beating(events: AsyncIterator[bytes], heartbeat: float) -> AsyncIterator[bytes]:
    """The events, and a comment after each so many seconds without one."""
    yield BEAT  # headers leave at once, also where nothing happens yet
    pending: asyncio.Task[bytes] | None = None
    try:
        while True:
            if pending is None:
                pending = asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait((pending,), timeout=heartbeat)
            if not done:
                yield BEAT
                continue
            taken, pending = pending, None
            try:
                yield taken.result()
            except StopAsyncIteration:
                return
    finally:
        if pending is not None:
            pending.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
                await pending
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()


async def allowed(events: AsyncIterator[bytes], again: Callable[[], object]) -> AsyncIterator[bytes]:
    """The events until ``again`` raises AuthenticationError: a key that is revoked ends what was begun with it.

    It is called every ``RECHECK`` seconds, also while nothing happens; the last event is then ``error``.
    """
    pending: asyncio.Future[bytes] | None = None
    checked = time.monotonic()
    try:
        while True:
            pending = pending or asyncio.ensure_future(anext(events))
            await asyncio.wait((pending,), timeout=max(0.0, checked + RECHECK - time.monotonic()))
            if time.monotonic() - checked >= RECHECK:
                checked = time.monotonic()
                try:
                    await asyncio.to_thread(again)
                except AuthenticationError as error:
                    problem = {"type": type(error).__name__, "status": 401, "detail": str(error)}
                    yield event("error", msgspec.json.encode(problem))
                    return
                except StoreUnavailableError:
                    pass  # what cannot be asked just now is asked again
            if pending.done():
                taken, pending = pending, None
                try:
                    yield taken.result()
                except StopAsyncIteration:
                    return
    finally:
        if pending is not None:
            pending.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
                await pending
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()
