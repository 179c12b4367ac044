"""Breadth-first search over every state of a model: nothing is sampled, nothing is left out."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)


@dataclass
class Explored(Generic[S]):
    """What a search found. ``violation`` is a sentence and ``trace`` the steps that lead there, the shortest there are."""

    states: int
    steps: int
    violation: str | None = None
    trace: list[str] = field(default_factory=list)


def explore(
    initial: S,
    steps_from: Callable[[S], Iterable[tuple[str, S]]],
    broken: Callable[[S], str | None],
    is_end: Callable[[S], bool],
) -> Explored[S]:
    """Visit every reachable state; stop at the first that is ``broken`` or from which no path leads to an end.

    ``steps_from`` gives named steps; ``broken`` says what is wrong with a state, or ``None``.
    """
    came_from: dict[S, tuple[S, str] | None] = {initial: None}
    before: dict[S, list[S]] = defaultdict(list)
    queue, ends, count = deque([initial]), [], 0

    def trace(state: S) -> list[str]:
        names = []
        while (link := came_from[state]) is not None:
            state, name = link
            names.append(name)
        return names[::-1]

    while queue:
        state = queue.popleft()
        if fault := broken(state):
            return Explored(len(came_from), count, fault, trace(state))
        if is_end(state):
            ends.append(state)
        for name, after in steps_from(state):
            count += 1
            before[after].append(state)
            if after not in came_from:
                came_from[after] = (state, name)
                queue.append(after)
    saved, left = set(ends), deque(ends)
    while left:
        for earlier in before[left.popleft()]:
            if earlier not in saved:
                saved.add(earlier)
                left.append(earlier)
    for state in came_from:  # in the order of their distance
        if state not in saved:
            return Explored(len(came_from), count, "no path leads to the end any more", trace(state))
    return Explored(len(came_from), count)
