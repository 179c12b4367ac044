"""A broker in memory, whose messages a test may lose, double and reorder."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection, Sequence

from petiole_stores.records import Priority, TaskRef
from petiole_workers.queues import PRIORITIES


class Messages:
    """What is published and not yet taken. While ``is_up`` is false nothing is published, as with a broker that is down."""

    def __init__(self) -> None:
        self.is_up = True
        self._waiting: deque[TaskRef] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<Messages: {len(self)} waiting{'' if self.is_up else ', down'}>"

    # ---------------------------------------------------------------- what tests do

    @property
    def nodes(self) -> list[str]:
        """The nodes that the waiting messages are for, in their order."""
        return [ref.node for ref in self._waiting]

    def drop_all(self) -> int:
        """Lose every waiting message; gives how many."""
        count = len(self._waiting)
        self._waiting.clear()
        return count

    def duplicate_all(self) -> int:
        """Deliver every waiting message once more; gives how many there are then."""
        self._waiting.extend([*self._waiting])
        return len(self._waiting)

    def shuffle(self, seed: int) -> None:
        """Bring the waiting messages into an order that the seed decides."""
        found = [*self._waiting]
        random.Random(seed).shuffle(found)
        self._waiting = deque(found)

    # ---------------------------------------------------------------- what workers do

    def publish(self, refs: Sequence[TaskRef]) -> list[str]:
        """Take a message for each task; gives the ids of those whose message is out."""
        if not self.is_up:
            return []
        self._waiting.extend(refs)
        return [ref.task_id for ref in refs]

    def depth(self, queue: str, priority: Priority) -> int:
        return sum((ref.queue, ref.priority) == (queue, priority) for ref in self._waiting)

    def take(self, queues: Collection[str]) -> TaskRef | None:
        """The oldest message of these queues, those of the fast lanes first."""
        if not self.is_up:
            return None
        for priority in PRIORITIES:
            for ref in self._waiting:
                if ref.priority == priority and ref.queue in queues:
                    self._waiting.remove(ref)
                    return ref
        return None
