"""Voices that the catalogue keeps for Modal, through the service: cloned and designed, spoken by a worker and by jobs."""

from __future__ import annotations

import base64
import contextlib

import pytest

import serving
from calling import check_invariants, config_message, settings_for_tests, spoken, text_message, until
from emulated import failure_of
from pixvox.errors import OutcomeUnknownError
from pixvox.media.audio import decoded
from pixvox.providers.modal.endpoints import Endpoint
from pixvox.providers.modal.legacy_design import LegacyDesigner
from pixvox.settings.environment import with_environment
from pixvox.testing.modal import AppAnswer, Fault, JobApp, ModalEmulator, Verbatim, said
from pixvox.testing.modal.speech import wav
from pixvox.upstream import Upstream
from pixvox.v1 import voice_service_pb2, voice_service_pb2_grpc
from recording import cloning, designing, recording

BASE = "Qwen3-TTS-Base"
JOBS = "qwen3-tts-voice-clone-06b"
DESIGN = "Qwen3-TTS-VoiceDesign"


def voices_of(stubs):
    return voice_service_pb2_grpc.VoiceServiceStub(stubs.channel)


@contextlib.asynccontextmanager
async def workers(**edge_settings):
    """A worker that clones, one that designs, and a service that knows both."""
    token = {"key": "wk-test", "secret": "ws-test"}
    async with (
        ModalEmulator(speech="Base", **token, **edge_settings) as base,
        ModalEmulator(speech="VoiceDesign", **token, **edge_settings) as design,
    ):
        table = {"kind": "modal", "url": base.url, "models": {BASE: {"verb": "clone"}}, "poll_seconds": 0.02}
        table |= {"design_url": design.url, "design_model": DESIGN} | token
        async with serving.serving(serving.settings_with({"modal": table}, {})) as stubs:
            yield base, design, stubs


@contextlib.asynccontextmanager
async def jobs(environment=None, fields=None, **app_settings):
    """The earlier app and a service that knows it from the environment alone."""
    async with JobApp(**app_settings) as app:
        names = app.urls | {"MODAL_ENDPOINT_VOICE_DESIGN": app.url("design")} | (environment or {})
        table = {"kind": "modal", "job_poll_seconds": 0.02} | (fields(app) if fields else {})
        settings = with_environment(serving.settings_with({"modal": table}, {}), names, appear=False)
        async with serving.serving(settings) as stubs:
            yield app, stubs


def samples(answers):
    return b"".join(answer.audio.data for answer in answers if answer.HasField("audio"))


async def test_a_cloned_voice_is_its_recording_which_goes_along_with_every_text():
    async with workers() as (base, design, stubs):
        made = (await voices_of(stubs).CloneVoice(cloning(transcript="Good evening.", language_code="en"))).voice
        assert not base.requests
        answers = await spoken(stubs, [config_message(voice=made.id), text_message("Hello")])
    check_invariants(answers)
    assert samples(answers) == said("Hello")
    [asked] = base.requests
    assert (asked.fields["task_type"], asked.fields["ref_text"]) == ("Base", "Good evening.")
    sent, rate = decoded(base64.b64decode(asked.fields["ref_audio"].removeprefix("data:audio/wav;base64,")))
    assert (sent, rate) == decoded(recording())
    assert asked.headers["modal-key"] == "***"
    assert (made.provider, made.model, answers[0].started.voice) == ("modal", BASE, made.id)
    assert not design.requests


async def test_a_recording_without_a_transcript_is_spoken_from_by_its_sound_alone():
    async with workers() as (base, _, stubs):
        made = (await voices_of(stubs).CloneVoice(cloning())).voice
        await spoken(stubs, [config_message(voice=made.id), text_message("Hello")])
    assert base.requests[0].fields["x_vector_only_mode"] is True
    assert "ref_text" not in base.requests[0].fields


