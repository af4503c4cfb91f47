"""`pixvox voice`: clone, design, list, get, delete, undelete."""

from __future__ import annotations

import io
import json
import wave
from concurrent import futures
from dataclasses import dataclass, field

import grpc
import pytest
from grpc_status import rpc_status

from pixvox.errors import PixvoxError, VoiceDeletedError, VoiceNotFoundError
from pixvox.v1 import media_pb2, voice_service_pb2, voice_service_pb2_grpc
from pixvox.v1.voice_service_pb2 import Voice


def wav() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 24_000, 0, "NONE", ""))
        writer.writeframes(bytes(48_000))
    return file.getvalue()


def made(number: int = 1, **fields: object) -> Voice:
    voice = Voice(
        id=f"voices/{number:032x}",
        kind=voice_service_pb2.VOICE_KIND_CLONED,
        state=voice_service_pb2.VOICE_STATE_ACTIVE,
        display_name="Narrator",
        provider="box",
        region="sg",
        model="box-vc",
        provider_voice_id="box-voice-1",
        consent={"speaker": "Ann", "statement": "yes"},
        receipt={
            "request_id": "mine-1",
            "provider": "box",
            "model": "box-vc",
            "provider_request_id": "box-1",
            "cost": {"state": media_pb2.COST_STATE_PRICED, "amount": "0.01", "currency": "USD"},
        },
    )
    voice.create_time.FromJsonString("2026-03-01T10:00:00Z")
    voice.MergeFrom(Voice(**fields))
    return voice


@dataclass
class FakeVoices(voice_service_pb2_grpc.VoiceServiceServicer):
    """Answers as the contract says; lists in pages of two."""

    fault: PixvoxError | None = None
    voices: list[Voice] = field(default_factory=lambda: [made()])
    warnings: list[media_pb2.Warning] = field(default_factory=list)
    requests: list = field(default_factory=list)
    target: str = ""

    def _begin(self, request, context):
        self.requests.append(request)
        if self.fault is not None:
            context.abort_with_status(rpc_status.to_status(self.fault.to_status("made-here")))

    def CloneVoice(self, request, context):
        self._begin(request, context)
        return voice_service_pb2.CloneVoiceResponse(voice=self.voices[0], warnings=self.warnings)

    def DesignVoice(self, request, context):
        self._begin(request, context)
        return voice_service_pb2.DesignVoiceResponse(
            voice=self.voices[0],
            preview=wav(),
            preview_mime_type="audio/wav",
            preview_format=request.preview_format,
            preview_duration={"seconds": 1},
            warnings=self.warnings,
        )

    def GetVoice(self, request, context):
        self._begin(request, context)
        return voice_service_pb2.GetVoiceResponse(voice=self.voices[0])

    def ListVoices(self, request, context):
        self._begin(request, context)
        start = int(request.page_token or 0)
        more = str(start + 2) if start + 2 < len(self.voices) else ""
        return voice_service_pb2.ListVoicesResponse(voices=self.voices[start : start + 2], next_page_token=more)

    def DeleteVoice(self, request, context):
        self._begin(request, context)
        return voice_service_pb2.DeleteVoiceResponse(voice=made(state=voice_service_pb2.VOICE_STATE_DELETED))

    def UndeleteVoice(self, request, context):
        self._begin(request, context)
        return voice_service_pb2.UndeleteVoiceResponse(voice=self.voices[0])


@pytest.fixture
def service():
    """A running FakeVoices, in the place of the service that the other commands have."""
    fake = FakeVoices()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    voice_service_pb2_grpc.add_VoiceServiceServicer_to_server(fake, server)
    fake.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield fake
    server.stop(None).wait()


CLONE = ("voice", "clone", "ann.wav", "--name", "Narrator", "--speaker", "Ann", "--consent", "contract 7")
DESIGN = ("voice", "design", "warm and low", "--name", "Host", "--text", "Good evening.")


@pytest.fixture(autouse=True)
def recording(pixvox):
    (pixvox.folder / "ann.wav").write_bytes(wav())


def test_every_option_of_a_clone_reaches_the_request(pixvox, service):
    done = pixvox(
        *CLONE,
        *("--consent-time", "2026-03-01T12:00:00+0200", "--transcript", "good evening", "--language", "en"),
        *("--model", "vc", "--provider", "box", "--request-id", "r-1", "--label", "team=audio"),
        *("--option", '{"box": {"a": 1}}'),
    )
    assert done.code == 0
    (request,) = service.requests
    assert request.audio.data == wav()
    assert (request.display_name, request.transcript, request.language_code) == ("Narrator", "good evening", "en")
    assert (request.consent.speaker, request.consent.statement) == ("Ann", "contract 7")
    assert request.consent.consent_time.ToJsonString() == "2026-03-01T10:00:00Z"
    assert (request.model, request.provider, request.request_id) == ("vc", "box", "r-1")
    assert (dict(request.labels), request.provider_options["box"]["a"]) == ({"team": "audio"}, 1)


def test_what_is_left_out_of_a_clone_stays_unset(pixvox, service):
    assert pixvox(*CLONE).code == 0
    (request,) = service.requests
    assert [field.name for field, _ in request.ListFields()] == ["display_name", "audio", "consent"]
    assert not request.consent.HasField("consent_time")


