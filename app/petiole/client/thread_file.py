"""A thread as one JSON file: its runs, tasks, checkpoints and blobs, and a digest over all of it.

Format 1. ``runs``, ``tasks`` and ``checkpoints`` are the store's records with their documents as they stand there; ``blobs``
are what those refer to, packed as in :mod:`petiole_stores.serde.packed`, in base64 and in the clear, whatever codec their store
has. So a file can be read without the classes that its values are of, and brings them back where those are known.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from petiole_stores.decoding import decoder
from petiole_stores.errors import InputError
from petiole_stores.records import Checkpointed, Run, Task

FORMAT: Literal["petiole-thread"] = "petiole-thread"
VERSION = 1


class ThreadFile(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An exported thread; ``run_id`` names the run that it was exported for."""

    format: Literal["petiole-thread"] = FORMAT
    version: int = VERSION
    petiole: str  #: the version of Petiole that wrote it
    exported_at: float
    thread_id: str
    run_id: str
    runs: list[Run]
    tasks: list[Task]
    checkpoints: list[Checkpointed]  #: oldest first
    blobs: dict[str, bytes]  #: by the digest that the documents name
    digest: str = ""

    def encode(self) -> bytes:
        """The file's text, with its digest."""
        self.digest = digest_of(self)
        return msgspec.json.format(msgspec.json.encode(self), indent=1)


def digest_of(file: ThreadFile) -> str:
    """SHA-256 over everything in the file but this, whatever the order of its keys."""
    plain = msgspec.to_builtins(msgspec.structs.replace(file, digest=""))
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()


def decode(text: bytes | str) -> ThreadFile:
    """The file of some text. Raises InputError for what is none, is of another version, or was changed since."""
    try:
        head = _head(text)
        if head.format != FORMAT or head.version != VERSION:
            raise InputError(
                f"this is a file of format {head.format!r}, version {head.version}: this Petiole reads {FORMAT!r}, version "
                f"{VERSION}"
            )
        file = _file(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"this is no exported thread: {error}") from None
    if digest_of(file) != file.digest:
        raise InputError(
            "the exported thread does not match its digest: it was changed or cut off since; export it again"
        )
    if all(run.run_id != file.run_id for run in file.runs):
        raise InputError(f"the exported thread lacks its run {file.run_id!r}")
    return file


class _Head(msgspec.Struct):
    format: str
    version: int


_head = decoder(_Head)
_file = decoder(ThreadFile)
