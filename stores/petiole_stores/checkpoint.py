"""The checkpoint: an immutable snapshot of a thread's state at the end of a superstep."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from petiole_stores.decoding import decoder, unpacker
from petiole_stores.errors import InputError, NotFoundError, SerializationError
from petiole_stores.ids import new_id
from petiole_stores.serde import Blob, Serde

_FORMAT = 1
_NO_LIMIT = 1 << 40


@dataclasses.dataclass(frozen=True, init=False)
class Checkpoint:
    """One snapshot. Two checkpoints are equal when all their fields are.

    Parameters:
        thread_id: the thread whose state this is.
        state: the values of the state by key.
        node_names: the nodes whose outputs the state contains that its parent's does not.
        node_name: the same for a single node.
        id: made anew (UUIDv7) when not given.
        run_id: the run that made it; None when no run did.
        ns: the namespace of a subgraph; "" is the root graph.
        parent_id: the checkpoint that this one follows.
        step: number of the superstep, counted from the run's first.
        source: what made it, such as "input", "loop", "update" or "fork".
        next: the names of the nodes that come next; empty at the end.
        metadata: anything storable, by key.
        timestamp: when it was made, with a time zone; kept in UTC; now when not given.
        version: version of the schema of this object.

    Raises:
        InputError: a field is of the wrong type, or the timestamp has no time zone.
    """

    id: str
    thread_id: str
    run_id: str | None
    ns: str
    parent_id: str | None
    step: int
    source: str
    node_names: tuple[str, ...]
    state: dict[str, Any]
    next: tuple[str, ...]
    metadata: dict[str, Any]
    timestamp: datetime
    version: int

    def __init__(
        self,
        *,
        thread_id: str,
        state: Mapping[str, Any] | None = None,
        node_names: Iterable[str] = (),
        node_name: str | None = None,
        id: str | None = None,
        run_id: str | None = None,
        ns: str = "",
        parent_id: str | None = None,
        step: int = 0,
        source: str = "loop",
        next: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        timestamp: datetime | None = None,
        version: int = 1,
    ) -> None:
        names = _names("node_names", node_names)
        if node_name is not None:
            if names:
                raise InputError(f"give node_name={node_name!r} or node_names={names!r}, not both")
            names = _names("node_name", (node_name,))
        for field, value in (("thread_id", thread_id), ("ns", ns), ("source", source)):
            _check(field, value, str)
        for field, optional in (("id", id), ("run_id", run_id), ("parent_id", parent_id)):
            if optional is not None:
                _check(field, optional, str)
        for field, number in (("step", step), ("version", version)):
            _check(field, number, int)
        for field, mapping in (("state", state), ("metadata", metadata)):
            if mapping is not None and not isinstance(mapping, Mapping):
                raise InputError(f"a checkpoint's {field} is a mapping, and {mapping!r} is none")
        if timestamp is None:
            timestamp = datetime.now(UTC)
        elif not isinstance(timestamp, datetime) or timestamp.utcoffset() is None:
            raise InputError(
                f"the timestamp {timestamp!r} of a checkpoint has no time zone: use datetime.now(UTC)"
            )
        fields: dict[str, object] = {
            "id": new_id() if id is None else id,
            "thread_id": thread_id,
            "run_id": run_id,
            "ns": ns,
            "parent_id": parent_id,
            "step": step,
            "source": source,
            "node_names": names,
            "state": dict(state or {}),
            "next": _names("next", next),
            "metadata": dict(metadata or {}),
            "timestamp": timestamp.astimezone(UTC),
            "version": version,
        }
        for name, content in fields.items():
            object.__setattr__(self, name, content)

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def node_name(self) -> str:
        """The node that ended at this checkpoint; the names of several, joined by commas."""
        return ",".join(self.node_names)

    def marshal(
        self,
        format: Literal["json", "msgpack"] = "json",
        *,
        types: Iterable[type] = (),
        serde: Serde | None = None,
    ) -> bytes:
        """This checkpoint as bytes that stand alone.

        Parameters:
            format: "json" is text that people can read; "msgpack" is smaller where values are large or binary.
            types: classes of the state that may be stored (see `Serde.register`).
            serde: what writes the values, instead of one made of ``types``; its codec encrypts them.

        Raises:
            SerializationError: a value has no stored form; the message gives its path.
            InputError: the format is another one.
        """
        if format not in ("json", "msgpack"):
            raise InputError(f"the format {format!r} of a checkpoint is neither 'json' nor 'msgpack'")
        if serde is None:
            inline = format == "json"
            serde = Serde(types, blob_threshold=_NO_LIMIT, inline_limit=_NO_LIMIT) if inline else Serde(types)
        state, blobs = serde.dump_values(self.state, thread_id=self.thread_id)
        metadata, more = serde.dump_values(self.metadata, thread_id=self.thread_id)
        envelope = _Envelope(
            petiole=_FORMAT,
            id=self.id,
            thread_id=self.thread_id,
            run_id=self.run_id,
            ns=self.ns,
            parent_id=self.parent_id,
            step=self.step,
            source=self.source,
            node_names=self.node_names,
            next=self.next,
            timestamp=self.timestamp,
            version=self.version,
            state=_raw(state, format),
            metadata=_raw(metadata, format),
            blobs={digest: (blob.codec, blob.data) for digest, blob in (blobs | more).items()},
        )
        return msgspec.json.encode(envelope) if format == "json" else msgspec.msgpack.encode(envelope)

    @classmethod
    def unmarshal(cls, data: bytes, types: Iterable[type] = (), *, serde: Serde | None = None) -> Checkpoint:
        """The checkpoint of bytes that `marshal` made, in either format.

        Raises:
            SerializationError: the bytes are no checkpoint, are cut short, or are of another version.
            UnfitError: this process lacks a class, codec or key.
            CorruptionError: a blob among the bytes is not what was stored.
        """
        serde = Serde(types) if serde is None else serde
        as_json = data[:1] == b"{"
        try:
            version, whole = (_json_version, _json_whole) if as_json else (_packed_version, _packed_whole)
            found = version(data).petiole
            if found != _FORMAT:
                raise SerializationError(
                    f"the checkpoint is of format {found}, and this version of Petiole reads {_FORMAT}: upgrade it"
                )
            envelope = whole(data)
            state, metadata = (
                bytes(raw).decode() if as_json else _text(raw) for raw in (envelope.state, envelope.metadata)
            )
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
            raise SerializationError(
                f"these {len(data)} bytes are no checkpoint, or a part of one: {error}"
            ) from error
        blobs = {digest: Blob(digest, codec, body) for digest, (codec, body) in envelope.blobs.items()}
        try:
            return cls(
                id=envelope.id,
                thread_id=envelope.thread_id,
                run_id=envelope.run_id,
                ns=envelope.ns,
                parent_id=envelope.parent_id,
                step=envelope.step,
                source=envelope.source,
                node_names=envelope.node_names,
                next=envelope.next,
                timestamp=envelope.timestamp,
                version=envelope.version,
                state=serde.load_values(state, blobs, thread_id=envelope.thread_id),
                metadata=serde.load_values(metadata, blobs, thread_id=envelope.thread_id),
            )
        except (NotFoundError, InputError) as error:  # a blob that is missing, a timestamp without a zone
            raise SerializationError(f"the checkpoint {envelope.id} was cut or edited: {error}") from error


class _Version(msgspec.Struct):
    """The first thing to read of a marshalled checkpoint."""

    petiole: int


class _Envelope(msgspec.Struct):
    """A marshalled checkpoint; ``state`` and ``metadata`` are documents, whose blobs stand beside them."""

    petiole: int
    id: str
    thread_id: str
    run_id: str | None
    ns: str
    parent_id: str | None
    step: int
    source: str
    node_names: tuple[str, ...]
    next: tuple[str, ...]
    timestamp: datetime
    version: int
    state: msgspec.Raw
    metadata: msgspec.Raw
    blobs: dict[str, tuple[str, bytes]]


def _raw(document: str, format: str) -> msgspec.Raw:
    return msgspec.Raw(document.encode() if format == "json" else msgspec.msgpack.encode(document))


def _names(field: str, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise InputError(
            f"a checkpoint's {field} is a sequence of names: write ({names!r},) instead of {names!r}"
        )
    found = tuple(names)
    for name in found:
        _check(field, name, str)
    return found


def _check(field: str, value: object, expected: type) -> None:
    if not isinstance(value, expected) or isinstance(value, bool):
        raise InputError(
            f"a checkpoint's {field} is a {expected.__name__}, and {value!r} is a {type(value).__name__}"
        )


_json_version, _json_whole = decoder(_Version), decoder(_Envelope)
_packed_version, _packed_whole = unpacker(_Version), unpacker(_Envelope)
_text = unpacker(str)
