"""Every address of the schema, with what the schema allows and what it does not: never a failure of ours, never another shape.

`BALLAST_FUZZ_EXAMPLES` sets the number of examples for each address of the slow test.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from runtime.control.settings import ControlSettings
from tests.support.control import FAST, TOKEN, Served, served

BEARER = {"Authorization": f"Bearer {TOKEN}"}
CHECKS = [
    not_a_server_error, checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance,
    checks.negative_data_rejection,
]  # fmt: skip
BASE = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a desk of its own: valid commands among the examples are carried out."""
    patient = ControlSettings(**{**FAST.model_dump(), "demand_s": 20.0})
    with served(tmp_path_factory.mktemp("fuzzed"), patient, hours=60) as found:
        yield found


def fuzz(api: Served, examples_n: int) -> int:
    """Send examples to every address, allowed ones and others; return how many were answered."""
    schema = schemathesis.openapi.from_url(f"{api.server.url}/openapi.json", headers=BEARER)
    answered = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path == "/events":  # it has no end
            continue
        slow = operation.path.endswith(("/gates", "/contributions"))  # a process for each
        for mode in GenerationMode:

            @settings(BASE, max_examples=max(examples_n // (10 if slow else 1), 2))
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: Case) -> None:
                nonlocal answered
                answered += 1
                case.validate_response(case.call(headers=BEARER), checks=CHECKS, headers=BEARER)

            try:
                check()
            except Unsatisfiable:  # an address without parameters has no requests that are not allowed
                assert mode == GenerationMode.NEGATIVE
    return answered


def test_a_few_requests_of_every_kind(fuzzed: Served) -> None:
    assert fuzz(fuzzed, 8) > 150


@pytest.mark.slow
def test_many_requests_of_every_kind(fuzzed: Served) -> None:
    assert fuzz(fuzzed, int(os.environ.get("BALLAST_FUZZ_EXAMPLES", "300"))) > 5_000
