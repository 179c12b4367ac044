"""The SQLite store, on the driver itself: a statement costs microseconds here, and a claim takes several."""

from petiole_stores.sql.sqlite.store import SQLiteStore as SQLiteStore