async def test_a_designed_voice_is_spoken_from_its_preview():
    async with workers() as (base, design, stubs):
        answer = await voices_of(stubs).DesignVoice(designing(language_code="en"))
        answers = await spoken(stubs, [config_message(voice=answer.voice.id), text_message("Hello")])
    text = "Welcome to the evening programme."
    assert decoded(answer.preview) == (said(text), 24_000)
    assert samples(answers) == said("Hello")
    [designed], [asked] = design.requests, base.requests
    assert designed.fields["instructions"] == "warm low male voice, slow"
    assert (designed.fields["model"], designed.fields["language"]) == (DESIGN, "English")
    assert designed.headers["modal-secret"] == "***"
    assert asked.fields["ref_text"] == text
    assert decoded(base64.b64decode(asked.fields["ref_audio"].rpartition(",")[2])) == (said(text), 24_000)


async def test_a_design_that_takes_long_is_asked_for_once_and_fetched_through_redirects():
    async with workers(work_seconds=0.3, redirect_seconds=0.1) as (_, design, stubs):
        answer = await voices_of(stubs).DesignVoice(designing())
    assert answer.preview
    assert design.count("speech") == design.worker.begun == 1
    assert answer.voice.receipt.provider_request_id.startswith("fc-")


async def test_a_design_that_fails_leaves_no_voice_behind():
    async with workers() as (_, design, stubs):
        design.faults.add(Fault("speech", AppAnswer(500, "internal_error")))
        failed = await failure_of(voices_of(stubs).DesignVoice(designing()))
        listed = await voices_of(stubs).ListVoices(voice_service_pb2.ListVoicesRequest(provider="modal"))
    assert failed.reason == "PROVIDER_INTERNAL"
    assert not listed.voices
    assert len(design.requests) == 1


async def test_jobs_speak_with_a_cloned_voice_of_the_catalogue():
    async with jobs() as (app, stubs):
        made = (await voices_of(stubs).CloneVoice(cloning(transcript="Good evening."))).voice
        answers = await spoken(stubs, [config_message(voice=made.id, language_code="it"), text_message("Ciao")])
    assert samples(answers) == said("Ciao")
    [job] = app.jobs.values()
    assert (job.fields["ref_text"], job.fields["language"]) == ("Good evening.", "Italian")
    assert decoded(base64.b64decode(job.fields["ref_audio_base64"])) == decoded(recording())
    assert (made.model, answers[-1].summary.receipt.model) == (JOBS, JOBS)


async def test_jobs_have_to_be_told_what_is_said_in_a_recording():
    async with jobs() as (app, stubs):
        failed = await failure_of(voices_of(stubs).CloneVoice(cloning()))
    assert failed.reason == "UNSUPPORTED"
    assert [one.field for one in failed.violations] == ["transcript"]
    assert not app.jobs


async def test_jobs_without_recordings_of_the_operator_speak_with_made_voices_alone():
    async with jobs() as (app, stubs):
        failed = await failure_of(spoken(stubs, [config_message(), text_message("Hello")]))
    assert (failed.reason, [one.field for one in failed.violations]) == ("INVALID_REQUEST", ["config.voice"])
    assert not app.jobs


async def test_the_apps_own_endpoint_designs_voices_for_jobs():
    async with jobs(redirects=2) as (app, stubs):
        answer = await voices_of(stubs).DesignVoice(designing(language_code="en-GB"))
        await spoken(stubs, [config_message(voice=answer.voice.id), text_message("Hello")])
    text = "Welcome to the evening programme."
    assert app.designs == [{"text": text, "language": "English", "instruct": "warm low male voice, slow"}]
    assert decoded(answer.preview) == (said(text), 24_000)
    [job] = app.jobs.values()
    assert (job.fields["ref_text"], job.fields["text"]) == (text, "Hello")


@pytest.mark.parametrize(("name", "most"), [("description", 500), ("preview_text", 300)])
async def test_a_design_is_no_longer_than_the_app_takes(name, most):
    async with jobs() as (app, stubs):
        failed = await failure_of(voices_of(stubs).DesignVoice(designing(**{name: "x" * (most + 1)})))
        assert not app.designs
        await voices_of(stubs).DesignVoice(designing(**{name: "x" * most}))
    assert [one.field for one in failed.violations] == [name]
    assert len(app.designs) == 1


