"""The file store: checkpoints as files that people can read, beside a SQLite ledger."""

from petiole_stores.file.store import FileStore as FileStore
