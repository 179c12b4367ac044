"""One digest for a JSON document before and after a JSONB round trip."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal

import msgspec

from petiole_stores.errors import SerializationError

#: Digits that PostgreSQL's numeric has room for before the point.
_NUMERIC_DIGITS = 131072
_sorted = msgspec.json.Encoder(order="sorted").encode


def digest_document(text: str) -> str:
    """Hex SHA-256 of a JSON document's meaning: keys sorted, spaces left out, numbers as JSONB keeps them.

    JSONB writes a number without an exponent, keeps the digits after its point (so 1.0 and 1 stay different) and
    knows no negative zero.

    Raises:
        SerializationError: the text is no JSON.
    """
    try:
        try:
            encoded = _sorted(json.loads(text, parse_float=_decimal, parse_constant=_refuse))
        except (OverflowError, ValueError):  # an integer beyond 64 bits, or of more digits than int() reads
            encoded = _sorted(
                json.loads(text, parse_int=_integer, parse_float=_decimal, parse_constant=_refuse)
            )
        return hashlib.sha256(encoded).hexdigest()
    except SerializationError:
        raise
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise SerializationError(f"this is no JSON document: {error}") from error


def _integer(literal: str) -> object:
    # By way of Decimal: int() refuses to read more than some thousand digits.
    return _exact(int(literal) if len(literal) < 1000 else int(Decimal(literal)))


def _decimal(literal: str) -> object:
    if "e" not in literal and "E" not in literal:
        return float(literal) + 0.0  # -0.0 becomes 0.0
    number = Decimal(literal)
    if abs(number.adjusted()) > _NUMERIC_DIGITS:
        raise SerializationError(f"the number {literal[:40]} has more digits than JSONB can hold")
    if number.as_tuple().exponent >= 0:  # type: ignore[operator]
        return _exact(int(number))
    return float(literal) + 0.0


def _exact(number: int) -> object:
    return number if -(1 << 63) <= number < 1 << 63 else {"$int": hex(number)}


def _refuse(name: str) -> object:
    raise SerializationError(f"the document holds {name}, which is no JSON")
