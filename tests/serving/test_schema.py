"""Every operation against generated requests: no fault of ours, and every answer is one that the schema declares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.serving.conftest import serving

STARTS_A_PROCESS = "/api/collections/{name}/refresh"


def checks(schemathesis: Any) -> list[Any]:
    """Return the checks of an answer against the schema."""
    schemathesis.checks.load_all_checks()
    names = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
    return [schemathesis.checks.CHECKS.get_one(name) for name in names]


@pytest.mark.slow
def test_operations_answer_generated_requests_as_declared(painted: Path) -> None:
    schemathesis = pytest.importorskip("schemathesis")  # two seconds of imports, here alone
    with serving(painted) as client:
        schema = schemathesis.openapi.from_asgi("/openapi.json", client.app, headers={"host": "127.0.0.1"})
        operations = [found.ok() for found in schema.get_all_operations()]
        assert len(operations) > 12
        for operation in operations:
            if operation.path != STARTS_A_PROCESS:
                _try(operation, checks(schemathesis))


def _try(operation: Any, conforms: list[Any]) -> None:
    @given(case=operation.as_strategy())
    @settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def once(case: Any) -> None:
        case.headers = {**(case.headers or {}), "host": "127.0.0.1"}
        answer = case.call()
        assert answer.status_code < 500, answer.text
        case.validate_response(answer, checks=conforms)
        if answer.status_code >= 400:
            assert set(json.loads(answer.content)["error"]) == {"message", "type", "param", "code"}

    once()
