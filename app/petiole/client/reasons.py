"""Why a run is held back, in words: one way to say it for the client, the command line and its explanations."""

from __future__ import annotations

from petiole_stores.records import Run
from petiole_workers.failure import parse_failure

#: What stands for a kind of reason that has no words of its own.
WORDS = {
    "Paused": "no reason was given",
    "Unserved": "no living worker serves its graph at a fitting version",
    "Corruption": "what is stored of it is damaged",
}


def reason_of(run: Run) -> str:
    """Why the run is paused or blocked; empty when it is neither."""
    found = parse_failure(run.reason)
    if found is None:
        return ""
    return found.message or WORDS.get(found.type, found.type)


def kind_of(run: Run) -> str:
    """The kind of that reason: ``Paused``, ``Unserved`` or ``Corruption``; empty when there is none."""
    found = parse_failure(run.reason)
    return found.type if found else ""
