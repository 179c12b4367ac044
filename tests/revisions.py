"""The revisions of the schema, by their numbers."""

from __future__ import annotations

from petiole_stores.sql.revision import HEAD


def revisions(after: str = "0000") -> list[str]:
    """Those that come after one, up to the newest."""
    return [f"{number:04}" for number in range(int(after) + 1, int(HEAD) + 1)]
