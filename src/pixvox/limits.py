"""Checks of a request against the capabilities of a model, made before anything is sent.

All that is wrong is found at once. A value that no model allows is INVALID_REQUEST; a value that this model does not allow
is UNSUPPORTED, and its violation lists what is allowed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf import struct_pb2

from pixvox.errors import (
    InvalidMediaError,
    InvalidRequestError,
    MediaTooLargeError,
    UnsupportedError,
    Violation,
    VoiceNotFoundError,
)
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pixvox.provider import Blob
    from pixvox.v1 import image_service_pb2, model_service_pb2, speech_service_pb2

MAX_SEED = 2**31 - 1
MAX_INPUT_IMAGES = 16
MAX_LABELS = 32
MAX_LABEL_KEY = 64
MAX_LABEL_VALUE = 256
MAX_REQUEST_ID = 128
MAX_NAMED_VOICES = 20


@dataclass(slots=True)
class _Findings:
    """What is wrong with one request."""

    model: model_service_pb2.Model
    invalid: list[Violation] = field(default_factory=list)
    unsupported: list[Violation] = field(default_factory=list)

    def raise_if_any(self) -> None:
        metadata = {"provider": self.model.provider, "model": self.model.id}
        found = [*self.invalid, *self.unsupported]
        if self.invalid:
            raise InvalidRequestError(_sentence(found), *found, metadata=metadata)
        if self.unsupported:
            raise UnsupportedError(_sentence(found), *found, metadata=metadata)


def effective_size(width: int, height: int, rule: model_service_pb2.SizeRule) -> tuple[int, int]:
    """Return the size in pixels that is asked of the provider for an allowed size: after aliases and rounding."""
    for alias in rule.aliases:
        if (alias.size.width, alias.size.height) == (width, height):
            return alias.effective_size.width, alias.effective_size.height
    step = max(rule.multiple_of, 1)
    return _nearest_multiple(width, step), _nearest_multiple(height, step)


def check_generate_image(request: image_service_pb2.GenerateImageRequest, model: model_service_pb2.Model) -> None:
    """Check everything in `request` but the names of model and provider.

    Raises:
        InvalidRequestError: A value that no model allows.
        UnsupportedError: A value that `model` does not allow.
    """
    findings = _Findings(model)
    _check_common(request.request_id, request.labels, request.provider_options, findings)
    _check_output(request, model.generate_image.output, findings)
    findings.raise_if_any()


def check_edit_image(request: image_service_pb2.EditImageRequest, model: model_service_pb2.Model) -> None:
    """Check everything in `request` but the inputs' content; see `check_edit_inputs`.

    Raises:
        InvalidRequestError: A value that no model allows.
        UnsupportedError: A value that `model` does not allow.
    """
    findings = _Findings(model)
    capability = model.edit_image
    _check_common(request.request_id, request.labels, request.provider_options, findings)
    _check_output(request, capability.output, findings)
    if not 1 <= len(request.images) <= MAX_INPUT_IMAGES:
        findings.invalid.append(
            Violation("images", f"has {len(request.images)} images; allowed: 1..{MAX_INPUT_IMAGES}")
        )
    elif len(request.images) > capability.max_images:
        findings.unsupported.append(
            Violation("images", f"has {len(request.images)} images; {model.id} takes 1..{capability.max_images}")
        )
    for index, image in enumerate(request.images):
        _check_source(image, f"images[{index}]", findings)
    if request.HasField("mask"):
        _check_source(request.mask, "mask", findings)
        if not capability.takes_mask:
            findings.unsupported.append(Violation("mask", f"{model.id} takes no mask"))
    findings.raise_if_any()


def check_edit_inputs(images: Sequence[Blob], mask: Blob | None, model: model_service_pb2.Model) -> None:
    """Check inputs that are known to be pictures against the model's limits.

    Raises:
        MediaTooLargeError: Too many bytes or pixels.
        InvalidMediaError: A format that the model does not read, or a mask of another size than the first image.
    """
    capability = model.edit_image
    named = [(f"images[{index}]", image) for index, image in enumerate(images)]
    if mask is not None:
        named.append(("mask", mask))
        if (mask.width, mask.height) != (images[0].width, images[0].height):
            raise InvalidMediaError(
                "The mask has to be as large as the first image.",
                Violation(
                    "mask", f"is {mask.width}x{mask.height}; images[0] is {images[0].width}x{images[0].height} pixels"
                ),
            )
    for path, image in named:
        if len(image.data) > capability.max_input_bytes:
            raise MediaTooLargeError(
                f"{path} is larger than {model.id} takes.",
                Violation(path, f"has {len(image.data)} bytes; allowed: {capability.max_input_bytes}"),
            )
        if image.width * image.height > capability.max_input_pixels:
            raise MediaTooLargeError(
                f"{path} has more pixels than {model.id} takes.",
                Violation(path, f"is {image.width}x{image.height}; allowed: {capability.max_input_pixels} pixels"),
            )
        if image.mime_type not in capability.input_mime_types:
            raise InvalidMediaError(
                f"{path} is {image.mime_type}, which {model.id} does not read.",
                Violation(path, f"allowed: {', '.join(capability.input_mime_types)}"),
            )


def check_speech(config: speech_service_pb2.SpeechConfig, model: model_service_pb2.Model) -> None:
    """Check everything in `config` but the names of model and provider.

    Raises:
        InvalidRequestError: A value that no model allows.
        UnsupportedError: A value that `model` does not allow.
        VoiceNotFoundError: The model has no such voice.
    """
    findings = _Findings(model)
    capability = model.stream_speech
    _check_common(config.request_id, config.labels, config.provider_options, findings, prefix="config.")
    _check_audio_format(config.format, capability, findings)
    _check_language(config.language_code, capability.language_codes, findings)
    for name in ("speaking_rate", "pitch", "volume"):
        if config.HasField(name):
            _check_range(name, getattr(config, name), capability, findings)
    if config.instructions and not capability.takes_instructions:
        findings.unsupported.append(Violation("config.instructions", f"{model.id} takes no instructions"))
    findings.raise_if_any()
    _check_voice(config.voice, model)


def check_text_length(characters: int, model: model_service_pb2.Model) -> None:
    """Check the number of code points of all text of one call so far.

    Raises:
        UnsupportedError: More than the model takes.
    """
    limit = model.stream_speech.max_text_characters
    if limit and characters > limit:
        raise UnsupportedError(
            f"The text is longer than {model.id} takes.",
            Violation("text", f"has {characters} characters so far; allowed: {limit}"),
            metadata={"provider": model.provider, "model": model.id},
        )


def violation_of_request_id(request_id: str, path: str = "request_id") -> Violation | None:
    """Return what is wrong with a caller's request id, or None."""
    if len(request_id) > MAX_REQUEST_ID or not (request_id.isascii() and request_id.isprintable()):
        return Violation(path, f"allowed: 1..{MAX_REQUEST_ID} printable ASCII characters")
    return None


