"""Every encoding at every rate is decoded again and compared with what went in."""

from __future__ import annotations

import bisect
import struct
import subprocess
import sys

import numpy as np
import pytest

from pixvox.errors import InvalidMediaError, UnsupportedError
from pixvox.media.audio import SAMPLE_RATES_HERTZ, StreamEncoder, decoded, encoded_whole, mime_type_of
from pixvox.v1 import media_pb2

PCM = media_pb2.AUDIO_ENCODING_PCM_S16LE
WAV = media_pb2.AUDIO_ENCODING_WAV
MP3 = media_pb2.AUDIO_ENCODING_MP3
OPUS = media_pb2.AUDIO_ENCODING_OGG_OPUS
FLAC = media_pb2.AUDIO_ENCODING_FLAC
MULAW = media_pb2.AUDIO_ENCODING_MULAW
ENCODINGS = [encoding for encoding in media_pb2.AudioEncoding.values() if encoding]
RATES = [8000, 16000, 24000, 48000]
SOURCE_RATE = 22050
SECONDS = 1.5

every_encoding = pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda one: media_pb2.AudioEncoding.Name(one)[15:])
every_rate = pytest.mark.parametrize("rate", RATES)


def sweep(rate: int, seconds: float = SECONDS) -> np.ndarray:
    """From 200 Hz to 2 kHz, well inside the band of every rate."""
    time = np.arange(round(rate * seconds)) / rate
    return np.rint(9000 * np.sin(2 * np.pi * (200 * time + 600 * time * time))).astype("<i2")


def format_of(encoding: int, rate: int = 0) -> media_pb2.AudioFormat:
    return media_pb2.AudioFormat(encoding=encoding, sample_rate_hertz=rate)


def streamed(pcm: bytes, encoder: StreamEncoder, step: int = 4410) -> list[bytes]:
    pieces = [encoder.encode(pcm[start : start + step]) for start in range(0, len(pcm), step)]
    return [*pieces, encoder.finish()]


def heard(data: bytes, encoding: int, rate: int) -> tuple[np.ndarray, int]:
    """The samples that a listener gets, and their rate."""
    if encoding == PCM:
        return np.frombuffer(data, "<i2"), rate
    if encoding == MULAW:
        return np.array([mulaw_value(code) for code in data]), rate
    pcm, decoded_rate = decoded(data)
    return np.frombuffer(pcm, "<i2"), decoded_rate


def mulaw_value(code: int) -> int:
    """G.711 table 2b: the 16-bit value of a code."""
    code ^= 0xFF
    magnitude = (((code & 0x0F) * 2 + 33) << (code >> 4 & 7)) - 33
    return -4 * magnitude if code & 0x80 else 4 * magnitude


def similarity(one: np.ndarray, other: np.ndarray, shift: int) -> float:
    """The greatest correlation when one of them starts up to `shift` samples later."""
    length = min(len(one), len(other)) - shift
    return max(float(np.corrcoef(one[start : start + length], other[:length])[0, 1]) for start in range(shift + 1))


@every_rate
@every_encoding
def test_a_stream_decodes_to_what_went_in(encoding, rate):
    encoder = StreamEncoder(SOURCE_RATE, format_of(encoding, rate))
    sound, decoded_rate = heard(b"".join(streamed(sweep(SOURCE_RATE).tobytes(), encoder)), encoding, rate)
    expected = sweep(decoded_rate)
    delay = 3456 if encoding == MP3 else 0
    assert len(expected) <= len(sound) <= len(expected) + delay
    assert similarity(sound.astype(float), expected.astype(float), 1200 if delay else 2) > 0.99
    assert encoder.samples == len(sound) * rate // decoded_rate


@every_rate
@every_encoding
def test_a_whole_file_decodes_to_what_went_in_at_its_very_length(encoding, rate):
    data = encoded_whole(sweep(SOURCE_RATE).tobytes(), SOURCE_RATE, format_of(encoding, rate))
    sound, decoded_rate = heard(data, encoding, rate)
    expected = sweep(decoded_rate)
    assert len(sound) == len(expected)
    assert similarity(sound.astype(float), expected.astype(float), 2) > 0.99


@every_encoding
def test_pieces_of_any_length_give_the_same_sound(encoding):
    pcm = sweep(SOURCE_RATE, 0.5).tobytes()
    alike = [
        heard(b"".join(streamed(pcm, StreamEncoder(SOURCE_RATE, format_of(encoding, 24000)), step)), encoding, 24000)[0]
        for step in (1, 333, 4410, len(pcm))
    ]
    for other in alike[1:]:
        np.testing.assert_array_equal(alike[0], other)


