"""Celery's consumer without its delayed delivery: with quorum queues that would declare 28 exchanges and queues for ETAs,
which Petiole never uses (its timers are rows in the store)."""

from __future__ import annotations

from celery.worker import consumer

DELAYED = "celery.worker.consumer.delayed_delivery:DelayedDelivery"


class Consumer(consumer.Consumer):  # type: ignore[misc]
    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc]
        default_steps = [step for step in consumer.Consumer.Blueprint.default_steps if step != DELAYED]
