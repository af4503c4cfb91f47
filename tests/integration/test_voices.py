"""Voices through a real server and the emulated vendor: made, listed, spoken with, deleted, and refused."""

from __future__ import annotations

import asyncio
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import grpc
import msgspec
import numpy as np
import pytest
from google.protobuf import struct_pb2

from calling import Stubs, config_message, settings_for_tests, spoken, stubs_of, text_message
from databases import database_url, postgres
from emulated import failure_of, provider_table
from pixvox import server
from pixvox.media.audio import decoded
from pixvox.testing.dashscope import Behaviour, DashScopeEmulator, Fault, Refused, expected_pcm
from pixvox.v1 import media_pb2, speech_service_pb2, voice_service_pb2, voice_service_pb2_grpc
from pixvox.v1.voice_service_pb2 import (
    DeleteVoiceRequest,
    GetVoiceRequest,
    ListVoicesRequest,
    UndeleteVoiceRequest,
    Voice,
)
from recording import cloning, designing, recording

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["database_url", "postgres"]

ACTIVE = voice_service_pb2.VOICE_STATE_ACTIVE
DELETED = voice_service_pb2.VOICE_STATE_DELETED
PURGED = voice_service_pb2.VOICE_STATE_PURGED
SYSTEM = voice_service_pb2.VOICE_KIND_SYSTEM
CLONE_MODEL = "qwen3-tts-vc-realtime-2026-01-15"
HTTP_CLONE_MODEL = "qwen3-tts-vc-2026-01-22"
LOSSLESS = {media_pb2.AUDIO_ENCODING_PCM_S16LE, media_pb2.AUDIO_ENCODING_WAV, media_pb2.AUDIO_ENCODING_FLAC}


class VoiceStubs(voice_service_pb2_grpc.VoiceServiceStub):
    """The stub of voices, with those of the other services beside it."""

    def __init__(self, stubs: Stubs) -> None:
        super().__init__(stubs.channel)
        self.all = stubs

    async def synthesize(self, text: str, **config: object) -> speech_service_pb2.SynthesizeSpeechResponse:
        request = speech_service_pb2.SynthesizeSpeechRequest(
            text=text, config=speech_service_pb2.SpeechConfig(**config)
        )
        return await self.all.speech.SynthesizeSpeech(request)


@pytest.fixture
async def emulator() -> AsyncIterator[DashScopeEmulator]:
    async with DashScopeEmulator() as running:
        yield running


@pytest.fixture
async def voices(emulator) -> AsyncIterator[VoiceStubs]:
    settings = settings_for_tests(fetch__allowed_hosts=("127.0.0.1",))
    settings = msgspec.structs.replace(settings, providers={"qwen": provider_table(emulator)})
    async with server.running(settings) as running, stubs_of(running.target) as stubs:
        yield VoiceStubs(stubs)


async def everything(voices: VoiceStubs, **fields: object) -> list[Voice]:
    """All pages of a list."""
    request, found = ListVoicesRequest(**fields), []
    while True:
        page = await voices.ListVoices(request)
        assert len(page.voices) <= (request.page_size or 100)
        found += page.voices
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def test_a_clone_is_in_the_catalogue_with_its_consent_its_receipt_and_its_price(voices, emulator):
    request = cloning(request_id="mine-1", labels={"team": "audio"}, language_code="en", transcript="aaaa")
    answer = await voices.CloneVoice(request)
    voice = answer.voice
    assert voice.id.startswith("voices/")
    assert (voice.kind, voice.state) == (voice_service_pb2.VOICE_KIND_CLONED, ACTIVE)
    assert (voice.display_name, voice.language_code, dict(voice.labels)) == ("Narrator One", "en", {"team": "audio"})
    assert (voice.provider, voice.region, voice.model) == ("qwen", "sg", CLONE_MODEL)
    assert voice.consent == request.consent
    assert voice.HasField("create_time")
    assert not voice.HasField("delete_time")
    (upstream,) = emulator.voices
    assert (voice.provider_voice_id, upstream.target_model, upstream.language) == (upstream.name, CLONE_MODEL, "en")
    receipt = voice.receipt
    assert (receipt.request_id, receipt.provider, receipt.region, receipt.model) == (
        "mine-1",
        "qwen",
        "sg",
        CLONE_MODEL,
    )
    assert receipt.provider_request_id == voice.provider_request_id != ""
    assert receipt.usage.voices == 1
    assert (receipt.cost.amount, receipt.cost.currency) == ("0.01", "USD")
    assert len(receipt.attempts) == 1
    assert list(answer.warnings) == []
    assert (await voices.GetVoice(GetVoiceRequest(id=voice.id))).voice == voice


