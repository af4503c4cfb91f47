"""Prompts, texts, media, keys and signatures are in no span, metric, log line or error, whatever is asked and fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import types
import urllib.request
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec

import grpc
import msgspec
import pytest
import structlog
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

import serving
from calling import config_message, flush_message, text_message
from emulated import provider_table
from pixvox import logs
from pixvox.providers import sandbox
from pixvox.settings import LogSettings
from pixvox.telemetry.records import Records
from pixvox.testing.dashscope import (
    Cut,
    DashScopeEmulator,
    ErrorEvent,
    Expired,
    Fault,
    NoResult,
    PlacedAt,
    Raw,
    Redirected,
    Refused,
    Stalled,
    TaskFailed,
    TaskUnknown,
)
from pixvox.v1 import image_service_pb2, media_pb2, model_service_pb2, speech_service_pb2, voice_service_pb2
from pixvox.v1.voice_service_pb2_grpc import VoiceServiceStub
from raw_vendor import reply, vendor
from secrets_of_callers import KEY, WORDS, found_in, of_files, options, picture_file, sound_file
from traces import PICTURES, SSE, TASKS, traced

PICTURE, SOUND = picture_file(), sound_file()
INSTRUCTED = "qwen3-tts-instruct-flash-realtime"
ECHO = " ".join(["Wrong:", *WORDS.values(), KEY])
LABELS = {"team": WORDS["label"]}
INLINE, BY_ADDRESS = media_pb2.DELIVERY_INLINE, media_pb2.DELIVERY_URI
METADATA = [("authorization", f"Bearer {WORDS['metadata']}"), ("cookie", WORDS["metadata"])]


@pytest.fixture(autouse=True)
def restored():
    """The logging of the process as it was."""
    root, sdk = logging.getLogger(), logging.getLogger("opentelemetry")
    before = root.handlers[:], root.level, sdk.handlers[:], sdk.propagate
    yield
    root.handlers[:], sdk.handlers[:], sdk.propagate = before[0], before[2], before[3]
    root.setLevel(before[1])
    structlog.reset_defaults()


@pytest.fixture
async def emulator():
    async with DashScopeEmulator(api_keys=(KEY,)) as running:
        yield running


class Buggy:
    """A provider with a bug that says more than it should."""

    class Config(msgspec.Struct, frozen=True):
        pass

    def __init__(self, upstream):
        able = next(one for one in sandbox.create(sandbox.Config(), upstream).models() if one.id == "sandbox-image")
        self._model = model_service_pb2.Model(id="buggy", generate_image=able.generate_image)

    def models(self):
        return [self._model]

    async def generate_image(self, request, model):
        raise ValueError(f"{WORDS['bug']} in {request.prompt!r} of {model.id}")

    async def aclose(self):
        pass


@dataclass
class Seen:
    """Everything that was to be seen of a service."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    pieces: dict[str, bytes] = field(default_factory=dict)
    failures: set[str] = field(default_factory=set)

    async def call(self, awaited):
        """What a call answers; of one that fails, status and trailers are kept."""
        try:
            return await awaited
        except grpc.aio.AioRpcError as error:
            trailers = [*error.initial_metadata(), *error.trailing_metadata()]
            shown = [error.details(), error.debug_error_string(), *(repr(one) for one in trailers)]
            # Binary trailers have the words as they are.
            shown += [one[1].decode(errors="replace") for one in trailers if isinstance(one[1], bytes)]
            self.texts.append((f"error {error.code().name}", "\n".join(map(str, shown))))
            self.failures.add(error.code().name)
            return None

    async def stream(self, call):
        async def read():
            return [answer async for answer in call]

        return await self.call(read())


