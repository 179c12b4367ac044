"""State documents survive a real JSONB column of PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings

from petiole_stores.serde import Serde, digest_document
from tests.unit.serde.values import CLASSES, jsonb, same, states

URL = os.environ.get("PETIOLE_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def connection() -> Iterator[psycopg.Connection]:
    try:
        opened = psycopg.connect(URL, autocommit=True, connect_timeout=3)
    except psycopg.OperationalError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no PostgreSQL server at {URL}: {error}")
    with opened:
        yield opened


def through(connection: psycopg.Connection, text: str) -> str:
    row = connection.execute("select %s::text::jsonb::text", (text,)).fetchone()
    assert row is not None
    return str(row[0])


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(state=states)
def test_a_state_survives_postgres(connection: psycopg.Connection, state: dict[str, object]) -> None:
    serde = Serde(CLASSES)
    text, blobs = serde.dump_values(state)
    returned = through(connection, text)
    assert returned == jsonb(text), "the simulation that the unit tests use is not what PostgreSQL does"
    assert same(serde.load_values(returned, blobs), state)
    assert digest_document(returned) == digest_document(text)


@pytest.mark.parametrize(
    "literal",
    ["1e5", "1.50e1", "-0", "-0.0", "1e-7", "1E20", "0.10", "12345678901234567890123", "5e-324", "1.5e300"],
)
def test_numbers_keep_their_digest(connection: psycopg.Connection, literal: str) -> None:
    text = f'{{"b": {literal}, "a": [{literal}]}}'
    assert digest_document(through(connection, text)) == digest_document(text)
