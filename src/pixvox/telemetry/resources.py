"""Who the telemetry is about."""

from __future__ import annotations

import multiprocessing
import uuid

from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, OTELResourceDetector, Resource

import pixvox


def resource() -> Resource:
    """Return what describes this process.

    The service's name and version and a random `service.instance.id`; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`
    win over them. An instance id from there is the machine's, so each of several worker processes adds its own name: two
    senders of one metric under one identity would overwrite each other.

    Source: https://opentelemetry.io/docs/specs/semconv/resource/service/
    """
    given = dict(OTELResourceDetector().detect().attributes)
    if SERVICE_INSTANCE_ID in given and multiprocessing.parent_process() is not None:
        given[SERVICE_INSTANCE_ID] = f"{given[SERVICE_INSTANCE_ID]}/{multiprocessing.current_process().name}"
    own = {
        "service.name": "pixvox",
        "service.version": pixvox.__version__,
        SERVICE_INSTANCE_ID: str(uuid.uuid4()),
    }
    return Resource.create(own | given)