@every_encoding
def test_offsets_are_those_of_the_samples_that_came_before(encoding):
    encoder = StreamEncoder(SOURCE_RATE, format_of(encoding, 24000))
    pcm = sweep(SOURCE_RATE).tobytes()
    position = 0
    for start in range(0, len(pcm), 4410):
        if encoder.encode(pcm[start : start + 4410]):
            assert encoder.offset_samples == position
            position = encoder.samples
    encoder.finish()
    assert encoder.offset_samples == position
    assert encoder.samples > position


@every_encoding
def test_hardly_anything_is_held_back(encoding):
    encoder = StreamEncoder(SOURCE_RATE, format_of(encoding, 24000))
    pcm = sweep(SOURCE_RATE).tobytes()
    for start in range(0, len(pcm), 4410):
        encoder.encode(pcm[start : start + 4410])
        given = min(start + 4410, len(pcm)) / 2 / SOURCE_RATE
        assert given - encoder.samples / 24000 < (0.15 if encoding == MP3 else 0.03)


@every_encoding
def test_silence_of_no_length_is_a_stream_too(encoding):
    encoder = StreamEncoder(SOURCE_RATE, format_of(encoding, 24000))
    assert encoder.encode(b"") == b""
    data = encoder.finish()
    assert bool(data) == (encoding in {WAV, OPUS, FLAC})
    assert encoder.samples == 0
    assert isinstance(encoded_whole(b"", SOURCE_RATE, format_of(encoding, 24000)), bytes)


def test_pcm_at_the_same_rate_is_passed_on_untouched():
    pcm = sweep(SOURCE_RATE).tobytes()
    encoder = StreamEncoder(SOURCE_RATE, format_of(PCM, SOURCE_RATE))
    assert encoder.encode(pcm) is pcm
    assert encoder.finish() == b""
    assert encoded_whole(pcm, SOURCE_RATE, format_of(PCM)) == pcm


def test_half_a_sample_waits_for_its_other_half():
    encoder = StreamEncoder(24000, format_of(PCM))
    assert encoder.encode(b"\x01\x02\x03") == b"\x01\x02"
    assert encoder.encode(b"") == b""
    assert encoder.encode(b"\x04\x05") == b"\x03\x04"
    assert encoder.finish() == b""


def test_pcm_and_wav_at_the_same_rate_do_not_load_pyav():
    program = """
import sys
from pixvox.media.audio import StreamEncoder, encoded_whole
from pixvox.v1 import media_pb2
for encoding in (media_pb2.AUDIO_ENCODING_PCM_S16LE, media_pb2.AUDIO_ENCODING_WAV, media_pb2.AUDIO_ENCODING_MULAW):
    encoder = StreamEncoder(24000, media_pb2.AudioFormat(encoding=encoding))
    encoder.encode(bytes(480)), encoder.finish()
sys.exit("av" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_mulaw_has_the_decision_values_of_the_standard():
    samples = np.arange(-32768, 32768, dtype="<i2")
    codes = encoded_whole(samples.tobytes(), 8000, format_of(MULAW))
    for sample, code in zip(samples.tolist(), codes, strict=True):
        assert code == reference_code(sample >> 2)


def reference_code(value: int) -> int:
    """The code of a 14-bit value, found among the standard's decision values."""
    ends = [31, 95, 223, 479, 991, 2015, 4063, 8159]
    magnitude = min(abs(value), 8158)
    segment = bisect.bisect_right(ends, magnitude)
    start = ends[segment - 1] if segment else -1
    step = (magnitude - start) // (2 << segment)
    return (0xFF if value >= 0 else 0x7F) - (segment * 16 + step)


def test_a_streamed_wav_states_an_unknown_length_and_a_whole_one_its_own():
    pcm = sweep(16000, 0.2).tobytes()
    stream = b"".join(streamed(pcm, StreamEncoder(16000, format_of(WAV))))
    whole = encoded_whole(pcm, 16000, format_of(WAV))
    assert stream[44:] == whole[44:] == pcm
    assert struct.unpack_from("<4sI", stream) == (b"RIFF", 0xFFFFFFFF)
    assert struct.unpack_from("<4sI", stream, 36) == (b"data", 0xFFFFFFFF)
    assert struct.unpack_from("<4sI", whole) == (b"RIFF", len(whole) - 8)
    assert struct.unpack_from("<4sI", whole, 36) == (b"data", len(pcm))
    assert struct.unpack_from("<HHIIHH", whole, 20) == (1, 1, 16000, 32000, 2, 16)


@every_rate
def test_pieces_of_mp3_are_whole_frames(rate):
    pieces = streamed(sweep(SOURCE_RATE).tobytes(), StreamEncoder(SOURCE_RATE, format_of(MP3, rate)))
    assert sum(map(frames_of_mp3, pieces)) > 20


