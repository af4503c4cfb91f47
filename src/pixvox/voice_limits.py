"""Checks of requests for voices, made before anything is sent; all that is wrong is found at once, as in `limits`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pixvox.errors import InvalidRequestError, UnsupportedError, Violation
from pixvox.limits import (
    MAX_LABEL_KEY,
    MAX_LABEL_VALUE,
    MAX_LABELS,
    violation_of_options,
    violation_of_request_id,
)
from pixvox.media.audio import SAMPLE_RATES_HERTZ
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox.v1 import model_service_pb2, voice_service_pb2

    Request = voice_service_pb2.CloneVoiceRequest | voice_service_pb2.DesignVoiceRequest

MAX_DISPLAY_NAME = 100
MAX_SPEAKER = 200
MAX_STATEMENT = 2000
MAX_TRANSCRIPT = 10_000


@dataclass(slots=True)
class _Findings:
    """What is wrong with one request."""

    model: model_service_pb2.Model
    invalid: list[Violation] = field(default_factory=list)
    unsupported: list[Violation] = field(default_factory=list)

    def text(self, path: str, text: str, most: int, least: int = 1) -> None:
        """Check a text that every model takes and the catalogue keeps."""
        if not least <= len(text) <= most or (least and not text.strip()):
            given = "is empty" if not text.strip() else f"has {len(text)} characters"
            self.invalid.append(Violation(path, f"{given}; allowed: {least}..{most} characters"))
        elif "\0" in text:
            self.invalid.append(Violation(path, "holds a NUL character, which cannot be kept"))

    def raise_if_any(self) -> None:
        found = [*self.invalid, *self.unsupported]
        if not found:
            return
        kind = InvalidRequestError if self.invalid else UnsupportedError
        sentence = "; ".join(f"{violation.field}: {violation.description}" for violation in found)
        raise kind(sentence, *found, metadata={"provider": self.model.provider, "model": self.model.id})


def check_clone_voice(request: voice_service_pb2.CloneVoiceRequest, model: model_service_pb2.Model) -> None:
    """Check everything in `request` but the names of model and provider, and what is in the recording.

    Raises:
        InvalidRequestError: A value that no model allows.
        UnsupportedError: A value that `model` does not allow.
    """
    findings = _Findings(model)
    capability = model.clone_voice
    _check_common(request, findings)
    source = request.audio.WhichOneof("source")
    if source is None or not getattr(request.audio, source):
        findings.invalid.append(Violation("audio", "is empty; set data or uri"))
    findings.text("transcript", request.transcript, MAX_TRANSCRIPT, least=0)
    if capability.needs_transcript and not request.transcript.strip():
        findings.unsupported.append(Violation("transcript", f"is empty; {model.id} has to be told what is said"))
    _check_consent(request.consent, findings)
    _check_language(request.language_code, capability.language_codes or model.stream_speech.language_codes, findings)
    findings.raise_if_any()


def check_design_voice(request: voice_service_pb2.DesignVoiceRequest, model: model_service_pb2.Model) -> None:
    """Check everything in `request` but the names of model and provider.

    Raises:
        InvalidRequestError: A value that no model allows.
        UnsupportedError: A value that `model` does not allow.
    """
    findings = _Findings(model)
    capability = model.design_voice
    _check_common(request, findings)
    _check_length("description", request.description, capability.max_description_characters, findings)
    _check_length("preview_text", request.preview_text, capability.max_preview_text_characters, findings)
    _check_language(request.language_code, capability.language_codes or model.stream_speech.language_codes, findings)
    _check_format(request.preview_format, findings)
    findings.raise_if_any()


def _check_common(request: Request, findings: _Findings) -> None:
    findings.text("display_name", request.display_name, MAX_DISPLAY_NAME)
    if request.request_id and (violation := violation_of_request_id(request.request_id)):
        findings.invalid.append(violation)
    if violation := violation_of_options(request.provider_options):
        findings.invalid.append(violation)
    if len(request.labels) > MAX_LABELS:
        findings.invalid.append(Violation("labels", f"has {len(request.labels)} labels; allowed: 0..{MAX_LABELS}"))
    if any(
        not 1 <= len(key) <= MAX_LABEL_KEY or len(value) > MAX_LABEL_VALUE or "\0" in key + value
        for key, value in request.labels.items()
    ):
        allowed = f"allowed: keys of 1..{MAX_LABEL_KEY}, values of 0..{MAX_LABEL_VALUE} characters, none of them NUL"
        findings.invalid.append(Violation("labels", allowed))


def _check_consent(consent: voice_service_pb2.Consent, findings: _Findings) -> None:
    findings.text("consent.speaker", consent.speaker, MAX_SPEAKER)
    findings.text("consent.statement", consent.statement, MAX_STATEMENT)
    if consent.HasField("consent_time"):
        try:
            consent.consent_time.ToJsonString()
        except ValueError:
            findings.invalid.append(
                Violation("consent.consent_time", "is no time; allowed: the years 1 to 9999, 0..999999999 nanoseconds")
            )


def _check_length(path: str, text: str, most: int, findings: _Findings) -> None:
    if not text.strip():
        findings.invalid.append(Violation(path, "is empty"))
    elif "\0" in text:
        findings.invalid.append(Violation(path, "holds a NUL character, which cannot be kept"))
    elif most and len(text) > most:
        findings.unsupported.append(Violation(path, f"has {len(text)} characters; allowed: 1..{most}"))


def _check_language(code: str, codes: Sequence[str], findings: _Findings) -> None:
    def primary(tag: str) -> str:
        return tag.split("-", 1)[0].lower()

    if code and (not codes or primary(code) not in {primary(one) for one in codes}):
        findings.unsupported.append(Violation("language_code", f"allowed: {', '.join(codes) or 'none'}"))


def _check_format(wanted: media_pb2.AudioFormat, findings: _Findings) -> None:
    rates = SAMPLE_RATES_HERTZ.get(wanted.encoding or media_pb2.AUDIO_ENCODING_PCM_S16LE)
    if rates is None:
        names = ", ".join(map(media_pb2.AudioEncoding.Name, SAMPLE_RATES_HERTZ))
        findings.unsupported.append(Violation("preview_format.encoding", f"allowed: {names}"))
    elif wanted.sample_rate_hertz and wanted.sample_rate_hertz not in rates:
        allowed = ", ".join(map(str, rates))
        findings.unsupported.append(
            Violation("preview_format.sample_rate_hertz", f"is {wanted.sample_rate_hertz}; allowed: {allowed}")
        )
