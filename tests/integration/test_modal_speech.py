"""Speech by jobs of the earlier app on Modal, through the service, and the switch between it and DashScope."""

from __future__ import annotations

import asyncio
import base64
import contextlib

import grpc
import msgspec
import pytest

import serving
from calling import check_invariants, config_message, flush_message, kinds, rest_of, spoken, text_message, until
from emulated import failure_of
from pixvox.settings import SettingsError
from pixvox.settings.environment import with_environment
from pixvox.testing.dashscope import DashScopeEmulator
from pixvox.testing.modal import Fault, JobApp, ModalEmulator, Verbatim, said
from pixvox.v1 import media_pb2

RECORDING = b"RIFF" + bytes(200)
MODEL = "qwen3-tts-voice-clone-06b"


@pytest.fixture
def voices(tmp_path):
    path = tmp_path / "reference.wav"
    path.write_bytes(RECORDING)
    return {"host": {"audio": str(path), "transcript": "Good evening."}}


def settings_of(app, voices, mode="modal", **vendors):
    table = {"kind": "modal", "voices": voices, "job_poll_seconds": 0.05}
    settings = serving.settings_with({**serving.vendors(**vendors), "modal": table}, {})
    return with_environment(settings, app.urls | {"TTS_PROVIDER_MODE": mode}, appear=False)


@contextlib.asynccontextmanager
async def deployed(voices, **app_settings):
    async with JobApp(**app_settings) as app, serving.serving(settings_of(app, voices)) as stubs:
        yield app, stubs


def samples(answers):
    return b"".join(answer.audio.data for answer in answers if answer.HasField("audio"))


async def test_a_text_is_spoken_by_a_job_with_the_recording_and_its_transcript(voices):
    async with deployed(voices, seconds=0.1) as (app, stubs):
        answers = await spoken(
            stubs, [config_message(language_code="de-AT"), text_message("Guten "), text_message("Abend.")]
        )
    check_invariants(answers)
    assert samples(answers) == said("Guten Abend.")
    [(job_id, job)] = app.jobs.items()
    assert job.fields == {
        "text": "Guten Abend.",
        "language": "German",
        "ref_audio_base64": base64.b64encode(RECORDING).decode(),
        "ref_text": "Good evening.",
        "max_new_tokens": 2048,
    }
    receipt = answers[-1].summary.receipt
    assert (receipt.provider, receipt.model, receipt.provider_request_id) == ("modal", MODEL, job_id)
    assert receipt.usage.characters == 12
    assert answers[0].started.voice == "host"


async def test_each_flush_is_a_job_of_its_own_and_silence_is_none(voices):
    messages = [config_message(), text_message("one"), flush_message("a"), text_message(" "), flush_message("b")]
    async with deployed(voices) as (app, stubs):
        answers = await spoken(stubs, [*messages, text_message("two")])
    check_invariants(answers)
    assert samples(answers) == said("one") + said("two")
    assert [answer.flushed.id for answer in answers if answer.HasField("flushed")] == ["a", "b"]
    assert [job.fields["text"] for job in app.jobs.values()] == ["one", "two"]


async def test_a_caller_who_leaves_has_the_job_cancelled(voices):
    async with deployed(voices, seconds=60) as (app, stubs):
        call = stubs.speech.StreamSpeech(iter([config_message(), text_message("never")]))
        reading = asyncio.ensure_future(rest_of(call))
        await until(lambda: app.jobs)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError, grpc.RpcError):
            await reading
        await until(lambda: all(job.cancelled for job in app.jobs.values()))


async def test_a_result_that_is_late_is_asked_for_at_growing_intervals(voices):
    async with deployed(voices) as (app, stubs):
        app.late_seconds = 0.5
        answers = await spoken(stubs, [config_message(), text_message("Hello.")])
    assert samples(answers) == said("Hello.")
    # At once, and then no sooner than a job is asked after; without a pause it would be hundreds of times.
    assert 2 <= app.results <= 15


@pytest.mark.parametrize("redirects", [1, 2])
async def test_a_submission_that_is_redirected_while_the_app_starts_is_submitted_once(voices, redirects):
    async with deployed(voices) as (app, stubs):
        app.slow_submissions = redirects
        answers = await spoken(stubs, [config_message(), text_message("Hello.")])
    assert samples(answers) == said("Hello.")
    [(job_id, _)] = app.jobs.items()
    assert answers[-1].summary.receipt.provider_request_id == job_id


async def test_an_app_whose_operator_has_recorded_nobody_says_how_to_get_a_voice():
    async with deployed({}) as (app, stubs):
        failed = await failure_of(spoken(stubs, [config_message(), text_message("x")]))
        named = await failure_of(spoken(stubs, [config_message(voice="host"), text_message("x")]))
    assert not app.jobs
    assert (failed.reason, named.reason) == ("INVALID_REQUEST", "VOICE_NOT_FOUND")
    for one in (failed, named):
        [violation] = one.violations
        assert violation.field == "config.voice"
        assert "the id of a voice that CloneVoice or DesignVoice made for it, see ListVoices" in violation.description


