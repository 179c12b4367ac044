"""Threads, graphs, workers, queues and dead letters as requests and answers have them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from petiole.api.models.runs import Body, RunOut, TaskOut
from petiole.api.models.states import GRAPH


class StateOut(BaseModel):
    """A thread's state at a checkpoint."""

    thread_id: str
    checkpoint_id: str
    run_id: str | None
    next: list[str] = Field(description="The nodes that come next.")
    values: Any


class EntryOut(BaseModel):
    """A checkpoint with the tasks that came after it; its fields are null before a thread's first one."""

    checkpoint_id: str | None
    parent_id: str | None
    run_id: str | None
    ns: str
    step: int | None
    source: str | None
    node_names: list[str]
    next: list[str]
    state: Any
    metadata: Any
    created_at: datetime | None
    tasks: list[TaskOut]


class HistoryOut(BaseModel):
    items: list[EntryOut]
    next: str | None = Field(description="The `before` of the page after this; null on the last one.")


class OneUpdate(Body):
    """What one node is to have written."""

    values: Any = None
    as_node: str | None = Field(None, max_length=255, description="Nothing: the node that wrote last.")


class UpdateBody(Body):
    """A change of the state, as if a node had written it; or several, in `supersteps`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"values": {"paid": True}, "as_node": "charge"},
                {
                    "supersteps": [
                        [{"values": {"id": 7}, "as_node": "take"}],
                        [{"values": {"paid": True}, "as_node": "charge"}],
                    ]
                },
            ]
        },
    )

    values: Any = None
    as_node: str | None = Field(None, max_length=255, description="Nothing: the node that wrote last.")
    supersteps: list[list[OneUpdate]] | None = Field(
        None,
        max_length=1000,
        description="In place of `values`: a checkpoint for each superstep, whose updates stand side by side.",
    )
    checkpoint: str | None = Field(None, max_length=255, description="Nothing: the newest.")
    ns: str = Field("", max_length=2000, description="The namespace of a node that is a graph.")
    graph: str | None = Field(None, max_length=255, description=GRAPH)


class UpdatedOut(BaseModel):
    thread_id: str
    checkpoint_id: str


class DeletedOut(BaseModel):
    deleted: bool


class SignalBody(Body):
    """A signal for a node that waits for it now or later."""

    name: str = Field(min_length=1, max_length=255, examples=["paid"])
    payload: Any = None
    id: str | None = Field(None, min_length=1, max_length=255, description="Under one id it is sent once.")


class SignalOut(BaseModel):
    id: str


class ServedOut(BaseModel):
    """One version of a graph as workers serve it."""

    version: str | None
    fingerprint: str
    workers: list[str] = Field(description="Ids of the living workers that serve it.")
    nodes: list[str]


class GraphOut(BaseModel):
    graph: str
    loaded: bool = Field(description="Whether this server has the graph itself: its schema and drawing.")
    served: list[ServedOut]
    nodes: list[str]


class GraphFullOut(GraphOut):
    runs: dict[str, int] = Field(description="How many runs there are, by status.")


class GraphsOut(BaseModel):
    items: list[GraphOut]


class SchemaOut(BaseModel):
    """JSON Schemas of what a graph takes and gives."""

    graph: str
    input: dict[str, Any]
    output: dict[str, Any]
    context: dict[str, Any] | None


class MermaidOut(BaseModel):
    graph: str
    mermaid: str


class ClearCacheBody(Body):
    """Which cached results are to be forgotten."""

    nodes: list[str] | None = Field(
        None, description="Of these nodes; nothing: of all.", examples=[["quote"]]
    )


class WorkerOut(BaseModel):
    worker_id: str
    name: str
    status: str
    host: str
    pid: int
    pool: str
    concurrency: int
    queues: list[str]
    graphs: dict[str, str]
    lease: float
    stats: dict[str, float]
    started_at: datetime
    beat_at: datetime
    expires_at: datetime


class WorkersOut(BaseModel):
    items: list[WorkerOut]


class QueueOut(BaseModel):
    """What waits in one queue at one priority."""

    queue: str
    priority: str
    ready: int = Field(description="Tasks that wait to be claimed.")
    due: int = Field(description="Of those, the ones whose message is late.")
    oldest: datetime | None = Field(description="Since when the oldest one waits.")


class QueuesOut(BaseModel):
    items: list[QueueOut]


class LetterOut(BaseModel):
    """A task that failed for good and was neither replayed nor dropped."""

    task_id: str
    thread_id: str
    run_id: str
    graph: str
    ns: str
    node: str
    error_type: str
    message: str
    poison: bool
    attempts: int
    crashes: int
    failed_at: datetime | None


class LettersOut(BaseModel):
    items: list[LetterOut]
    next: str | None


class LetterFullOut(LetterOut):
    """The same with its task and run."""

    task: TaskOut
    run: RunOut


class DroppedOut(BaseModel):
    dropped: int
