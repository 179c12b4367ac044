"""The SQL stores: SQLite and PostgreSQL on one schema."""
