"""What is wrong with a capability table is found without a call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from pixvox.registry import Entry
from pixvox.testing.conformance import Hints, Subject
from pixvox.testing.conformance.requests import extreme_sizes, is_lawful_size, modest_size
from pixvox.testing.conformance.tables import check_table
from pixvox.testing.conformance.trial import Trial
from pixvox.upstream import Upstream
from pixvox.v1 import media_pb2, model_service_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLE = """
id: "paint"
generate_image {
  output {
    size { min_side: 64 max_side: 512 default_size { width: 128 height: 128 } }
    max_n: 2 formats: IMAGE_FORMAT_PNG deliveries: DELIVERY_INLINE max_prompt_characters: 100
  }
}
edit_image {
  output {
    size { sizes { width: 64 height: 64 } sizes { width: 128 height: 64 } }
    max_n: 1 formats: IMAGE_FORMAT_PNG deliveries: DELIVERY_INLINE max_prompt_characters: 100
  }
  max_images: 2 input_mime_types: "image/png" max_input_bytes: 1000 max_input_pixels: 1000000
}
stream_speech {
  voices { id: "anna" } voices { id: "bert" language_codes: "en" } language_codes: "en-GB" language_codes: "de"
  encodings: AUDIO_ENCODING_PCM_S16LE sample_rates_hertz: 24000 sample_rates_hertz: 8000
  max_text_characters: 100 speaking_rate { min: 0.5 max: 2.0 } volume { max: 100.0 }
}
clone_voice { min_audio_seconds: 3 max_audio_seconds: 60 }
design_voice { language_codes: "en" }
"""

CHANGES = [
    ("id: ' '", "a model has the id ' '"),
    ("provider: 'me'", "provider is 'me'"),
    ("requests_per_minute: -1", "requests_per_minute is -1"),
    ("aliases: 'paint'", "the name 'paint' is there twice"),
    ("generate_image { output { max_n: 0 } }", "generate_image.max_n is 0"),
    ("generate_image { output { max_prompt_characters: 0 } }", "generate_image.max_prompt_characters is 0"),
    ("generate_image { output { formats: IMAGE_FORMAT_PNG } }", "generate_image.formats lists IMAGE_FORMAT_PNG twice"),
    ("edit_image { output { formats: 17 } }", "edit_image.formats lists 17"),
    ("edit_image { output { deliveries: DELIVERY_UNSPECIFIED } }", "edit_image.deliveries lists DELIVERY_UNSPECIFIED"),
    ("generate_image { output { deterministic: true } }", "generate_image is deterministic and takes no seed"),
    ("generate_image { output { size { min_side: 600 } } }", "generate_image.size allows no picture"),
    ("generate_image { output { size { min_area: 999999 } } }", "generate_image.size allows no picture"),
    ("generate_image { output { size { max_aspect: 0.5 } } }", "generate_image.size.max_aspect is 0.5"),
    ("generate_image { output { size { fixed: true } } }", "generate_image.size is fixed and has limits"),
    (
        "generate_image { output { size { default_size { width: 1024 } } } }",
        "generate_image.size.default_size 1024x128 is not allowed by the rule",
    ),
    (
        "generate_image { output { size { multiple_of: 100 } } }",
        "generate_image.size.default_size 128x128 becomes 100x100",
    ),
    ("edit_image { output { size { sizes { width: 64 height: 64 } } } }", "edit_image.size.sizes lists 64x64 twice"),
    (
        "edit_image { output { size { aliases { size { width: 1 height: 1 } effective_size { width: 9 height: 9 } } } } }",
        "edit_image: 1x1 stands for 9x9, which is not allowed",
    ),
    ("edit_image { max_images: 17 }", "edit_image.max_images is 17"),
    ("edit_image { input_mime_types: 'image/avif' }", "edit_image.input_mime_types lists image/avif"),
    ("edit_image { max_input_bytes: 0 }", "edit_image.max_input_bytes is 0, so that every input is refused"),
    ("stream_speech { voices { id: 'anna' } }", "stream_speech.voices lists anna twice"),
    ("stream_speech { needs_made_voice: true }", "the model lists voices and needs a made one"),
    ("stream_speech { language_codes: 'English!' }", "stream_speech.language_codes lists 'English!'"),
    ("stream_speech { voices { id: 'c' language_codes: 'fr' } }", "voice c speaks fr, which the model does not"),
    ("stream_speech { speaking_rate { min: 1.5 } }", "stream_speech.speaking_rate is 1.5..2"),
    ("stream_speech { volume { min: 90 } }", "stream_speech.volume is 90..100"),
    ("clone_voice { min_audio_seconds: 61 }", "clone_voice takes 61..60 seconds"),
]


class Listing:
    """A provider that has a table and nothing else."""

    def __init__(self, models: Sequence[model_service_pb2.Model]) -> None:
        self.table = list(models)

    def models(self) -> Sequence[model_service_pb2.Model]:
        return self.table

    async def aclose(self) -> None: ...


def found_in(*models: model_service_pb2.Model) -> list[str]:
    """What the check finds."""
    entry = Entry("listing", "listing", Listing(models), models)
    trial = Trial(Subject("listing"), {}, Hints(), Upstream(), entry, lambda _: False)
    asyncio.run(check_table(trial))
    return [finding.seen for finding in trial.findings]


def table(changes: str = "") -> model_service_pb2.Model:
    model = text_format.Parse(TABLE, model_service_pb2.Model())
    changed = text_format.Parse(changes, model_service_pb2.Model(), allow_unknown_field=False)
    model.MergeFrom(changed)
    # Merging leaves out what is zero.
    for path in (
        "generate_image.output.max_n",
        "generate_image.output.max_prompt_characters",
        "edit_image.max_input_bytes",
    ):
        *parents, name = path.split(".")
        if f"{name}: 0" in changes and parents[0] in changes:
            holder = model
            for parent in parents:
                holder = getattr(holder, parent)
            holder.ClearField(name)
    return model


def test_a_good_table_has_nothing_wrong_with_it() -> None:
    assert found_in(table()) == []


@pytest.mark.parametrize(("change", "seen"), CHANGES, ids=[seen[:40] for _, seen in CHANGES])
def test_one_change_for_the_worse_is_found(change: str, seen: str) -> None:
    found = found_in(table(change))

    assert found[0].startswith(seen)
    # No size is allowed by an impossible rule, that which is the default neither.
    assert all(other.startswith("generate_image.size.default_size") for other in found[1:]), found


def test_no_model_and_no_verb_are_found() -> None:
    assert found_in() == ["there is no model"]
    assert found_in(model_service_pb2.Model(id="idle")) == ["the model has no verb"]


def test_a_voice_for_a_model_that_cannot_speak_is_found() -> None:
    model = model_service_pb2.Model(id="mute")
    model.design_voice.SetInParent()

    assert found_in(model) == ["the model has design_voice and cannot speak"]


def test_empty_lists_are_found() -> None:
    model = table()
    model.generate_image.output.ClearField("formats")
    model.stream_speech.ClearField("sample_rates_hertz")

    assert found_in(model) == ["generate_image.formats is empty", "stream_speech.sample_rates_hertz is empty"]


def test_a_table_that_changes_is_found() -> None:
    class Fickle(Listing):
        def models(self) -> Sequence[model_service_pb2.Model]:
            self.table = [*self.table, model_service_pb2.Model(id=f"new-{len(self.table)}")]
            return self.table

    entry = Entry("fickle", "fickle", Fickle([]), ())
    trial = Trial(Subject("fickle"), {}, Hints(), Upstream(), entry, lambda _: False)
    asyncio.run(check_table(trial))

    assert "models() gave another table the second time" in [finding.seen for finding in trial.findings]


@given(
    low=st.integers(0, 900),
    high=st.integers(0, 2048),
    least=st.integers(0, 700),
    most=st.integers(0, 3000),
    aspect=st.sampled_from([0.0, 1.0, 1.5, 4.0]),
    step=st.sampled_from([0, 1, 8, 16, 64]),
)
def test_every_size_that_the_kit_asks_for_is_lawful(
    low: int, high: int, least: int, most: int, aspect: float, step: int
) -> None:
    model = table()
    rule = model_service_pb2.SizeRule(
        min_side=low,
        max_side=high,
        min_area=least * least,
        max_area=most * most,
        max_aspect=aspect,
        multiple_of=step,
    )
    model.generate_image.output.size.CopyFrom(rule)
    tightest = min((side for side in (high, most) if side), default=4096)
    if max(low, least, 1) + 2 * step + 1 > tightest:
        return

    sizes = [media_pb2.Size(width=width, height=height) for width, height in extreme_sizes(rule).values()]
    for size in (*sizes, modest_size(rule)):
        assert is_lawful_size(size, model, "generate_image"), (size, rule)