async def test_a_recording_may_be_named_by_its_address(voices, emulator, files):
    files["/voice.wav"] = recording()
    answer = await voices.CloneVoice(cloning(audio=media_pb2.MediaInput(uri=f"{files['base']}/voice.wav")))
    assert answer.voice.provider_voice_id == emulator.voices[0].name


async def test_a_recording_in_another_format_is_converted_and_the_caller_is_told(voices, emulator):
    flac = recording(encoding=media_pb2.AUDIO_ENCODING_FLAC, rate=48_000)
    answer = await voices.CloneVoice(cloning(audio=media_pb2.MediaInput(data=flac)))
    (warning,) = answer.warnings
    assert (warning.field, warning.reason) == ("audio", media_pb2.WARNING_REASON_VALUE_ADJUSTED)
    assert "is flac with flac; it was converted to mono WAV of 16 bits and 48000 samples per second" in warning.message
    sent = emulator.requests[0].json["input"]["audio"]["data"]
    assert sent.startswith("data:audio/wav;base64,")


@pytest.mark.parametrize("encoding", [one for one in media_pb2.AudioEncoding.values() if one])
async def test_a_design_brings_its_preview_in_every_encoding_from_one_call(voices, emulator, encoding):
    wanted = media_pb2.AudioFormat(encoding=encoding, sample_rate_hertz=24_000)
    answer = await voices.DesignVoice(designing(preview_format=wanted, language_code="en"))
    assert answer.preview_format == wanted
    expected = expected_pcm("Welcome to the evening programme.", answer.voice.provider_voice_id, 24_000)
    assert answer.preview_duration.ToMicroseconds() == round(len(expected) / 2 / 24_000 * 1e6)
    if encoding == media_pb2.AUDIO_ENCODING_PCM_S16LE:
        assert answer.preview == expected
    elif encoding == media_pb2.AUDIO_ENCODING_MULAW:
        assert len(answer.preview) == len(expected) // 2
    else:
        pcm, rate = decoded(answer.preview)
        if encoding in LOSSLESS:
            assert pcm == expected
        heard, meant = np.frombuffer(pcm, "<i2").astype(float), np.frombuffer(expected, "<i2").astype(float)
        assert len(heard) / rate == pytest.approx(len(meant) / 24_000, abs=0.05)
        assert np.sqrt((heard**2).mean()) == pytest.approx(np.sqrt((meant**2).mean()), rel=0.1)
    assert emulator.count() == 1
    assert answer.voice.description == "warm low male voice, slow"
    assert answer.voice.receipt.cost.amount == "0.2"


async def test_a_preview_is_wav_at_the_providers_rate_unless_the_caller_says_otherwise(voices):
    answer = await voices.DesignVoice(designing())
    assert answer.preview_format == media_pb2.AudioFormat(
        encoding=media_pb2.AUDIO_ENCODING_WAV, sample_rate_hertz=24_000
    )
    assert answer.preview_mime_type == "audio/wav"
    other = media_pb2.AudioFormat(encoding=media_pb2.AUDIO_ENCODING_MP3, sample_rate_hertz=16_000)
    answer = await voices.DesignVoice(designing(preview_format=other))
    assert (answer.preview_format, answer.preview_mime_type) == (other, "audio/mpeg")


@pytest.mark.parametrize("model", [CLONE_MODEL, HTTP_CLONE_MODEL])
async def test_a_made_voice_speaks_by_its_own_name_on_its_own_model(voices, emulator, model):
    voice = (await voices.CloneVoice(cloning(model=model))).voice
    answer = await voices.synthesize("It is me.", voice=voice.id)
    assert answer.data == expected_pcm("It is me.", voice.provider_voice_id)
    assert (answer.voice, answer.receipt.model) == (voice.id, model)
    answers = await spoken(voices.all, [config_message(voice=voice.id, model=model), text_message("It is me.")])
    assert (answers[0].started.voice, answers[0].started.model) == (voice.id, model)
    assert b"".join(one.audio.data for one in answers) == expected_pcm("It is me.", voice.provider_voice_id)


