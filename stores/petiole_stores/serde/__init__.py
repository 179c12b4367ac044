"""Typed state on disk: values as a JSON document and blobs, and back with their exact types and order."""

from petiole_stores.serde.blob import Blob
from petiole_stores.serde.digest import digest_document
from petiole_stores.serde.sealed import Sealed
from petiole_stores.serde.serde import Serde

__all__ = ["Blob", "Sealed", "Serde", "digest_document"]
