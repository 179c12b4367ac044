"""The checkpoint contract: five methods, and all that the author of a custom store must write."""

from __future__ import annotations

import builtins
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.errors import NotFoundError, StoreError
from petiole_stores.serde import Serde


class CheckpointStore(ABC):
    """Keeps checkpoints. ``save``, ``load``, ``list``, ``delete`` and ``clear`` are all that an adapter must write.

    A store of this kind serves ``compile(checkpointer=store)`` in process and, beside a ledger, as an archive. The rest
    has defaults that suit a store without connection or schema.
    """

    #: Writes and reads the values of a backup; ``None``: the types that Petiole knows of itself, not encrypted.
    serde: Serde | None = None

    @abstractmethod
    def save(self, checkpoint: Checkpoint) -> str:
        """Store a checkpoint (replacing one of the same id) and return its id."""

    @abstractmethod
    def load(self, checkpoint_id: str) -> Checkpoint:
        """The checkpoint of this id. Raises NotFoundError when there is none."""

    @abstractmethod
    def list(self, thread_id: str) -> list[Checkpoint]:
        """All checkpoints of a thread, newest first; empty for a thread that does not exist."""

    @abstractmethod
    def delete(self, checkpoint_id: str) -> None:
        """Remove one checkpoint; nothing happens when there is none."""

    @abstractmethod
    def clear(self, thread_id: str) -> None:
        """Remove all checkpoints of a thread."""

    # ---------------------------------------------------------------- defaults

    def connect(self) -> None:  # noqa: B027 - a default that does nothing
        """Open what the store needs. Called once before its first use; calling it again does no harm."""

    def close(self) -> None:  # noqa: B027 - a default that does nothing
        """Give up connections and files."""

    def migrate_schema(self) -> builtins.list[str]:
        """Bring the schema up to date and return the names of the steps taken (none by default)."""
        return []

    def validate(self) -> None:
        """Raise StoreUnavailableError, SchemaError or ConfigurationError when the store cannot be worked with."""
        try:
            self.load("petiole-validate")
        except NotFoundError:
            pass

    def threads(self) -> Iterator[str]:
        """Every thread id that has checkpoints; ``backup`` needs it."""
        raise StoreError(
            f"{type(self).__name__} does not list its threads: write threads() to make backup() work"
        )

    def backup(self, path: str | Path) -> int:
        """Write every checkpoint to a new file and return how many there were."""
        count = 0
        with Path(path).open("xb") as file:
            for thread_id in self.threads():
                for checkpoint in reversed(self._history(thread_id)):
                    data = checkpoint.marshal("msgpack", serde=self.serde)
                    file.write(len(data).to_bytes(8, "big") + data)
                    count += 1
        return count

    def restore(self, path: str | Path) -> int:
        """Save every checkpoint of a file that ``backup`` wrote and return how many there were."""
        count = 0
        with Path(path).open("rb") as file:
            while head := file.read(8):
                data = file.read(int.from_bytes(head, "big"))
                if len(head) < 8 or len(data) < int.from_bytes(head, "big"):
                    raise StoreError(
                        f"{path} is cut short after {count} checkpoints: take another copy of the backup"
                    )
                self.save(Checkpoint.unmarshal(data, serde=self.serde))
                count += 1
        return count

    def _history(self, thread_id: str) -> Sequence[Checkpoint]:
        """What ``backup`` writes of a thread: every checkpoint, newest first."""
        return self.list(thread_id)

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def json_text(value: object) -> str:
    """Compact JSON text of a plain value."""
    return msgspec.json.encode(value).decode()