async def test_the_pair_of_voice_and_model_is_checked_before_anything_is_sent(voices, emulator):
    voice = (await voices.CloneVoice(cloning())).voice
    asked = emulator.count()
    failures = {
        "provider": await failure_of(voices.synthesize("x", voice=voice.id, provider="other")),
        "another model": await failure_of(voices.synthesize("x", voice=voice.id, model=HTTP_CLONE_MODEL)),
        "own voices": await failure_of(voices.synthesize("x", voice=voice.id, model="qwen3-tts-flash")),
        "system voice": await failure_of(voices.synthesize("x", voice="Cherry", model=CLONE_MODEL)),
        "no voice": await failure_of(voices.synthesize("x", model=CLONE_MODEL)),
        "unknown": await failure_of(voices.synthesize("x", voice="voices/" + "0" * 32)),
        "foreign name": await failure_of(voices.synthesize("x", voice=voice.provider_voice_id, model=CLONE_MODEL)),
        "language": await failure_of(voices.synthesize("x", voice=voice.id, language_code="xx")),
    }
    found = {name: (one.code.name, one.reason, one.violations[0].field) for name, one in failures.items()}
    assert found == {
        "provider": ("FAILED_PRECONDITION", "VOICE_PROVIDER_MISMATCH", "config.provider"),
        "another model": ("FAILED_PRECONDITION", "VOICE_MODEL_MISMATCH", "config.model"),
        "own voices": ("FAILED_PRECONDITION", "VOICE_MODEL_MISMATCH", "config.model"),
        "system voice": ("FAILED_PRECONDITION", "VOICE_MODEL_MISMATCH", "config.voice"),
        "no voice": ("INVALID_ARGUMENT", "INVALID_REQUEST", "config.voice"),
        "unknown": ("NOT_FOUND", "VOICE_NOT_FOUND", "config.voice"),
        "foreign name": ("NOT_FOUND", "VOICE_NOT_FOUND", "config.voice"),
        "language": ("INVALID_ARGUMENT", "UNSUPPORTED", "config.language_code"),
    }
    assert CLONE_MODEL in failures["another model"].violations[0].description
    assert failures["another model"].metadata["model"] == CLONE_MODEL
    assert emulator.count() == asked


async def test_a_voice_whose_provider_or_model_is_gone_says_whose_it_was(emulator, database_url):
    settings = settings_for_tests(database__url=database_url)
    table = provider_table(emulator)
    settings = msgspec.structs.replace(settings, providers={"qwen": table})
    async with server.running(settings) as running, stubs_of(running.target) as stubs:
        voice = (await VoiceStubs(stubs).CloneVoice(cloning())).voice
    settings = msgspec.structs.replace(settings, providers={"other": table})
    async with server.running(settings) as running, stubs_of(running.target) as stubs:
        voices = VoiceStubs(stubs)
        failure = await failure_of(voices.synthesize("x", voice=voice.id))
        assert (failure.code.name, failure.reason) == ("FAILED_PRECONDITION", "VOICE_PROVIDER_MISMATCH")
        assert "provider qwen, which is not configured any more" in failure.message
        assert (await voices.GetVoice(GetVoiceRequest(id=voice.id))).voice == voice
        failure = await failure_of(voices.DeleteVoice(DeleteVoiceRequest(id=voice.id, purge=True)))
        assert (failure.reason, failure.violations[0].field) == ("VOICE_PROVIDER_MISMATCH", "purge")
        assert (await voices.DeleteVoice(DeleteVoiceRequest(id=voice.id))).voice.state == DELETED
    assert len(emulator.voices) == 1


async def test_a_voice_of_another_region_of_its_provider_neither_speaks_nor_is_taken_for_purged(emulator, database_url):
    settings = settings_for_tests(database__url=database_url)
    singapore = msgspec.structs.replace(settings, providers={"qwen": provider_table(emulator)})
    async with server.running(singapore) as running, stubs_of(running.target) as stubs:
        voice = (await VoiceStubs(stubs).CloneVoice(cloning())).voice
    asked = emulator.count()
    beijing = msgspec.structs.replace(settings, providers={"qwen": provider_table(emulator, region="bj")})
    async with server.running(beijing) as running, stubs_of(running.target) as stubs:
        voices = VoiceStubs(stubs)
        failure = await failure_of(voices.synthesize("x", voice=voice.id))
        assert failure.reason == "VOICE_PROVIDER_MISMATCH"
        assert "region sg of qwen, which is configured for bj" in failure.message
        failure = await failure_of(voices.DeleteVoice(DeleteVoiceRequest(id=voice.id, purge=True)))
        assert (failure.reason, failure.violations[0].field) == ("VOICE_PROVIDER_MISMATCH", "purge")
        assert (await voices.GetVoice(GetVoiceRequest(id=voice.id))).voice.state == ACTIVE
    assert emulator.count() == asked


