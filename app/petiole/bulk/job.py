"""What a bulk job is: what was asked for, by whom, and how far it has come."""

from __future__ import annotations

from typing import Literal

import msgspec

from petiole.access.principal import Principal
from petiole.audit.entry import Origin
from petiole.client.bulk import Treated
from petiole_stores.records import RunFilter

Action = Literal["replay", "cancel", "pause", "unpause", "delete"]
Status = Literal["running", "done", "cancelled", "failed"]

#: Refusals of which the run is told, and reasons that are counted apart.
REFUSALS, REASONS = 50, 20
OTHER = "other reasons"
#: What is submitted in the very moment of the request is of it, in seconds.
MOMENT = 0.001


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: an action on the runs that are named or, where none is, on all that match the filter.

    The filter is narrowed to what the principal sees, in both cases: it tells whose the job is to see.
    """

    action: Action
    filter: RunFilter
    run_ids: list[str] = []
    reason: str = ""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A run that stays as it was, and why."""

    run_id: str
    thread_id: str
    reason: str


class Job(msgspec.Struct, kw_only=True):
    """A bulk job. Times are seconds since the epoch, of the store's clock."""

    id: str
    wanted: Wanted
    origin: Origin  #: who asked for it; what it changes is put into the audit log as done by him
    graphs: tuple[str, ...] = ()  #: that its principal is limited to
    namespaces: tuple[str, ...] = ()  #: the same
    status: Status = "running"
    total: int = 0  #: how many matched at the beginning
    done: int = 0
    already: int = 0  #: they were so before
    refused: dict[str, int] = {}  #: how many were refused, by reason
    refusals: list[Refusal] = []  #: the first of them
    error: str | None = None
    cursor: str | None = None  #: of the page that is treated next
    treated: int = 0  #: runs behind it; of those that are named, the position of the next one
    created_at: float
    beat_at: float
    ended_at: float | None = None

    @property
    def by(self) -> str:
        return self.origin.actor

    @property
    def is_running(self) -> bool:
        return self.status == "running"

    @property
    def filter(self) -> RunFilter:
        """The runs that are meant: none that was submitted after the job began."""
        given = self.wanted.filter
        until = self.created_at + MOMENT
        return msgspec.structs.replace(
            given, until=until if given.until is None else min(until, given.until), brief=True
        )

    def principal(self) -> Principal:
        """In whose name it acts."""
        return Principal(
            name=self.by, scopes=frozenset({"operate"}), graphs=self.graphs, namespaces=self.namespaces
        )

    def is_seen_by(self, principal: Principal) -> bool:
        """Whether all runs that it may touch are his to see."""
        graphs, spaces = set(self.wanted.filter.graphs), set(self.wanted.filter.namespaces)
        return (not principal.graphs or (bool(graphs) and graphs <= set(principal.graphs))) and (
            not principal.namespaces or (bool(spaces) and spaces <= set(principal.namespaces))
        )

    def count(self, one: Treated) -> None:
        """Count what became of one run."""
        if one.result == "done":
            self.done += 1
        elif one.result == "already":
            self.already += 1
        else:
            known = one.reason in self.refused or len(self.refused) < REASONS
            reason = one.reason if known else OTHER
            self.refused[reason] = self.refused.get(reason, 0) + 1
            if len(self.refusals) < REFUSALS:
                run = one.run
                self.refusals.append(Refusal(run_id=run.run_id, thread_id=run.thread_id, reason=one.reason))
