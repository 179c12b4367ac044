"""Files of a store in one folder: safe names for any ids, and writes that are whole and on disk, or not there.

<folder>/threads/<thread>/<checkpoint>.json    one checkpoint, to be read by people
<folder>/threads/<thread>/blobs/<digest>.<checksum>
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
_SAFE = re.compile(r"[a-z0-9_~-][a-z0-9._~-]*")
_ODD = re.compile(r"[^a-z0-9_-]+")


def safe_name(text: str) -> str:
    """A file name for an id of any characters: no two ids share one, on file systems that ignore case neither.

    Plain ids (lower case, digits, "-" and "_", up to 100) are their own names. Others keep what is plain of them,
    followed by "~", which no plain one has, and half of their SHA-256.
    """
    if _PLAIN.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f"{_ODD.sub('-', text.lower())[:40].strip('-')}~{digest[:32]}"


def is_safe(name: str) -> bool:
    """Is this a name that stays within its folder, and no hidden file?"""
    return _SAFE.fullmatch(name) is not None


class Folder:
    """The files below ``path``. Nothing here is locked: the caller's ledger says which of them count."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._threads = path / "threads"

    def make(self) -> None:
        """Make the folder where there is none."""
        self._make(self._threads)

    def of_thread(self, thread_id: str) -> Path:
        return self._threads / safe_name(thread_id)

    def checkpoint(self, thread_id: str, name: str) -> Path:
        return self.of_thread(thread_id) / name

    def usual(self, checkpoint_id: str) -> str:
        """The name of a checkpoint's file, unless another file had it."""
        return f"{safe_name(checkpoint_id)}.json"

    def blob(self, thread_id: str, digest: str, checksum: str) -> Path:
        return self.of_thread(thread_id) / "blobs" / f"{safe_name(digest)}.{safe_name(checksum)[:32]}"

    def write_checkpoint(self, thread_id: str, checkpoint_id: str, data: bytes) -> Path:
        """Write a new file, never over another: one with the same bytes serves; with others, the name is made longer."""
        path = self.checkpoint(thread_id, self.usual(checkpoint_id))
        while not self._write(path, data):
            path = path.with_name(f"{safe_name(checkpoint_id)}~{secrets.token_hex(8)}.json")
        return path

    def put(self, path: Path, data: bytes) -> None:
        """Write a file whose name stands for its bytes: one that is there with others is damaged and replaced."""
        if not self._write(path, data):
            os.replace(self._temporary(path, data), path)
            sync_folder(path.parent)

    def files(self, thread_dir: str) -> Iterator[Path]:
        """The files of one thread's folder."""
        for folder in (self._threads / thread_dir, self._threads / thread_dir / "blobs"):
            if folder.is_dir():
                yield from (
                    Path(entry.path) for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)
                )

    def thread_dirs(self) -> list[str]:
        return sorted(
            entry.name for entry in os.scandir(self._threads) if entry.is_dir(follow_symlinks=False)
        )

    def remove(self, path: Path) -> None:
        """Remove a file, and its folders when they are empty now."""
        path.unlink(missing_ok=True)
        folder = path.parent
        while folder != self._threads:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent

    # ---------------------------------------------------------------- within

    def _write(self, path: Path, data: bytes) -> bool:
        """Is there now a file of these bytes under this name, on disk? ``False``: one of other bytes is."""
        try:
            same = path.read_bytes() == data
        except FileNotFoundError:
            partial = self._temporary(path, data)
            try:
                os.link(partial, path)  # unlike a rename it never replaces a file
            except FileExistsError:
                same = path.read_bytes() == data
            else:
                same = True
            finally:
                partial.unlink(missing_ok=True)
        if same:
            sync_folder(path.parent)
        return same

    def _temporary(self, path: Path, data: bytes) -> Path:
        while True:
            self._make(path.parent)
            partial = path.with_name(f".{secrets.token_hex(8)}.partial")
            try:
                with partial.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            except FileNotFoundError:
                continue  # its folder was empty, and somebody removed it
            return partial

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make(folder.parent)
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)


def is_older(path: Path, seconds: float) -> bool:
    """Was the file last changed more than so many seconds ago? One that is gone was not."""
    try:
        return path.stat().st_mtime < time.time() - seconds
    except FileNotFoundError:
        return False


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