def violation_of_options(options: struct_pb2.Struct, path: str = "provider_options") -> Violation | None:
    """Return what is wrong with options that are handed to a provider, None if nothing is.

    Args:
        options: Of the request.
        path: Of the field.
    """
    found = next(_not_json(struct_pb2.Value(struct_value=options), path), None)
    return None if found is None else Violation(found, "is no number that JSON has")


def _not_json(value: struct_pb2.Value, path: str) -> Iterator[str]:
    """Give the paths of NaN and Infinity, which no provider could be told."""
    match value.WhichOneof("kind"):
        case "number_value" if not math.isfinite(value.number_value):
            yield path
        case "list_value":
            for index, one in enumerate(value.list_value.values):
                yield from _not_json(one, f"{path}[{index}]")
        case "struct_value":
            for name, one in value.struct_value.fields.items():
                yield from _not_json(one, f"{path}.{name}")
        case _:
            pass


def _nearest_multiple(side: int, step: int) -> int:
    # Halves go down: 1032 is made 1024 in the example of the one provider that documents its rounding.
    return (2 * side + step - 1) // (2 * step) * step


def _check_common(
    request_id: str, labels: Mapping[str, str], options: struct_pb2.Struct, findings: _Findings, prefix: str = ""
) -> None:
    if request_id and (violation := violation_of_request_id(request_id, f"{prefix}request_id")):
        findings.invalid.append(violation)
    if violation := violation_of_options(options, f"{prefix}provider_options"):
        findings.invalid.append(violation)
    if len(labels) > MAX_LABELS:
        findings.invalid.append(Violation(f"{prefix}labels", f"has {len(labels)} labels; allowed: 0..{MAX_LABELS}"))
    if any(not key or len(key) > MAX_LABEL_KEY or len(value) > MAX_LABEL_VALUE for key, value in labels.items()):
        findings.invalid.append(
            Violation(
                f"{prefix}labels", f"allowed: keys of 1..{MAX_LABEL_KEY}, values of 0..{MAX_LABEL_VALUE} characters"
            )
        )


