"""One digest for a JSON document before and after a JSONB round trip."""

from __future__ import annotations

import hashlib
import json
import re
from decimal import Decimal

import msgspec

from petiole_stores.errors import SerializationError

#: Digits that PostgreSQL's numeric has room for before the point.
_NUMERIC_DIGITS = 131072
#: Text in which some number may be one that JSONB rewrites: an exponent, a negative zero, an integer beyond 64 bits.
_REWRITTEN = re.compile(r"\d[eE]|-0|\d{19}")
_decode = msgspec.json.Decoder().decode
_sorted = msgspec.json.Encoder(order="sorted").encode


def digest_document(text: str) -> str:
    """Hex SHA-256 of a JSON document's meaning: keys sorted, spaces left out, numbers as JSONB keeps them.

    JSONB writes a number without an exponent, keeps the digits after its point (so 1.0 and 1 stay different) and
    knows no negative zero.

    Raises:
        SerializationError: the text is no JSON.
    """
    try:
        if _REWRITTEN.search(text) is None:
            document = _decode(text)
        else:
            document = json.loads(text, parse_int=_integer, parse_float=_decimal, parse_constant=_refuse)
        return hashlib.sha256(_sorted(document)).hexdigest()
    except SerializationError:
        raise
    except (ValueError, RecursionError, ArithmeticError, msgspec.MsgspecError) as error:
        raise SerializationError(f"this is no JSON document: {error}") from error


def _integer(literal: str) -> object:
    # By way of Decimal: int() refuses to read more than some thousand digits.
    return _exact(int(literal) if len(literal) < 1000 else int(Decimal(literal)))


def _decimal(literal: str) -> object:
    number = Decimal(literal)
    if abs(number.adjusted()) > _NUMERIC_DIGITS:
        raise SerializationError(f"the number {literal[:40]} has more digits than JSONB can hold")
    if number.as_tuple().exponent >= 0:  # type: ignore[operator]
        return _exact(int(number))
    return float(number) + 0.0  # -0.0 becomes 0.0


def _exact(number: int) -> object:
    return number if -(1 << 63) <= number < 1 << 63 else {"$int": hex(number)}


def _refuse(name: str) -> object:
    raise SerializationError(f"the document holds {name}, which is no JSON")