async def test_a_deleted_voice_does_not_speak_until_it_is_undeleted(voices, emulator):
    voice = (await voices.CloneVoice(cloning())).voice
    deleted = (await voices.DeleteVoice(DeleteVoiceRequest(id=voice.id))).voice
    assert deleted.state == DELETED
    assert deleted.HasField("delete_time")
    assert (await voices.DeleteVoice(DeleteVoiceRequest(id=voice.id))).voice == deleted
    failure = await failure_of(voices.synthesize("x", voice=voice.id))
    assert (failure.code.name, failure.reason) == ("FAILED_PRECONDITION", "VOICE_DELETED")
    assert emulator.count("voice_delete") == 0
    assert (await voices.UndeleteVoice(UndeleteVoiceRequest(id=voice.id))).voice == voice
    assert (await voices.UndeleteVoice(UndeleteVoiceRequest(id=voice.id))).voice == voice
    assert (await voices.synthesize("It is me.", voice=voice.id)).data


async def test_a_purged_voice_is_gone_at_the_provider_and_does_not_come_back(voices, emulator):
    voice = (await voices.DesignVoice(designing())).voice
    for _ in range(2):
        purged = (await voices.DeleteVoice(DeleteVoiceRequest(id=voice.id, purge=True))).voice
        assert purged.state == PURGED
    assert (emulator.voices, emulator.count("voice_delete")) == ((), 1)
    assert (await voices.DeleteVoice(DeleteVoiceRequest(id=voice.id))).voice == purged
    for call in (
        voices.UndeleteVoice(UndeleteVoiceRequest(id=voice.id)),
        voices.synthesize("x", voice=voice.id),
    ):
        assert (await failure_of(call)).reason == "VOICE_DELETED"


async def test_a_purge_that_the_provider_refuses_leaves_the_voice_deleted_and_can_be_repeated(voices, emulator):
    voice = (await voices.CloneVoice(cloning())).voice
    emulator.faults.add(Fault("voice_delete", Refused(401, "InvalidApiKey")))
    failure = await failure_of(voices.DeleteVoice(DeleteVoiceRequest(id=voice.id, purge=True)))
    assert failure.reason == "PROVIDER_CREDENTIALS"
    assert (await voices.GetVoice(GetVoiceRequest(id=voice.id))).voice.state == DELETED
    purged = (await voices.DeleteVoice(DeleteVoiceRequest(id=voice.id, purge=True))).voice
    assert (purged.state, emulator.voices) == (PURGED, ())


async def test_purging_a_voice_that_the_provider_has_lost_is_no_error(voices, emulator):
    voice = (await voices.CloneVoice(cloning())).voice
    emulator.faults.add(Fault("voice_delete", Refused(400, "BadRequest.VoiceNotFound")))
    assert (await voices.DeleteVoice(DeleteVoiceRequest(id=voice.id, purge=True))).voice.state == PURGED


async def test_lists_give_made_voices_first_then_those_of_the_models_on_pages_of_any_size(voices):
    made = [(await voices.CloneVoice(cloning(display_name=f"n{number}"))).voice for number in range(5)]
    system = await everything(voices, kind=SYSTEM)
    assert len(system) > 100
    assert {voice.kind for voice in system} == {SYSTEM}
    assert all(voice.state == ACTIVE and voice.id == voice.provider_voice_id for voice in system)
    for size in (0, 2, 5, 7, 1000):
        assert await everything(voices, page_size=size) == [*made, *system]


async def test_lists_can_be_narrowed_and_show_what_was_deleted_on_request(voices):
    clone = (await voices.CloneVoice(cloning(model=HTTP_CLONE_MODEL))).voice
    design = (await voices.DesignVoice(designing())).voice
    deleted = (await voices.DeleteVoice(DeleteVoiceRequest(id=clone.id))).voice

    async def ids(**fields: object) -> list[str]:
        return [voice.id for voice in await everything(voices, **fields)]

    assert await ids(model=HTTP_CLONE_MODEL) == []
    assert await everything(voices, model=HTTP_CLONE_MODEL, show_deleted=True) == [deleted]
    assert await ids(kind=voice_service_pb2.VOICE_KIND_DESIGNED) == [design.id]
    assert await ids(kind=voice_service_pb2.VOICE_KIND_CLONED) == []
    assert await ids(provider="nobody") == []
    flash = await everything(voices, model="qwen3-tts-flash")
    assert flash[0].id == "Cherry"
    assert {voice.model for voice in flash} == {"qwen3-tts-flash"}


