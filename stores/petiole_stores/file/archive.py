"""Backup of a file store: one zip file with a copy of the ledger and every file that the copy names."""

from __future__ import annotations

import sqlite3
import zipfile
from collections.abc import Iterable
from pathlib import Path

from petiole_stores.errors import StoreError
from petiole_stores.file.paper import marker, papers
from petiole_stores.file.reading import LEDGER
from petiole_stores.folder import Folder, is_safe

_RENAME = "UPDATE checkpoints SET state = ? WHERE thread_id = ? AND state = ?"


def pack(archive: Path, ledger: Path, folder: Folder, named: Iterable[Path]) -> None:
    """Write the zip file. Raises FileNotFoundError when one of the files has been removed meanwhile."""
    with zipfile.ZipFile(archive, "x", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.write(ledger, LEDGER)
        for path in sorted(named):
            file.write(path, path.relative_to(folder.path))


def unpack(path: str | Path, scratch: Path, folder: Folder) -> Path:
    """Put the files of a backup in their places and its ledger, which names them there, into ``scratch``."""
    try:
        with zipfile.ZipFile(path) as archive:
            ledger = Path(archive.extract(LEDGER, scratch))
            db = sqlite3.connect(ledger)
            try:
                for name in archive.namelist():
                    if name != LEDGER:
                        _unpack_one(archive, name, db, folder)
                db.commit()
            finally:
                db.close()
    except FileNotFoundError as error:
        raise StoreError(f"{path} does not exist: name a file that backup() wrote") from error
    except (zipfile.BadZipFile, KeyError, ValueError, sqlite3.Error) as error:
        raise StoreError(f"{path} is no backup of a file store, or is damaged: {error}") from error
    return ledger


def _unpack_one(archive: zipfile.ZipFile, name: str, ledger: sqlite3.Connection, folder: Folder) -> None:
    _, thread_dir, *rest = name.split("/")
    if not all(map(is_safe, (thread_dir, *rest))):
        raise ValueError(f"{name!r} is no file of a store")
    data = archive.read(name)
    if rest[0] == "blobs":
        folder.put(folder.path / name, data)
        return
    paper = papers.decode(data)
    made = folder.write_checkpoint(paper.thread_id, paper.checkpoint_id, data)
    if made.name != rest[0]:  # another checkpoint has that name here
        ledger.execute(_RENAME, (marker(made.name), paper.thread_id, marker(rest[0])))