def _check_output(
    request: image_service_pb2.GenerateImageRequest | image_service_pb2.EditImageRequest,
    output: model_service_pb2.ImageOutput,
    findings: _Findings,
) -> None:
    _check_prompts(request.prompt, request.negative_prompt, output, findings)
    if request.HasField("n"):
        if request.n == 0:
            findings.invalid.append(Violation("n", f"is 0; allowed: 1..{output.max_n}"))
        elif request.n > output.max_n:
            findings.unsupported.append(Violation("n", f"is {request.n}; allowed: 1..{output.max_n}"))
    if request.HasField("seed"):
        if not 0 <= request.seed <= MAX_SEED:
            findings.invalid.append(Violation("seed", f"is {request.seed}; allowed: 0..{MAX_SEED}"))
        elif not output.takes_seed:
            findings.unsupported.append(Violation("seed", f"{findings.model.id} takes no seed"))
    if request.HasField("size"):
        _check_size(request.size.width, request.size.height, output.size, findings)
    _check_enum("format", request.format, output.formats, media_pb2.ImageFormat, findings)
    _check_enum("delivery", request.delivery, output.deliveries, media_pb2.Delivery, findings)


def _check_prompts(
    prompt: str, negative_prompt: str, output: model_service_pb2.ImageOutput, findings: _Findings
) -> None:
    if not prompt.strip():
        findings.invalid.append(Violation("prompt", "is empty"))
    if len(prompt) > output.max_prompt_characters:
        findings.unsupported.append(
            Violation("prompt", f"has {len(prompt)} characters; allowed: 1..{output.max_prompt_characters}")
        )
    if len(negative_prompt) > output.max_negative_prompt_characters:
        findings.unsupported.append(
            Violation(
                "negative_prompt",
                f"has {len(negative_prompt)} characters; allowed: 0..{output.max_negative_prompt_characters}",
            )
        )


def _check_size(width: int, height: int, rule: model_service_pb2.SizeRule, findings: _Findings) -> None:
    if width == 0 or height == 0:
        findings.invalid.append(Violation("size", f"is {width}x{height}; both sides have to be at least 1 pixel"))
    elif not _allowed_size(width, height, rule):
        findings.unsupported.append(Violation("size", f"is {width}x{height}; allowed: {_size_sentence(rule)}"))


def _allowed_size(width: int, height: int, rule: model_service_pb2.SizeRule) -> bool:
    if rule.fixed:
        return False
    if rule.sizes:
        known = [*rule.sizes, *(alias.size for alias in rule.aliases)]
        return any((size.width, size.height) == (width, height) for size in known)
    return (
        (not rule.max_aspect or max(width, height) <= rule.max_aspect * min(width, height))
        and min(width, height) >= rule.min_side
        and (not rule.max_side or max(width, height) <= rule.max_side)
        and width * height >= rule.min_area
        and (not rule.max_area or width * height <= rule.max_area)
    )


