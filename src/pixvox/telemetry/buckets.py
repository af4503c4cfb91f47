"""The buckets of histograms, by the name of the instrument."""

from __future__ import annotations

from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

from pixvox.telemetry.names import DURATION_BUCKETS

# A listener hears what is late by some tens of milliseconds, and has gone after some tens of seconds.
SHORT_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.35, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30)
# Above 1 a synthesis is slower than its listener.
RATIO_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10)
# An event loop that is late by more than 0.1 s is felt by every caller.
LAG_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

# In seconds, but for the factor. The conventions end at 10 s and at 82 s, too early for a picture from a cold container.
BUCKETS: dict[str, tuple[float, ...]] = {
    "rpc.server.call.duration": DURATION_BUCKETS,
    "gen_ai.client.operation.duration": DURATION_BUCKETS,
    "gen_ai.client.operation.time_to_first_chunk": SHORT_BUCKETS,
    "http.client.request.duration": DURATION_BUCKETS,
    "pixvox.speech.time_to_first_audio": SHORT_BUCKETS,
    "pixvox.speech.real_time_factor": RATIO_BUCKETS,
    "pixvox.speech.chunk_gap": SHORT_BUCKETS,
    "pixvox.speech.underrun": SHORT_BUCKETS,
    "pixvox.target.queue.wait": DURATION_BUCKETS,
    "pixvox.event_loop.lag": LAG_BUCKETS,
}


def views() -> list[View]:
    """Return a view for each histogram of the service."""
    return [
        View(instrument_name=name, aggregation=ExplicitBucketHistogramAggregation(bounds))
        for name, bounds in BUCKETS.items()
    ]
