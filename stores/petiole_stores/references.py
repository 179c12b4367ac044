"""Which blobs a document names, without loading it."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: A reference as :mod:`petiole_stores.serde` writes it. Text that only looks like one keeps a blob longer than needed.
_REFERENCE = re.compile(r'"\$blob"\s*:\s*"([^"\\]+)"')


def blobs_named(documents: Iterable[str | None]) -> set[str]:
    """The digests of every blob that the documents may refer to."""
    return {digest for text in documents if text for digest in _REFERENCE.findall(text)}