async def test_a_models_own_voice_can_be_got_by_its_name(voices):
    voice = (await voices.GetVoice(GetVoiceRequest(id="Cherry", provider="qwen"))).voice
    assert (voice.kind, voice.provider, voice.provider_voice_id) == (SYSTEM, "qwen", "Cherry")


@pytest.mark.parametrize(
    ("method", "request_", "code", "reason", "field"),
    [
        ("GetVoice", GetVoiceRequest(), "INVALID_ARGUMENT", "INVALID_REQUEST", "id"),
        ("GetVoice", GetVoiceRequest(id="Nobody"), "NOT_FOUND", "VOICE_NOT_FOUND", "id"),
        ("GetVoice", GetVoiceRequest(id="Cherry", provider="x"), "NOT_FOUND", "VOICE_NOT_FOUND", "id"),
        ("GetVoice", GetVoiceRequest(id="voices/\0"), "NOT_FOUND", "VOICE_NOT_FOUND", "id"),
        ("DeleteVoice", DeleteVoiceRequest(id="Cherry"), "INVALID_ARGUMENT", "INVALID_REQUEST", "id"),
        ("DeleteVoice", DeleteVoiceRequest(id="voices/" + "0" * 32), "NOT_FOUND", "VOICE_NOT_FOUND", "id"),
        ("DeleteVoice", DeleteVoiceRequest(id="voices/x", purge=True), "NOT_FOUND", "VOICE_NOT_FOUND", "id"),
        ("UndeleteVoice", UndeleteVoiceRequest(), "INVALID_ARGUMENT", "INVALID_REQUEST", "id"),
        ("UndeleteVoice", UndeleteVoiceRequest(id="voices/x"), "NOT_FOUND", "VOICE_NOT_FOUND", "id"),
        ("ListVoices", ListVoicesRequest(page_size=1001), "INVALID_ARGUMENT", "INVALID_REQUEST", "page_size"),
        ("ListVoices", ListVoicesRequest(page_token="!"), "INVALID_ARGUMENT", "INVALID_REQUEST", "page_token"),
        ("ListVoices", ListVoicesRequest(page_token="eHg="), "INVALID_ARGUMENT", "INVALID_REQUEST", "page_token"),
        (
            "ListVoices",
            ListVoicesRequest(page_token="bTk5dm9pY2Vz"),
            "INVALID_ARGUMENT",
            "INVALID_REQUEST",
            "page_token",
        ),
        ("ListVoices", ListVoicesRequest(kind=9), "INVALID_ARGUMENT", "INVALID_REQUEST", "kind"),
        ("CloneVoice", cloning(provider="x"), "INVALID_ARGUMENT", "PROVIDER_NOT_FOUND", "provider"),
        ("CloneVoice", cloning(model="x"), "NOT_FOUND", "MODEL_NOT_FOUND", "model"),
        ("CloneVoice", cloning(model="qwen3-tts-flash"), "INVALID_ARGUMENT", "UNSUPPORTED", "model"),
        ("CloneVoice", cloning(display_name="x" * 101), "INVALID_ARGUMENT", "INVALID_REQUEST", "display_name"),
        ("CloneVoice", cloning(display_name="x\0"), "INVALID_ARGUMENT", "INVALID_REQUEST", "display_name"),
        ("CloneVoice", cloning(labels={"a": "\0"}), "INVALID_ARGUMENT", "INVALID_REQUEST", "labels"),
        (
            "CloneVoice",
            cloning(provider_options=struct_pb2.Struct(fields={"a": struct_pb2.Value(number_value=float("nan"))})),
            "INVALID_ARGUMENT",
            "INVALID_REQUEST",
            "provider_options.a",
        ),
        ("CloneVoice", cloning(request_id="é"), "INVALID_ARGUMENT", "INVALID_REQUEST", "request_id"),
        ("CloneVoice", cloning(language_code="tlh"), "INVALID_ARGUMENT", "UNSUPPORTED", "language_code"),
        ("CloneVoice", cloning(audio={"data": b"x"}), "INVALID_ARGUMENT", "INVALID_AUDIO", "audio"),
        ("CloneVoice", cloning(audio={"data": recording(20)}), "INVALID_ARGUMENT", "INVALID_AUDIO", "audio"),
        ("CloneVoice", cloning(audio={"data": recording(rate=16_000)}), "INVALID_ARGUMENT", "INVALID_AUDIO", "audio"),
        ("CloneVoice", cloning(audio={"uri": "ftp://x/y"}), "INVALID_ARGUMENT", "URI_NOT_ALLOWED", "audio"),
        ("CloneVoice", cloning(audio={"data": bytes(21 << 20)}), "INVALID_ARGUMENT", "MEDIA_TOO_LARGE", "audio"),
        ("DesignVoice", designing(description=" "), "INVALID_ARGUMENT", "INVALID_REQUEST", "description"),
        ("DesignVoice", designing(description="x" * 2049), "INVALID_ARGUMENT", "UNSUPPORTED", "description"),
        ("DesignVoice", designing(preview_text=""), "INVALID_ARGUMENT", "INVALID_REQUEST", "preview_text"),
        ("DesignVoice", designing(preview_text="x" * 1025), "INVALID_ARGUMENT", "UNSUPPORTED", "preview_text"),
        ("DesignVoice", designing(description="x\0"), "INVALID_ARGUMENT", "INVALID_REQUEST", "description"),
        (
            "DesignVoice",
            designing(preview_format={"encoding": media_pb2.AUDIO_ENCODING_OGG_OPUS, "sample_rate_hertz": 44_100}),
            "INVALID_ARGUMENT",
            "UNSUPPORTED",
            "preview_format.sample_rate_hertz",
        ),
        (
            "DesignVoice",
            designing(preview_format={"encoding": 99}),
            "INVALID_ARGUMENT",
            "UNSUPPORTED",
            "preview_format.encoding",
        ),
    ],
)
async def test_a_bad_request_is_refused_before_anything_is_paid_for(
    voices, emulator, method, request_, code, reason, field
):
    failure = await failure_of(getattr(voices, method)(request_))
    assert (failure.code.name, failure.reason) == (code, reason)
    assert [violation.field for violation in failure.violations] == [field]
    assert emulator.count() == 0


