"""Which schema this version works with, and the judgement on the one that a database has."""

from __future__ import annotations

from petiole_stores.errors import SchemaError

#: Alembic's table: its one row names the revision of the schema.
VERSION_TABLE = "petiole_alembic_version"
#: The newest revision in ``petiole_stores.migrations``; a test keeps it true.
HEAD = "0005"


def fits(found: str | None, where: str) -> bool:
    """Is the schema there? Raises SchemaError when it is there in another version than this one works with."""
    if found is None:
        return False
    if found == HEAD:
        return True
    if is_newer(found):
        raise SchemaError(
            f"the schema of {where} is at revision {found}, newer than {HEAD}, the newest that this Petiole knows: "
            "install the version of Petiole that upgraded it, or a later one"
        )
    raise SchemaError(
        f"the schema of {where} is at revision {found}, this Petiole works with {HEAD}: run `petiole db upgrade`"
    )


def is_newer(found: str) -> bool:
    """Was the revision made by a later version than this one?"""
    return found.isdigit() and int(found) > int(HEAD)
