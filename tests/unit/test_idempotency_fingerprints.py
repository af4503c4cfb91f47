"""Two payloads have the same fingerprint if, and only if, they ask for the same."""

from __future__ import annotations

import itertools

import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from pixvox.idempotency import fingerprints
from pixvox.idempotency.fingerprints import TextFingerprint, fingerprint_of
from pixvox.v1 import media_pb2
from pixvox.v1.image_service_pb2 import EditImageRequest, GenerateImageRequest
from pixvox.v1.speech_service_pb2 import Flush, SpeechConfig, StreamSpeechRequest, SynthesizeSpeechRequest

# A text, or the id of a flush.
Piece = tuple[str, str]


def of(pieces: list[Piece]) -> str:
    fingerprint = TextFingerprint()
    for kind, value in pieces:
        message = StreamSpeechRequest(text=value) if kind == "text" else StreamSpeechRequest(flush=Flush(id=value))
        fingerprint.add(message)
    return fingerprint.hexdigest()


pieces = st.lists(
    st.tuples(st.just("text"), st.text(min_size=1, max_size=5)) | st.tuples(st.just("flush"), st.sampled_from("ab")),
    max_size=8,
)


def meaning(given_pieces: list[Piece]) -> list[Piece]:
    """The pieces with texts that stand together joined."""
    joined: list[Piece] = []
    for kind, group in itertools.groupby(given_pieces, key=lambda piece: piece[0]):
        values = [value for _, value in group]
        joined += [("text", "".join(values))] if kind == "text" else [("flush", value) for value in values]
    return joined


@given(pieces, pieces)
def test_texts_are_the_same_if_their_characters_and_flushes_are(one, other):
    assert (of(one) == of(other)) is (meaning(one) == meaning(other))


@given(pieces)
def test_how_text_is_cut_does_not_count(one):
    cut = [(kind, part) for kind, value in one for part in (value if kind == "text" else (value,))]
    assert of(cut) == of(one)


def test_the_place_of_a_flush_is_counted_in_characters():
    assert of([("text", "é"), ("flush", "a"), ("text", "x")]) != of([("text", "éx"), ("flush", "a")])


@pytest.mark.parametrize(
    "request_of",
    [
        lambda name: GenerateImageRequest(prompt="x", request_id=name),
        lambda name: SpeechConfig(voice="x", request_id=name),
        lambda name: SynthesizeSpeechRequest(text="x", config=SpeechConfig(voice="y", request_id=name)),
    ],
    ids=["request", "config", "request with a config"],
)
async def test_the_id_does_not_count_and_stays_where_it_is(request_of):
    one, other = request_of("one"), request_of("other")
    assert await fingerprint_of(one) == await fingerprint_of(other)
    assert (one, other) == (request_of("one"), request_of("other"))


async def test_every_other_field_counts():
    requests = [
        GenerateImageRequest(prompt="x"),
        GenerateImageRequest(prompt="y"),
        GenerateImageRequest(prompt="x", seed=0),
        GenerateImageRequest(prompt="x", labels={"team": "a"}),
        GenerateImageRequest(prompt="x", labels={"team": "b"}),
    ]
    assert len({await fingerprint_of(request) for request in requests}) == len(requests)


async def test_a_config_that_is_not_there_stays_away():
    request = SynthesizeSpeechRequest(text="x")
    assert await fingerprint_of(request) != await fingerprint_of(
        SynthesizeSpeechRequest(text="x", config=SpeechConfig())
    )
    assert not request.HasField("config")


async def test_the_order_of_a_map_does_not_count():
    fields = {f"key{number}": number for number in range(50)}
    one, other = struct_pb2.Struct(), struct_pb2.Struct()
    one.update(fields)
    other.update(dict(reversed(fields.items())))
    assert await fingerprint_of(GenerateImageRequest(provider_options=one)) == await fingerprint_of(
        GenerateImageRequest(provider_options=other)
    )


@pytest.mark.parametrize("size", [10, fingerprints.THREAD_BYTES])
async def test_a_large_payload_has_the_same_kind_of_fingerprint(size):
    one, same, other = (EditImageRequest(images=[media_pb2.MediaInput(data=bytes([end]) * size)]) for end in (1, 1, 2))
    assert await fingerprint_of(one) == await fingerprint_of(same) != await fingerprint_of(other)
    assert len(await fingerprint_of(one)) == 64
