"""The OpenAPI document: it is the one checked in, and the worker keeps to it."""

from __future__ import annotations

from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving_worker import serve

from pixvox_worker.app import create_app
from pixvox_worker.openapi import text
from pixvox_worker.settings import EngineKind, Settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "worker-openapi.json"
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]


def test_the_document_is_the_one_checked_in():
    assert DOCUMENT.read_text() == text(create_app(Settings(engine=EngineKind.FAKE))), "run: make worker-openapi"


def test_the_worker_keeps_to_it_whatever_it_is_asked():
    """By hand and not by the plugin of schemathesis, which this pytest is too new for."""
    with serve(max_pixels=65_536) as client:
        document = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
        operations = [found.ok() for found in document.get_all_operations()]
        assert {operation.path for operation in operations} >= {"/process", "/health", "/v1/images/edits"}
        for operation in operations:
            _ask(operation)


def _ask(operation):
    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(case=operation.as_strategy())
    def ask(case):
        answer = case.call_and_validate(checks=CHECKS)
        # 503 and 504 are answers; this one is a mistake of ours.
        assert answer.status_code != 500

    ask()