def test_a_recording_may_be_an_address_or_standard_input(pixvox, service):
    pixvox("voice", "clone", "https://example.com/a.wav", *CLONE[3:])
    pixvox("voice", "clone", "-", *CLONE[3:], stdin=wav())
    assert service.requests[0].audio.uri == "https://example.com/a.wav"
    assert service.requests[1].audio.data == wav()


@pytest.mark.parametrize("missing", ["--name", "--speaker", "--consent"])
def test_a_clone_without_its_name_or_consent_is_not_sent(pixvox, service, missing):
    place = CLONE.index(missing)
    done = pixvox(*CLONE[:place], *CLONE[place + 2 :])
    assert done.code == 2
    assert missing in done.err
    assert service.requests == []


def test_success_tells_id_name_model_person_cost_and_ids(pixvox):
    done = pixvox(*CLONE)
    for fact in (made().id, "Narrator", "cloned", "active", "box-vc", "sg", "box-voice-1", "Ann", "0.01 USD", "mine-1"):
        assert fact in done.out
    assert done.err == ""


def test_warnings_are_shown_aside(pixvox, service):
    service.warnings = [media_pb2.Warning(field="audio", message="was converted")]
    done = pixvox(*CLONE)
    assert "warning audio: was converted" in done.err
    assert "converted" not in done.out


def test_json_is_one_document_with_the_voice(pixvox):
    answer = json.loads(pixvox(*CLONE, "--json").out)
    assert answer["voice"]["id"] == made().id
    assert answer["voice"]["consent"]["speaker"] == "Ann"
    assert answer["warnings"] == []


@pytest.mark.parametrize(
    ("output", "encoding"),
    [
        ("host.wav", media_pb2.AUDIO_ENCODING_WAV),
        ("host.mp3", media_pb2.AUDIO_ENCODING_MP3),
        ("host.opus", media_pb2.AUDIO_ENCODING_OGG_OPUS),
    ],
)
def test_a_designs_preview_is_a_file_whose_suffix_says_the_encoding(pixvox, service, output, encoding):
    done = pixvox(*DESIGN, "-o", output, "--language", "en", "--rate-hertz", "16000")
    assert done.code == 0
    (request,) = service.requests
    assert (request.display_name, request.description, request.preview_text) == (
        "Host",
        "warm and low",
        "Good evening.",
    )
    assert request.language_code == "en"
    assert request.preview_format == media_pb2.AudioFormat(encoding=encoding, sample_rate_hertz=16_000)
    assert (pixvox.folder / output).read_bytes() == wav()
    assert "1.00 s" in done.out


def test_a_preview_may_go_to_a_pipe_and_the_facts_aside(start):
    process = start(*DESIGN, "-o", "-")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, wav())
    assert made().id.encode() in err


@pytest.mark.parametrize("output", ["host", "host.txt", "no/such/folder.wav"])
def test_a_preview_that_could_not_be_written_is_not_paid_for(pixvox, service, output):
    done = pixvox(*DESIGN, "-o", output)
    assert (done.code, service.requests) == (2, [])


def test_a_preview_that_cannot_be_written_after_all_tells_which_voice_was_made(pixvox, tmp_path):
    (tmp_path / "host.wav.partial").mkdir()
    done = pixvox(*DESIGN, "-o", "host.wav")
    assert done.code == 1
    assert f"The voice was made all the same: {made().id}" in done.err


def test_all_pages_of_the_list_are_shown(pixvox, service):
    service.voices = [made(number, display_name=f"!{number}") for number in range(5)]
    done = pixvox("voice", "list")
    for voice in service.voices:
        assert voice.id in done.out
    assert "2026-03-01 10:00" in done.out
    assert len(service.requests) == 3
    answer = json.loads(pixvox("voice", "list", "--json").out)
    assert [voice["id"] for voice in answer["voices"]] == [voice.id for voice in service.voices]


def test_a_list_can_be_narrowed(pixvox, service):
    pixvox("voice", "list", "--kind", "designed", "--provider", "box", "--model", "m", "--deleted")
    (request,) = service.requests
    assert request.kind == voice_service_pb2.VOICE_KIND_DESIGNED
    assert (request.provider, request.model, request.show_deleted) == ("box", "m", True)


def test_one_voice_is_shown(pixvox, service):
    done = pixvox("voice", "get", "Cherry", "--provider", "box")
    assert made().id in done.out
    assert service.requests == [voice_service_pb2.GetVoiceRequest(id="Cherry", provider="box")]


def test_deleting_keeps_the_provider_out_unless_told_to_purge(pixvox, service):
    assert "deleted" in pixvox("voice", "delete", made().id).out
    pixvox("voice", "delete", made().id, "--purge")
    assert [request.purge for request in service.requests] == [False, True]


def test_a_voice_is_taken_back(pixvox, service):
    assert "active" in pixvox("voice", "undelete", made().id).out
    assert service.requests == [voice_service_pb2.UndeleteVoiceRequest(id=made().id)]


@pytest.mark.parametrize(
    ("fault", "code"), [(VoiceNotFoundError("There is no such voice."), 3), (VoiceDeletedError("It was purged."), 1)]
)
def test_a_refusal_has_its_reason_and_its_exit_code(pixvox, service, fault, code):
    service.fault = fault
    done = pixvox("voice", "undelete", made().id)
    assert done.code == code
    assert fault.message in done.err
