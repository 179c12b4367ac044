"""Text that somebody has damaged, made readable, so that one record does not keep a whole answer from being read."""

from __future__ import annotations

from collections.abc import Iterator


def readable(message: bytes) -> bytes:
    """A msgpack message in which each string that is not UTF-8 is as many question marks.

    The whole string: half a document might pass for one, and so it cannot; digests show the damage of those that have one.
    """
    mended = bytearray(message)
    for start, end in _strings(message):
        try:
            message[start:end].decode()
        except UnicodeDecodeError:
            mended[start:end] = b"?" * (end - start)
    return bytes(mended)


def _strings(message: bytes) -> Iterator[tuple[int, int]]:
    """Where the strings are, of all that Lua's cmsgpack writes; the header of a list or map is a value by itself."""
    at = 0
    while at < len(message):
        head = message[at]
        at += 1
        if 0xA0 <= head <= 0xBF:
            length = head & 0x1F
        elif width := _LENGTHS.get(head):
            length = int.from_bytes(message[at : at + width], "big")
            at += width
        else:
            at += _SIZES.get(head, 0)
            continue
        yield at, at + length
        at += length


#: Strings by their first byte: how many bytes of length follow.
_LENGTHS = {0xD9: 1, 0xDA: 2, 0xDB: 4}
#: Numbers and the headers of large lists and maps: how many bytes follow. Others are one byte.
_SIZES = {
    0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8, 0xDC: 2, 0xDD: 4,
    0xDE: 2, 0xDF: 4,
}  # fmt: skip
