"""Messages for graphs that this worker does not serve: the task stays ready, and the log says so."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from petiole_stores.errors import StoreError
from petiole_stores.store import Store
from petiole_workers.hop import Hint

logger = logging.getLogger("petiole.worker")

#: How long such a task rests before it is published again, in seconds.
DELAY = 2.0
#: How often the log names one graph, in seconds.
EVERY = 30.0

_said: dict[str, float] = {}


def note_misfits(store: Store, hints: Sequence[Hint]) -> None:
    """Leave the tasks for a worker that serves their graphs."""
    for hint in hints:
        store.hint(hint.thread_id, (hint.task_id, hint.run_id))
    try:
        store.postpone([hint.task_id for hint in hints], DELAY)
    except StoreError as error:  # they are published again a little sooner then
        logger.debug("tasks of other workers' graphs could not be postponed: %s", error)
    for graph in {hint.graph for hint in hints}:
        if time.monotonic() - _said.get(graph, float("-inf")) > EVERY:
            _said[graph] = time.monotonic()
            logger.warning(
                "graph %r is not served by this worker: its tasks are left to others. Start a worker with --graphs for "
                "it, or give the graph queues of its own",
                graph,
            )
