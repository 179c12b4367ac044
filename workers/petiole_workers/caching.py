"""Results of nodes that are used again: kept as items of the store, by graph, node, version and key.

A result is kept when its node has returned, before it is committed: a node whose worker dies in between need not run again.
Failures and interrupts are never kept, nor what a node did in a transaction of its own, which its result alone would not
repeat. A store that cannot be reached is no failure: the node runs.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Iterable

import msgspec

from petiole_stores.decoding import decoder
from petiole_stores.errors import CorruptionError, InputError, SerializationError, StoreError
from petiole_stores.items import Namespace, NewItem
from petiole_stores.records import Blob, Output
from petiole_stores.store import Store
from petiole_workers.caller import undisturbed
from petiole_workers.documents import Documents
from petiole_workers.graph import CachePolicy, TaskOutput, TaskSpec

logger = logging.getLogger("petiole.cache")

ROOT = "cache"
#: Results are of no thread: their blobs stand beside them, bound to this.
_NO_THREAD = ""
_AT_ONCE = 1000


class _Kept(msgspec.Struct):
    """A result as an item's value: the document of an output, and (digest, codec, base64 of the data) of its blobs."""

    output: str
    blobs: list[tuple[str, str, str]]


class Place(msgspec.Struct, frozen=True):
    """Where a result is kept."""

    namespace: Namespace
    key: str
    ttl: float | None


class NodeCache:
    """The results that one store keeps."""

    def __init__(self, store: Store, documents: Documents) -> None:
        self._store, self._documents = store, documents

    def place(
        self, policy: CachePolicy, input: object, *, graph: str, node: str, version: str | None
    ) -> Place:
        """Where the result for this input is. Raises what ``key_func`` raises, InputError when it gives no text or bytes."""
        if policy.key_func is None:
            key: str | bytes = self._store.serde.dump_whole(input)
        else:
            key = policy.key_func(input)
        if not isinstance(key, str | bytes):
            raise InputError(f"the key_func of node {node!r} gave {key!r}: give a text or bytes")
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key)
        namespace = (ROOT, _label(graph), _label(node), _label(version or "-"))
        return Place(namespace, digest.hexdigest(), policy.ttl)

    def find(self, place: Place, spec: TaskSpec) -> TaskOutput | None:
        """The result that is kept there, as the output of this task; ``None``: there is none that can be used."""
        try:
            with undisturbed():
                [item] = self._store.get_items([(place.namespace, place.key)])
                if item is None:
                    return None
                kept = _kept(item.value)
                blobs = {
                    digest: Blob(digest, codec, base64.b64decode(data)) for digest, codec, data in kept.blobs
                }
                [output] = self._documents.outputs(
                    _NO_THREAD, [Output(path=spec.path, node=spec.node, output=kept.output)], blobs
                )
                return output
        except (StoreError, SerializationError, CorruptionError, msgspec.DecodeError, ValueError) as error:
            logger.warning("the cached result of node %s cannot be used, it runs: %s", spec.node, error)
            return None

    def keep(self, place: Place, output: TaskOutput) -> None:
        """Keep a result, in place of one that is there."""
        document, blobs = self._documents.output(_NO_THREAD, output)
        kept = _Kept(document, [_packed(blob) for blob in blobs.values()])
        value = msgspec.json.encode(kept).decode()
        try:
            with undisturbed():
                self._store.put_items([NewItem(place.namespace, place.key, value, place.ttl)])
        except StoreError as error:
            logger.warning("the result of node %s is not cached: %s", output.node, error)


def clear_cache(store: Store, graph: str, nodes: Iterable[str] | None = None) -> None:
    """Forget the results of these nodes of a graph (``None``: of all), of all its versions."""
    whole = (ROOT, _label(graph))
    for place in [whole] if nodes is None else [(*whole, _label(node)) for node in nodes]:
        while store.remove_items(place, limit=_AT_ONCE) == _AT_ONCE:
            pass


def _label(name: str) -> str:
    """A name as a label of a namespace: itself, or its digest where it cannot be one."""
    if len(name) <= 100 and name.isprintable():
        return name
    return f"sha256-{hashlib.sha256(name.encode()).hexdigest()}"


def _packed(blob: Blob) -> tuple[str, str, str]:
    return blob.digest, blob.codec, base64.b64encode(blob.data).decode()


_kept = decoder(_Kept)
