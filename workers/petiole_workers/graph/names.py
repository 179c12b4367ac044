"""The names and limits that every part of the graph model shares."""

from __future__ import annotations

import enum
from typing import Final

#: The virtual node where a run begins; its write is the run's input.
START: Final = "__start__"

#: The virtual node where a path ends; it never runs.
END: Final = "__end__"

#: The key of an interrupted run's result under which its questions stand.
INTERRUPT: Final = "__interrupt__"

#: Supersteps a run may take when the caller names no limit: LangGraph 1.2's number.
DEFAULT_RECURSION_LIMIT: Final = 10_007

#: Names no node may have. ``|`` and ``:`` separate namespaces and task paths, so no node's name contains them.
RESERVED_NAMES: Final = frozenset(
    {START, END, "__root__", "__input__", "__interrupt__", "__resume__", "__error__"}
)
RESERVED_CHARACTERS: Final = ("|", ":")


class Missing(enum.Enum):
    """The type of `MISSING`; an enum so that it survives copying and pickling as itself."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


#: "No value", where ``None`` would be a value.
MISSING: Final = Missing.MISSING
