"""How long typed state takes to write and to read: `python tests/benchmarks/serde.py` (no test; prints a table)."""

from __future__ import annotations

import dataclasses
import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

from petiole_stores.codec import AesGcmCodec, Codec, PlainCodec, ZstdCodec
from petiole_stores.serde import Serde, digest_document


@dataclasses.dataclass
class Doc:
    id: int
    name: str
    score: float
    tags: tuple[str, ...]
    at: datetime


def median_ms(function: Callable[[], object], repeat: int = 30) -> float:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def states() -> dict[str, dict[str, object]]:
    rng = random.Random(1)
    words = ["leaf", "stalk", "root", "vein", "sap", "bud", "twig", "bark"]

    def text(count: int) -> str:
        return " ".join(rng.choice(words) + str(rng.randrange(1000)) for _ in range(count))

    def records(count: int) -> list[object]:
        return [
            {"id": i, "name": text(1), "score": rng.random(), "tags": ["a", "b"], "ok": True, "text": text(6)}
            for i in range(count)
        ]

    docs = [Doc(i, text(2), rng.random(), ("a", "b"), datetime.now(UTC)) for i in range(6000)]
    return {
        "1 KB, plain": {"messages": records(5), "question": text(15), "count": 3, "done": False},
        "1 KB, typed": {"docs": docs[:6], "at": datetime.now(UTC), "seen": {1, 2, 3}, "pair": (1, "a")},
        "1 MB, one string": {"text": text(140_000), "count": 3},
        "1 MB, records": {"docs": records(8000), "count": 3},
        "1 MB, dataclasses": {"docs": docs, "count": 3},
    }


def main() -> None:
    codecs: list[Codec] = [PlainCodec(), ZstdCodec(), AesGcmCodec({"k1": bytes(32)})]
    print(
        f"{'state':20} {'codec':16} {'dump ms':>9} {'known ms':>9} {'load ms':>9} {'inline B':>9} {'blobs B':>9}"
    )
    for label, state in states().items():
        for codec in codecs:
            serde = Serde([Doc], codec=codec)
            text, blobs = serde.dump_values(state, thread_id="t")
            if serde.load_values(text, blobs, thread_id="t") != state:
                raise SystemExit(f"{label}: the state did not come back")
            dump = median_ms(lambda: serde.dump_values(state, thread_id="t"))  # noqa: B023
            known = median_ms(lambda: serde.dump_values(state, thread_id="t", known=blobs))  # noqa: B023
            load = median_ms(lambda: serde.load_values(text, blobs, thread_id="t"))  # noqa: B023
            size = sum(len(blob.data) for blob in blobs.values())
            print(f"{label:20} {codec.name:16} {dump:9.3f} {known:9.3f} {load:9.3f} {len(text):9} {size:9}")
    text = Serde().dump_values(states()["1 KB, plain"])[0]
    print(f"digest of a document of {len(text)} bytes: {median_ms(lambda: digest_document(text)):.3f} ms")


if __name__ == "__main__":
    main()
