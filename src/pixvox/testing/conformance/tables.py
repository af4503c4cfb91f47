"""Check of the capability table: what it says makes sense, before anything is called."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, TypeVar

from pixvox.limits import MAX_INPUT_IMAGES, effective_size
from pixvox.media.audio import SAMPLE_RATES_HERTZ
from pixvox.media.images import MIME_TYPES
from pixvox.registry import VERBS, has_capability
from pixvox.testing.conformance.findings import Check, Finding
from pixvox.testing.conformance.requests import is_lawful_size
from pixvox.testing.conformance.speaking import primary
from pixvox.v1 import media_pb2, model_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pixvox.testing.conformance.trial import Trial

T = TypeVar("T")

_FORMATS: dict[int, str] = {value: name for name, value in media_pb2.ImageFormat.items()}
_DELIVERIES: dict[int, str] = {value: name for name, value in media_pb2.Delivery.items()}
_ENCODINGS: dict[int, str] = {value: name for name, value in media_pb2.AudioEncoding.items()}
# BCP 47 as far as a language, a script, a region and variants go.
_TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


async def check_table(trial: Trial) -> None:
    """Look at what `models()` returns."""
    # From the provider itself: the registry has filled in its name.
    models = list(trial.entry.provider.models())
    again = list(trial.entry.provider.models())
    look = _Look(trial)
    look.holds("", bool(models), "there is no model", "A provider has at least one model.")
    look.holds("", models == again, "models() gave another table the second time", "The table does not change.")
    names = [name for model in models for name in (model.id, *model.aliases)]
    for name in _repeated(names):
        look.holds(
            name, False, f"the name {name!r} is there twice", "Ids and aliases of a provider's models are unique."
        )
    for model in models:
        _check_model(model, look)
    trial.note(f"{len(models)} models with {sum(has_capability(one, verb) for one in models for verb in VERBS)} verbs")


CHECKS = (Check("table", "The capability table is well formed and consistent.", check_table, calls=0),)


class _Look:
    """Reports what does not hold."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial

    def holds(self, model: str, fact: bool, seen: str, contract: str) -> bool:
        if not fact:
            self._trial.find(Finding(seen, contract, "models", model))
        return fact

    def unique(self, model: str, path: str, values: Iterable[object], *, empty: bool = False) -> None:
        """Report what is listed twice, and an empty list unless it may be."""
        values = list(values)
        self.holds(
            model, empty or bool(values), f"{path} is empty", f"{path} lists at least one, its first the default."
        )
        for value in _repeated(values):
            self.holds(model, False, f"{path} lists {value} twice", f"{path} lists everything once.")

    def enums(self, model: str, path: str, values: Sequence[int], names: Mapping[int, str]) -> None:
        """Report a list of enum values that is empty, or holds what is none, or twice the same."""
        self.unique(model, path, [names.get(value, value) for value in values])
        for value in values:
            seen = f"{path} lists {names.get(value, value)}"
            self.holds(model, bool(value) and value in names, seen, f"{path} lists values of the contract's enum.")


def _check_model(model: model_service_pb2.Model, look: _Look) -> None:
    name = model.id
    look.holds(name, bool(name.strip()) and name.isprintable(), f"a model has the id {name!r}", "A model has an id.")
    look.holds(
        name, not model.provider, f"provider is {model.provider!r}", "The service fills provider in; leave it empty."
    )
    verbs = [verb for verb in VERBS if has_capability(model, verb)]
    look.holds(name, bool(verbs), "the model has no verb", "A model has at least one capability.")
    rate = model.requests_per_minute
    look.holds(
        name, rate >= 0 and math.isfinite(rate), f"requests_per_minute is {rate:g}", "A rate is 0 for none, or more."
    )
    if model.HasField("generate_image"):
        _check_output(model, "generate_image", model.generate_image.output, look)
    if model.HasField("edit_image"):
        _check_output(model, "edit_image", model.edit_image.output, look)
        _check_edit(model, look)
    if model.HasField("stream_speech"):
        _check_speech(model, look)
    _check_voices(model, look)