@contextlib.asynccontextmanager
async def watched(emulator, capsys, monkeypatch, *, level="info", **telemetry):
    module = types.ModuleType("pixvox.providers.buggy")
    module.__spec__ = ModuleSpec(module.__name__, None)
    module.Config, module.create = Buggy.Config, lambda _, upstream: Buggy(upstream)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    logs.set_up(LogSettings(level=level, format="json"))
    exporter, provider = InMemoryLogRecordExporter(), LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logging.getLogger().addHandler(Records(provider))
    providers = {"qwen": provider_table(emulator, api_key=KEY), "sandbox": {"kind": "sandbox"}}
    providers["buggy"] = {"kind": "buggy"}
    tables = {"target_defaults": {**serving.UNLIMITED, "failures": 0, "error_rate": 0.0}}
    tables["fetch"] = {"allowed_hosts": ["127.0.0.1"]}
    settings = serving.settings_with(providers, {}, **tables, telemetry=telemetry)
    seen = Seen(pieces=of_files({"picture": PICTURE, "sound": SOUND}))
    async with traced(settings) as place:
        yield place, seen
        metrics = await asyncio.to_thread(_read, f"http://{place.service.http}/metrics")
        seen.texts.append(("metrics", metrics))
    for one in place.spans:
        said = [one.to_json(), repr(one.status.description), repr(one.resource.attributes)]
        said += [repr((event.name, event.attributes)) for event in one.events]
        seen.texts.append((f"span {one.name}", "\n".join([*said, *(repr(link.attributes) for link in one.links)])))
    out = capsys.readouterr()
    seen.texts += [("log", line) for line in (out.err + out.out).splitlines()]
    records = [one.log_record for one in exporter.get_finished_logs()]
    seen.texts += [("record", repr((one.body, dict(one.attributes)))) for one in records]
    signatures = {one.query["Signature"] for one in emulator.requests if "Signature" in one.query}
    seen.pieces |= {f"signature {number}": one.encode() for number, one in enumerate(signatures)}


