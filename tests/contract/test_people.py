"""What people do with a graph, on every store: the same as LangGraph in memory shows."""

from __future__ import annotations

import pytest

from petiole_stores.ids import new_id
from petiole_stores.store import Store
from tests.parity.libraries import Diary, langgraph, petiole
from tests.parity.test_people import SCRIPTS, Script


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_every_store_shows_the_same(store: Store, script: Script) -> None:
    seen = []
    for library in (petiole(store), langgraph()):
        diary = Diary({"configurable": {"thread_id": new_id()}})
        script(library, diary)
        seen.append(diary.seen)
    ours, theirs = seen
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert one == other, number
