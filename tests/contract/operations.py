"""Random but meaningful calls on a ledger: a director that reads the memory store to choose what to do next.

Hypothesis draws plain numbers (``STEPS``); the director turns each into calls whose ids are alive in the model at
that moment, now and then stale, wrong or repeated ones. So that a sequence shrinks well, a step never depends on what
was drawn for another, only on the model's state.
"""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import strategies as st

from petiole_stores.store import Store
from tests.contract.calls import Call
from tests.contract.dice import Dice
from tests.contract.stage import MAX_CRASHES as MAX_CRASHES
from tests.contract.steps_of_readers import ReaderSteps

WEIGHTS = {
    "work": 10, "finish": 9, "claim": 6, "submit": 5, "tick": 4, "beat": 3, "sweep": 4, "due": 3, "release": 3,
    "resume": 2, "replay": 3, "again": 3, "cancel": 1, "postpone": 1, "save": 1, "delete": 1, "clear": 1, "crash": 2, "holds": 1,
    "nest": 4, "amend": 4, "wake": 3, "answer": 3, "hold": 2, "overtake": 2, "carry": 2, "let_go": 3, "note": 2, "drop": 1, "quarantine": 1, "replace_blobs": 1, "trim": 2, "delete_thread": 1,
    "recent": 1, "expired": 1, "reopen": 1, "list_runs": 1, "list_tasks": 1,
}  # fmt: skip
KINDS = [kind for kind, weight in WEIGHTS.items() for _ in range(weight)]
#: Steps: of each its kind, and the number from which its choices are taken digit by digit. Hypothesis keeps lists near
#: their least size, so that is large, and a step shrinks to ``rest``, which does nothing.
STEPS = st.lists(
    st.tuples(st.sampled_from(["rest", *KINDS]), st.integers(0, 2**48)), min_size=55, max_size=100
)


class Director(ReaderSteps):
    """Turns steps into calls; ``model`` is the memory store that they are also made on."""

    def calls(self, kind: str, number: int) -> Iterator[Call]:
        """The calls of one step; each must be made on the model before the next is asked for."""
        for call in getattr(self, f"_{kind}")(Dice(number)):
            if call is not None:
                self.script.append(str(call).replace(f"{self.scene.prefix}-", ""))
                yield call


def tidy(director: Director, store: Store) -> None:
    """Leave nothing in a shared store that a later sequence could meet: no active run, no living worker."""
    store.cancel([run.run_id for run in director.submits if store.get_run(run.run_id) is not None])
    for name in ("w0", "w1", "w2"):
        store.release(director.scene.id(name), final=True)
