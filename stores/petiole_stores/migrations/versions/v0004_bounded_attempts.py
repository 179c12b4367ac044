"""a task remembers so many attempts and no more: in the ledger's functions, which the newest step installs"""

from __future__ import annotations

revision = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    """No table is changed."""
