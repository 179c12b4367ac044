"""Celery tasks as nodes: their function runs in the worker as the node's, under the task's own rules.

No message of Celery's is sent, and no result backend is used: a retry is a retry of the node, durable like any other, and
the result is the node's output.
"""

from __future__ import annotations

import inspect
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from celery.app.task import Context, Task
from celery.app.trace import task_has_custom
from celery.exceptions import Ignore, Reject
from celery.local import Proxy

from petiole_stores.errors import GraphValidationError, InvalidUpdateError
from petiole_workers.celery.retries import AutoRetry
from petiole_workers.celery.stand_in import RetryAsked, function_of, running_as_node, stand_in
from petiole_workers.graph import Command, Runtime
from petiole_workers.graph.schema import annotated_input, function_hints
from petiole_workers.graph.sources import NodeParts

#: What a node passes to its task: by parameter, a key of the state or a function of the state; or a function of the state
#: that gives all keyword arguments.
Arguments = Mapping[str, str | Callable[[Any], Any]] | Callable[[Any], Mapping[str, Any]]

_POSITIONAL = inspect.Parameter.POSITIONAL_ONLY
_NAMED = (_POSITIONAL, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def celery_node(
    task: Any,
    *,
    arguments: Arguments | None = None,
    result: str | None = None,
    ignore_rate_limit: bool = False,
) -> CeleryNode:
    """A Celery task for ``add_node``, whose parameters or result are not named as the state's keys.

    Without it, ``add_node("x", task)``, each parameter gets the state's key of its name; a single one that is no key gets the
    state. The result is a dict of the keys to change, or ``None``.

    Parameters
        arguments          what the parameters get: a dict of parameter and either a key of the state or a function of the
                           state (parameters that are left out get the key of their name), or one function that is given the
                           state and returns a dict with all of them
        result             the key that takes the task's result, whatever it is
        ignore_rate_limit  run a task with a ``rate_limit`` without it; such a task is refused otherwise

    Of the task's options these hold: ``autoretry_for`` and what goes with it, ``max_retries``, ``default_retry_delay``,
    ``self.retry()``, ``soft_time_limit`` and ``time_limit`` (the smaller one is the node's timeout), ``queue``.
    """
    found = task._get_current_object() if isinstance(task, Proxy) else task
    if not isinstance(found, Task):
        raise GraphValidationError([f"celery_node was given {task!r}: give a Celery task"])
    return CeleryNode(found, arguments, result, ignore_rate_limit)


@dataclass(frozen=True)
class CeleryNode:
    """What `celery_node` gives."""

    task: Any
    arguments: Arguments | None = None
    result: str | None = None
    ignore_rate_limit: bool = False

    @property
    def __name__(self) -> str:
        return str(self.task.__name__)

    def node_parts(self, node: str, keys: Collection[str]) -> NodeParts:
        """See `NodeSource`. Raises GraphValidationError for parameters that nothing fills, and for a rate limit."""
        task = self.task
        role = f"node {node!r} is the Celery task {task.name!r}, which"
        if task.rate_limit is not None and not self.ignore_rate_limit:
            fault = (
                f"{role} has rate_limit {task.rate_limit!r}, and nodes are not limited by rate: give its queue few slots, or "
                "run it without by celery_node(task, ignore_rate_limit=True)"
            )
            raise GraphValidationError([fault])
        if self.result is not None and self.result not in keys:
            known = ", ".join(map(repr, keys))
            raise GraphValidationError(
                [f"{role} is to write {self.result!r}, which is no key of the state: take one of {known}"]
            )
        filling = Filling.read(task, self.arguments, keys, role)
        limits = [limit for limit in (task.soft_time_limit, task.time_limit) if limit]
        return NodeParts(
            _Call(stand_in(task), filling, self.result, node),
            schema=filling.schema,
            retry_policies=(AutoRetry.of(task),),
            timeout=float(min(limits)) if limits else None,
            queue=getattr(task, "queue", None),
        )


@dataclass(frozen=True)
class Filling:
    """How a task's parameters are filled from the state.

    parameters: those of the task, by name.
    sources: for each, a key or a function of the state.
    everything: a function of the state that gives them all.
    whole: the parameter that gets the state itself.
    """

    parameters: Mapping[str, inspect.Parameter]
    sources: Mapping[str, str | Callable[[Any], Any]]
    everything: Callable[[Any], Mapping[str, Any]] | None = None
    whole: str | None = None
    schema: type[Any] | None = None

    @classmethod
    def read(cls, task: Any, given: Arguments | None, keys: Collection[str], role: str) -> Filling:
        """Raises GraphValidationError for a parameter that nothing fills, or that the task does not have."""
        function = function_of(task)
        parameters = {
            name: it for name, it in inspect.signature(function).parameters.items() if it.kind in _NAMED
        }
        if callable(given):
            return cls(parameters, {}, given)
        takes_more = any(it.kind is it.VAR_KEYWORD for it in inspect.signature(function).parameters.values())
        named = dict(given or {})
        unknown = [] if takes_more else [name for name in named if name not in parameters]
        wrong = [key for key in (*named.values(),) if not callable(key) and key not in keys]
        faults = [
            f"{role} has no parameter {name!r}: take {', '.join(parameters) or 'none'}" for name in unknown
        ]
        faults += [f"{role} is to be given {key!r}, which is no key of the state" for key in wrong]
        single = [name for name in parameters if name not in named]
        if given is None and len(parameters) == 1 and single[0] not in keys:
            hints, _ = function_hints(function)
            return cls(parameters, {}, None, single[0], annotated_input(hints, single[0]))
        sources = {name: name for name in parameters if name in keys} | named
        unfilled = [name for name, it in parameters.items() if name not in sources and it.default is it.empty]
        if unfilled:
            faults.append(
                f"{role} asks for {', '.join(map(repr, unfilled))}, no key of the state: name the keys by "
                "celery_node(task, arguments={parameter: key})"
            )
        if faults:
            raise GraphValidationError(faults)
        return cls(parameters, sources)

    def __call__(self, state: Any, role: str) -> tuple[list[Any], dict[str, Any]]:
        """Arguments by position and by name. Raises InvalidUpdateError for a key that the state lacks."""
        if self.everything is not None:
            found = dict(self.everything(state))
        elif self.whole is not None:
            found = {self.whole: state}
        else:
            found = self._found(state, role)
        args = [
            found.pop(name)
            for name, it in self.parameters.items()
            if it.kind is _POSITIONAL and name in found
        ]
        return args, found

    def _found(self, state: Any, role: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, source in self.sources.items():
            if callable(source):
                found[name] = source(state)
                continue
            has = source in state if isinstance(state, Mapping) else hasattr(state, source)
            if has:
                found[name] = state[source] if isinstance(state, Mapping) else getattr(state, source)
            elif name not in self.parameters or self.parameters[name].default is inspect.Parameter.empty:
                raise InvalidUpdateError(
                    f"{role} needs {name!r}, and the state has no {source!r} yet: let a node before it, or the input, give it"
                )
        return found


class _Call:
    """The node's function."""

    def __init__(self, task: Any, filling: Filling, result: str | None, node: str) -> None:
        self._task, self._filling, self._result = task, filling, result
        self._role = f"node {node!r} (the Celery task {task.name!r})"
        # As Celery does: a task's own __call__ stands before its function.
        self._function = task if task_has_custom(task, "__call__") else task.run

    def __call__(self, state: Any, runtime: Runtime[Any]) -> Any:
        args, kwargs = self._filling(state, self._role)
        request = _request(self._task, args, kwargs, runtime)
        with running_as_node(self._task, request, runtime):
            try:
                returned = self._function(*args, **kwargs)
            except RetryAsked as asked:
                raise asked.error from asked.__cause__
            except (Ignore, Reject) as error:
                raise InvalidUpdateError(
                    f"{self._role} raised {type(error).__name__}, which a node has no use for: return {{}} to write nothing, raise "
                    "an error to fail, or self.retry() to be tried again"
                ) from error
        if (later := request.get("asked")) is not None:  # by retry(throw=False)
            raise later.error
        return self._update(returned)

    def _update(self, returned: Any) -> Any:
        if self._result is not None:
            return {self._result: returned}
        if returned is None or isinstance(returned, (Mapping, Command)):
            return returned
        shown = repr(returned)
        shown = shown if len(shown) <= 200 else shown[:200] + "..."
        raise InvalidUpdateError(
            f"{self._role} returned {shown} ({type(returned).__name__}): return a dict of the state keys to change, or name the key "
            "that takes it: celery_node(task, result='key')"
        )


def _request(task: Any, args: list[Any], kwargs: dict[str, Any], runtime: Runtime[Any]) -> Context:
    """What the task finds as ``self.request``."""
    return Context(
        id=runtime.task_id,
        root_id=runtime.run_id,
        correlation_id=runtime.idempotency_key,
        task=task.name,
        args=args,
        kwargs=kwargs,
        retries=runtime.services.failures(),
        called_directly=False,
        hostname=socket.gethostname(),
        timelimit=(task.time_limit, task.soft_time_limit),
        delivery_info={},
    )
