"""A small real service that keeps the contract, or breaks it on demand, and ways to run the command line against it."""

from __future__ import annotations

import hashlib
import io
import math
import os
import struct
import subprocess
import sys
import threading
import time
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from PIL import Image

from pixvox import limits
from pixvox.errors import InternalError, PixvoxError, ProviderDisconnectedError
from pixvox.v1 import (
    image_service_pb2,
    image_service_pb2_grpc,
    media_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    speech_service_pb2,
    speech_service_pb2_grpc,
)

RATE = 24_000
WAV_HEADER = struct.pack(
    "<4sI4s4sIHHIIHH4sI", b"RIFF", 2**32 - 1, b"WAVE", b"fmt ", 16, 1, 1, RATE, RATE * 2, 2, 16, b"data", 2**32 - 1
)
FORMATS = {
    media_pb2.IMAGE_FORMAT_PNG: "png",
    media_pb2.IMAGE_FORMAT_JPEG: "jpeg",
    media_pb2.IMAGE_FORMAT_WEBP: "webp",
}


@dataclass
class FakeService(
    image_service_pb2_grpc.ImageServiceServicer,
    speech_service_pb2_grpc.SpeechServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
    health_pb2_grpc.HealthServicer,
):
    """Answers as the contract says.

    Attributes:
        fault: Raised by every billable call.
        break_after: The stream breaks off after so many chunks of audio.
        bad: What it does against the contract; see the places that look.
        delay: Seconds before a picture is ready.
        uri: Pictures are delivered by this address.
        models: Its capability table.
        explanation: What it answers to ExplainRoute, instead of the first model that has the verb.
        more_providers: That it lists beside its own.
        routes: That it lists.
        digest: Of its configuration.
    """

    fault: PixvoxError | None = None
    break_after: int | None = None
    bad: set[str] = field(default_factory=set)
    delay: float = 0.0
    uri: str = ""
    models: list[model_service_pb2.Model] = field(default_factory=lambda: [image_model(), speech_model()])
    explanation: model_service_pb2.ExplainRouteResponse | None = None
    more_providers: list[model_service_pb2.ProviderInfo] = field(default_factory=list)
    routes: list[model_service_pb2.Route] = field(default_factory=list)
    digest: str = ""
    target: str = ""
    requests: list = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def Check(self, request, context):
        if request.service == "no.such.Service":
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        down = "down" in self.bad and request.service.endswith("SpeechService")
        status = health_pb2.HealthCheckResponse.NOT_SERVING if down else health_pb2.HealthCheckResponse.SERVING
        return health_pb2.HealthCheckResponse(status=status)

    def ListModels(self, request, context):
        self.requests.append(request)
        capability = model_service_pb2.Verb.Name(request.verb).removeprefix("VERB_").lower() if request.verb else None
        return model_service_pb2.ListModelsResponse(
            models=[one for one in self.models if capability is None or one.HasField(capability)]
        )

    def ListProviders(self, request, context):
        verbs = [
            model_service_pb2.VERB_GENERATE_IMAGE,
            model_service_pb2.VERB_EDIT_IMAGE,
            model_service_pb2.VERB_STREAM_SPEECH,
        ]
        return model_service_pb2.ListProvidersResponse(
            providers=[
                model_service_pb2.ProviderInfo(
                    name="box", kind="sandbox", verbs=verbs, default_verbs=verbs[:1], models=2, ready=True
                ),
                model_service_pb2.ProviderInfo(name="far", kind="remote", unready_reason="its key is missing"),
                *self.more_providers,
            ],
            routes=self.routes,
            config_digest=self.digest,
        )

    def ExplainRoute(self, request, context):
        self.requests.append(request)
        if self.explanation is not None:
            return self.explanation
        kind = request.WhichOneof("call")
        return model_service_pb2.ExplainRouteResponse(
            candidates=[
                {"provider": one.provider, "model": one.id, "eligible": True}
                for one in self.models
                if one.HasField(kind)
            ][:1]
        )

    def GenerateImage(self, request, context):
        self._begin(request, context)
        if "accepts" not in self.bad:
            self._checked(limits.check_generate_image, request, context)
        return self._pictures(image_service_pb2.GenerateImageResponse(), request)

    def EditImage(self, request, context):
        self._begin(request, context)
        self._checked(limits.check_edit_image, request, context)
        response = self._pictures(image_service_pb2.EditImageResponse(), request)
        if "echoes" in self.bad and request.images[0].data:
            del response.images[:]
            response.images.append(image(request.images[0].data, "jpeg", 1328, 1328))
        return response

    def StreamSpeech(self, requests, context):
        config = next(requests).config
        self._begin(config, context)
        spoken = Spoken(self, config)
        texts = list(requests) if "buffers" in self.bad else requests
        yield spoken.started()
        for message in texts:
            self.requests.append(message)
            if message.HasField("flush"):
                if "unflushed" not in self.bad:
                    yield speech_service_pb2.StreamSpeechResponse(flushed={"id": message.flush.id})
                continue
            for chunk in spoken.audio(message.text):
                if spoken.summary.chunks - 1 == self.break_after:
                    self._abort(ProviderDisconnectedError("The provider has gone."), context)
                yield chunk
        if "no summary" not in self.bad:
            yield spoken.finished()

    def SynthesizeSpeech(self, request, context):
        self._begin(request.config, context)
        if "accepts" not in self.bad:
            self._checked(limits.check_text_length, len(request.text), context)
        self.requests.append(request)
        audio = WAV_HEADER + samples(request.text)
        return speech_service_pb2.SynthesizeSpeechResponse(
            data=audio,
            mime_type="audio/wav",
            format={"encoding": media_pb2.AUDIO_ENCODING_WAV, "sample_rate_hertz": RATE},
            audio_duration={"seconds": 1},
            sha256=hashlib.sha256(audio).hexdigest(),
            receipt=self.receipt(request.config, "box-speech"),
        )

    def receipt(self, request, model):
        return media_pb2.Receipt(
            request_id=request.request_id or "made-here",
            provider="box",
            model=model,
            provider_request_id="" if "anonymous" in self.bad else "box-1",
            cost={"state": media_pb2.COST_STATE_PRICED, "amount": "0.075", "currency": "USD", "price_table": "1"},
        )

    def _begin(self, request, context):
        self.requests.append(request)
        context.add_callback(self.cancelled.set)
        if self.fault is not None:
            self._abort(self.fault, context)
        time.sleep(self.delay)

    def _checked(self, check, subject, context):
        try:
            check(subject, self.models[1] if check is limits.check_text_length else self.models[0])
        except PixvoxError as error:
            self._abort(InternalError("Something broke.") if "rude" in self.bad else error, context)

    def _abort(self, error, context):
        context.abort_with_status(rpc_status.to_status(error.to_status("made-here")))

    def _pictures(self, response, request):
        name = FORMATS.get(request.format, "png")
        width, height = (request.size.width or 512, request.size.height or 512)
        data = picture(name, width // 2 if "small" in self.bad else width, height)
        if "cut" in self.bad:
            data = data[:-20]
        for number in range(request.n or 1):
            made = image(data, name, width, height, seed=request.seed + number)
            if self.uri:
                made.uri = self.uri
            response.images.append(made)
        response.receipt.CopyFrom(self.receipt(request, "box-image"))
        if request.negative_prompt:
            response.warnings.add(
                reason=media_pb2.WARNING_REASON_FIELD_IGNORED, field="negative_prompt", message="It was not used."
            )
        return response


class Spoken:
    """The audio of one stream."""

    def __init__(self, service, config):
        self.service = service
        self.config = config
        self.summary = speech_service_pb2.SpeechSummary()
        self.encoding = config.format.encoding or media_pb2.AUDIO_ENCODING_PCM_S16LE
        self.digest = hashlib.sha256()
        self.samples = 0

    def started(self):
        return speech_service_pb2.StreamSpeechResponse(
            started={
                "request_id": self.config.request_id or "made-here",
                "provider": "box",
                "model": "box-speech",
                "voice": "anna",
                "format": {"encoding": self.encoding, "sample_rate_hertz": RATE},
            }
        )

    def audio(self, text):
        data = samples(text)
        if "silent" in self.service.bad:
            data = bytes(len(data))
        half = len(data) // 4 * 2
        if self.encoding == media_pb2.AUDIO_ENCODING_WAV and not self.samples:
            yield self._chunk(WAV_HEADER)
        for part in (data[:half], data[half:]):
            yield self._chunk(part)
            self.samples += len(part) // 2

    def _chunk(self, data):
        gap = 1 if "gap" in self.service.bad and self.summary.chunks else 0
        chunk = speech_service_pb2.AudioChunk(
            sequence=self.summary.chunks + gap, offset_samples=self.samples, data=data
        )
        self.digest.update(data)
        self.summary.chunks += 1
        self.summary.size_bytes += len(data)
        return speech_service_pb2.StreamSpeechResponse(audio=chunk)

    def finished(self):
        self.summary.audio_duration.FromNanoseconds(self.samples * 10**9 // RATE)
        self.summary.sha256 = "0" * 64 if "checksum" in self.service.bad else self.digest.hexdigest()
        self.summary.receipt.CopyFrom(self.service.receipt(self.config, "box-speech"))
        return speech_service_pb2.StreamSpeechResponse(summary=self.summary)


def samples(text):
    """A tone, 20 ms for each character."""
    count = len(text) * RATE // 50
    return struct.pack(f"<{count}h", *(int(8000 * math.sin(index / 9)) for index in range(count)))


def picture(name, width, height):
    file = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, name)
    return file.getvalue()


def image(data, name, width, height, seed=0):
    return media_pb2.Image(
        data=data,
        mime_type=f"image/{name}",
        size={"width": width, "height": height},
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        seed=seed,
    )


def image_model():
    output = {
        "size": {"default_size": {"width": 512, "height": 512}, "min_side": 64, "max_side": 2048},
        "max_n": 4,
        "formats": list(FORMATS),
        "deliveries": [media_pb2.DELIVERY_INLINE],
        "max_prompt_characters": 200,
        "max_negative_prompt_characters": 100,
        "takes_seed": True,
    }
    return model_service_pb2.Model(
        id="box-image",
        provider="box",
        aliases=["picture"],
        generate_image={"output": output},
        edit_image={"output": output, "max_images": 3, "takes_mask": True},
    )


def speech_model():
    return model_service_pb2.Model(
        id="box-speech",
        provider="box",
        stream_speech={
            "voices": [{"id": "anna"}],
            "language_codes": ["en"],
            "encodings": [media_pb2.AUDIO_ENCODING_PCM_S16LE, media_pb2.AUDIO_ENCODING_WAV],
            "sample_rates_hertz": [RATE],
            "max_text_characters": 300,
            "speaks_while_text_arrives": True,
        },
    )


@pytest.fixture
def service():
    """A running FakeService."""
    fake = FakeService()
    server = grpc.server(futures.ThreadPoolExecutor(8))
    image_service_pb2_grpc.add_ImageServiceServicer_to_server(fake, server)
    speech_service_pb2_grpc.add_SpeechServiceServicer_to_server(fake, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(fake, server)
    health_pb2_grpc.add_HealthServicer_to_server(fake, server)
    fake.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield fake
    server.stop(None).wait()


@pytest.fixture
def start(service, tmp_path):
    """Start the command line as a process of its own; what still runs at the end is killed."""
    running = []

    def started(*arguments, stdin=subprocess.DEVNULL):
        environment = {**os.environ, "PIXVOX_TARGET": service.target, "PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(
            [sys.executable, "-m", "pixvox.cli", *map(str, arguments)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=environment,
        )
        running.append(process)
        return process

    yield started
    for process in running:
        process.kill()
        process.communicate()


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str


@pytest.fixture
def pixvox(service, tmp_path, monkeypatch):
    """Run the command line inside this process, in an empty folder, against the service."""
    from click.testing import CliRunner

    from pixvox.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIXVOX_TARGET", service.target)

    def run(*arguments, stdin=None):
        result = CliRunner().invoke(main, [str(one) for one in arguments], input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Finished(result.exit_code, result.stdout, result.stderr)

    run.folder = Path(tmp_path)
    return run
