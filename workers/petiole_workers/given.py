"""What a run is given beside its input: the context of its nodes, and values for functions that take ``config``.

Both are documents within the run's ``config``, so a worker on another machine has them too, and so has a replay. Blobs that
they refer to are kept as long as the run is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import BaseModel

from petiole_stores.errors import InputError, SerializationError
from petiole_stores.records import Blob, Run
from petiole_stores.serde import Serde
from petiole_workers.graph import Caller
from petiole_workers.hop import RunConfig

if TYPE_CHECKING:
    from petiole_workers.compiled import CompiledGraph
    from petiole_workers.documents import Documents

#: Keys of ``configurable`` that address a thread; they are no values of the author's.
ADDRESSES = frozenset({"thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map"})


@dataclass(frozen=True, slots=True)
class Given:
    """What the caller of a run gave along.

    callbacks: LangChain's; only a graph that runs in the caller's process has them.
    """

    context: Any = None
    configurable: Mapping[str, Any] = field(default_factory=dict)
    callbacks: Any = None

    @classmethod
    def of(cls, configurable: Mapping[str, Any], context: Any = None, callbacks: Any = None) -> Given:
        """From a config's ``configurable``, without what addresses the thread."""
        own = {
            key: value
            for key, value in configurable.items()
            if key not in ADDRESSES and not key.startswith("__")
        }
        return cls(context, own, callbacks)

    def dump(
        self, config: RunConfig, serde: Serde, thread_id: str, *, strict: bool = True
    ) -> dict[str, Blob]:
        """Puts its documents into ``config`` and gives their blobs.

        Raises SerializationError for what cannot be stored; with ``strict=False`` that part is left out instead.
        """
        blobs: dict[str, Blob] = {}
        for name, value in (("context", self.context), ("configurable", dict(self.configurable))):
            if value is None or value == {}:
                continue
            try:
                text, more = _dump(serde, value, thread_id)
            except SerializationError as error:
                if strict:
                    raise SerializationError(f"the run's {name} cannot be stored: {error}") from None
                continue
            setattr(config, name, msgspec.Raw(text.encode()))
            blobs |= more
        return blobs

    @classmethod
    def read(cls, documents: Documents, run: Run, config: RunConfig) -> Given:
        """What is kept with a run."""

        def value(raw: msgspec.Raw) -> Any:
            return documents.value(run.thread_id, bytes(raw).decode()) if raw else None

        return cls(value(config.context), value(config.configurable) or {})

    def over(self, kept: Given) -> Given:
        """This one, given to an invocation, before what is kept with its run."""
        return Given(
            kept.context if self.context is None else self.context,
            {**kept.configurable, **self.configurable},
            self.callbacks,
        )

    def as_of(self, graph: CompiledGraph) -> Given:
        """With the context in the class of the graph's ``context_schema``. Raises InputError for one that does not fit."""
        return dataclasses.replace(self, context=graph.accept_context(self.context))

    def caller(self, documents: Documents, run: Run, config: RunConfig) -> Caller:
        """What functions find in their ``config``, with what the run itself says."""
        metadata = {} if run.metadata == "{}" else documents.value(run.thread_id, run.metadata)
        return Caller(self.configurable, tuple(run.tags), metadata, config.recursion_limit, self.callbacks)


def coerced(schema: type[Any] | None, context: Any, graph: str) -> Any:
    """``context`` as a graph's ``context_schema`` has it: a mapping becomes an instance of a dataclass or pydantic model.

    Raises InputError for what does not fit. Keys of a TypedDict are not checked, as in LangGraph.
    """
    if context is None or schema is None:
        return context
    builds = dataclasses.is_dataclass(schema) or issubclass(schema, BaseModel)
    if not isinstance(context, Mapping):
        if builds and isinstance(context, schema):
            return context
        wanted = f"a dict, or an instance of {schema.__name__}" if builds else "a dict"
        raise InputError(
            f"the context of graph {graph!r} is {context!r} ({type(context).__name__}): give {wanted}"
        )
    if not builds:
        return context
    try:
        return schema(**context)
    except (TypeError, ValueError) as error:  # pydantic's ValidationError is a ValueError
        raise InputError(
            f"the context of graph {graph!r} does not fit its context_schema {schema.__name__}: {error}"
        ) from error


def _dump(serde: Serde, value: Any, thread_id: str) -> tuple[str, dict[str, Blob]]:
    """The document of a value; an object of a class that this process has not registered is stored as its fields."""
    try:
        return serde.dump(value, thread_id=thread_id)
    except SerializationError:
        fields = _fields(value)
        if fields is None:
            raise
        return serde.dump(fields, thread_id=thread_id)


def _fields(value: Any) -> dict[str, Any] | None:
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in value.model_fields_set}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value) if item.init}
    return None


def checked_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """A run's tags, each once. Raises InputError for what is none."""
    if isinstance(tags, str):
        raise InputError(f"tags is the text {tags!r}: give a list of texts")
    for tag in tags:
        if not isinstance(tag, str) or not tag or len(tag) > 255 or not tag.isprintable():
            raise InputError(f"a tag is {tag!r}: it needs 1 to 255 printable characters")
    return tuple(dict.fromkeys(tags))
