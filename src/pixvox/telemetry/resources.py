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
    made = Resource.create(own | given)
    return _HashedOnce(made.attributes, made.schema_url)


class _HashedOnce(Resource):
    """A resource that keeps its hash: the encoder of OTLP asks for it with every span, and the SDK's writes JSON for it."""

    def __hash__(self) -> int:
        """Return what the SDK's own hash is."""
        if self._hash is None:
            self._hash = super().__hash__()
        return self._hash

    # Not in __init__, which the SDK's `merge` calls with its own arguments.
    _hash: int | None = None
