"""What all parts of the Redis store stand on: connection, partitions, the search for ids, schema and checks."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from petiole_stores.errors import ConfigurationError, SchemaError, StoreError
from petiole_stores.redis.backup import dump, load
from petiole_stores.redis.connection import Call, Connection
from petiole_stores.redis.partitions import Kind, Locator, partition_of, tag_prefix
from petiole_stores.redis.requests import decoder, optional, pack
from petiole_stores.serde import Serde
from petiole_stores.store import Store, StoreUrl

#: Version of the layout of keys (lua/records.lua). A store of another one is refused; an older one can be migrated.
SCHEMA = 4
PARTITIONS = 16
#: How many threads or runs one script of a migration looks at: none holds the server for long.
BATCH = 500

T = TypeVar("T")

_ids = decoder(list[str])
_seq = optional(int)


class RedisBase(Store):
    """``redis://host:6379/0?prefix=petiole&partitions=16&ttl=604800&cluster=1``, all options with defaults.

    Parameters of the URL
        prefix      what every key begins with: letters, digits and ``_ - .``
        partitions  into how many slots threads are spread; fixed by the first connect
        ttl         seconds that a thread's keys are kept once its newest run has ended; kept for good without it
        cluster     1: the server is a node of a Redis Cluster
    Others go to redis-py.
    """

    def __init__(self, url: StoreUrl | str, *, serde: Serde | None = None) -> None:
        super().__init__(url, serde=serde)
        options = self.url.options
        self.prefix = options.get("prefix", "petiole")
        if not re.fullmatch(r"[\w.-]+", self.prefix, re.ASCII):
            raise ConfigurationError(
                f"prefix={self.prefix!r} of the store's URL: take letters, digits and _ - . only"
            )
        self.ttl = _number(options, "ttl", float)
        self._asked = _number(options, "partitions", int)
        self._partitions = 0
        self._connection = Connection(self.url)
        self._locator = Locator()

    # ---------------------------------------------------------------- connection and schema

    @property
    def _workers_key(self) -> str:
        return f"{self.prefix}:{{w}}:"

    @property
    def _meta_key(self) -> str:
        return f"{self._workers_key}meta"

    def connect(self) -> None:
        """Reach the server, fix the number of partitions, and refuse a server that may evict keys or holds another schema."""
        schema = self._reach()
        if schema < SCHEMA:
            raise SchemaError(
                f"{self.url.shown} has schema {schema}, this Petiole works with {SCHEMA}: stop its workers and run "
                "`petiole db upgrade`"
            )

    def _reach(self) -> int:
        """As :meth:`connect`, but takes an older schema; returns it."""

        def meta(client: Any) -> dict[bytes, bytes]:
            with client.pipeline(transaction=False) as pipeline:
                pipeline.hsetnx(self._meta_key, "schema", SCHEMA)
                pipeline.hsetnx(self._meta_key, "partitions", self._asked or PARTITIONS)
                pipeline.hgetall(self._meta_key)
                found: dict[bytes, bytes] = pipeline.execute()[-1]
                return found

        found = self._connection.ask(meta)
        schema, partitions = int(found[b"schema"]), int(found[b"partitions"])
        if schema > SCHEMA:
            raise SchemaError(
                f"{self.url.shown} has schema {schema}, this Petiole works with {SCHEMA}: upgrade Petiole"
            )
        if self._asked not in (None, partitions):
            raise ConfigurationError(
                f"partitions={self._asked} of the store's URL: {self.url.shown} was set up with {partitions}, which cannot "
                "change: leave the option out or choose another prefix"
            )
        self._check_policy()
        self._partitions = partitions
        return schema

    def _check_policy(self) -> None:
        policy = self._setting("maxmemory-policy")
        if policy is None:
            warnings.warn(
                f"{self.url.shown} does not show its settings: make sure that its maxmemory-policy is noeviction",
                stacklevel=4,
            )
        elif policy != "noeviction":
            raise ConfigurationError(
                f"maxmemory-policy of {self.url.shown} is {policy}: set it to noeviction, or Redis will drop "
                "parts of runs when memory is short"
            )

    def close(self) -> None:
        self._connection.close()

    def migrate_schema(self) -> list[str]:
        """Bring the layout of an older schema to this one and return the steps taken; workers must not run meanwhile.

        A newer schema is refused with SchemaError. A migration that was cut off is begun again by the next call.
        """
        schema = self._reach()
        if schema == SCHEMA:
            return []
        steps = self._change_layout(schema)
        self._connection.ask(lambda client: client.hset(self._meta_key, "schema", SCHEMA))
        return steps

    def _change_layout(self, schema: int) -> list[str]:
        """Change the records of an older schema where that is needed; fields that they lack are read as their defaults."""
        steps = []
        if schema < 2:
            self._index_threads()
            steps.append("schema 1 to 2: show the threads in the indexes of ended and touched ones")
        if schema < 3:
            steps.append("schema 2 to 3: let namespaces have owners and tasks wait for signals")
        if schema < 4:
            self._index_runs()
            steps.append(
                "schema 3 to 4: show runs in the indexes of their names, and of those that have not settled; let tasks "
                "have timeouts of their own"
            )
        return steps

    def _index_threads(self) -> None:
        """Show every thread in the indexes that schema 1 had not (lua/index.lua)."""

        def ask(client: Any) -> list[str]:
            marker = "}:thread:"
            found = client.scan_iter(match=f"{self.prefix}:{{p*{marker}*", count=1000)
            return [key.decode().partition(marker)[2] for key in found]

        groups: dict[int, list[str]] = {}
        for thread_id in self._connection.ask(ask):
            groups.setdefault(self._partition(thread_id), []).append(thread_id)
        for partition, threads in groups.items():
            for start in range(0, len(threads), BATCH):
                request = {"threads": threads[start : start + BATCH]}
                self._connection.run([self._call("index", partition, request)])

    def _index_runs(self) -> None:
        """Show every run in the indexes that schema 3 had not (lua/index_runs.lua)."""
        for partition in range(self.partitions):
            after: int | None = 0
            while after is not None:
                after = self._on(partition, "index_runs", {"after": after, "most": BATCH}, _seq)

    def validate(self) -> None:
        """Reach the server and check schema, partitions and eviction policy again."""
        self.connect()

    def durability(self) -> list[str]:
        """What could make the server forget acknowledged commits, in sentences; empty when every one is on disk."""
        appendonly, fsync = self._setting("appendonly"), self._setting("appendfsync")
        if appendonly is None:
            return [
                "the server does not show its settings: make sure of appendonly yes and appendfsync always"
            ]
        if appendonly != "yes":
            return [
                "appendonly is off: a restart of the server loses what its last snapshot lacks (set appendonly yes)"
            ]
        if fsync == "everysec":
            return [
                "appendfsync is everysec: a power cut loses up to 2 seconds of commits (set appendfsync always)"
            ]
        if fsync != "always":
            return [
                f"appendfsync is {fsync}: a power cut loses what the kernel had not written (set appendfsync always)"
            ]
        return []

    def _setting(self, name: str) -> str | None:
        """A setting of the server; ``None`` where it may not be asked for."""

        def ask(client: Any) -> Any:
            options = {"target_nodes": client.get_random_node()} if self._connection.cluster else {}
            return client.execute_command("CONFIG", "GET", name, **options)

        try:
            found = self._connection.ask(ask)
        except StoreError as error:
            if isinstance(error, ConnectionError):
                raise
            return None
        pairs = found.items() if isinstance(found, Mapping) else zip(found[::2], found[1::2], strict=True)
        values = {_text(key): _text(value) for key, value in pairs}
        return values.get(name)

    # ---------------------------------------------------------------- partitions

    @property
    def partitions(self) -> int:
        """How many partitions the stored threads are spread over."""
        if not self._partitions:
            self.connect()
        return self._partitions

    def hint(self, thread_id: str, ids: Iterable[str]) -> None:
        """Tell the store that these runs and tasks belong to a thread, which saves a look into every partition."""
        known = list(ids)
        partition = partition_of(thread_id, self.partitions)
        self._locator.learn("task", known, partition)
        self._locator.learn("run", known, partition)

    def _partition(self, thread_id: str) -> int:
        return partition_of(thread_id, self.partitions)

    def _locate(self, kind: Kind, ids: Sequence[str]) -> dict[str, int]:
        """The partitions of the records that exist, asked of all partitions at once where this process has not met them.
        One that this process remembers may be gone."""
        found, unknown = self._locator.find(kind, ids)
        if unknown:
            for partition, here in enumerate(self._everywhere("which", {"kind": kind, "ids": unknown}, _ids)):
                self._locator.learn(kind, here, partition)
                found.update(dict.fromkeys(here, partition))
        return found

    def _recall(self, kind: Kind, threads: Mapping[str, str]) -> None:
        """Forget where ids were met that are about to be written (id -> thread), unless it is where they will be: one that
        was deleted since may come back on another thread."""
        found, _ = self._locator.find(kind, list(threads))
        for id, partition in found.items():
            if partition != self._partition(threads[id]):
                self._locator.forget(kind, id)

    def _by_partition(self, kind: Kind, ids: Sequence[str]) -> dict[int, list[str]]:
        """The ids that exist, grouped."""
        groups: dict[int, list[str]] = {}
        if ids:
            where = self._locate(kind, ids)
            for id in ids:
                if id in where:
                    groups.setdefault(where[id], []).append(id)
        return groups

    # ---------------------------------------------------------------- scripts

    def _call(
        self, name: str, partition: int, request: Mapping[str, Any], blobs: Sequence[bytes] = ()
    ) -> Call:
        return Call(name, tag_prefix(self.prefix, partition), [pack(request), *blobs])

    def _run(self, calls: Sequence[Call], decode: Callable[[bytes], T]) -> list[T]:
        return [decode(answer) for answer in self._connection.run(calls)] if calls else []

    def _on(self, partition: int, name: str, request: Mapping[str, Any], decode: Callable[[bytes], T]) -> T:
        return self._run([self._call(name, partition, request)], decode)[0]

    def _everywhere(self, name: str, request: Mapping[str, Any], decode: Callable[[bytes], T]) -> list[T]:
        packed = [pack(request)]
        calls = [Call(name, tag_prefix(self.prefix, p), packed) for p in range(self.partitions)]
        return self._run(calls, decode)

    def _options(self, now: float | None) -> dict[str, Any]:
        """What every operation that writes is told."""
        return {
            "now": now,
            "grace": self.grace,
            "max_backoff": self.max_backoff,
            "max_crashes": self.max_crashes,
            "ttl": self.ttl,
        }

    # ---------------------------------------------------------------- backup

    def backup(self, path: str | Path) -> int:
        """Write every key to a new file and return their number.

        Keys are read one after another: while runs are active it is no snapshot of one moment. Stop the workers first,
        or copy the server's own append-only file.
        """
        count: int = self._connection.ask(
            lambda client: dump(client, self.prefix, self._meta_key, Path(path))
        )
        return count

    def restore(self, path: str | Path) -> int:
        """Read every key of a file that ``backup`` wrote into a store without data, and return their number."""
        partitions = self.partitions
        count, schema = self._connection.ask(
            lambda client: load(client, self.prefix, partitions, SCHEMA, Path(path))
        )
        self._change_layout(schema)
        return int(count)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _number(options: Mapping[str, str], name: str, type: Callable[[str], T]) -> T | None:
    text = options.get(name)
    if text is None:
        return None
    try:
        value = type(text)
    except ValueError:
        value = None
    if value is None or not 0 < float(text) < 1e9:
        raise ConfigurationError(f"{name}={text!r} of the store's URL: take a number above 0")
    return value
