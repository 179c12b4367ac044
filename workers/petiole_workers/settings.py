"""One typed object for everything that can be set: flag > environment (``PETIOLE_*``) > pyproject (``[tool.petiole]``).

A list is written with commas in the environment: ``PETIOLE_GRAPHS=shop.flows:graph,shop.refunds:graph``. A key that
does not exist is an error, so that a misspelt one never passes silently.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_type_hints

import msgspec

from petiole_stores.decoding import converter
from petiole_stores.errors import ConfigurationError
from petiole_workers.durability import Durability

PREFIX = "PETIOLE_"
#: Environment names with the prefix that are not settings.
RESERVED = ("PETIOLE_TEST_", "PETIOLE_FUZZ_", "PETIOLE_BENCH_", "PETIOLE_TORTURE_", "PETIOLE_WORKER_")
#: What Kubernetes tells pods of services that are called ``petiole`` or ``petiole-…``: PETIOLE_PORT=tcp://10.0.0.1:80 and such.
_SERVICE = re.compile(
    r"\w+_SERVICE_(HOST|PORT(_\w+)?)=.*"
    r"|\w+_PORT(_\d+_(TCP|UDP|SCTP))?=(tcp|udp|sctp)://.*"
    r"|\w+_PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)=.*"
)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Petiole's settings. Durations are in seconds."""

    #: Store URL; nothing: a SQLite file in ``data_dir``.
    store: str | None = None
    #: Broker URL; nothing: an embedded broker in ``data_dir``.
    broker: str | None = None
    #: Graphs that a worker serves, as ``module:attribute``.
    graphs: list[str] = []
    #: Where the embedded store and broker keep their files.
    data_dir: str = ".petiole"
    #: The queue of nodes that name none; its priorities are ``<queue>.high``, ``<queue>`` and ``<queue>.low``.
    queue: str = "petiole"
    #: Queues that a worker consumes (each with its priorities); nothing: those of its graphs.
    queues: list[str] = []
    #: RabbitMQ's queue type.
    queue_type: Literal["classic", "quorum"] = "classic"
    #: How long a worker may be silent before its tasks may be taken from it.
    lease: float = 15.0
    #: How often a worker renews its lease; nothing: a third of it.
    beat: float | None = None
    #: How often each worker looks for dead holders, unpublished tasks and timers.
    sweep: float = 2.0
    #: How long a warm stop waits for running nodes before it gives their tasks back.
    grace: float = 10.0
    #: How long a node may go on that was cancelled or fenced, before its process is killed (prefork) or its slot is
    #: counted as lost.
    cancel_grace: float = 10.0
    #: Started attempts that may end with a dead process before a task fails.
    max_crashes: int = 5
    #: A retry's wait up to this is slept through in the worker; a longer one frees the slot.
    in_process_wait: float = 1.0
    #: How a call is made again while the store cannot be reached.
    store_retry: Literal["exponential", "fixed", "adaptive", "emergency"] = "exponential"
    #: How long one call is tried before the worker goes to degraded mode.
    store_timeout: float = 15.0
    #: ``inline``: a worker may go on with a run's single next task itself, for up to ``inline_slice``.
    chain: Literal["broker", "inline"] = "broker"
    inline_slice: float = 0.1
    #: ``sync``, ``interval:SECONDS``, ``adaptive``, ``async`` or ``exit``, for runs whose graph and submit say nothing.
    durability: str = "sync"
    #: Where outcomes go that the store cannot take: URL of another store; nothing: a file in ``data_dir``.
    backup_store: str | None = None
    #: How often each worker looks for checkpoints and threads to remove.
    housekeeping: float = 30.0
    #: Checkpoints that are kept of a thread that workers run; 0: all.
    max_checkpoints: int = 10
    #: How long threads are kept after their newest run has ended so; nothing: for ever.
    keep_succeeded: float | None = None
    keep_failed: float | None = None
    keep_cancelled: float | None = None
    #: What is kept of what nodes say, for clients that stream their runs: ``custom`` (``runtime.stream_writer``) and
    #: ``messages`` (chat models, which are made to stream for it).
    stream_events: list[str] = msgspec.field(default_factory=lambda: ["custom"])
    #: From which level on workers keep what nodes log through Python's ``logging``.
    node_logs: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "off"] = "INFO"
    #: How long all of this is kept.
    keep_events: float = 86400.0
    #: What becomes of a run whose checkpoint is damaged beyond repair: ``park`` it with the reason, or go on from the
    #: nearest sound ``parent``, which runs what came after it again.
    on_corruption: Literal["park", "parent"] = "park"
    #: How many waiting messages one pool slot may take at once (1: none are taken together).
    batch: int = 16
    #: Wait for RabbitMQ to confirm each message (the sweep makes good what is lost without).
    publisher_confirms: bool = False
    #: ``pool`` and ``concurrency`` of ``petiole worker``.
    pool: Literal["prefork", "threads", "gevent", "solo"] = "prefork"
    concurrency: int | None = None
    #: Replace a prefork child after so many messages.
    max_tasks_per_child: int | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    #: API key or bearer token for a ``store`` that is a server's URL.
    token: str | None = None
    #: Where ``petiole serve`` listens.
    host: str = "127.0.0.1"
    port: int = 8642
    #: Bytes that a request's body may have there, requests a second for each caller (0: no limit), and how many at once.
    max_body: int = 16_777_216
    request_rate: float = 0.0
    request_burst: float = 100.0
    #: What signs the cookies of log-ins, the same for all servers; nothing: a secret that the store keeps.
    session_secret: str | None = None
    #: Whether ``/metrics`` answers without a key.
    metrics_public: bool = False
    #: How long entries of the audit log are kept; nothing: for ever.
    keep_audit: float | None = None
    #: Bearer tokens of an identity provider (OpenID Connect): its issuer URL, and the audience that tokens must be for.
    oidc_issuer: str | None = None
    oidc_audience: str | None = None
    #: Its keys (JWKS), as a URL or a file; nothing: where the issuer's configuration says.
    oidc_jwks: str | None = None
    #: What stands before ``read``, ``submit``, ``operate`` and ``admin`` in a token's scopes.
    oidc_scope_prefix: str = "petiole:"

    @property
    def beat_every(self) -> float:
        return self.lease / 3 if self.beat is None else self.beat

    @property
    def publish_grace(self) -> float:
        """After how long an unclaimed task's message is taken for lost: a third of the lease, 1 to 10 s."""
        return min(max(self.lease / 3, 1.0), 10.0)