async def test_a_design_that_the_app_fails_at_is_not_repeated():
    async with jobs() as (app, stubs):
        app.failing = True
        failed = await failure_of(voices_of(stubs).DesignVoice(designing()))
    assert (failed.reason, failed.metadata["replay"]) == ("PROVIDER_INTERNAL", "accepted")
    assert len(app.designs) == 1


async def test_a_design_that_takes_longer_than_it_may_is_of_unknown_outcome():
    upstream = Upstream()
    async with JobApp() as app:
        endpoint = Endpoint(app.url("design"), upstream, read_seconds=60.0, token={})
        # The first call of all takes longer, because it has to load what asks.
        await LegacyDesigner(endpoint).designed("Hello", "warm", "en")
        app.slow_seconds = 600.0
        with pytest.raises(OutcomeUnknownError) as raised:
            await LegacyDesigner(endpoint, seconds=1.0).designed("Hello", "warm", "en")
        assert raised.value.metadata["replay"] == "ambiguous"
        assert len(app.designs) == 2
        await upstream.aclose()


async def test_a_preview_that_is_too_long_to_be_spoken_from_makes_no_voice():
    async with workers() as (_, design, stubs):
        long = wav(said("x" * 601))
        design.faults.add(Fault("speech", Verbatim(200, long, "audio/wav")))
        failed = await failure_of(voices_of(stubs).DesignVoice(designing()))
        listed = await voices_of(stubs).ListVoices(voice_service_pb2.ListVoicesRequest(provider="modal"))
    assert (failed.reason, failed.metadata["replay"]) == ("PROVIDER_INTERNAL", "accepted")
    assert not listed.voices


async def test_the_plans_switch_of_design_switches_it_off_here_as_well():
    async with jobs({"VOICE_DESIGN_ENABLED": "false"}) as (app, stubs):
        failed = await failure_of(voices_of(stubs).DesignVoice(designing()))
        assert (await voices_of(stubs).CloneVoice(cloning(transcript="x"))).voice.id
    assert failed.reason == "SWITCHED_OFF"
    assert not app.designs


async def test_without_an_endpoint_for_it_nobody_designs():
    async with jobs({"MODAL_ENDPOINT_VOICE_DESIGN": ""}) as (_, stubs):
        failed = await failure_of(voices_of(stubs).DesignVoice(designing()))
    assert failed.reason in {"NO_PROVIDER", "UNSUPPORTED"}


async def test_a_short_text_is_spoken_by_one_call_and_a_longer_one_by_a_job():
    def direct(app):
        return {"job_clone": app.url("clone"), "job_clone_characters": 5}

    async with jobs(fields=direct, redirects=1) as (app, stubs):
        made = (await voices_of(stubs).CloneVoice(cloning(transcript="Good evening."))).voice
        short = await spoken(stubs, [config_message(voice=made.id), text_message("Hello")])
        longer = await spoken(stubs, [config_message(voice=made.id), text_message("Hello.")])
    assert (samples(short), samples(longer)) == (said("Hello"), said("Hello."))
    assert [fields["text"] for fields in app.clones] == ["Hello"]
    assert [job.fields["text"] for job in app.jobs.values()] == ["Hello."]
    assert short[-1].summary.receipt.provider_request_id.startswith("fc-")


async def test_a_caller_who_leaves_has_the_job_of_a_cloned_voice_cancelled():
    async with jobs(seconds=60) as (app, stubs):
        made = (await voices_of(stubs).CloneVoice(cloning(transcript="x"))).voice
        call = stubs.speech.StreamSpeech(iter([config_message(voice=made.id), text_message("never")]))
        await until(lambda: app.jobs)
        call.cancel()
        await until(lambda: all(job.cancelled for job in app.jobs.values()))


def test_the_plans_environment_alone_makes_the_provider():
    environment = {f"MODAL_JOB_{name}": f"http://modal.test/{name}" for name in ("SUBMIT", "STATUS", "RESULT")}
    settings = with_environment(settings_for_tests(), environment | {"TTS_PROVIDER_MODE": "modal"}, appear=True)
    assert settings.providers["modal"]["job_result"] == "http://modal.test/RESULT"
    assert settings.defaults["stream_speech"] == "modal"
