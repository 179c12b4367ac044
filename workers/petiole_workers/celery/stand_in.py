"""The ``self`` of a Celery task that runs as a node: the task itself, but for what would send a message."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, NoReturn

from celery._state import _task_stack
from celery.app.task import Context, Task
from celery.exceptions import MaxRetriesExceededError, Retry
from celery.utils.time import maybe_make_aware

from petiole_stores.errors import InvalidUpdateError
from petiole_workers.celery.retries import Asked
from petiole_workers.graph import Runtime
from petiole_workers.retry.strategy import OWN_STRATEGY

_request: ContextVar[Context] = ContextVar("petiole_celery_request")
_runtime: ContextVar[Runtime[Any]] = ContextVar("petiole_celery_runtime")


class RetryAsked(Retry):  # type: ignore[misc]
    """``self.retry()`` was called: ends the try as Celery's Retry does. ``error`` is what the try has failed of."""

    def __init__(self, error: Exception | None, countdown: float) -> None:
        super().__init__(exc=error, when=countdown)
        self.error: Exception = self if error is None else error
        setattr(self.error, OWN_STRATEGY, Asked(countdown))


class _NodeTask:
    """What is different in a task that runs as a node. The rest, its attributes with it, is the task's own."""

    name: str
    max_retries: int | None
    default_retry_delay: float
    app: Any

    @property
    def request(self) -> Context:
        return _request.get()

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: Any = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> RetryAsked:
        """Have the node tried again in ``countdown`` seconds (or at ``eta``). No message is sent.

        Raises ``exc``, or MaxRetriesExceededError, once ``max_retries`` is reached; InvalidUpdateError for other arguments
        than the node was given.
        """
        request = self.request
        if args not in (None, (), request.args) and list(args) != list(request.args):
            self._refuse("retry() with other args", "what a node is given comes from the state")
        if kwargs not in (None, {}, request.kwargs):
            self._refuse("retry() with other kwargs", "what a node is given comes from the state")
        error = exc() if isinstance(exc, type) and issubclass(exc, Exception) else exc
        error = error if isinstance(error, Exception) else None
        most = self.max_retries if max_retries is None else max_retries
        if most is not None and request.retries + 1 > most:
            raise error or MaxRetriesExceededError(
                f"Can't retry {self.name}[{request.id}] args:{request.args} kwargs:{request.kwargs}",
                task_args=request.args,
                task_kwargs=request.kwargs,
            )
        if eta is not None:
            left = maybe_make_aware(eta, self.app.timezone) - datetime.now(UTC)
            countdown = left.total_seconds()
        elif countdown is None:
            countdown = self.default_retry_delay
        asked = RetryAsked(error, max(0.0, float(countdown)))
        if options:
            _runtime.get().logger.warning(
                "retry() of the Celery task %s was given %s, which a node has no use for",
                self.name,
                ", ".join(sorted(options)),
            )
        if throw:
            raise asked from sys.exception()
        request.asked = asked
        return asked

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """Keep state and meta as the details of a heartbeat."""
        _runtime.get().heartbeat({"state": state, "meta": meta})

    def send_event(self, *args: Any, **kwargs: Any) -> None:
        """Nobody hears it."""

    def replace(self, sig: Any) -> NoReturn:
        self._refuse("replace()", "let an edge lead to the next node")

    def add_to_chord(self, sig: Any, lazy: bool = False) -> NoReturn:
        self._refuse("add_to_chord()", "send to nodes by a Send")

    def _refuse(self, what: str, remedy: str) -> NoReturn:
        raise InvalidUpdateError(f"the Celery task {self.name!r} runs as a node and called {what}: {remedy}")


def stand_in(task: Task) -> Any:
    """The task's ``self`` in a node; it shares all attributes with the task."""
    cls = type(task)
    body = {"__module__": cls.__module__, "__doc__": cls.__doc__}
    made: Any = object.__new__(type(cls.__name__, (_NodeTask, cls), body))
    made.__dict__ = task.__dict__
    plain: Any = function_of(task)
    bound = plain.__func__.__get__(made) if getattr(plain, "__self__", None) is task else plain
    type(made).run = property(lambda self: bound)
    return made


def function_of(task: Task) -> Callable[..., Any]:
    """The function that the task runs, without the wrapper by which Celery retries it."""
    function: Callable[..., Any] = task.__dict__.get("_orig_run") or task.run
    return function


@contextmanager
def running_as_node(task: Any, request: Context, runtime: Runtime[Any]) -> Iterator[None]:
    """Let the stand-in, the task itself and Celery's ``current_task`` have this request within the block."""
    request_token, runtime_token = _request.set(request), _runtime.set(runtime)
    _task_stack.push(task)
    task.request_stack.push(request)
    try:
        yield
    finally:
        task.request_stack.pop()
        _task_stack.pop()
        _runtime.reset(runtime_token)
        _request.reset(request_token)
