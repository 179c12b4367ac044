"""LangGraph's own conformance suite, every capability, on each store, plain and encrypted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import ALL_CAPABILITIES
from langgraph.checkpoint.conformance.report import CapabilityReport

from petiole.langgraph import PetioleSaver
from petiole_stores.codec import AesGcmCodec
from petiole_stores.serde import Serde

KEYS = {"first": bytes(range(32))}


def report_on(saver: PetioleSaver) -> CapabilityReport:
    async def factory() -> AsyncIterator[PetioleSaver]:
        yield saver

    return asyncio.run(validate(checkpointer_test(name=repr(saver.store))(factory)))


def check(report: CapabilityReport) -> None:
    failures = [failure for result in report.results.values() for failure in result.failures]
    assert failures == []
    passed = {name for name, result in report.results.items() if result.passed}
    assert passed == {capability.value for capability in ALL_CAPABILITIES}


def test_every_capability(saver: PetioleSaver) -> None:
    check(report_on(saver))


def test_every_capability_with_encryption(saver: PetioleSaver) -> None:
    plain = saver.store.serde
    saver.store.serde = Serde(codec=AesGcmCodec(KEYS))
    try:
        check(report_on(saver))
    finally:
        saver.store.serde = plain


def test_a_failing_saver_is_found_out() -> None:
    """The check above can fail: a saver that forgets its writes does not pass."""

    class Forgetful(PetioleSaver):
        def put_writes(self, *args: object, **kwargs: object) -> None:
            pass

    with Forgetful("memory://") as saver, pytest.raises(AssertionError, match="put_writes_basic"):
        check(report_on(saver))
