"""One process' connection to the server: scripts by digest, many in one pipeline, errors in Petiole's words."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.cluster import RedisCluster
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    NoScriptError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from petiole_stores.errors import ConfigurationError, StoreError, StoreUnavailableError
from petiole_stores.keepalive import keepalive_options
from petiole_stores.redis.scripts import Script, script
from petiole_stores.store import StoreUrl

#: Options of the URL that are the store's own; the others go to redis-py.
OWN_OPTIONS = frozenset({"prefix", "partitions", "ttl", "cluster"})
#: A server that is gone, or takes requests and never answers, is noticed within seconds: scripts are short. The URL's
#: options win.
NETWORK: dict[str, Any] = {
    "socket_timeout": 5.0,
    "socket_connect_timeout": 5.0,
    "socket_keepalive": True,
    "socket_keepalive_options": keepalive_options(),
}


class Call(NamedTuple):
    """One script on one slot: ``key`` is the prefix with the hash tag, ``args`` its ARGV."""

    name: str
    key: str
    args: Sequence[bytes]


class Connection:
    """A pool of connections, opened on first use and anew in a forked child. A broken one is tried once more."""

    def __init__(self, url: StoreUrl) -> None:
        self.url = url
        self.cluster = url.options.get("cluster", "0") not in ("0", "", "false")
        self._client: Any = None
        self._pid = 0

    @property
    def client(self) -> Any:
        if self._client is None or self._pid != os.getpid():
            self._client, self._pid = self._open(), os.getpid()
        return self._client

    def _open(self) -> Any:
        parts = urlsplit(self.url.text)
        query = urlencode([pair for pair in parse_qsl(parts.query) if pair[0] not in OWN_OPTIONS])
        text = urlunsplit(parts._replace(query=query))
        if self.cluster:
            return RedisCluster.from_url(text, **NETWORK, protocol=2)
        return redis.Redis.from_url(
            text,
            **NETWORK,
            health_check_interval=30,
            protocol=2,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 1),
        )

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None and self._pid == os.getpid():
            client.close()

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Run scripts, several in one pipeline, and return their answers in order."""
        with self.translated():
            scripts = [script(call.name) for call in calls]
            if len(calls) == 1 or self.cluster:
                return [self._one(it, call) for it, call in zip(scripts, calls, strict=True)]
            answers = self._pipeline(scripts, calls)
            lost = [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if lost:
                for it in {scripts[i].sha: scripts[i] for i in lost}.values():
                    self.client.script_load(it.text)
                again = self._pipeline([scripts[i] for i in lost], [calls[i] for i in lost])
                for i, answer in zip(lost, again, strict=True):
                    answers[i] = answer
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            return answers

    def _one(self, it: Script, call: Call) -> Any:
        try:
            return self.client.execute_command("EVALSHA", it.sha, 1, call.key, *call.args)
        except NoScriptError:
            return self.client.execute_command("EVAL", it.text, 1, call.key, *call.args)

    def _pipeline(self, scripts: Sequence[Script], calls: Sequence[Call]) -> list[Any]:
        with self.client.pipeline(transaction=False) as pipeline:
            for it, call in zip(scripts, calls, strict=True):
                pipeline.execute_command("EVALSHA", it.sha, 1, call.key, *call.args)
            answers: list[Any] = pipeline.execute(raise_on_error=False)
            return answers

    def ask(self, question: Callable[[Any], Any]) -> Any:
        """Call ``question`` with the client."""
        with self.translated():
            return question(self.client)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn redis-py's errors into Petiole's."""
        try:
            yield
        except AuthenticationError as error:
            raise ConfigurationError(
                f"{self.url.shown} refuses the login ({error}): put user and password into the URL"
            ) from error
        except (ConnectionError, TimeoutError, BusyLoadingError, ClusterDownError) as error:
            raise StoreUnavailableError(f"{self.url.shown} does not answer: {error}") from error
        except ResponseError as error:
            if isinstance(error, OutOfMemoryError) or "OOM" in str(error):
                raise StoreError(
                    f"{self.url.shown} is out of memory and refused the write: raise its maxmemory, or let ended threads "
                    f"expire with ?ttl=seconds in the store's URL ({error})"
                ) from error
            raise StoreError(f"{self.url.shown} answered with an error: {error}") from error
        except RedisError as error:
            raise StoreError(f"{self.url.shown}: {error}") from error
