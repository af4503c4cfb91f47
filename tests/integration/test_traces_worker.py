"""One trace from a caller's RPC into our own worker: its queue and its model are children of the service's request."""

from __future__ import annotations

import asyncio

import fake_worker
from calling import config_message, photo, spoken, text_message, until
from otlp_receiver import attributes, receiving_http
from pixvox.v1 import media_pb2
from pixvox.v1.image_service_pb2 import EditImageRequest
from serving import settings_with
from traces import traced
from workers import EDITOR, SPEAKER

WORK = {"queue", "inference", "encode"}


async def test_what_a_worker_does_stands_in_the_trace_of_the_call_that_it_serves():
    port = fake_worker.free_port()
    models = {EDITOR: {"name": "everything", "steps": 3}, SPEAKER: {"name": "everything"}}
    table = {"kind": "worker", "url": f"http://127.0.0.1:{port}", "models": models}
    async with receiving_http() as collector:
        environment = {
            "PORT": str(port),
            "MODEL_NAME": "everything",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.address}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        with fake_worker.process(**environment):
            await asyncio.to_thread(fake_worker.wait_until_ready, port)
            async with traced(settings_with({"gpu": table}, {})) as place:
                images = [media_pb2.MediaInput(data=photo())]
                await place.stubs.images.EditImage(EditImageRequest(model=EDITOR, prompt="at night", images=images))
                await spoken(place.stubs, [config_message(model=SPEAKER), text_message("Good evening.")])
            requests = [one for one in place.spans if one.name.startswith("POST ")]
            await until(lambda: sum(span.name == "inference" for _, span in collector.spans()) == 2, seconds=20)
            await until(
                lambda: sum(span.parent_span_id in ids(requests) for _, span in collector.spans()) == 2, seconds=20
            )

    assert len(requests) == 2
    for request in requests:
        trace_id = request.context.trace_id.to_bytes(16, "big")
        mine = [(resource, span) for resource, span in collector.spans() if span.trace_id == trace_id]
        [(resource, outer)] = [(one, span) for one, span in mine if span.parent_span_id in ids([request])]
        assert resource["service.name"] == "pixvox-worker"
        assert {span.name for _, span in mine} == {outer.name, *WORK}
        told = str([attributes(span.attributes) for _, span in mine])
        assert "night" not in told
        assert "evening" not in told


def ids(spans) -> set[bytes]:
    return {one.context.span_id.to_bytes(8, "big") for one in spans}
