"""Values in requests and answers: plain JSON, or the store's typed documents where the caller asks for them.

With ``Accept: application/vnd.petiole.typed+json`` every *value* of an answer (state, input, result, an interrupt's
question, a stream's data) is a document of :mod:`petiole_stores.serde`, so that a client brings back datetimes, sets and
registered classes as they were. A request with that ``Content-Type`` may carry such documents in the places of values.
"""

from __future__ import annotations

from typing import Annotated, Any
from weakref import WeakSet

import msgspec
from fastapi import Depends, Request

from petiole.api.access import client_of
from petiole.api.encoding import Json
from petiole.client.plain import plain
from petiole_stores.errors import InputError, PetioleError, SerializationError
from petiole_stores.serde import Serde
from petiole_workers.graph import Interrupt

TYPED = "application/vnd.petiole.typed+json"
PLAIN = "application/json"
#: Containers within containers that a value in a request may have.
MAX_DEPTH = 100


class Values:
    """How the values of one request and its answer are written."""

    def __init__(self, serde: Serde, *, reads_typed: bool, writes_typed: bool) -> None:
        self._serde, self._reads_typed, self.is_typed = serde, reads_typed, writes_typed

    def out(self, value: Any) -> Any:
        """A value as the answer has it. Raises SerializationError for a typed one that has no stored form."""
        if self.is_typed:
            return msgspec.Raw(self._serde.dump_whole(value).encode())
        return plain_or_text(value)

    def given(self, value: Any) -> Any:
        """The value that a request's JSON stands for. Raises InputError for one that cannot be read."""
        check_depth(value)
        if not self._reads_typed:
            return value
        try:
            return self._serde.load_whole(msgspec.json.encode(value).decode())
        except (UnicodeEncodeError, OverflowError, msgspec.MsgspecError) as error:
            raise InputError(f"the request's value cannot be read as a typed document: {error}") from None
        except SerializationError:
            raise
        except PetioleError as error:
            raise InputError(f"the request's value cannot be read as a typed document: {error}") from None

    def answer(self, document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Json:
        """An answer that holds values."""
        return Json(document, status, headers=headers, media_type=TYPED if self.is_typed else PLAIN)


def plain_or_text(value: Any) -> Any:
    """A value as JSON can say it; where it cannot, as text."""
    try:
        return plain(value)
    except (RecursionError, ValueError, TypeError, OverflowError):
        return repr(value)


def check_depth(value: Any) -> None:
    """Raise InputError for what is nested deeper than ``MAX_DEPTH``."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for one in level
            if isinstance(one, dict | list)
            for item in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    raise InputError(f"a value of the request is nested deeper than {MAX_DEPTH} levels: flatten it")


def values_of(request: Request) -> Values:
    """How this request wants values written, by its ``Accept`` and ``Content-Type``."""
    return Values(
        _saying_more(client_of(request).store.serde),
        reads_typed=request.headers.get("content-type", "").partition(";")[0].strip().lower() == TYPED,
        writes_typed=TYPED in request.headers.get("accept", "").lower(),
    )


def _saying_more(serde: Serde) -> Serde:
    """The serde, which can write what streams show beside the values of states: the questions of interrupted nodes."""
    if serde not in _SAYING_MORE:
        serde.register(Interrupt)
        _SAYING_MORE.add(serde)
    return serde


_SAYING_MORE: WeakSet[Serde] = WeakSet()

InValues = Annotated[Values, Depends(values_of)]
