"""Documents that hold all that belongs to a value, however large: nothing of it stands elsewhere as a blob."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from petiole_stores.errors import SerializationError
from petiole_stores.serde.classes import Registry
from petiole_stores.serde.document import NotInline, Writer
from petiole_stores.serde.explain import refusal
from petiole_stores.serde.packed import NotStorable, Packer

#: How the document of a value begins that JSON cannot hold (NUL, lone surrogates, great depth): its packed bytes follow
#: in base64. A user's key that begins with "$" is written with two of them.
_MARK = '{"$packed":"'
_NO_LIMIT = 2**60

_decode = msgspec.json.Decoder(dict[str, str]).decode


class WholeWriter:
    """Makes documents of whole values, and values of those that JSON could not hold."""

    def __init__(self, registry: Registry, packer: Packer) -> None:
        self._registry = registry
        self._packer = packer
        self._writer = Writer(registry, _NO_LIMIT)

    def write(self, value: object) -> str:
        """Raises SerializationError when the value, or something in it, has no stored form."""
        try:
            return self._writer.write(value).decode()
        except (NotInline, RecursionError):
            pass
        except SerializationError:
            raise refusal(value, "value", self._registry) from None
        try:
            packed = self._packer.pack(value)
        except (NotStorable, SerializationError, RecursionError):
            raise refusal(value, "value", self._registry) from None
        return f'{_MARK}{base64.b64encode(packed).decode()}"}}'

    def is_packed(self, text: str) -> bool:
        return text.startswith(_MARK)

    def unpack(self, text: str) -> Any:
        """The value of a packed document. Raises SerializationError for what is none."""
        try:
            data = base64.b64decode(_decode(text)["$packed"], validate=True)
        except (msgspec.DecodeError, KeyError, ValueError) as error:
            raise SerializationError(f"this is no document of Petiole's: {error}") from error
        return self._packer.unpack(data)
