"""`Message`: one message of a conversation, as a state may hold it without LangChain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

#: Names of roles in LangChain, and ours (OpenAI's) for them.
_ROLES = {"human": "user", "ai": "assistant"}
_TYPES = {role: name for name, role in _ROLES.items()}


class Message(dict[str, Any]):
    """A dict of ``role``, ``content``, ``id`` and whatever else its maker gave, whose keys are attributes, too.

    Being a dict it goes as it is into JSON, to clients of model providers and to LangChain's models. ``type`` is the role by
    its name in LangChain (``human``, ``ai``); ``tool_calls`` is a list always.
    """

    def __init__(self, role: str, content: Any = "", *, id: str | None = None, **fields: Any) -> None:
        super().__init__(role=_ROLES.get(role, role), content=content, id=id, **fields)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Message:
        """A message of these keys; ``type`` stands for ``role`` where that is missing.

        Raises ValueError where there is neither, or no content.
        """
        rest = {str(key): value for key, value in fields.items()}
        role = rest.pop("role") if "role" in rest else rest.pop("type", None)
        if not isinstance(role, str) or ("content" not in rest and role != "remove"):
            raise ValueError(
                f"a message needs 'role' and 'content', this one has {', '.join(fields) or 'nothing'}"
            )
        return cls(role, rest.pop("content", ""), id=rest.pop("id", None), **rest)

    @property
    def type(self) -> str:
        """The role by LangChain's name."""
        role: str = self["role"]
        return _TYPES.get(role, role)

    @property
    def tool_calls(self) -> list[Any]:
        """The calls of tools that an assistant asks for."""
        return self.get("tool_calls") or []

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this message has no {name!r}: it has {', '.join(self)}") from None

    def __repr__(self) -> str:
        return f"Message({', '.join(f'{key}={value!r}' for key, value in self.items())})"

    def __copy__(self) -> Message:
        return Message.of(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(value: Any) -> Message:
            if isinstance(value, Message):
                return value
            if isinstance(value, Mapping):
                return cls.of(value)
            raise ValueError("give a Message, or a dict with role and content")

        return core_schema.no_info_plain_validator_function(check)
