"""Choices taken out of one number."""

from __future__ import annotations

from typing import Any


class Dice:
    """Choices out of one number; out of zero, always the first."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, sides: int) -> int:
        self.number, side = divmod(self.number, sides)
        return side

    def pick(self, options: list[Any]) -> Any:
        return options[self(len(options))]

    def rarely(self, one_in: int = 8) -> bool:
        return self(one_in) == one_in - 1

    def some(self, options: list[Any], most: int) -> list[Any]:
        """One to ``most`` of them, each once."""
        left = list(options)
        return [left.pop(self(len(left))) for _ in range(min(1 + self(most), len(left)))]