def _read(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read().decode()


def making(**fields):
    given = {"prompt": f"a {WORDS['prompt']}", "negative_prompt": f"no {WORDS['negative']}", "labels": LABELS}
    given |= {"provider_options": options(), "model": PICTURES}
    return image_service_pb2.GenerateImageRequest(**given | fields)


def editing(*images, **fields):
    given = {"prompt": f"a {WORDS['prompt']}", "labels": LABELS, "model": "qwen-image-edit"}
    return image_service_pb2.EditImageRequest(**given | fields, images=images)


def manner(**fields):
    return {"labels": LABELS, "provider_options": options(), "instructions": f"like {WORDS['instructions']}"} | fields


def saying(**fields):
    return [config_message(**fields), text_message(f"Say {WORDS['text']}."), flush_message("f"), text_message("Bye.")]


def cloning(audio, **fields):
    consent = voice_service_pb2.Consent(speaker=WORDS["speaker"], statement=WORDS["statement"])
    given = {"display_name": WORDS["display"], "audio": audio, "consent": consent, "labels": LABELS}
    return voice_service_pb2.CloneVoiceRequest(**given | {"transcript": WORDS["transcript"]} | fields)


def designing(**fields):
    given = {"display_name": WORDS["display"], "description": WORDS["description"], "labels": LABELS}
    return voice_service_pb2.DesignVoiceRequest(**given | {"preview_text": f"Hear {WORDS['preview']}."} | fields)


def at(files, **query):
    token = "&".join(f"{name}={value}" for name, value in {"token": WORDS["query"], **query}.items())
    return media_pb2.MediaInput(uri=f"{files.url}/{WORDS['path']}/a?{token}")


async def every_call(place, seen, files, sounds):
    """Each method at least once; returns how many of the answers were given."""
    stubs, voices = place.stubs, VoiceServiceStub(place.stubs.channel)
    pictures = [making(delivery=INLINE), making(delivery=BY_ADDRESS), making(model=TASKS, delivery=INLINE)]
    pictures.append(making(model="sandbox-image", provider_options=None))
    answers = [await seen.call(stubs.images.GenerateImage(one, metadata=METADATA)) for one in pictures]
    data = media_pb2.MediaInput(data=PICTURE)
    edits = [editing(data), editing(at(files)), editing(data, model="sandbox-image", mask=data)]
    answers += [await seen.call(stubs.images.EditImage(one)) for one in edits[:2]]
    await seen.call(stubs.images.EditImage(edits[2]))
    for model in (SSE, INSTRUCTED, "sandbox-speech"):
        answers.append(await seen.stream(stubs.speech.StreamSpeech(iter(saying(**_speech(model))))))
    config = speech_service_pb2.SpeechConfig(**_speech(SSE))
    whole = speech_service_pb2.SynthesizeSpeechRequest(text=WORDS["text"], config=config)
    answers.append(await seen.call(stubs.speech.SynthesizeSpeech(whole)))
    cloned = [cloning(media_pb2.MediaInput(data=SOUND)), cloning(at(sounds))]
    answers += [await seen.call(voices.CloneVoice(one)) for one in cloned]
    designed = await seen.call(voices.DesignVoice(designing()))
    answers.append(designed)
    answers.append(await seen.call(voices.ListVoices(voice_service_pb2.ListVoicesRequest())))
    answers.append(await seen.call(voices.GetVoice(voice_service_pb2.GetVoiceRequest(id=designed.voice.id))))
    gone = voice_service_pb2.DeleteVoiceRequest(id=designed.voice.id, purge=True)
    answers.append(await seen.call(voices.DeleteVoice(gone)))
    explained = model_service_pb2.ExplainRouteRequest(generate_image=making(), caller="tests")
    answers.append(await seen.call(stubs.models.ExplainRoute(explained)))
    answers.append(await seen.call(stubs.models.ListModels(model_service_pb2.ListModelsRequest())))
    return answers


def _speech(model):
    return manner(model=model) if model == INSTRUCTED else manner(model=model, instructions="", provider_options=None)


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_nothing_is_told_of_calls_that_go_well(emulator, capsys, monkeypatch, level):
    async with (
        vendor(reply(PICTURE)) as files,
        vendor(reply(SOUND)) as sounds,
        watched(emulator, capsys, monkeypatch, level=level) as (place, seen),
    ):
        answers = await every_call(place, seen, files, sounds)
    assert all(answers), [one for one in seen.texts if one[0].startswith("error")]
    assert len(place.spans) > 40
    assert {"log", "record", "metrics"} <= {where for where, _ in seen.texts}
    assert {name.partition(" ")[0] for name in seen.pieces} == {"picture", "sound", "signature"}
    assert found_in(seen.texts, seen.pieces) == set()


FAULTS = [
    Fault("generate", Refused(400, "InvalidParameter", ECHO)),
    Fault("generate", Refused(400, "DataInspectionFailed", ECHO)),
    Fault("generate", Refused(429, "Throttling.RateQuota", ECHO)),
    Fault("generate", Refused(401, "InvalidApiKey", ECHO)),
    Fault("generate", Refused(500, "InternalError", ECHO)),
    Fault("generate", Raw(502, f"<html>{ECHO}</html>".encode())),
    Fault("generate", Raw(200, f"<html>{ECHO}</html>".encode())),
    Fault("generate", Raw(200, json.dumps({"code": "X", "message": ECHO}).encode(), "application/json")),
    Fault("generate", NoResult()),
    Fault("generate", Cut()),
    Fault("generate", PlacedAt(f"http://10.0.0.1/{WORDS['path']}")),
    Fault("download", Expired()),
    Fault("download", Redirected(f"http://10.0.0.1/{WORDS['path']}?q={WORDS['query']}")),
    Fault("download", Cut(after=10)),
]
TASK_FAULTS = [
    Fault("task_get", TaskFailed("InvalidParameter", ECHO)),
    Fault("task_get", TaskUnknown()),
    Fault("task_create", Refused(400, "InvalidParameter", ECHO)),
]
SPEECH_FAULTS = [
    (SSE, Fault("speech_sse", ErrorEvent("InvalidParameter", ECHO, after=2))),
    (SSE, Fault("speech_sse", Cut(after=2))),
    (SSE, Fault("speech_sse", Raw(502, ECHO.encode()))),
    (INSTRUCTED, Fault("realtime", ErrorEvent("InvalidParameter", ECHO, after=2))),
    (INSTRUCTED, Fault("realtime", Refused(403, "AccessDenied", ECHO))),
]
VOICE_FAULTS = [
    Fault("voice_create", Refused(400, "InvalidParameter", ECHO)),
    Fault("voice_create", Refused(430, "Audio.PreprocessError", ECHO)),
    Fault("voice_create", Cut()),
]


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_nothing_is_told_of_calls_that_fail(emulator, capsys, monkeypatch, level):
    async with watched(emulator, capsys, monkeypatch, level=level) as (place, seen):
        images, voices = place.stubs.images, VoiceServiceStub(place.stubs.channel)
        for one in (*FAULTS, *TASK_FAULTS):
            emulator.faults.add(one)
            request = making(model=TASKS if one in TASK_FAULTS else PICTURES, delivery=INLINE)
            await seen.call(images.GenerateImage(request))
            emulator.faults.clear()
        for model, one in SPEECH_FAULTS:
            emulator.faults.add(one)
            await seen.stream(place.stubs.speech.StreamSpeech(iter(saying(**_speech(model)))))
        for one in VOICE_FAULTS:
            for make in (voices.CloneVoice(cloning(media_pb2.MediaInput(data=SOUND))), voices.DesignVoice(designing())):
                emulator.faults.add(one)
                await seen.call(make)
                emulator.faults.clear()
    assert len(seen.failures) > 4
    assert found_in(seen.texts, seen.pieces) == set()


async def test_nothing_is_told_of_requests_that_are_refused(emulator, capsys, monkeypatch):
    wrong = options()
    wrong["sandbox"] = {"fault": {"kind": WORDS["option"]}}
    async with vendor(reply(b"no picture", 404)) as files, watched(emulator, capsys, monkeypatch) as (place, seen):
        images = place.stubs.images
        await seen.call(images.GenerateImage(making(n=99)))
        await seen.call(images.GenerateImage(making(prompt=WORDS["prompt"] * 5000)))
        await seen.call(images.GenerateImage(making(model="sandbox-image", provider_options=wrong)))
        await seen.call(images.GenerateImage(making(model="qwen-image-edit")))
        await seen.call(images.EditImage(editing(at(files))))
        private = media_pb2.MediaInput(uri=f"http://user:{WORDS['query']}@10.0.0.1/{WORDS['path']}?{WORDS['query']}")
        await seen.call(images.EditImage(editing(private)))
        elsewhere = media_pb2.MediaInput(uri=f"http://10.0.0.1/{WORDS['path']}?token={WORDS['query']}")
        await seen.call(images.EditImage(editing(elsewhere)))
        await seen.call(images.EditImage(editing(media_pb2.MediaInput(data=PICTURE[:-100]))))
        voices = VoiceServiceStub(place.stubs.channel)
        await seen.call(voices.CloneVoice(cloning(media_pb2.MediaInput(data=SOUND[:2000]))))
        await seen.call(voices.DesignVoice(designing(description=WORDS["description"] * 500)))
        await seen.stream(place.stubs.speech.StreamSpeech(iter([text_message(WORDS["text"])])))
        config = manner(model=SSE, voice="nobody")
        await seen.stream(place.stubs.speech.StreamSpeech(iter(saying(**config))))
    assert len([one for one in seen.texts if one[0].startswith("error")]) == 12
    assert found_in(seen.texts, seen.pieces) == set()


async def test_nothing_is_told_of_calls_that_are_left_or_run_into_a_bug(emulator, capsys, monkeypatch):
    async with watched(emulator, capsys, monkeypatch) as (place, seen):
        images = place.stubs.images
        await seen.call(images.GenerateImage(making(model="buggy", provider_options=None)))
        emulator.faults.add(Fault("generate", Stalled(30)))
        await seen.call(images.GenerateImage(making(), timeout=0.3))
        emulator.faults.add(Fault("generate", Stalled(30)))
        call = images.GenerateImage(making())
        await emulator.until(lambda: emulator.count("generate") == 2)
        call.cancel()
        await emulator.until(lambda: emulator.requests[-1].cancelled)
    assert seen.failures == {"INTERNAL", "DEADLINE_EXCEEDED"}
    assert "buggy" in "".join(text for _, text in seen.texts)
    assert found_in(seen.texts, seen.pieces) == set()


def test_a_secret_is_found_in_every_form():
    word = WORDS["prompt"]
    places = [("plain", f"x{word}x"), ("none", word[:-1]), ("none", word.upper())]
    assert found_in(places, {}) == {("prompt", "plain")}


SPOKEN_OF = {"prompt", "negative", "text", "instructions", "description", "preview"}


async def test_words_stand_on_spans_of_operations_and_nowhere_else_where_the_operator_asks_for_it(
    emulator, capsys, monkeypatch
):
    async with (
        vendor(reply(PICTURE)) as files,
        vendor(reply(SOUND)) as sounds,
        watched(emulator, capsys, monkeypatch, capture_content=True) as (place, seen),
    ):
        await every_call(place, seen, files, sounds)
    found = found_in(seen.texts, seen.pieces)
    assert {name for name, _ in found} == SPOKEN_OF
    assert {where.rpartition(" ")[0] for _, where in found} == {"span generate_content"}
    (asked, *_) = place.named(f"generate_content {PICTURES}")
    assert json.loads(asked.attributes["gen_ai.input.messages"]) == [
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": f"a {WORDS['prompt']}"},
                {"type": "text", "content": f"no {WORDS['negative']}"},
            ],
        }
    ]
    (spoke,) = place.named(f"generate_content {INSTRUCTED}")
    assert json.loads(spoke.attributes["gen_ai.input.messages"])[0]["parts"] == [
        {"type": "text", "content": f"Say {WORDS['text']}.Bye."}
    ]
    assert json.loads(spoke.attributes["gen_ai.system_instructions"]) == [
        {"type": "text", "content": f"like {WORDS['instructions']}"}
    ]
