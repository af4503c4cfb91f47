"""What deploy/ asks of the service's metrics: its rules, its dashboards, and the names that they may use."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from machine import lacks

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
RULE_FILES = sorted((DEPLOY / "rules").glob("*.yaml"))
RULE_TESTS = sorted((DEPLOY / "rules" / "tests").glob("*.yaml"))
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))

_TARGET = {"provider", "model"}
_ROUTE = {"route", "provider", "model"}
_BILLED = {"provider", "model", "caller"}
_GEN_AI = {"gen_ai_operation_name", "gen_ai_output_type", "gen_ai_provider_name", "gen_ai_request_model", "error_type"}

# What the service emits: names as Prometheus has them, without the suffixes of histograms, and the labels of each.
HISTOGRAMS = {
    "rpc_server_call_duration_seconds": {"rpc_system_name", "rpc_method", "rpc_status_code", "error_type"},
    "gen_ai_client_operation_duration_seconds": _GEN_AI,
    "gen_ai_client_operation_time_to_first_chunk_seconds": _GEN_AI,
    "http_client_request_duration_seconds": {
        "http_request_method",
        "server_address",
        "http_response_status_code",
        "error_type",
        "pixvox_upstream_operation",
    },
    "pixvox_speech_time_to_first_audio_seconds": _TARGET,
    "pixvox_speech_real_time_factor": _TARGET,
    "pixvox_speech_chunk_gap_seconds": _TARGET,
    "pixvox_speech_underrun_seconds": _TARGET,
    "pixvox_target_queue_wait_seconds": _TARGET,
    "pixvox_event_loop_lag_seconds": set(),
}
COUNTERS = {
    "pixvox_calls_failed_total": {"rpc_method", "reason", "rpc_status_code"},
    "pixvox_attempts_total": _TARGET | {"outcome", "replay_class"},
    "pixvox_fallbacks_total": _ROUTE | {"reason"},
    "pixvox_route_rollbacks_total": _ROUTE | {"measure"},
    "pixvox_usage_images_total": _BILLED,
    "pixvox_usage_characters_total": _BILLED,
    "pixvox_usage_audio_seconds_total": _BILLED,
    "pixvox_usage_voices_total": _BILLED,
    "pixvox_cost_total": _BILLED | {"currency"},
    "pixvox_calls_unpriced_total": _BILLED,
    "pixvox_config_reloads_total": {"outcome"},
}
GAUGES = {
    "pixvox_calls_in_flight": {"rpc_method"},
    "pixvox_target_breaker_state": _TARGET,
    "pixvox_target_queue_depth": _TARGET,
    "pixvox_target_queue_limit": _TARGET,
    "pixvox_target_in_flight": _TARGET,
    "pixvox_target_rate_tokens": _TARGET,
    "pixvox_route_weight": _ROUTE,
    "pixvox_route_rolled_back": _ROUTE,
    "pixvox_config_info": {"digest"},
    "pixvox_build_info": {"version", "python"},
}


def _series(
    histograms: dict[str, set[str]], counters: dict[str, set[str]], gauges: dict[str, set[str]]
) -> dict[str, set[str]]:
    buckets = {f"{name}_bucket": labels | {"le"} for name, labels in histograms.items()}
    rest = {f"{name}_{part}": labels for name, labels in histograms.items() for part in ("sum", "count")}
    return buckets | rest | counters | gauges


EXPECTED = _series(HISTOGRAMS, COUNTERS, GAUGES)
# What our own worker emits.
OF_WORKERS = _series(
    {
        "worker_queue_wait_seconds": set(),
        "worker_exec_seconds": {"task"},
        "worker_step_seconds": set(),
        "worker_batch_size": set(),
        "worker_ttfa_seconds": set(),
        "worker_rtf": set(),
    },
    {
        "worker_requests_total": {"route", "status"},
        "worker_rejected_total": set(),
        "worker_cancelled_total": set(),
        "worker_out_of_memory_total": set(),
    },
    {
        "worker_queue_depth": set(),
        "worker_running": set(),
        "worker_model_loaded": set(),
        "worker_gpu_memory_bytes": set(),
    },
)
# Prometheus writes these itself.
OF_PROMETHEUS: dict[str, set[str]] = {
    "up": set(),
    "ALERTS": {"alertname", "alertstate", "severity"} | _TARGET | {"caller"},
}
# Prometheus adds these to everything that it reads.
OF_SCRAPE = {"job", "instance"}

_WORDS = {"and", "or", "unless", "offset", "bool", "by", "without", "on", "ignoring", "group_left", "group_right"}
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
# A name before a parenthesis is a function; the quantifier gives nothing back, so that no half of one is taken for a metric.
_SELECTOR = re.compile(r"(?<![\w.$:])([a-zA-Z_:][\w:]*+)(?!\s*\()\s*(?:\{([^{}]*)\})?")
_LABEL_VALUES = re.compile(r"label_values\((.+),\s*(\w+)\)")


@dataclass(frozen=True)
class Query:
    """A PromQL expression taken apart.

    Attributes:
        text: As Prometheus would be sent it, with Grafana's variables filled in.
        metrics: Name of each selector, and the labels that it matches on.
        grouping: Labels that are kept or matched by.
        shown: Labels that a legend or an annotation speaks of.
        where: For a person who looks for it.
    """

    text: str
    metrics: tuple[tuple[str, frozenset[str]], ...]
    grouping: frozenset[str]
    shown: frozenset[str]
    where: str


def query_of(text: str, where: str, shown: str = "") -> Query:
    """Take an expression apart; `shown` is a text with labels in the notation of Prometheus or of Grafana."""
    filled = text.replace("$__rate_interval", "5m").replace("$__range", "6h")
    filled = re.sub(r"\$(job|instance|provider|model|caller)\b", ".*", filled).replace("$__tags", "")
    bare = re.sub(r'"(?:\\.|[^"\\])*"', '""', filled)
    grouping = {label.strip() for labels in _GROUPING.findall(bare) for label in labels.split(",") if label.strip()}
    rest = re.sub(r"\[[^\]]*\]", "", _GROUPING.sub("", bare))
    metrics = tuple(
        (name, frozenset(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)))
        for name, matchers in _SELECTOR.findall(rest)
        if name not in _WORDS
    )
    labels = re.findall(r"\$labels\.(\w+)", shown) or re.findall(r"\{\{\s*(\w+)\s*\}\}", shown)
    return Query(filled, metrics, frozenset(grouping), frozenset(labels), where)


def rules() -> list[dict[str, Any]]:
    """Every rule of deploy/rules, recordings and alerts."""
    return [
        rule for file in RULE_FILES for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]
    ]


def alerts() -> dict[str, dict[str, Any]]:
    """The alerts by their names."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def rule_queries() -> list[Query]:
    """The expressions of all rules, with what their annotations show."""
    return [
        query_of(rule["expr"], rule.get("alert", rule.get("record")), " ".join(rule.get("annotations", {}).values()))
        for rule in rules()
    ]


