"""The Celery app: one task on queues of its own, no result backend, no canvas, no ETA."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from celery import Celery

from petiole_stores.errors import ConfigurationError
from petiole_workers.celery.steps import WorkerStep
from petiole_workers.compiled import CompiledGraph
from petiole_workers.context import WorkerContext
from petiole_workers.hop import Hint
from petiole_workers.network import HEARTBEAT, network_options
from petiole_workers.publishing import TASK_NAME, Publisher
from petiole_workers.queues import kombu_queues
from petiole_workers.registry import Registry, load_graph, load_registry
from petiole_workers.settings import Settings, load_settings


def make_app(
    settings: Settings, registry: Registry | None = None, *, transport_options: dict[str, Any] | None = None
) -> Celery:
    """Petiole's own Celery app.

    Parameters
        settings           ``store`` and ``broker`` must be set
        registry           the graphs it serves; nothing: those of ``settings.graphs``
        transport_options  what kombu needs to know of an embedded broker
    """
    if not settings.broker:
        raise ConfigurationError("no broker is set: give --broker or PETIOLE_BROKER")
    check_scheme(settings.broker)
    app = Celery("petiole", set_as_current=False, fixups=[])
    app.conf.update(
        broker_url=settings.broker,
        broker_transport_options=broker_options(settings) | (transport_options or {}),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_heartbeat=HEARTBEAT,
        result_backend=None,
        task_ignore_result=True,
        task_acks_late=False,
        worker_send_task_events=False,
        worker_redirect_stdouts=False,
        worker_prefetch_multiplier=1,  # the gatherer fetches further ahead while nodes are short
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # Quorum queues know no prefetch limit for a whole connection; asking them for one ends the connection.
        worker_detect_quorum_queues=settings.queue_type == "quorum",
        worker_consumer="petiole_workers.celery.consumer:Consumer",
        task_create_missing_queues=False,
        event_queue_exclusive=False,
        control_queue_exclusive=False,
    )
    graphs = registry if registry is not None else load_registry(settings.graphs)
    install(app, settings, graphs)
    queues = settings.queues or graphs.queues(settings.queue)
    app.conf.task_queues = kombu_queues(queues, settings.queue_type)
    app.conf.task_default_queue = queues[0]
    return app


def check_scheme(url: str) -> None:
    """Raise ConfigurationError for a broker's URL that no transport takes: waiting for such a broker would be in vain."""
    from kombu.transport import TRANSPORT_ALIASES

    scheme, found, _ = url.partition("://")
    name = scheme.partition("+")[0]
    if not found:
        raise ConfigurationError(
            "the broker's URL has no scheme: write redis://host:6379/0 or amqp://user@host:5672//"
        )
    if name not in TRANSPORT_ALIASES and "." not in name:  # else it names a class of its own
        raise ConfigurationError(
            f"no broker is reached by the scheme {name!r}: write redis://host:6379/0 (Valkey, too) or amqp://user@host:5672//"
        )


def broker_options(settings: Settings) -> dict[str, Any]:
    """Transport options: network timeouts; and a message is a hint, so Redis' emulated acknowledgements would buy nothing."""
    scheme = (settings.broker or "").partition(":")[0].partition("+")[0]
    if scheme in ("redis", "rediss", "valkey", "sentinel"):
        return network_options("redis") | {"ack_emulation": False, "queue_order_strategy": "priority"}
    if scheme in ("amqp", "amqps", "pyamqp"):
        return network_options("amqp") | {"confirm_publish": settings.publisher_confirms}
    return {}


def install(app: Celery, settings: Settings, registry: Registry) -> WorkerContext:
    """Give an app Petiole's task and bootsteps."""
    publisher = Publisher(app, queue_type=settings.queue_type)
    context = WorkerContext(settings, registry, publisher)

    @app.task(  # type: ignore[untyped-decorator]
        name=TASK_NAME,
        shared=False,  # else every other Celery app of this process would get it too
        ignore_result=True,
        acks_late=False,
        store_errors_even_if_ignored=False,
        Strategy="petiole_workers.celery.strategy:strategy",
    )
    def run(*hints: Sequence[Any]) -> None:
        context.run([Hint(*hint) for hint in hints])

    app.petiole = context
    app.steps["worker"].add(WorkerStep)
    return context


def attach(
    app: Celery,
    graphs: Iterable[CompiledGraph | str] = (),
    *,
    store: str | None = None,
    queue: str | None = None,
    settings: Settings | None = None,
) -> Celery:
    """Add Petiole to an existing Celery app, its tasks on queues of their own.

    Parameters
        graphs  compiled graphs, or their import paths
        store   URL of the store (else ``PETIOLE_STORE`` and the other places of settings)
        queue   name of Petiole's default queue on this app

    The app's broker serves both. Its workers consume Petiole's queues besides their own unless they are started with
    ``-Q``. Returns the app. Raises ConfigurationError when no store is set.
    """
    settings = settings or load_settings({"store": store, "queue": queue, "broker": app.conf.broker_url})
    if not settings.store:
        raise ConfigurationError("no store is set: pass store=... to attach(), or set PETIOLE_STORE")
    registry = Registry(g if isinstance(g, CompiledGraph) else load_graph(g) for g in graphs)
    install(app, settings, registry)
    ours = kombu_queues(settings.queues or registry.queues(settings.queue), settings.queue_type)
    theirs = list(app.conf.task_queues or [])
    if not theirs:
        from kombu import Queue

        theirs = [Queue(app.conf.task_default_queue)]
    app.conf.task_queues = [*theirs, *ours]
    return app


def context_of(app: Celery) -> WorkerContext:
    """Petiole's part of an app. Raises ConfigurationError when it has none."""
    context = getattr(app, "petiole", None)
    if not isinstance(context, WorkerContext):
        raise ConfigurationError(
            f"the Celery app {app.main!r} knows nothing of Petiole: call petiole.attach(app) first"
        )
    return context


__all__ = ["attach", "broker_options", "check_scheme", "context_of", "install", "make_app"]
