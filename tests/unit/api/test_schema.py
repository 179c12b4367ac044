"""The OpenAPI document: complete, and kept by every operation, whatever is sent to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.unit.api.asking import asking
from tests.unit.api.serving import Served, serving
from tests.unit.chatty import chatty
from tests.unit.driving import Switch, counting

SWITCH = Switch()
DOCUMENT = "/api/v1/openapi.json"
#: Requests to each operation.
EXAMPLES = 5
#: Streams never end: they have tests of their own.
STREAMS = ["followRun", "watchRuns"]
CHECKS = [
    checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    SWITCH.broken = False
    with serving(counting(SWITCH), asking(), chatty()) as made:
        for number, graph in enumerate(("counting", "asking", "chatty")):
            made.post("/runs", {"graph": graph, "input": {"n": 1}, "thread_id": "0" * (number + 1)})
        made.work()
        yield made


def test_no_operation_answers_what_it_does_not_document(served: Served) -> None:
    schema = schemathesis.openapi.from_asgi(DOCUMENT, served.http.app).exclude(operation_id=STREAMS)
    seen = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        seen += 1

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def check(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS)

        check()
    assert seen > 35


def test_every_operation_is_documented_with_its_errors(served: Served) -> None:
    document = served.http.get(DOCUMENT).json()
    assert document["openapi"].startswith("3.1")
    seen = set()
    for path, operations in document["paths"].items():
        if not path.startswith("/api/"):
            continue
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert operation["operationId"] not in seen, where
            seen.add(operation["operationId"])
            for status in ("400", "401", "403", "422", "429", "503"):
                content = operation["responses"][status]["content"]
                assert [*content] == ["application/problem+json"], where
            for parameter in operation.get("parameters", ()):
                assert "schema" in parameter, where
    assert {"submitRun", "followRun", "exportRun", "startBulk"} <= seen
    assert document["components"]["schemas"]["SubmitBody"]["examples"]
