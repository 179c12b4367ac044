"""From a submit's arguments to the run that the ledger takes, and from its refusals to errors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from petiole_stores.errors import (
    ConfigurationError,
    ConflictError,
    IdempotencyError,
    InputError,
    ThreadBusyError,
)
from petiole_stores.ids import derived_id, new_id
from petiole_stores.records import START_PATH, Blob, NewRun, NewTask, SubmitAnswer
from petiole_stores.serde import Serde
from petiole_stores.store import Store
from petiole_workers.durability import Durability, preset
from petiole_workers.given import Given, checked_tags
from petiole_workers.hop import read_config
from petiole_workers.takeover import CHOICES, IfBusy
from petiole_workers.times import Deadline, Start

START_NODE = "__start__"


class Submission(msgspec.Struct, kw_only=True):
    """What to run: ``graph`` is its name, ``queue`` that of the run's first task."""

    graph: str
    queue: str
    input: Any = None  #: ``None`` with a ``base_id`` alone: go on from that checkpoint
    thread_id: str | None = None
    idempotency_key: str | None = None
    run_id: str | None = None  #: derived by whoever submits; nothing: from the idempotency key, or a new one
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] | None = None
    at: datetime | timedelta | float | None = None
    deadline: datetime | timedelta | float | None = None
    if_busy: IfBusy = "reject"
    version: str | None = None
    fingerprint: str | None = None
    base_id: str | None = None
    config: str = "{}"
    given: Given = Given()

    def new_run(self, serde: Serde) -> NewRun:
        """The run with its ids and documents. Raises InputError and SerializationError."""
        if self.if_busy not in CHOICES:
            raise InputError(f"if_busy is {self.if_busy!r}: take {', '.join(map(repr, CHOICES))}")
        run_id, thread_id = self._ids()
        document: str | None = None
        blobs: dict[str, Blob] = {}
        if self.base_id is None:
            document, blobs = serde.dump(self.input, thread_id=thread_id)
        metadata, more = serde.dump_values(self.metadata or {}, thread_id=thread_id)
        config, given = self.config, {}
        if self.given != Given():
            made = read_config(config)
            given = self.given.dump(made, serde, thread_id)
            config = msgspec.json.encode(made).decode()
        start, end = Start.of(self.at), Deadline.of(self.deadline)
        return NewRun(
            run_id=run_id,
            thread_id=thread_id,
            graph=self.graph,
            start=NewTask(
                task_id=derived_id("start", run_id),
                path=START_PATH,
                node=START_NODE,
                kind="advance",
                queue=self.queue,
            ),
            input=document,
            version=self.version,
            fingerprint=self.fingerprint,
            if_busy="enqueue" if self.if_busy == "enqueue" else "reject",
            idempotency_key=self.idempotency_key,
            request_digest=request_digest(
                self.graph, thread_id, _requested(document or f"checkpoint {self.base_id}", config)
            ),
            base_id=self.base_id,
            config=config,
            tags=list(checked_tags(self.tags)),
            metadata=metadata,
            run_at=start.run_at,
            delay=start.delay,
            deadline=end.deadline,
            lifetime=end.lifetime,
            blobs=[*(blobs | more | given).values()],
        )

    def _ids(self) -> tuple[str, str]:
        key, thread_id = self.idempotency_key, self.thread_id
        if self.run_id is not None:
            return self.run_id, derived_id("thread", self.run_id) if thread_id is None else thread_id
        if key is None:
            return new_id(), new_id() if thread_id is None else thread_id
        if not key:
            raise InputError(
                "idempotency_key is empty: give some text that names this request, or leave it out"
            )
        derived = derived_id("thread", self.graph, key)
        return derived_id("run", self.graph, key), derived if thread_id is None else thread_id


def config_document(
    *, recursion_limit: int | None = None, durability: str | None = None, consistency: str | None = None
) -> str:
    """The ``config`` of a run (:class:`petiole_workers.hop.RunConfig`), only what differs from its defaults.

    Raises InputError.
    """
    config: dict[str, Any] = {}
    if recursion_limit is not None:
        if isinstance(recursion_limit, bool) or not isinstance(recursion_limit, int) or recursion_limit < 1:
            raise InputError(
                f"recursion_limit is {recursion_limit!r}: take a whole number of supersteps from 1 up"
            )
        config["recursion_limit"] = recursion_limit
    if durability is not None and consistency is not None:
        raise InputError(
            f"both durability {durability!r} and consistency {consistency!r} are given: a consistency is a preset for the "
            "durability, give one of them"
        )
    try:
        if consistency is not None:
            durability, relaxed = preset(consistency)
            config |= {"relaxed": True} if relaxed else {}
        if durability is not None:
            Durability.parse(durability)
            config["durability"] = durability
    except ConfigurationError as error:
        raise InputError(str(error)) from None
    return msgspec.json.encode(config).decode()


def _requested(document: str, config: str) -> str:
    """The input's document, with what else was given to the run if there is any."""
    made = read_config(config)
    if document[:1] not in '{["' or not (made.context or made.configurable):
        return document
    parts = (bytes(part).decode() if part else "null" for part in (made.context, made.configurable))
    return f"[{document},{','.join(parts)}]"


def request_digest(graph: str, thread_id: str, document: str) -> str:
    """A digest that is equal for equal requests, whatever the order of the input's keys."""
    plain = _without_order(msgspec.json.decode(document)) if document[:1] in '{["' else document
    text = msgspec.json.encode([graph, thread_id, plain], order="sorted")
    return hashlib.sha256(text).hexdigest()


def check_answer(store: Store, run: NewRun, answer: SubmitAnswer) -> None:
    """Raise the error that a refused submit stands for."""
    if answer.result != "refused":
        return
    if answer.reason == "busy":
        raise ThreadBusyError(
            f"thread {run.thread_id!r} has an active run, {answer.active_run}: wait for it, cancel it, or submit with "
            "if_busy='enqueue' (--if-busy enqueue) to run after it, 'interrupt' or 'rollback' to take its place"
        )
    if answer.reason == "conflict":
        raise IdempotencyError(_conflict(store, run))
    if answer.reason == "no base":
        raise ConflictError(
            f"checkpoint {run.base_id!r} is not one of thread {run.thread_id!r}: see its history"
        )
    raise ConflictError(f"run {run.run_id} was refused: {answer.reason}")


def _conflict(store: Store, run: NewRun) -> str:
    known = store.get_run(run.run_id)
    stored = (
        f"graph {known.graph!r} on thread {known.thread_id!r} with input {_short(known.input)}"
        if known
        else "another request"
    )
    return (
        f"idempotency key {run.idempotency_key!r} is taken by run {run.run_id}, which is of {stored}; this request is of "
        f"graph {run.graph!r} on thread {run.thread_id!r} with input {_short(run.input)}: use a new key for a new request"
    )


def _short(document: str | None) -> str:
    text = document or "none"
    return text if len(text) <= 200 else text[:200] + "…"


def _without_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_order(item) for key, item in value.items() if key != "$order"}
    return [_without_order(item) for item in value] if isinstance(value, list) else value
