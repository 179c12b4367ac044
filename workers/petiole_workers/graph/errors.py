"""What an error handler is given, and how its function is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from petiole_stores.errors import GraphValidationError
from petiole_workers.graph.callables import GraphFunction
from petiole_workers.graph.runtime import Runtime

#: How the history names what a handler wrote: this and the failed node's name.
HANDLER_PREFIX = "__error_handler__"


@dataclass(frozen=True, slots=True)
class NodeError:
    """A node's failure, once its retries are over.

    node: the node's name.
    error: what it raised last; a `NodeFailedError` where only its description is left (its process died with it).
    """

    node: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class ErrorHandler:
    """A handler and the parameters by which it asks for the error and the runtime."""

    fn: Callable[..., Any]
    is_async: bool
    error: str | None
    runtime: str | None
    config: str | None = None

    def bind(self, failure: NodeError) -> GraphFunction:
        """The handler of this failure, to be called as a node's function is."""

        def handle(state: object, runtime: Runtime[Any]) -> object:
            given: dict[str, object] = {}
            if self.error is not None:
                given[self.error] = failure
            if self.runtime is not None:
                given[self.runtime] = runtime
            if self.config is not None:
                given[self.config] = runtime.config
            return self.fn(state, **given)

        return GraphFunction(handle, self.is_async, "runtime")


def error_handler(fn: Any, node: str) -> ErrorHandler:
    """Reads a handler's signature: ``(state)``, and by name ``error`` (or annotated with `NodeError`), ``runtime`` and
    ``config``.

    Raises GraphValidationError for what is not callable, or asks for anything else.
    """
    role = f"the error handler of node {node!r}"
    if not callable(fn):
        raise GraphValidationError([f"{role} is {fn!r}, which is not callable: give a function of the state"])
    parameters = list(inspect.signature(fn).parameters.values())
    error = runtime = config = None
    for parameter in parameters[1:]:
        if parameter.name == "error" or "NodeError" in str(parameter.annotation):
            error = parameter.name
        elif parameter.name == "runtime":
            runtime = parameter.name
        elif parameter.name == "config":
            config = parameter.name
        elif parameter.default is parameter.empty and "VAR" not in parameter.kind.name:
            raise GraphValidationError(
                [
                    f"{role} asks for {parameter.name!r}: it may take (state), (state, error), runtime and config"
                ]
            )
    if not parameters:
        raise GraphValidationError([f"{role} takes no argument: its first one is the state"])
    target = fn if inspect.isroutine(fn) else getattr(fn, "__call__", fn)  # noqa: B004
    return ErrorHandler(fn, inspect.iscoroutinefunction(target), error, runtime, config)
