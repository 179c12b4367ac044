"""One digest for a JSON document before and after a JSONB round trip."""

from __future__ import annotations

import hashlib
import json
import math
from decimal import Decimal

import msgspec

from petiole_stores.errors import SerializationError

#: Digits that an integer may have: Python turns no longer ones into text. A document of ours has 19 at most.
_DIGITS = 4000
_sorted = msgspec.json.Encoder(order="sorted").encode


def digest_document(text: str) -> str:
    """Hex SHA-256 of a JSON document's meaning: keys sorted, spaces left out, numbers as JSONB keeps them.

    JSONB writes a number without an exponent, keeps the digits after its point (so 1.0 and 1 stay different) and
    knows no negative zero.

    Raises:
        SerializationError: the text is no JSON.
    """
    try:
        document = _decode(text)
        return hashlib.sha256(_sorted(document)).hexdigest()
    except SerializationError:
        raise
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise SerializationError(f"this is no JSON document: {error}") from error


def _decimal(literal: str) -> int | float:
    if "e" in literal or "E" in literal:
        number = Decimal(literal)
        if number.adjusted() > _DIGITS:
            raise SerializationError(f"the number {literal[:40]} has more than {_DIGITS} digits")
        if number.as_tuple().exponent >= 0:  # type: ignore[operator]
            return int(number)
    value = float(literal) + 0.0  # -0.0 becomes 0.0
    if not math.isfinite(value):
        raise SerializationError(f"the number {literal[:40]} is beyond a float")
    return value


def _refuse(name: str) -> object:
    raise SerializationError(f"the document holds {name}, which is no JSON")


#: Made once: a call of json.loads with hooks makes a decoder of its own.
_decode = json.JSONDecoder(parse_float=_decimal, parse_constant=_refuse).decode
