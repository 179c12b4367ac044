"""The client over HTTP, the async client and their handles have what the client on a store has, with the same parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from petiole import AsyncClient, AsyncRunHandle, Client, RunHandle
from petiole.client.streaming import RunStream
from petiole.remote.client import RemoteClient
from petiole.remote.streaming import RemoteStream
from petiole_stores.errors import ConfigurationError

#: What cannot be had over HTTP, why, and how it is asked for.
NOT_OVER_HTTP: dict[str, tuple[str, Callable[[Client], object]]] = {
    "store": ("it is the store", lambda client: client.store),
    "place": ("it names the store and the broker", lambda client: client.place),
    "dispatch": ("it is the way to the broker", lambda client: client.dispatch),
    "publish": ("the server tells the broker", lambda client: client.publish([])),
    "now": ("it is the store's clock", lambda client: client.now()),
    "memory": ("long-term memory is read and written item by item, in nodes", lambda client: client.memory),
}
#: What the async client leaves to its ``client``: it asks nobody, or is of the store.
NOT_ASYNC = {*NOT_OVER_HTTP, "aio", "graph_of", "loaded_graphs", "typed"} - {"memory"}


def public(kind: type) -> list[str]:
    return [name for name in dir(kind) if not name.startswith("_")]


def parameters(kind: type, name: str) -> list[tuple[str, Any, Any]] | None:
    """Names, kinds and defaults; ``None`` for what is no method."""
    found = inspect.getattr_static(kind, name)
    if not callable(found):
        return None
    return [(it.name, it.kind, it.default) for it in inspect.signature(found).parameters.values()]


@pytest.mark.parametrize("name", public(Client))
def test_over_http_everything_is_there_with_the_same_parameters(name: str) -> None:
    assert parameters(RemoteClient, name) == parameters(Client, name)
    # What stands on the store alone is not inherited by mistake: it would find none.
    if (own := inspect.getattr_static(RemoteClient, name)) is inspect.getattr_static(Client, name):
        text = inspect.getsource(getattr(own, "func", own))
        assert ".store" not in text, f"{name} needs the store"


def test_the_client_over_http_has_nothing_more_but_its_transport() -> None:
    with Client("http://127.0.0.1:9") as client:
        assert isinstance(client, RemoteClient)
        more = {*public(RemoteClient), *(name for name in vars(client) if not name.startswith("_"))}
    assert more - {*public(Client)} == {"settings", "transport"}


@pytest.mark.parametrize("name", NOT_OVER_HTTP)
def test_what_is_not_there_over_http_says_what_to_do(name: str) -> None:
    with (
        Client("http://127.0.0.1:9") as client,
        pytest.raises(
            ConfigurationError, match=rf"^{name} needs the store itself.*use Client with the store"
        ),
    ):
        NOT_OVER_HTTP[name][1](client)


@pytest.mark.parametrize("name", [name for name in public(Client) if name not in NOT_ASYNC])
def test_async_code_has_everything_with_the_same_parameters(name: str) -> None:
    assert parameters(AsyncClient, name) == parameters(Client, name)
    found = inspect.getattr_static(AsyncClient, name)
    if callable(found):
        assert found.__doc__


@pytest.mark.parametrize("name", public(RunHandle))
def test_async_handles_have_everything_with_the_same_parameters(name: str) -> None:
    if name == "run":  # a property: in async code it is to be awaited
        assert inspect.iscoroutinefunction(AsyncRunHandle.run)
        return
    assert parameters(AsyncRunHandle, name) == parameters(RunHandle, name)


def test_streams_can_be_iterated_over_alike() -> None:
    assert {*public(RemoteStream)} == {*public(RunStream)} - {"run", "position"}
    for name in ("__iter__", "__aiter__"):
        assert parameters(RemoteStream, name) == parameters(RunStream, name)
