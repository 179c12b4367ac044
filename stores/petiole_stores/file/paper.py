"""What stands in the files, and what the ledger keeps in its place."""

from __future__ import annotations

import msgspec

from petiole_stores.records import Blob, NewCheckpoint


class Paper(msgspec.Struct, kw_only=True):
    """A checkpoint's file."""

    checkpoint_id: str
    thread_id: str
    parent_id: str | None
    ns: str
    step: int
    source: str
    node_names: list[str]
    version: int
    digest: str
    seal: str = ""
    state: msgspec.Raw
    next: msgspec.Raw
    control: msgspec.Raw
    metadata: msgspec.Raw


class Marker(msgspec.Struct):
    """What the ledger keeps in place of a state."""

    file: str = msgspec.field(name="$file")


papers = msgspec.json.Decoder(Paper)
markers = msgspec.json.Decoder(Marker)


def write_paper(new: NewCheckpoint, thread_id: str) -> bytes:
    """A checkpoint's file: JSON that people can read."""
    raw = {
        name: msgspec.Raw(getattr(new, name).encode()) for name in ("state", "next", "control", "metadata")
    }
    paper = Paper(
        checkpoint_id=new.checkpoint_id, thread_id=thread_id, parent_id=new.parent_id, ns=new.ns, step=new.step,
        source=new.source, node_names=new.node_names, version=new.version, digest=new.digest,
        seal=new.seal, **raw,
    )  # fmt: skip
    return msgspec.json.format(msgspec.json.encode(paper), indent=2) + b"\n"


def read_state(data: bytes) -> str:
    """The state document in a checkpoint's file. Raises ValueError when the file is none, or damaged."""
    return msgspec.json.format(bytes(papers.decode(data).state).decode(), indent=-1)


def marker(name: str) -> str:
    return msgspec.json.encode(Marker(name)).decode()


def bare_blob(blob: Blob) -> Blob:
    """What the ledger keeps of a blob."""
    return Blob(digest=blob.digest, codec=blob.codec, data=b"", checksum=blob.checksum)
