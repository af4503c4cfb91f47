"""What is sent of the telemetry, and where to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Destination = Literal["otlp", "console", "prometheus", "none"]
Protocol = Literal["grpc", "http/protobuf"]
SamplerName = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]


@dataclass(frozen=True, slots=True)
class Options:
    """What of telemetry is not left to the SDK; by default nothing is sent.

    Endpoints, headers, certificates, queues and limits are read from the environment by the SDK and its exporters.
    Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/

    Attributes:
        span_file: A file to which finished spans are appended, a JSON object a line. Empty means none.
        disabled: Whether there is no telemetry at all, `/metrics` included.
        traces: Where spans go; "none" among them means nowhere.
        metrics: Where metrics are pushed to; "prometheus" stands for the side port, which has them anyway.
        logs: Where log lines go besides standard error.
        traces_protocol: Of OTLP.
        metrics_protocol: Of OTLP.
        logs_protocol: Of OTLP.
        sampler: Which traces are sampled, by the standard names.
        sampler_ratio: The share of them, 0..1, for the two samplers that take one.
        keep_failed: Whether calls that failed are exported although they were not sampled.
        slow_seconds: Calls that took so long are, too; 0 is never.
        capture_content: Whether spans hold the words that callers sent: prompts, texts and descriptions, each cut to 4096
            characters; never media.
    """

    span_file: str = ""
    disabled: bool = False
    traces: tuple[Destination, ...] = ()
    metrics: tuple[Destination, ...] = ()
    logs: tuple[Destination, ...] = ()
    traces_protocol: Protocol = "grpc"
    metrics_protocol: Protocol = "grpc"
    logs_protocol: Protocol = "grpc"
    sampler: SamplerName = "parentbased_always_on"
    sampler_ratio: float = 1.0
    keep_failed: bool = True
    slow_seconds: float = 0.0
    capture_content: bool = False
