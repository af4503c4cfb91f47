"""Voices whose provider keeps none: each call brings the recording along, which lives as long as its voice and no longer."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import io
import wave
from typing import TYPE_CHECKING

import grpc
import pytest
from structlog.testing import capture_logs

import serving
from calling import check_invariants, config_message, kinds, rest_of, text_message, until
from databases import database_url, postgres
from echoing import Echoing, echo_installed, echoing, echoing_process, rows, settings, sound_from, sound_of
from emulated import failure_of
from pixvox import client
from pixvox.database import Database
from pixvox.media.audio import decoded
from pixvox.provider import MAX_REFERENCE_BYTES, Reference
from pixvox.v1 import media_pb2, model_service_pb2, voice_service_pb2
from pixvox.v1.speech_service_pb2 import SpeechConfig
from pixvox.v1.voice_service_pb2 import DeleteVoiceRequest, ListVoicesRequest, UndeleteVoiceRequest, Voice
from pixvox.voices import VoiceStore, new_voice_id
from recording import cloning, designing, recording
from traces import traced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


__all__ = ["database_url", "echo_installed", "postgres"]

pytestmark = pytest.mark.usefixtures("echo_installed")

DELETED = voice_service_pb2.VOICE_STATE_DELETED
PURGED = voice_service_pb2.VOICE_STATE_PURGED
VOICES = "SELECT id, state FROM voices"


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path}/voices.db"


@pytest.fixture
async def service(url) -> AsyncIterator[Echoing]:
    async with echoing(url) as running:
        yield running


def asking(number: int = 0, **fields: object) -> voice_service_pb2.CloneVoiceRequest:
    """A request to clone, each number with a recording of its own."""
    return cloning(audio=media_pb2.MediaInput(data=recording(60 + number)), **fields)


def wav(pcm: bytes, rate: int, channels: int = 1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(pcm)
    return file.getvalue()


async def test_a_clone_speaks_from_its_own_recording_in_one_piece_and_as_a_stream(service, url):
    request = asking(transcript="What is said.", language_code="en")
    voice = (await service.voices.CloneVoice(request)).voice
    assert voice.consent == request.consent
    assert await service.synthesized(voice, "hello") == sound_of(request, "hello")
    answers = await service.streamed(voice, "hello")
    check_invariants(answers)
    assert b"".join(answer.audio.data for answer in answers) == sound_of(request, "hello")
    assert (answers[0].started.voice, answers[0].started.provider) == (voice.id, "echo")
    receipt = answers[-1].summary.receipt
    assert (receipt.provider, receipt.model, receipt.cost.amount, len(receipt.attempts)) == ("echo", "echo-1", "0", 1)
    assert service.provider.speeches == [Reference(request.audio.data, "audio/wav", "What is said.", "en")] * 2
    assert rows(url) == [(voice.id, request.audio.data)]


async def test_a_designed_voice_speaks_from_its_preview(service):
    answer = await service.voices.DesignVoice(designing(language_code="en"))
    reference = Reference(answer.preview, "audio/wav", "Welcome to the evening programme.", "en")
    assert await service.synthesized(answer.voice) == sound_from(reference)
    assert decoded(answer.preview)[1] == 24_000


async def test_many_voices_at_once_are_not_mixed(service):
    requests = [asking(number) for number in range(4)]
    made = [answer.voice for answer in await asyncio.gather(*map(service.voices.CloneVoice, requests))]
    pairs = list(zip(made, requests, strict=True)) * 6
    spoken = await asyncio.gather(*(service.synthesized(voice, "ab") for voice, _ in pairs))
    assert spoken == [sound_of(request, "ab") for _, request in pairs]


async def test_a_voice_outlives_the_service_that_made_it(database_url):
    request = asking(transcript="Ünïcode — 你好.")
    async with echoing(database_url) as service:
        voice = (await service.voices.CloneVoice(request)).voice
    async with echoing(database_url) as service:
        assert await service.synthesized(voice) == sound_of(request)
        assert service.provider.makings == 0


async def test_a_deleted_voice_is_silent_until_it_is_undeleted(service, url):
    request = asking()
    voice = (await service.voices.CloneVoice(request)).voice
    await service.voices.DeleteVoice(DeleteVoiceRequest(id=voice.id))
    for call in (service.synthesized(voice), service.streamed(voice)):
        assert (await failure_of(call)).reason == "VOICE_DELETED"
    assert [row[0] for row in rows(url)] == [voice.id]
    await service.voices.UndeleteVoice(UndeleteVoiceRequest(id=voice.id))
    assert await service.synthesized(voice) == sound_of(request)


async def test_a_purge_erases_the_recording_and_asks_no_provider(database_url):
    async with echoing(database_url) as service:
        voice, other = await service.cloned(), await service.cloned()
        for _ in range(2):
            purged = (await service.voices.DeleteVoice(DeleteVoiceRequest(id=voice.id, purge=True))).voice
            assert purged.state == PURGED
        assert [row[0] for row in rows(database_url)] == [other.id]
        assert (await failure_of(service.synthesized(voice))).reason == "VOICE_DELETED"
        undelete = service.voices.UndeleteVoice(UndeleteVoiceRequest(id=voice.id))
        assert (await failure_of(undelete)).reason == "VOICE_DELETED"
        assert await service.synthesized(other)


async def test_a_recording_can_be_purged_when_its_provider_is_gone(url):
    async with echoing(url) as service:
        voice = await service.cloned()
        await service.voices.DeleteVoice(DeleteVoiceRequest(id=voice.id))
    others = serving.settings_with({"other": {"kind": "echo"}}, {}, database={"url": url})
    async with serving.serving(others) as stubs:
        service = Echoing(stubs)
        assert (await failure_of(service.synthesized(voice))).reason == "VOICE_DELETED"
        await service.voices.UndeleteVoice(UndeleteVoiceRequest(id=voice.id))
        assert (await failure_of(service.synthesized(voice))).reason == "VOICE_PROVIDER_MISMATCH"
        purged = (await service.voices.DeleteVoice(DeleteVoiceRequest(id=voice.id, purge=True))).voice
        assert purged.state == PURGED
    assert rows(url) == []


async def test_what_one_service_deletes_another_no_longer_speaks(database_url):
    async with echoing(database_url) as one, echoing(database_url) as other:
        request = asking()
        voice = (await one.voices.CloneVoice(request)).voice
        assert await other.synthesized(voice) == sound_of(request)
        await one.voices.DeleteVoice(DeleteVoiceRequest(id=voice.id))
        assert (await failure_of(other.synthesized(voice))).reason == "VOICE_DELETED"
        await other.voices.UndeleteVoice(UndeleteVoiceRequest(id=voice.id))
        assert await one.synthesized(voice) == sound_of(request)
        await other.voices.DeleteVoice(DeleteVoiceRequest(id=voice.id, purge=True))
        assert (await failure_of(one.synthesized(voice))).reason == "VOICE_DELETED"


async def test_a_voice_of_another_process_speaks_here(database_url, tmp_path):
    async with echoing_process(database_url, tmp_path) as (_, other), echoing(database_url) as service:
        request = asking()
        voice = (await other.voices.CloneVoice(request)).voice
        assert await service.synthesized(voice) == await other.synthesized(voice) == sound_of(request)
        await service.voices.DeleteVoice(DeleteVoiceRequest(id=voice.id, purge=True))
        assert (await failure_of(other.synthesized(voice))).reason == "VOICE_DELETED"


async def test_a_process_that_dies_while_it_makes_a_voice_leaves_nothing_to_speak_from(database_url, tmp_path):
    async with echoing_process(database_url, tmp_path, making_seconds=60.0) as (process, other):
        call = other.voices.CloneVoice(asking())
        await until(lambda: [row[1] for row in rows(database_url, VOICES)] == ["making"])
        process.kill()
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    assert rows(database_url) == []


async def test_an_unfinished_making_is_forgotten_and_no_orphan_is_reported(database_url):
    database = await Database.open(database_url)
    begun = Voice(
        id=new_voice_id(),
        kind=voice_service_pb2.VOICE_KIND_CLONED,
        display_name="x",
        provider="echo",
        model="echo-1",
    )
    begun.create_time.FromDatetime(datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1))
    await VoiceStore(database).begin(begun)
    await database.aclose()
    with capture_logs() as logs:
        async with echoing(database_url) as service:
            await service.voices.ListVoices(ListVoicesRequest())
            await until(lambda: rows(database_url, VOICES) == [])
    events = [line["event"] for line in logs]
    assert "a voice that was begun was never made" in events
    assert "orphaned voice" not in events


async def test_a_caller_who_leaves_while_a_voice_is_made_does_not_lose_it(url):
    async with echoing(url, making_seconds=0.5) as service:
        request = asking()
        call = service.voices.CloneVoice(request)
        await until(lambda: service.provider.makings)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        await until(lambda: rows(url))
        (voice,) = await service.listed()
        assert await service.synthesized(voice) == sound_of(request)
        assert service.provider.makings == 1


async def test_a_making_that_fails_leaves_nothing_however_uncertain_the_failure_is(url):
    for failure, reason in (("refuse", "PROVIDER_UNAVAILABLE"), ("lose", "OUTCOME_UNKNOWN")):
        async with echoing(url, fail_making=failure) as service:
            assert (await failure_of(service.cloned())).reason == reason
        assert rows(url, VOICES) == rows(url) == []


async def test_a_repeated_request_gets_the_same_voice_and_keeps_one_recording(database_url):
    request = asking(request_id="mine-1")
    async with echoing(database_url) as service:
        first = await service.voices.CloneVoice(request)
        assert await service.voices.CloneVoice(request) == first
        assert service.provider.makings == 1
    async with echoing(database_url) as service:
        assert await service.voices.CloneVoice(request) == first
        assert service.provider.makings == 0
        assert await service.synthesized(first.voice) == sound_of(request)
    assert len(rows(database_url)) == 1


async def test_a_voice_whose_recording_cannot_be_kept_is_not_made(service, url):
    rows(url, "CREATE TRIGGER full BEFORE INSERT ON voice_references BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with capture_logs() as logs:
        failure = await failure_of(service.cloned())
    assert (failure.reason, failure.metadata["deleted"]) == ("INTERNAL", "true")
    assert "it is gone again" in failure.message
    assert "orphaned voice" not in [line["event"] for line in logs]
    assert await service.listed() == []
    rows(url, "DROP TRIGGER full")
    assert await service.synthesized(await service.cloned())


async def test_a_recording_that_is_too_large_to_be_kept_is_made_smaller(service, url):
    # Two minutes at 48 kHz have 11.5 MB.
    pcm = (decoded(recording(rate=48_000))[0] * 40)[: 120 * 48_000 * 2]
    answer = await service.voices.CloneVoice(cloning(audio=media_pb2.MediaInput(data=wav(pcm, 48_000))))
    (warning,) = answer.warnings
    assert "32000 samples per second" in warning.message
    ((_, data),) = rows(url)
    assert len(data) <= MAX_REFERENCE_BYTES
    assert await service.synthesized(answer.voice) == sound_from(Reference(data, "audio/wav"))


async def test_a_recording_that_cannot_be_made_small_enough_is_refused_before_anything_is_stored(service, url):
    # Four minutes at 24 kHz, the lowest rate that a recording is brought to, have as many.
    pcm = (decoded(recording())[0] * 80)[: 240 * 24_000 * 2]
    failure = await failure_of(service.cloned(audio=media_pb2.MediaInput(data=wav(pcm, 24_000))))
    assert (failure.reason, failure.violations[0].field) == ("INVALID_AUDIO", "audio")
    assert str(MAX_REFERENCE_BYTES) in failure.violations[0].description
    assert service.provider.makings == 0
    assert rows(url, VOICES) == rows(url) == []


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"extra_bytes": MAX_REFERENCE_BYTES}, f"allowed: 1..{MAX_REFERENCE_BYTES}"),
        ({"shape": "mute"}, "and speaks from none"),
    ],
)
async def test_a_provider_that_gives_what_nobody_can_keep_or_use_is_found_out(url, table, told):
    async with echoing(url, **table) as service:
        failure = await failure_of(service.cloned())
        assert failure.reason == "PROVIDER_INTERNAL"
        assert told in failure.message
        assert await service.listed() == []
    assert rows(url) == []


async def test_a_provider_that_no_longer_speaks_from_recordings_is_not_asked(url):
    async with echoing(url) as service:
        voice = await service.cloned()
    async with echoing(url, shape="deaf") as service:
        for call in (service.synthesized(voice), service.streamed(voice)):
            failure = await failure_of(call)
            assert (failure.code.name, failure.reason) == ("FAILED_PRECONDITION", "VOICE_PROVIDER_MISMATCH")
            assert "does not speak from recordings any more" in failure.message
        explained = await service.stubs.models.ExplainRoute(
            model_service_pb2.ExplainRouteRequest(stream_speech=SpeechConfig(voice=voice.id))
        )
        assert "does not speak from recordings" in explained.error_message


async def test_a_voice_whose_recording_is_lost_says_so(service, url):
    voice = await service.cloned()
    rows(url, "DELETE FROM voice_references")
    with capture_logs() as logs:
        for call in (service.synthesized(voice), service.streamed(voice)):
            failure = await failure_of(call)
            assert (failure.code.name, failure.reason) == ("INTERNAL", "INTERNAL")
            assert (failure.metadata["voice"], "make the voice anew" in failure.message) == (voice.id, True)
    assert "the recording of a voice is lost or damaged" in [line["event"] for line in logs]
    assert service.provider.speeches == []


async def test_explaining_tells_where_such_a_voice_speaks_and_brings_its_recording_to_nobody(service):
    voice = await service.cloned()
    request = model_service_pb2.ExplainRouteRequest(stream_speech=SpeechConfig(voice=voice.id), text_characters=10)
    (candidate,) = (await service.stubs.models.ExplainRoute(request)).candidates
    assert (candidate.provider, candidate.model, candidate.eligible) == ("echo", "echo-1", True)
    assert service.provider.speeches == []


async def test_a_span_says_that_a_recording_went_along_and_nothing_of_it(url):
    async with traced(settings(url)) as service:
        reached = Echoing(service.stubs)
        voice = await reached.cloned(transcript="Secret words.")
        await reached.synthesized(voice)
    making, speaking = service.named("generate_content echo-1")
    assert speaking.attributes["pixvox.voice.by_reference"] is True
    assert "pixvox.voice.by_reference" not in making.attributes
    assert "Secret" not in str([dict(one.attributes) for one in service.spans])


@pytest.mark.parametrize(
    ("fails", "reason", "before"),
    [
        ("refuse", "PROVIDER_UNAVAILABLE", ["started"]),
        ("lose", "OUTCOME_UNKNOWN", ["started"]),
        ("break", "PROVIDER_DISCONNECTED", ["started", "audio"]),
    ],
)
async def test_a_provider_that_fails_before_or_after_its_first_audio_fails_the_call(url, fails, reason, before):
    async with echoing(url, fail_speech=fails) as service:
        voice = await service.cloned()
        answers = []
        with pytest.raises(grpc.RpcError) as raised:  # noqa: PT012 - what came before the failure counts
            async for answer in service.stubs.speech.StreamSpeech(
                iter([config_message(voice=voice.id), text_message("abc")])
            ):
                answers.append(answer)  # noqa: PERF401
        assert client.failure(raised.value).reason == reason
        assert kinds(answers) == before
        assert (await failure_of(service.synthesized(voice))).reason == reason


async def test_a_caller_who_leaves_in_the_middle_ends_the_synthesis(service):
    voice = await service.cloned()
    call = service.stubs.speech.StreamSpeech()
    await call.write(config_message(voice=voice.id))
    await call.write(text_message("abc"))
    while (await call.read()).WhichOneof("message") != "audio":
        pass
    call.cancel()
    await until(lambda: service.running.calls.in_flight == 0)
    assert await service.synthesized(voice)


async def test_a_call_whose_time_is_up_ends_the_synthesis(service):
    voice = await service.cloned()
    call = service.stubs.speech.StreamSpeech(timeout=0.5)
    await call.write(config_message(voice=voice.id))
    await call.write(text_message("abc"))
    assert (await failure_of(rest_of(call))).code == grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: service.running.calls.in_flight == 0)
    assert await service.synthesized(voice)


def test_a_reference_shows_nothing_of_a_person_when_it_is_printed():
    assert (
        repr(Reference(b"voice", "audio/wav", "Words.", "en")) == "Reference(mime_type='audio/wav', language_code='en')"
    )
