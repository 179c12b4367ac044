"""Principals: who makes a request, and what they may."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from petiole_stores.errors import InputError, PetioleError

Scope = Literal["read", "submit", "operate", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

#: What each scope takes in: ``admin`` may all, ``operate`` (cancel, replay, resume, fork, update, delete …) and
#: ``submit`` may also read.
IMPLIED: dict[Scope, frozenset[Scope]] = {
    "read": frozenset({"read"}),
    "submit": frozenset({"submit", "read"}),
    "operate": frozenset({"operate", "submit", "read"}),
    "admin": frozenset({"admin", "operate", "submit", "read"}),
}


class AuthenticationError(PetioleError):
    """The credentials of a request are missing, wrong, expired or revoked."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes a request. Empty ``graphs`` or ``namespaces``: not limited to any.

    A thread's namespace is what its id has before its first ``:``: thread ``acme:order-42`` is of namespace ``acme``.
    """

    name: str  #: ``key:<key id>``, ``jwt:<subject>`` or ``anonymous``
    scopes: frozenset[Scope]
    graphs: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()

    def has(self, scope: Scope) -> bool:
        return any(scope in IMPLIED[own] for own in self.scopes)

    def sees(self, *, graph: str | None = None, thread_id: str | None = None) -> bool:
        """Whether a graph's and a thread's runs are his to see at all; what is not is answered as if it were not there."""
        if graph is not None and self.graphs and graph not in self.graphs:
            return False
        return thread_id is None or not self.namespaces or thread_id.partition(":")[0] in self.namespaces


#: Everybody on loopback, where authentication is off.
ANONYMOUS = Principal(name="anonymous", scopes=frozenset({"admin"}))


def scopes_of(names: object, where: str) -> frozenset[Scope]:
    """Names of scopes as scopes. Raises InputError for one that does not exist."""
    given = (
        [names] if isinstance(names, str) else list(names) if isinstance(names, list | tuple | set) else []
    )
    found = frozenset(scope for scope in SCOPES if scope in given)
    unknown = [name for name in given if name not in SCOPES]
    if unknown or not found:
        said = ", ".join(map(repr, unknown)) or "empty"
        raise InputError(f"{where} is {said}: take {', '.join(SCOPES)}")
    return found