def recorded() -> dict[str, set[str]]:
    """The metrics that rules record, with their labels."""
    return {rule["record"]: set(query_of(rule["expr"], "").grouping) for rule in rules() if "record" in rule}


def dashboards() -> dict[str, dict[str, Any]]:
    """The dashboards by the names of their files."""
    return {file.name: json.loads(file.read_text()) for file in DASHBOARDS}


def dashboard_queries() -> list[Query]:
    """The expressions of all panels, variables and annotations, and of the links from traces to metrics."""
    return [query for name, board in dashboards().items() for query in _queries_of(name, board)] + _links()


def tool(name: str) -> str:
    """The path of a program of the Debian package `prometheus`; without it, a test is skipped, or fails in CI."""
    path = shutil.which(name)
    if path is None:
        lacks(name, "prometheus")
    return path


def _queries_of(name: str, board: dict[str, Any]) -> Iterator[Query]:
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield query_of(target["expr"], f"{name}: {panel['title']}", target["legendFormat"])
    for note in board["annotations"]["list"]:
        yield query_of(note["expr"], f"{name}: annotation {note['name']}")
    for variable in board["templating"]["list"]:
        found = _LABEL_VALUES.fullmatch(variable["query"]["query"])
        assert found, f"{name}: variable {variable['name']} is no label_values()"
        yield query_of(f"count by ({found[2]}) ({found[1]})", f"{name}: variable {variable['name']}")


def _links() -> list[Query]:
    sources = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "datasources.yaml").read_text())
    return [
        query_of(query["query"].replace("$$", "$"), f"link from traces: {query['name']}")
        for source in sources["datasources"]
        for query in source.get("jsonData", {}).get("tracesToMetrics", {}).get("queries", ())
    ]
