"""The queries of deploy/ ask for metrics and labels that the service has."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

import fake_worker
from deployed import (
    EXPECTED,
    GAUGES,
    OF_PROMETHEUS,
    OF_SCRAPE,
    OF_WORKERS,
    Query,
    dashboard_queries,
    query_of,
    recorded,
    rule_queries,
)
from pixvox.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

KNOWN = EXPECTED | OF_WORKERS | OF_PROMETHEUS | recorded()
QUERIES = rule_queries() + dashboard_queries()


def emitted(telemetry: Telemetry) -> set[str]:
    """The names of all series after one value was recorded on every instrument that `telemetry` holds."""
    for instrument in instruments(telemetry):
        for verb in ("record", "add", "set"):
            if hasattr(instrument, verb):
                getattr(instrument, verb)(1)
                break
    families = text_string_to_metric_families(telemetry.metrics_text().decode())
    return {sample.name for family in families for sample in family.samples} - {"target_info"}


def instruments(holder: object) -> Iterator[object]:
    """What of a holder's attributes comes from the metrics SDK, also where it stands in an object of the service's own."""
    for value in vars(holder).values():
        home = type(value).__module__
        if home.startswith("opentelemetry.sdk.metrics") and type(value).__name__.startswith("_"):
            yield value
        elif home.startswith("pixvox.telemetry"):
            yield from instruments(value)


def test_the_service_counts_and_measures_what_is_expected_and_nothing_else():
    telemetry = Telemetry()
    try:
        found = emitted(telemetry)
    finally:
        telemetry.close()
    # The other gauges are looked at when they are read; a running service has them.
    assert found == set(EXPECTED) - set(GAUGES) | {"pixvox_calls_in_flight", "pixvox_build_info"}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_a_query_asks_for_metrics_and_labels_that_there_are(query: Query):
    assert query.metrics
    names = {name for name, _ in query.metrics}
    assert names - set(KNOWN) == set()
    for name, labels in query.metrics:
        assert labels - KNOWN[name] - OF_SCRAPE == set(), name
    there = set().union(*(KNOWN[name] for name in names)) | OF_SCRAPE
    assert query.grouping - there == set()
    # Without a grouping a query keeps all labels.
    assert query.shown - (query.grouping or there) == set()


def test_a_worker_counts_and_measures_what_is_expected_and_nothing_else():
    port = fake_worker.free_port()
    with fake_worker.process(PORT=str(port), MODEL_NAME="everything"):
        fake_worker.wait_until_ready(port)
        ask(port, "/v1/images/generations", {"prompt": "a lighthouse", "size": "64x64"})
        ask(port, "/v1/audio/speech", {"input": "Good evening.", "voice": "vivian", "stream": True})
        text = ask(port, "/metrics").decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    assert {name: labels for name, labels in found.items() if not name.endswith("_created")} == OF_WORKERS


def ask(port: int, path: str, body: dict[str, object] | None = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


@pytest.mark.parametrize("name", [name for name in EXPECTED | OF_WORKERS if not name.endswith(("_bucket", "_sum"))])
def test_a_metric_is_seen_somewhere(name):
    shown = {used.removesuffix("_bucket").removesuffix("_count") for query in QUERIES for used, _ in query.metrics}
    assert name.removesuffix("_count") in shown


def test_a_query_is_taken_apart():
    query = query_of(
        'histogram_quantile(0.95, sum by (model, le) (rate(a_bucket{job=~"$job", x!="{b}(c)"}[$__rate_interval] offset 1d)))'
        ' / on (model) group_left () b:c:rate5m > 2 and e unless f{g!~"h"}',
        "here",
        "{{model}} {{ le }}",
    )
    assert dict(query.metrics) == {
        "a_bucket": {"job", "x"},
        "b:c:rate5m": set(),
        "e": set(),
        "f": {"g"},
    }
    assert query.grouping == {"model", "le"}
    assert query.shown == {"model", "le"}
    assert "[5m]" in query.text
