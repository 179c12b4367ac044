"""A list of messages as a state's key: `add_messages` joins by id, as LangGraph's does, with LangChain or without.

Without LangChain a message is a `Message`: dicts, pairs of role and content, and bare texts become one. Where LangChain's own
messages are among them, all become LangChain's. It is never imported here: whoever brings its messages has done that.

Ids are given where a node's output (or an input) is taken in, and stored with it. So a message has the same id for a router, in
the state and when a superstep is settled again.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final, Literal, TypedDict

from petiole_stores.message import Message

#: The id of a `RemoveMessage` that removes all that comes before it.
REMOVE_ALL_MESSAGES: Final = "__remove_all__"

#: One message or a list of them, in any of the forms that `add_messages` takes.
Messages = Any
Format = Literal["langchain-openai"]
_KNOWN_ROLES = frozenset({"user", "assistant", "system", "developer", "tool", "function", "remove"})


def RemoveMessage(id: str) -> Message:
    """What a node returns among its messages to remove the one with this id, or all with `REMOVE_ALL_MESSAGES`."""
    return Message("remove", "", id=id)


def add_messages(
    left: Messages | None = None, right: Messages | None = None, *, format: Format | None = None
) -> Any:
    """The reducer of a list of messages: ``right`` after ``left``, a message whose id is there already in its place.

    Either is a message or a list of messages. A `RemoveMessage` removes the one of its id, or all before it. Without ``left``
    and ``right``, as in ``Annotated[list, add_messages(format="langchain-openai")]``, it gives a reducer.

    format: ``langchain-openai`` gives LangChain's messages with contents as OpenAI's API has them; it needs langchain-core.

    Raises ValueError for what is no message, for one of left and right without the other, and for the removal of an id that is
    not there.
    """
    if left is None and right is None:
        reducer = partial(_add, format=format)
        reducer.prepare, reducer.pure = with_ids, True  # type: ignore[attr-defined]
        return reducer
    if left is None or right is None:
        raise ValueError("add_messages was given one list of messages alone: give both")
    return _add(left, right, format=format)


def with_ids(write: Messages) -> Messages:
    """The same messages, each with an id. Nothing that was given is changed."""
    messages = [_with_id(message_of(item)) for item in _listed(write)]
    return messages if isinstance(write, list) else messages[0]


#: What `task_output` does to a write of a key that this reducer joins; and that it changes neither of its arguments.
add_messages.prepare, add_messages.pure = with_ids, True  # type: ignore[attr-defined]


def prepare_of(reducer: object) -> Callable[[Any], Any] | None:
    """What is to be done to a write before it is stored, where a reducer says so by its attribute ``prepare``.

    LangGraph's own ``add_messages`` gives ids while it joins: too late for whoever must see the same ones twice.
    """
    found: Callable[[Any], Any] | None = getattr(reducer, "prepare", None)
    inner = reducer.func if isinstance(reducer, partial) else reducer
    if found is None and getattr(inner, "__module__", "") == "langgraph.graph.message":
        return with_ids if getattr(inner, "__name__", "") in ("_add_messages", "add_messages") else None
    return found


class MessagesState(TypedDict):
    """A state with one key, ``messages``; extend it with others."""

    messages: Annotated[list[Any], add_messages]


def message_of(item: Any) -> Any:
    """One message in its own class: LangChain's as they are, anything else as a `Message`. Raises ValueError."""
    if is_langchain(item):
        return item
    if isinstance(item, str):
        return Message("user", item)
    if isinstance(item, Message):
        found = item
    elif isinstance(item, Mapping):
        found = Message.of(item)
    elif isinstance(item, Sequence) and len(item) == 2 and isinstance(item[0], str):
        found = Message(*item)
    else:
        raise ValueError(
            f"{item!r} ({type(item).__name__}) is no message: give a Message, a dict with role and content, a pair of "
            "these, a text, or a message of LangChain's"
        )
    if found["role"] not in _KNOWN_ROLES:
        raise ValueError(f"the role of {found!r} is unknown: take one of {', '.join(sorted(_KNOWN_ROLES))}")
    return found


def is_langchain(item: object) -> bool:
    """Whether ``item`` is a message of LangChain's."""
    base = getattr(sys.modules.get("langchain_core.messages"), "BaseMessage", None)
    return base is not None and isinstance(item, base)


def _listed(messages: Messages) -> list[Any]:
    return messages if isinstance(messages, list) else [messages]


def _with_id(message: Any) -> Any:
    if message.id is not None:
        return message
    fresh = str(uuid.uuid4())
    return (
        Message.of(message | {"id": fresh})
        if isinstance(message, Message)
        else message.model_copy(update={"id": fresh})
    )


def _add(left: Messages, right: Messages, *, format: Format | None = None) -> list[Any]:
    if format not in (None, "langchain-openai"):
        raise ValueError(f"format is {format!r}: take 'langchain-openai' or None")
    old, new = _alike(_listed(left), _listed(right))
    everything = [
        at for at, message in enumerate(new) if _removes(message) and message.id == REMOVE_ALL_MESSAGES
    ]
    merged = new[everything[-1] + 1 :] if everything else _merged(old, new)
    return _openai(merged) if format else merged


def _alike(left: list[Any], right: list[Any]) -> tuple[list[Any], list[Any]]:
    """Both lists as messages with ids; all LangChain's where one is."""
    if any(map(is_langchain, (*left, *right))):
        convert: Callable[[list[Any]], list[Any]] = sys.modules["langchain_core.messages"].convert_to_messages
        whole = sys.modules["langchain_core.messages"].message_chunk_to_message

        def own(item: Any) -> Any:
            found = item if is_langchain(item) else convert([_foreign(item)])[0]
            return _with_id(whole(found) if type(found).__name__.endswith("Chunk") else found)

        return [own(item) for item in left], [own(item) for item in right]
    return [_with_id(message_of(item)) for item in left], [_with_id(message_of(item)) for item in right]


def _foreign(item: Any) -> Any:
    """A form that LangChain converts: without the keys that say nothing."""
    return (
        {key: value for key, value in item.items() if value is not None}
        if isinstance(item, Message)
        else item
    )


def _removes(message: Any) -> bool:
    return bool(message.type == "remove")


def _merged(old: list[Any], new: list[Any]) -> list[Any]:
    merged = list(old)
    places = {message.id: place for place, message in enumerate(merged)}
    gone = set()
    for message in new:
        place = places.get(message.id)
        if _removes(message):
            if place is None:
                raise ValueError(f"there is no message {message.id!r} to remove")
            gone.add(message.id)
        elif place is None:
            places[message.id] = len(merged)
            merged.append(message)
        else:
            gone.discard(message.id)
            merged[place] = message
    return [message for message in merged if message.id not in gone] if gone else merged


def _openai(messages: list[Any]) -> list[Any]:
    try:
        from langchain_core import messages as langchain
    except ImportError:
        raise ValueError(
            "format='langchain-openai' needs langchain-core: install it, or leave the format out"
        ) from None
    plain = [item if is_langchain(item) else _foreign(item) for item in messages]
    return langchain.convert_to_messages(langchain.convert_to_openai_messages(plain))
