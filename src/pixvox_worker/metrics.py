"""The worker's own measurements, in one registry per application."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_RATIOS = (0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)


class Metrics:
    """The instruments; `registry` is what `/metrics` prints."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("worker_requests", "Answered requests.", ("route", "status"), registry=self.registry)
        self.queue_depth = Gauge("worker_queue_depth", "Admitted requests that wait.", registry=self.registry)
        self.running = Gauge("worker_running", "Requests in the model.", registry=self.registry)
        self.queue_wait = Histogram(
            "worker_queue_wait_seconds", "From admission to the model.", buckets=_SECONDS, registry=self.registry
        )
        self.exec_seconds = Histogram(
            "worker_exec_seconds", "One batch in the model.", ("task",), buckets=_SECONDS, registry=self.registry
        )
        self.step_seconds = Histogram(
            "worker_step_seconds", "Between two steps.", buckets=_SECONDS, registry=self.registry
        )
        self.batch_size = Histogram(
            "worker_batch_size", "Requests that ran together.", buckets=(1, 2, 4, 8, 16), registry=self.registry
        )
        self.ttfa = Histogram(
            "worker_ttfa_seconds", "From admission to the first sound.", buckets=_SECONDS, registry=self.registry
        )
        self.rtf = Histogram(
            "worker_rtf", "Seconds in the model for a second of sound.", buckets=_RATIOS, registry=self.registry
        )
        self.rejected = Counter(
            "worker_rejected", "Requests refused because the worker is full.", registry=self.registry
        )
        self.cancelled = Counter("worker_cancelled", "Requests taken back by their callers.", registry=self.registry)
        self.out_of_memory = Counter("worker_out_of_memory", "Batches that did not fit.", registry=self.registry)
        self.model_loaded = Gauge("worker_model_loaded", "1 once the model is ready.", registry=self.registry)
        self.memory = Gauge("worker_gpu_memory_bytes", "Allocated on the accelerator.", registry=self.registry)