def _size_sentence(rule: model_service_pb2.SizeRule) -> str:
    if rule.fixed:
        return "none, the size cannot be chosen"
    if rule.sizes:
        return ", ".join(f"{size.width}x{size.height}" for size in rule.sizes)
    parts = []
    if rule.min_side or rule.max_side:
        parts.append(f"each side {max(rule.min_side, 1)}..{rule.max_side or 'any'} pixels")
    if rule.min_area or rule.max_area:
        parts.append(f"width times height {max(rule.min_area, 1)}..{rule.max_area or 'any'} pixels")
    if rule.max_aspect:
        parts.append(f"aspect 1:{rule.max_aspect:g}..{rule.max_aspect:g}:1")
    return ", ".join(parts) or "any"


def _check_enum(path: str, value: int, allowed: Iterable[int], names: object, findings: _Findings) -> None:
    allowed = list(allowed)
    if value and value not in allowed:
        name_of = names.Name  # type: ignore[attr-defined]  # the stubs have no common class of enum wrappers
        known = value in names.values()  # type: ignore[attr-defined]  # as above
        given = name_of(value) if known else str(value)
        findings.unsupported.append(
            Violation(path, f"is {given}; allowed: {', '.join(name_of(one) for one in allowed)}")
        )


def _check_source(media: media_pb2.MediaInput, path: str, findings: _Findings) -> None:
    source = media.WhichOneof("source")
    if source is None or not getattr(media, source):
        findings.invalid.append(Violation(path, "is empty; set data or uri"))


def _check_audio_format(
    audio: media_pb2.AudioFormat, capability: model_service_pb2.StreamSpeechCapability, findings: _Findings
) -> None:
    _check_enum("config.format.encoding", audio.encoding, capability.encodings, media_pb2.AudioEncoding, findings)
    rate = audio.sample_rate_hertz
    if rate and rate not in capability.sample_rates_hertz:
        allowed = ", ".join(str(one) for one in sorted(capability.sample_rates_hertz))
        findings.unsupported.append(Violation("config.format.sample_rate_hertz", f"is {rate}; allowed: {allowed}"))


def _check_language(code: str, codes: Sequence[str], findings: _Findings) -> None:
    def primary(tag: str) -> str:
        return tag.split("-", 1)[0].lower()

    if code and codes and primary(code) not in {primary(one) for one in codes}:
        findings.unsupported.append(Violation("config.language_code", f"allowed: {', '.join(codes)}"))


def _check_range(
    name: str, value: float, capability: model_service_pb2.StreamSpeechCapability, findings: _Findings
) -> None:
    path = f"config.{name}"
    if not math.isfinite(value):
        findings.invalid.append(Violation(path, "is not a finite number"))
    elif not capability.HasField(name):  # type: ignore[arg-type]  # the names are those of both messages
        findings.unsupported.append(Violation(path, f"cannot be changed on {findings.model.id}"))
    else:
        bounds = getattr(capability, name)
        if not bounds.min <= value <= bounds.max:
            findings.unsupported.append(Violation(path, f"is {value:g}; allowed: {bounds.min:g}..{bounds.max:g}"))


def _check_voice(voice: str, model: model_service_pb2.Model) -> None:
    known = [one.id for one in model.stream_speech.voices]
    if voice and known and voice not in known:
        more = ", …" if len(known) > MAX_NAMED_VOICES else ""
        raise VoiceNotFoundError(
            f"{model.id} has no voice of that name; GetModel lists its voices.",
            Violation("config.voice", f"allowed: {', '.join(known[:MAX_NAMED_VOICES])}{more}"),
            metadata={"voice": voice, "provider": model.provider, "model": model.id},
            resource=("pixvox.v1.ModelVoice", voice),
        )


def _sentence(violations: Sequence[Violation]) -> str:
    return "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
