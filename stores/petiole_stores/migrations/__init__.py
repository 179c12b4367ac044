"""The steps from one schema to the next, run by :mod:`petiole_stores.sql.migrate`."""
