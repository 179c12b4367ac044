"""The Celery apps that Petiole makes keep to themselves."""

from __future__ import annotations

import re

import pytest
from celery import Celery

from petiole_stores.errors import ConfigurationError
from petiole_workers.celery.app import check_scheme, context_of, make_app
from petiole_workers.publishing import TASK_NAME
from petiole_workers.registry import Registry
from petiole_workers.settings import Settings


def make(folder: str) -> Celery:
    return make_app(Settings(store=f"sqlite:////{folder}/store.db", broker="memory://"), Registry())


def test_each_app_has_its_own_task_and_others_have_none() -> None:
    first, second, foreign = make("a"), make("b"), Celery("foreign", set_as_current=False)
    for app in (first, second, foreign):
        app.finalize()
    assert first.tasks[TASK_NAME].app is first
    assert second.tasks[TASK_NAME].app is second
    assert context_of(first) is not context_of(second)
    assert TASK_NAME not in foreign.tasks


def test_quorum_queues_get_no_limit_for_a_whole_connection() -> None:
    app = make_app(Settings(store="sqlite:////a/b.db", broker="amqp://", queue_type="quorum"), Registry())
    assert app.conf.worker_detect_quorum_queues
    assert {queue.queue_arguments["x-queue-type"] for queue in app.amqp.queues.values()} == {"quorum"}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("foo://x", "no broker is reached by the scheme 'foo': write redis://"),
        ("localhost:6379", "the broker's URL has no scheme: write redis://"),
    ],
)
def test_a_broker_that_waiting_cannot_bring_is_refused_at_once(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        make_app(Settings(store="sqlite:////a/b.db", broker=url), Registry())


@pytest.mark.parametrize(
    "url", ["redis+socket:///a/b.sock", "sentinel://a:1;sentinel://b:1", "amqp://", "shop.transport:Own://x"]
)
def test_schemes_that_some_transport_takes(url: str) -> None:
    check_scheme(url)