def frames_of_mp3(data: bytes) -> int:
    """Walk from frame to frame by the lengths in their headers (ISO 11172-3 2.4.1.3, 13818-3 2.4.2.3)."""
    rates = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
    kilobits = {
        3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
        2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    }
    position = frames = 0
    while position < len(data):
        word = int.from_bytes(data[position : position + 4], "big")
        assert word >> 21 == 0x7FF, "no frame sync"
        version = word >> 19 & 3
        rate = rates[version][word >> 10 & 3]
        bits = kilobits[3 if version == 3 else 2][word >> 12 & 15] * 1000
        position += (144 if version == 3 else 72) * bits // rate + (word >> 9 & 1)
        frames += 1
    assert position == len(data)
    return frames


@every_rate
def test_pieces_of_opus_are_whole_ogg_pages(rate):
    pieces = streamed(sweep(SOURCE_RATE).tobytes(), StreamEncoder(SOURCE_RATE, format_of(OPUS, rate)))
    pages = [page for piece in pieces for page in pages_of(piece)]
    assert [page["sequence"] for page in pages] == list(range(len(pages)))
    assert [page["flags"] for page in pages] == [2, *[0] * (len(pages) - 2), 4]
    assert pages[0]["body"][:8] == b"OpusHead"
    assert struct.unpack_from("<HI", pages[0]["body"], 10) == (312, rate)
    assert pages[1]["body"][:8] == b"OpusTags"
    assert pages[-1]["granule"] == 312 + round(SECONDS * 48000)


def pages_of(data: bytes) -> list[dict]:
    position = 0
    pages = []
    while position < len(data):
        capture, _, flags, granule, _, sequence, _, count = struct.unpack_from("<4sBBqIIIB", data, position)
        assert capture == b"OggS"
        length = sum(data[position + 27 : position + 27 + count])
        start = position + 27 + count
        position = start + length
        pages.append({"flags": flags, "granule": granule, "sequence": sequence, "body": data[start:position]})
    assert position == len(data)
    return pages


def test_a_long_piece_of_opus_fills_several_pages():
    pcm = sweep(24000, 20.0).tobytes()
    data = StreamEncoder(24000, format_of(OPUS)).encode(pcm)
    assert len(pages_of(data)) > 20


@every_rate
def test_pieces_of_flac_are_whole_frames_behind_one_header(rate):
    first, *others = [
        piece
        for piece in streamed(sweep(SOURCE_RATE).tobytes(), StreamEncoder(SOURCE_RATE, format_of(FLAC, rate)))
        if piece
    ]
    assert first[:4] == b"fLaC"
    assert first[42:44] == b"\xff\xf8"
    for piece in others:
        # RFC 9639 section 9.1: the sync code and a fixed block size.
        assert piece[:2] == b"\xff\xf8"


def test_a_whole_flac_knows_its_length_and_a_streamed_one_does_not():
    pcm = sweep(24000).tobytes()
    whole = encoded_whole(pcm, 24000, format_of(FLAC))
    stream = b"".join(streamed(pcm, StreamEncoder(24000, format_of(FLAC))))
    assert (int.from_bytes(whole[18:26], "big") & (1 << 36) - 1) == len(pcm) // 2
    assert (int.from_bytes(stream[18:26], "big") & (1 << 36) - 1) == 0


@pytest.mark.parametrize(
    ("encoding", "rate", "field", "allowed"),
    [
        (99, 24000, "format.encoding", "AUDIO_ENCODING_WAV"),
        (OPUS, 44100, "format.sample_rate_hertz", "8000, 12000, 16000, 24000, 48000"),
        (MP3, 7, "format.sample_rate_hertz", "48000"),
        (WAV, 11111, "format.sample_rate_hertz", "48000"),
    ],
)
def test_what_cannot_be_made_is_refused_with_what_can(encoding, rate, field, allowed):
    for refuse in (
        lambda: StreamEncoder(11111, format_of(encoding, rate)),
        lambda: encoded_whole(b"", 1, format_of(encoding, rate)),
    ):
        with pytest.raises(UnsupportedError) as raised:
            refuse()
        assert raised.value.violations[0].field == field
        assert allowed in raised.value.violations[0].description


@every_encoding
def test_every_rate_in_the_table_really_works(encoding):
    for rate in SAMPLE_RATES_HERTZ[encoding]:
        data = encoded_whole(sweep(24000, 0.3).tobytes(), 24000, format_of(encoding, rate))
        sound, decoded_rate = heard(data, encoding, rate)
        assert len(sound) / decoded_rate == pytest.approx(0.3, abs=0.001)


def test_an_unset_format_is_pcm_at_the_source_rate():
    encoder = StreamEncoder(SOURCE_RATE, media_pb2.AudioFormat())
    assert encoder.encode(b"abcd") == b"abcd"
    assert mime_type_of(media_pb2.AudioFormat()) == "audio/pcm"


@pytest.mark.parametrize("data", [b"", b"no audio at all" * 100, b"RIFF"])
def test_what_is_no_audio_is_refused(data):
    with pytest.raises(InvalidMediaError):
        decoded(data)
