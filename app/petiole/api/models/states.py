"""Checkpoints and states of threads as requests and answers have them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from petiole.api.models.runs import Body, ErrorOut

#: Where a body may name the graph.
GRAPH = "The graph's name, of a thread without runs; else it is that of its newest run."


class CheckpointOut(BaseModel):
    """One checkpoint of a thread."""

    checkpoint_id: str
    thread_id: str
    run_id: str | None
    ns: str
    parent_id: str | None
    step: int
    source: str
    node_names: list[str]
    next: list[str]
    state: Any
    metadata: Any
    timestamp: datetime
    version: int


class CheckpointsOut(BaseModel):
    """Checkpoints, newest first."""

    items: list[CheckpointOut]
    next: str | None = Field(description="The `before` of the page after this; null on the last one.")


class SaveBody(Body):
    """A state made by hand."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"state": {"id": 7}, "next": ["charge"], "graph": "shop.order"}]},
    )

    state: dict[str, Any]
    next: list[str] = Field([], description="The nodes that a run from there begins with.")
    metadata: dict[str, Any] | None = None
    graph: str | None = Field(None, max_length=255, description=GRAPH)


class SavedOut(BaseModel):
    checkpoint_id: str


class ClearedOut(BaseModel):
    cleared: bool


class AskedOut(BaseModel):
    """A question that waits."""

    value: Any
    id: str


class StateTaskOut(BaseModel):
    """A task of the superstep after a checkpoint; `config` and `state` are of a node that is a graph."""

    id: str
    name: str
    path: list[str]
    error: ErrorOut | None
    interrupts: list[AskedOut]
    config: dict[str, Any] | None
    state: SnapshotOut | None
    result: Any


class SnapshotOut(BaseModel):
    """A thread's state at one checkpoint, as LangGraph's `StateSnapshot` has it."""

    values: Any
    next: list[str]
    config: dict[str, Any]
    metadata: dict[str, Any] | None
    created_at: str | None
    parent_config: dict[str, Any] | None
    tasks: list[StateTaskOut]
    interrupts: list[AskedOut]


class SnapshotsOut(BaseModel):
    """States, newest first."""

    items: list[SnapshotOut]
    next: str | None = Field(description="The `before` of the page after this; null on the last one.")


class ThreadForkBody(Body):
    """A checkpoint to go on from, and what is changed there."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"checkpoint_id": "0197…", "values": {"paid": True}, "as_node": "charge"}]
        },
    )

    checkpoint_id: str = Field(min_length=1, max_length=255)
    values: Any = Field(None, description="Written to the state; leave it out to change nothing.")
    as_node: str | None = Field(None, max_length=255)
    graph: str | None = Field(None, max_length=255, description=GRAPH)


class ThreadResumeBody(Body):
    """The answer to one interrupt, or answers by id, or nothing; or other nodes that come next."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"value": {"approved": True}},
                {"answers": {"9f…": "yes"}},
                {"resume_from": ["charge"], "graph": "shop.order"},
            ]
        },
    )

    value: Any = None
    id: str | None = Field(None, description="The interrupt that `value` answers.")
    answers: dict[str, Any] | None = None
    checkpoint: str | None = Field(None, max_length=255, description="The thread goes on from there.")
    resume_from: list[str] = Field([], description="Nodes that come next, on the checkpoint or the newest.")
    graph: str | None = Field(None, max_length=255, description=GRAPH)


class ThreadReplayBody(Body):
    """Without a checkpoint and a node the thread's newest run, which failed, goes on itself from its failed nodes."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"from_node": "charge"}]})

    checkpoint: str | None = Field(None, max_length=255, description="A new run starts from there.")
    from_node: str | None = Field(None, max_length=255, description="A new run starts before this node.")
