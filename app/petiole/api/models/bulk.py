"""Bulk actions as requests and answers have them."""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from petiole.api.models.runs import Body, RunOut
from petiole.bulk.job import Action, Status
from petiole_stores.records import RunStatus


class FilterBody(Body):
    """Which runs are meant; at least one of these has to be given."""

    graph: str | None = Field(None, max_length=255)
    status: list[RunStatus] = []
    thread_id: str | None = Field(None, max_length=255)
    tag: str | None = None
    text: str | None = None
    error_type: str | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None


class BulkBody(Body):
    """What is to be done to all runs that match."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "action": "replay",
                    "filter": {"graph": "shop.order", "status": ["failed"], "error_type": "Declined"},
                    "dry_run": True,
                }
            ]
        },
    )

    action: Action
    filter: FilterBody
    reason: str = Field("", max_length=2000)
    dry_run: bool = Field(True, description="Only tell how many match, and show some of them.")


class DryRunOut(BaseModel):
    """How many runs match, and the newest of them."""

    action: Action
    total: int
    counts: dict[str, int]
    sample: list[RunOut]


class RefusalOut(BaseModel):
    """A run that stays as it was, and why."""

    run_id: str
    thread_id: str
    reason: str


class JobOut(BaseModel):
    """A bulk action and how far it has come."""

    id: str
    action: Action
    status: Status = Field(
        description="`running`: also while it waits for a server, say because the one that did it has died."
    )
    total: int = Field(description="How many matched at the beginning.")
    done: int
    already: int = Field(
        description="How many were so before, or were treated twice because a server has died."
    )
    refused: dict[str, int] = Field(description="How many were refused, by reason.")
    refusals: list[RefusalOut] = Field(description="The first 50 of those.")
    reason: str
    by: str
    error: str | None
    created_at: datetime
    beat_at: datetime
    ended_at: datetime | None


class JobsOut(BaseModel):
    items: list[JobOut]
