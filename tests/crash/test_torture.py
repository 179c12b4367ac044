"""The torture harness, for a short while on each pair: nothing is lost, stuck, wrong or committed twice.

``PETIOLE_TORTURE_SECONDS`` says how long it strikes on each (20), ``PETIOLE_TORTURE_SEED`` with which seed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.torture.ground import UnavailableError
from tests.torture.options import PAIRS, Options, faults_for
from tests.torture.trial import Trial

SECONDS = float(os.environ.get("PETIOLE_TORTURE_SECONDS", "20"))
SEED = int(os.environ.get("PETIOLE_TORTURE_SEED", "4"))
#: Seconds within which all must have ended after the faults; several times what it takes on an idle machine.
DRAIN = 90.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + DRAIN + 120)]


@pytest.mark.parametrize(("store", "broker"), PAIRS, ids=["+".join(pair) for pair in PAIRS])
def test_nothing_is_lost(
    store: str, broker: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    options = Options(
        store=store,
        broker=broker,
        workers=2,
        threads=max(1, round(SECONDS)),
        minutes=SECONDS / 60,
        seed=SEED,
        faults=faults_for(store, broker),
        every=1.2,
        graphs=12,
        drain=DRAIN,
        keep=tmp_path,
    )
    try:
        report = Trial(options, print).run()
    except UnavailableError as error:
        unavailable(str(error))
        raise
    for name, value in report.figures().items():
        record_property(name, value)
    print(report.text())
    assert report.is_good, report.text()
    assert report.verdict.nodes > 0
    assert sum(report.faults.values()) >= SECONDS / 10  # one every 1.2 s on average was asked for
