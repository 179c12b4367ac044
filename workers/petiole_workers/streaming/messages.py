"""What chat models of LangChain say while a node runs, where LangChain is there: ``stream_mode="messages"``.

Nothing here imports LangChain: a process in which nothing else has imported it has no models to listen to.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any
from uuid import UUID, uuid4

from pydantic import BaseModel

#: A model with this tag is not listened to, as in LangGraph.
NO_STREAM = "nostream"
#: In a stored event: a message as LangChain writes it.
_MESSAGE = "$message"

Say = Callable[[Any, Mapping[str, Any]], None]


def is_there() -> bool:
    """Whether this process has imported LangChain."""
    return "langchain_core.messages" in sys.modules and "langchain_core.runnables" in sys.modules


class Hearing:
    """Listens to one try of a node.

    Parameters
        say       takes a message and its metadata
        metadata  of every message of this node, LangGraph's keys
    """

    def __init__(self, say: Say, metadata: Mapping[str, Any]) -> None:
        self._say, self._metadata = say, dict(metadata)
        self._seen: set[str] = set()

    @contextmanager
    def listening(self, input: object) -> Iterator[None]:
        """Within the block, models that are called without callbacks of their own are listened to."""
        from langchain_core.runnables.config import var_child_runnable_config

        self._seen |= {message.id for message in _messages(input) if message.id is not None}
        config = {"callbacks": [_handler_class()(self)], "metadata": self._metadata}
        token = var_child_runnable_config.set(config)  # type: ignore[arg-type]
        try:
            yield
        finally:
            var_child_runnable_config.reset(token)

    def returned(self, value: object) -> None:
        """The node has returned: messages that nobody has heard yet are said."""
        update = getattr(value, "update", None) if not isinstance(value, Mapping) else None
        for message in _messages(update if update is not None and not callable(update) else value):
            self.say(message, self._metadata, once=True)

    def say(self, message: Any, metadata: Mapping[str, Any], *, once: bool = False) -> None:
        if once and message.id in self._seen:
            return
        if message.id is None:
            message.id = str(uuid4())
        self._seen.add(message.id)
        self._say(message, metadata)


def _messages(value: object) -> Iterator[Any]:
    """The messages in what a node was given or has returned: itself, in a list, or in the fields of a state."""
    from langchain_core.messages import BaseMessage

    for found in (value, *_fields(value)):
        for item in found if isinstance(found, Sequence) and not isinstance(found, str) else (found,):
            if isinstance(item, BaseMessage):
                yield item


def _fields(value: object) -> Sequence[object]:
    if isinstance(value, Mapping):
        return [*value.values()]
    if isinstance(value, BaseModel):
        return [getattr(value, name) for name in type(value).model_fields]
    if is_dataclass(value):
        return [getattr(value, field.name) for field in fields(value)]
    return ()


@cache
def _handler_class() -> Any:
    """The callback handler; LangChain's own streaming marker makes models stream that are merely invoked."""
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.outputs import ChatGenerationChunk, LLMResult
    from langchain_core.tracers._streaming import _StreamingCallbackHandler

    class Handler(BaseCallbackHandler, _StreamingCallbackHandler):  # type: ignore[type-arg]
        run_inline = True

        def __init__(self, hearing: Hearing) -> None:
            self._hearing = hearing
            self._models: dict[UUID, Mapping[str, Any]] = {}

        def tap_output_aiter(self, run_id: UUID, output: Any) -> Any:
            return output

        def tap_output_iter(self, run_id: UUID, output: Any) -> Any:
            return output

        def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **more: Any) -> None:
            tags = more.get("tags") or []
            if NO_STREAM not in tags:
                metadata = dict(more.get("metadata") or {})
                self._models[run_id] = metadata | ({"tags": tags} if tags else {})

        def on_llm_new_token(self, token: Any, *, run_id: UUID, chunk: Any = None, **more: Any) -> None:
            metadata = self._models.get(run_id)
            if metadata is not None and isinstance(chunk, ChatGenerationChunk):
                self._hearing.say(chunk.message, metadata)

        def on_llm_end(self, response: LLMResult, *, run_id: UUID, **more: Any) -> None:
            metadata = self._models.pop(run_id, None)
            generations = response.generations[0] if response.generations else []
            if metadata is not None and generations and (message := getattr(generations[0], "message", None)):
                self._hearing.say(message, metadata, once=True)

        def on_llm_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
            self._models.pop(run_id, None)

    return Handler


def to_stored(message: Any) -> Any:
    """A message as an event has it: plain values alone."""
    return {_MESSAGE: type(message).__name__, "fields": message.model_dump(mode="json")}


def from_stored(value: Any) -> Any:
    """The message of `to_stored` where LangChain can be imported, else its fields as a dict."""
    if not isinstance(value, dict) or _MESSAGE not in value:
        return value
    try:
        from langchain_core import messages
    except ImportError:
        return value["fields"]
    kind = getattr(messages, value[_MESSAGE], None)
    return value["fields"] if kind is None else kind(**value["fields"])