def load_settings(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """The settings in force. ``flags`` whose value is ``None`` are left out.

    Raises ConfigurationError that names the key, its value and where it was set.
    """
    values: dict[str, Any] = {}
    for origin, layer in _layers(flags, environ, folder):
        _check(layer, origin)
        values |= layer
    settings = _settings(values)
    _check_ranges(settings)
    return settings


def origins(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> dict[str, str]:
    """Where each setting that is set comes from, by its name; the others have their defaults."""
    return {name: origin for origin, layer in _layers(flags, environ, folder) for name in layer}


def environment(settings: Settings, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment that makes a child process load these settings.

    ``base`` is the environment to build on (nothing: an empty one); what it sets of Petiole is replaced. Defaults are
    written out too, for the child may find a pyproject.toml that says otherwise.
    """
    result = {key: text for key, text in (base or {}).items() if not _is_setting(key, text)}
    for name in Settings.__struct_fields__:
        value = getattr(settings, name)
        if value is not None:
            result[PREFIX + name.upper()] = ",".join(value) if isinstance(value, list) else str(value)
    return result


def _layers(
    flags: Mapping[str, object] | None, environ: Mapping[str, str] | None, folder: Path | None
) -> list[tuple[str, Mapping[str, Any]]]:
    """What is set, by its origin, the strongest last."""
    return [
        ("[tool.petiole] in pyproject.toml", _from_pyproject(folder or Path.cwd())),
        ("the environment", _from_environment(os.environ if environ is None else environ)),
        ("the arguments", {k: v for k, v in (flags or {}).items() if v is not None}),
    ]


def _is_setting(key: str, text: str) -> bool:
    return key.startswith(PREFIX) and not key.startswith(RESERVED) and not _SERVICE.fullmatch(f"{key}={text}")


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    layer: dict[str, Any] = {}
    for key, text in environ.items():
        if _is_setting(key, text):
            name = key.removeprefix(PREFIX).lower()
            is_list = name in _LISTS
            layer[name] = [part.strip() for part in text.split(",") if part.strip()] if is_list else text
    return layer


def _from_pyproject(folder: Path) -> dict[str, Any]:
    for place in (folder, *folder.parents):
        file = place / "pyproject.toml"
        if file.is_file():
            try:
                document = tomllib.loads(file.read_text(encoding="utf-8"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise ConfigurationError(f"{file} cannot be read: {error}") from None
            found = document.get("tool", {}).get("petiole", {})
            return {key.replace("-", "_"): value for key, value in found.items()}
    return {}


def _check(layer: Mapping[str, object], origin: str) -> None:
    for name, value in layer.items():
        if name not in _HINTS:
            known = ", ".join(sorted(_HINTS))
            raise ConfigurationError(
                f"{origin} sets {name!r}, which is no setting of Petiole; the settings are: {known}"
            )
        try:
            _READERS[name](value)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"{origin} sets {name} to {value!r}: {error}") from None


def _check_ranges(settings: Settings) -> None:
    for name in ("lease", "sweep", "beat_every", "housekeeping", *_FROM_ZERO):
        value = getattr(settings, name)
        lowest = 0.0 if name in _FROM_ZERO else 0.05
        if not lowest <= value <= 86400:
            raise ConfigurationError(f"{name} is {value} s: take {lowest} to 86400 s")
    if settings.beat_every > settings.lease / 2:
        raise ConfigurationError(
            f"beat is {settings.beat_every} s with a lease of {settings.lease} s: beat at least twice in a lease"
        )
    for name in ("max_crashes", "batch", "concurrency", "max_tasks_per_child"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise ConfigurationError(f"{name} is {value}: take at least 1")
    Durability.parse(settings.durability)
    if settings.max_checkpoints < 0:
        raise ConfigurationError(
            f"max_checkpoints is {settings.max_checkpoints}: take at least 1, or 0 for all"
        )
    for name in ("keep_succeeded", "keep_failed", "keep_cancelled", "keep_events"):
        value = getattr(settings, name)
        if value is not None and value < 0:
            raise ConfigurationError(
                f"{name} is {value} s: take at least 0, or leave it out to keep them for ever"
            )
    if settings.session_secret is not None and len(settings.session_secret) < 32:
        raise ConfigurationError(
            "session_secret is too short: take 32 random characters or more, as `openssl rand -hex 32` prints them"
        )
    if settings.keep_audit is not None and settings.keep_audit <= 0:
        raise ConfigurationError(
            f"keep_audit is {settings.keep_audit} s: take more than 0, or leave it out to keep the audit log for ever"
        )
    if unknown := set(settings.stream_events) - {"custom", "messages"}:
        raise ConfigurationError(f"stream_events has {min(unknown)!r}: take custom, messages, both or none")
    for queue in (settings.queue, *settings.queues):
        if not queue or queue.startswith("@"):
            raise ConfigurationError(
                f"queue {queue!r}: a queue's name is not empty and does not begin with '@'"
            )


_HINTS: dict[str, Any] = {
    k: v for k, v in get_type_hints(Settings).items() if k in Settings.__struct_fields__
}
_FROM_ZERO = ("grace", "cancel_grace", "inline_slice", "in_process_wait", "store_timeout")
_LISTS = {name for name, hint in _HINTS.items() if hint == list[str]}

_settings = converter(Settings, strict=False)
_READERS = {name: converter(hint, strict=False) for name, hint in _HINTS.items()}