async def test_everything_that_is_wrong_with_a_request_is_told_at_once(voices):
    request = voice_service_pb2.CloneVoiceRequest(
        language_code="tlh", labels={"": "x"}, consent={"consent_time": {"seconds": 10**15}}
    )
    failure = await failure_of(voices.CloneVoice(request))
    assert {violation.field for violation in failure.violations} == {
        "display_name",
        "audio",
        "consent.speaker",
        "consent.statement",
        "consent.consent_time",
        "labels",
        "language_code",
    }


async def test_twenty_clones_at_once_are_twenty_voices_each_with_its_own_record(voices, emulator):
    answers = await asyncio.gather(*(voices.CloneVoice(cloning(display_name=f"n{one}")) for one in range(20)))
    made = {answer.voice.id: answer.voice for answer in answers}
    assert len(made) == 20
    assert {voice.provider_voice_id for voice in made.values()} == {voice.name for voice in emulator.voices}
    listed = await everything(voices, kind=voice_service_pb2.VOICE_KIND_CLONED)
    assert {voice.id: voice for voice in listed} == made


async def test_two_services_share_one_catalogue(emulator, database_url):
    settings = settings_for_tests(database__url=database_url)
    settings = msgspec.structs.replace(settings, providers={"qwen": provider_table(emulator)})
    async with (
        server.running(settings) as first,
        server.running(settings) as second,
        stubs_of(first.target) as one,
        stubs_of(second.target) as other,
    ):
        voice = (await VoiceStubs(one).CloneVoice(cloning())).voice
        assert (await VoiceStubs(other).GetVoice(GetVoiceRequest(id=voice.id))).voice == voice
        await VoiceStubs(other).DeleteVoice(DeleteVoiceRequest(id=voice.id))
        assert (await failure_of(VoiceStubs(one).synthesize("x", voice=voice.id))).reason == "VOICE_DELETED"


async def test_a_full_account_is_told_and_leaves_nothing_in_the_catalogue(voices, emulator):
    emulator.behaviour = Behaviour(voice_quota=0)
    failure = await failure_of(voices.CloneVoice(cloning()))
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "VOICE_QUOTA")
    assert await everything(voices, kind=voice_service_pb2.VOICE_KIND_CLONED, show_deleted=True) == []


@pytest.fixture
def files() -> Iterator[dict[str, object]]:
    """Give files by path, to be filled; `base` is where a server of this machine has them."""
    served: dict[str, object] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(served[self.path])

        def log_message(self, *_: object) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    served["base"] = f"http://127.0.0.1:{listening.server_port}"
    yield served
    listening.shutdown()
    thread.join()
    listening.server_close()