def _check_output(
    model: model_service_pb2.Model, verb: str, output: model_service_pb2.ImageOutput, look: _Look
) -> None:
    look.holds(model.id, output.max_n >= 1, f"{verb}.max_n is {output.max_n}", "max_n is at least 1.")
    longest = output.max_prompt_characters
    seen = f"{verb}.max_prompt_characters is {longest}, so that every prompt is refused"
    look.holds(model.id, longest >= 1, seen, "max_prompt_characters is at least 1.")
    look.enums(model.id, f"{verb}.formats", output.formats, _FORMATS)
    look.enums(model.id, f"{verb}.deliveries", output.deliveries, _DELIVERIES)
    look.holds(
        model.id,
        output.takes_seed or not output.deterministic,
        f"{verb} is deterministic and takes no seed",
        "deterministic says that equal seeds give equal bytes, which needs takes_seed.",
    )
    _check_sizes(model, verb, output.size, look)


def _check_sizes(model: model_service_pb2.Model, verb: str, rule: model_service_pb2.SizeRule, look: _Look) -> None:
    default = (rule.default_size.width, rule.default_size.height)
    limited = bool(rule.sizes or rule.min_side or rule.max_side or rule.min_area or rule.max_area)
    if rule.fixed:
        seen = f"{verb}.size is fixed and has limits"
        look.holds(model.id, not limited, seen, "Where no size can be chosen there is nothing to choose from.")
        return
    listed = [f"{size.width}x{size.height}" for size in rule.sizes]
    look.unique(model.id, f"{verb}.size.sizes", listed, empty=True)
    seen = (
        f"{verb}.size allows no picture: sides {rule.min_side}..{rule.max_side}, areas {rule.min_area}..{rule.max_area}"
    )
    look.holds(model.id, _is_possible(rule), seen, "The least of a limit is not above the most.")
    seen = f"{verb}.size.max_aspect is {rule.max_aspect:g}"
    look.holds(
        model.id, not rule.max_aspect or rule.max_aspect >= 1, seen, "An aspect is 0 for no limit, or at least 1."
    )
    if rule.HasField("default_size"):
        shown = f"{verb}.size.default_size {default[0]}x{default[1]}"
        contract = "A request may name the default size, too."
        look.holds(
            model.id, is_lawful_size(rule.default_size, model, verb), f"{shown} is not allowed by the rule", contract
        )
        made = effective_size(*default, rule)
        look.holds(
            model.id, made == default, f"{shown} becomes {made[0]}x{made[1]}", "The default size stays as it is."
        )
    for alias in rule.aliases:
        shown = f"{alias.size.width}x{alias.size.height} stands for {alias.effective_size.width}x{alias.effective_size.height}"
        lawful = is_lawful_size(alias.effective_size, model, verb)
        look.holds(model.id, lawful, f"{verb}: {shown}, which is not allowed", "An alias stands for an allowed size.")


def _is_possible(rule: model_service_pb2.SizeRule) -> bool:
    most = [area for area in (rule.max_area, rule.max_side * rule.max_side) if area]
    least = max(rule.min_area, rule.min_side * rule.min_side)
    return (not rule.max_side or rule.min_side <= rule.max_side) and (not most or least <= min(most))


def _check_edit(model: model_service_pb2.Model, look: _Look) -> None:
    capability = model.edit_image
    seen = f"edit_image.max_images is {capability.max_images}"
    look.holds(model.id, 1 <= capability.max_images <= MAX_INPUT_IMAGES, seen, f"max_images is 1..{MAX_INPUT_IMAGES}.")
    look.unique(model.id, "edit_image.input_mime_types", capability.input_mime_types)
    for mime_type in capability.input_mime_types:
        seen = f"edit_image.input_mime_types lists {mime_type}, which the service does not read"
        look.holds(model.id, mime_type in MIME_TYPES, seen, f"Inputs are {', '.join(MIME_TYPES)}.")
    for path in ("max_input_bytes", "max_input_pixels"):
        seen = f"edit_image.{path} is 0, so that every input is refused"
        look.holds(model.id, getattr(capability, path) > 0, seen, f"{path} is more than 0.")


