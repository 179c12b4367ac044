"""What can be streamed, and the shape in which it is handed out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from petiole_stores.errors import InputError

StreamMode = Literal["values", "updates", "checkpoints", "tasks", "debug", "messages", "custom"]

MODES: Final[tuple[StreamMode, ...]] = (
    "values",
    "updates",
    "checkpoints",
    "tasks",
    "debug",
    "messages",
    "custom",
)
#: What running nodes say themselves; the other modes are derived from what the ledger keeps.
SPOKEN: Final = frozenset({"messages", "custom"})
#: Between the parts of a namespace.
NS_SEPARATOR: Final = "|"


class Chunk(NamedTuple):
    """One piece of a stream.

    ns: the namespace that it is of, outermost first: ``()`` for the graph itself, ``("node:task id",)`` for a subgraph.
    """

    ns: tuple[str, ...]
    mode: StreamMode
    data: Any


@dataclass(frozen=True, slots=True)
class Modes:
    """Which modes were asked for, and how.

    listed: as a list, so that chunks are pairs of mode and data.
    subgraphs: with the chunks of subgraphs, so that each comes with its namespace.
    given: those of them that are given out; the others are printed alone.
    printed: those that are printed.
    """

    asked: frozenset[str]
    given: frozenset[str]
    printed: frozenset[str] = frozenset()
    listed: bool = False
    subgraphs: bool = False

    @classmethod
    def of(
        cls,
        stream_mode: str | Sequence[str] | None,
        print_mode: str | Sequence[str] = (),
        *,
        subgraphs: bool = False,
    ) -> Modes:
        """``None`` is ``updates``, LangGraph's default. Raises InputError for a mode that does not exist."""
        listed = stream_mode is not None and not isinstance(stream_mode, str)
        given = _listed("updates" if stream_mode is None else stream_mode)
        printed = _listed(print_mode)
        for mode in (*given, *printed):
            if mode not in MODES:
                raise InputError(f"stream_mode has {mode!r}: take {', '.join(MODES)}")
        return cls(frozenset((*given, *printed)), frozenset(given), frozenset(printed), listed, subgraphs)

    def __contains__(self, mode: object) -> bool:
        return mode in self.asked

    @property
    def spoken(self) -> bool:
        """Whether any mode was asked for that nodes speak in themselves."""
        return not self.asked.isdisjoint(SPOKEN)

    @property
    def derived(self) -> bool:
        """Whether any mode was asked for that the ledger tells of."""
        return bool(self.asked - SPOKEN)

    def print(self, chunk: Chunk) -> None:
        """Print a chunk, if its mode is one to be printed."""
        if chunk.mode in self.printed:
            where = f"[{'|'.join(chunk.ns)}] " if chunk.ns else ""
            print(f"[{chunk.mode}] {where}{chunk.data!r}")

    def shaped(self, chunk: Chunk) -> Any:
        """A chunk as LangGraph hands it out: ``data``, ``(mode, data)``, ``(ns, data)`` or ``(ns, mode, data)``."""
        if self.listed:
            return (chunk.ns, chunk.mode, chunk.data) if self.subgraphs else (chunk.mode, chunk.data)
        return (chunk.ns, chunk.data) if self.subgraphs else chunk.data


def _listed(mode: str | Sequence[str]) -> tuple[str, ...]:
    return (mode,) if isinstance(mode, str) else tuple(mode)


def namespace(ns: str) -> tuple[str, ...]:
    """A namespace of the ledger as chunks have it."""
    return tuple(ns.split(NS_SEPARATOR)) if ns else ()