async def test_a_job_whose_file_is_no_audio_is_named(voices):
    async with ModalEmulator() as edge, JobApp() as app:
        edge.faults.add(Fault("", Verbatim(200, b"<html>", "text/html")))
        urls = app.urls | {"MODAL_JOB_RESULT": f"{edge.url}/job-result"}
        table = {"kind": "modal", "voices": voices, "job_poll_seconds": 0.05}
        settings = with_environment(serving.settings_with({"modal": table}, {}), urls, appear=False)
        async with serving.serving(settings) as stubs:
            failed = await failure_of(spoken(stubs, [config_message(), text_message("x")]))
    assert (failed.reason, failed.metadata["replay"]) == ("PROVIDER_INTERNAL", "accepted")
    assert failed.metadata["provider_request_id"] in app.jobs


async def test_a_job_that_fails_was_accepted(voices):
    async with deployed(voices) as (app, stubs):
        app.failing = True
        failed = await failure_of(spoken(stubs, [config_message(), text_message("x")]))
    assert (failed.reason, failed.metadata["replay"]) == ("PROVIDER_INTERNAL", "accepted")
    assert failed.metadata["provider_request_id"] in app.jobs


async def test_a_budget_that_is_spent_while_a_job_runs_ends_the_asking(voices):
    async with JobApp(seconds=60) as app, ModalEmulator() as edge:
        edge.spent = True
        urls = app.urls | {"MODAL_JOB_STATUS": f"{edge.url}/job-status"}
        table = {"kind": "modal", "voices": voices, "job_poll_seconds": 0.05}
        settings = with_environment(serving.settings_with({"modal": table}, {}), urls, appear=False)
        async with serving.serving(settings) as stubs:
            failed = await failure_of(spoken(stubs, [config_message(), text_message("x")]))
    assert (failed.reason, failed.metadata["replay"]) == ("OUTCOME_UNKNOWN", "accepted")
    assert len(edge.requests) == len(app.jobs) == 1


async def test_the_proxy_token_goes_to_the_app_as_well(voices):
    token = {"key": "wk-test", "secret": "ws-test"}
    async with JobApp() as app, ModalEmulator(**token) as edge:
        urls = app.urls | {"MODAL_JOB_SUBMIT": f"{edge.url}/submit-job"}
        table = {"kind": "modal", "voices": voices} | token
        settings = with_environment(serving.settings_with({"modal": table}, {}), urls, appear=False)
        async with serving.serving(settings) as stubs:
            await failure_of(spoken(stubs, [config_message(), text_message("x")]))
    assert edge.requests[0].headers["modal-key"] == edge.requests[0].headers["modal-secret"] == "***"


async def test_an_option_that_jobs_lack_is_refused_before_anything_is_sent(voices):
    async with deployed(voices) as (app, stubs):
        asked = config_message()
        asked.config.provider_options.update({"modal": {"seed": 1}})
        failed = await failure_of(spoken(stubs, [asked, text_message("x")]))
    assert [one.field for one in failed.violations] == ["config.provider_options.modal.seed"]
    assert not app.jobs


async def test_a_submission_without_an_answer_is_not_repeated(voices):
    async with deployed(voices) as (app, stubs):
        app.forgetful = True
        failed = await failure_of(spoken(stubs, [config_message(), text_message("x")]))
    assert failed.reason == "OUTCOME_UNKNOWN"
    assert len(app.jobs) == 1


@pytest.mark.parametrize(("mode", "provider"), [("modal", "modal"), ("qwen", "qwen")])
async def test_the_plans_switch_moves_speech_between_modal_and_dashscope(voices, mode, provider):
    async with (
        DashScopeEmulator() as vendor,
        JobApp() as app,
        serving.serving(settings_of(app, voices, mode, qwen=vendor)) as stubs,
    ):
        answers = await spoken(stubs, [config_message(), text_message("Hello.")])
    assert answers[-1].summary.receipt.provider == provider
    assert bool(app.jobs) is (provider == "modal")
    assert bool(vendor.count()) is (provider == "qwen")


async def test_an_app_is_configured_as_a_whole(voices):
    async with JobApp() as app:
        settings = settings_of(app, voices)
        half = {name: value for name, value in settings.providers["modal"].items() if name != "job_result"}
        broken = msgspec.structs.replace(settings, providers={"modal": half})
        with pytest.raises(SettingsError, match="job_submit: a speech app has job_submit, job_status, job_result"):
            async with serving.serving(broken):
                pass


async def test_audio_comes_in_the_format_that_was_asked_for(voices):
    wanted = media_pb2.AudioFormat(encoding=media_pb2.AUDIO_ENCODING_WAV)
    async with deployed(voices) as (_, stubs):
        answers = await spoken(stubs, [config_message(format=wanted), text_message("Hi")])
    assert samples(answers).startswith(b"RIFF")
    assert kinds(answers)[-1] == "summary"
