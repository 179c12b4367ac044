"""What the workers of the parity tests import: the graphs of programs, natively built and ported ones.

``PETIOLE_TEST_PARITY`` is a folder. In it ``PROGRAMS`` has the programs, and a file for each thread tells how often that was mended.
"""

from __future__ import annotations

import os
from pathlib import Path

from petiole.langgraph import from_langgraph
from petiole_workers.compiled import CompiledGraph
from tests.parity import libraries
from tests.parity.building import build
from tests.parity.program import Program
from tests.parity.programs import read

VARIABLE = "PETIOLE_TEST_PARITY"
PROGRAMS = "programs.txt"


class Folder:
    """How often each thread's program was mended, for several processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def mended(self, thread_id: str) -> int:
        try:
            return (self._folder / thread_id).stat().st_size
        except FileNotFoundError:
            return 0

    def mend(self, thread_id: str) -> None:
        with (self._folder / thread_id).open("ab") as file:
            file.write(b".")


def native(program: Program, name: str, world: Folder, store: object = None) -> CompiledGraph:
    """The program built with Petiole."""
    library = libraries.petiole(store)
    stops = {"interrupt_before": list(program.before), "interrupt_after": list(program.after)}
    graph: CompiledGraph = build(program, library, world).compile(
        library.checkpointer if store else None, name=name, **stops
    )
    return graph


def ported(program: Program, name: str, world: Folder, store: object = None) -> CompiledGraph:
    """The program built with LangGraph, and carried over."""
    stops = {"interrupt_before": list(program.before), "interrupt_after": list(program.after)}
    theirs = build(program, libraries.langgraph(), world).compile(**stops)
    return from_langgraph(theirs, name=name, checkpointer=store)  # type: ignore[arg-type]


KINDS = {"native": native, "ported": ported}


def graph_name(kind: str, number: int) -> str:
    return f"{kind}{number}"


if _folder := os.environ.get(VARIABLE):
    for _number, _program in enumerate(read((Path(_folder) / PROGRAMS).read_text())):
        for _kind, _make in KINDS.items():
            _name = graph_name(_kind, _number)
            globals()[_name] = _make(_program, _name, Folder(Path(_folder)))