def _check_speech(model: model_service_pb2.Model, look: _Look) -> None:
    capability = model.stream_speech
    look.enums(model.id, "stream_speech.encodings", capability.encodings, _ENCODINGS)
    rates = list(capability.sample_rates_hertz)
    look.unique(model.id, "stream_speech.sample_rates_hertz", rates)
    made = SAMPLE_RATES_HERTZ[media_pb2.AUDIO_ENCODING_PCM_S16LE]
    for rate in rates:
        seen = f"stream_speech.sample_rates_hertz lists {rate}, which the service does not make"
        look.holds(model.id, rate in made, seen, f"Rates are {', '.join(map(str, made))}.")
    voices = [voice.id for voice in capability.voices]
    look.unique(model.id, "stream_speech.voices", voices, empty=True)
    look.holds(model.id, all(voice.strip() for voice in voices), "a voice has no id", "A voice has an id.")
    look.holds(
        model.id,
        not (capability.needs_made_voice and voices),
        "the model lists voices and needs a made one",
        "needs_made_voice says that the model has no voices of its own.",
    )
    _check_languages(model, "stream_speech.language_codes", capability.language_codes, look)
    own = {primary(code) for code in capability.language_codes}
    for voice in capability.voices:
        others = sorted({primary(code) for code in voice.language_codes} - own)
        seen = f"voice {voice.id} speaks {', '.join(others)}, which the model does not"
        look.holds(model.id, not (own and others), seen, "A voice's languages are among those of its model.")
    for name, normal in (("speaking_rate", 1.0), ("pitch", 1.0), ("volume", 50.0)):
        if capability.HasField(name):  # type: ignore[arg-type]  # the names are fields of the message
            _check_range(model, name, getattr(capability, name), normal, look)


def _check_range(
    model: model_service_pb2.Model, name: str, bounds: model_service_pb2.Range, normal: float, look: _Look
) -> None:
    fits = math.isfinite(bounds.min) and math.isfinite(bounds.max) and bounds.min <= normal <= bounds.max
    seen = f"stream_speech.{name} is {bounds.min:g}..{bounds.max:g}"
    look.holds(model.id, fits, seen, f"The range of {name} holds {normal:g}, which is the voice's normal one.")


def _check_voices(model: model_service_pb2.Model, look: _Look) -> None:
    for verb in ("clone_voice", "design_voice"):
        if not has_capability(model, verb):
            continue
        contract = "Voices are made for a model that speaks."
        look.holds(model.id, model.HasField("stream_speech"), f"the model has {verb} and cannot speak", contract)
        _check_languages(model, f"{verb}.language_codes", getattr(model, verb).language_codes, look)
    clone = model.clone_voice
    seen = f"clone_voice takes {clone.min_audio_seconds:g}..{clone.max_audio_seconds:g} seconds"
    fits = not clone.max_audio_seconds or 0 <= clone.min_audio_seconds <= clone.max_audio_seconds
    look.holds(model.id, fits, seen, "The shortest recording is not longer than the longest.")


def _check_languages(model: model_service_pb2.Model, path: str, codes: Sequence[str], look: _Look) -> None:
    look.unique(model.id, path, codes, empty=True)
    for code in codes:
        seen = f"{path} lists {code!r}"
        look.holds(model.id, bool(_TAG.fullmatch(code)), seen, "Languages are BCP-47 tags, such as en or zh-CN.")


def _repeated(values: Iterable[T]) -> list[T]:
    values = list(values)
    return [value for place, value in enumerate(values) if value in values[:place] and value not in values[place + 1 :]]
