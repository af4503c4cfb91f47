"""The smoke checks of speech: SMK-08, and the text's limit of SMK-10."""

from __future__ import annotations

import io
import threading
import time
import uuid
import wave
from typing import TYPE_CHECKING

from pixvox.cli import wav
from pixvox.cli.smoke_run import CheckFailedError, CheckSkippedError, Run, refused, require
from pixvox.cli.speech_stream import listen
from pixvox.v1 import media_pb2, model_service_pb2, speech_service_pb2, speech_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

SPEAK = model_service_pb2.VERB_STREAM_SPEECH
BEGINNING = "This sentence was sent first, and should be heard before the other is even written. "
END = "This one comes last."
FLUSH_ID = "after-the-beginning"
# Longest wait for audio of the first text before the second is sent all the same.
PATIENCE_SECONDS = 20.0
MAGIC = {
    media_pb2.AUDIO_ENCODING_OGG_OPUS: (b"OggS",),
    media_pb2.AUDIO_ENCODING_FLAC: (b"fLaC",),
    media_pb2.AUDIO_ENCODING_MP3: (b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"),
}


def stream(run: Run) -> str:
    """SMK-08: playable audio, whose beginning comes before the text's end was sent, and a summary that agrees with it."""
    capability = run.model(SPEAK).stream_speech
    trickle = _Trickle(
        _config(run), waits=capability.speaks_while_text_arrives, patience=min(PATIENCE_SECONDS, run.timeout / 4)
    )
    audio = io.BytesIO()

    def write(data: bytes) -> None:
        trickle.hear()
        audio.write(data)

    stub = speech_service_pb2_grpc.SpeechServiceStub(run.channel)
    heard = listen(stub.StreamSpeech(trickle.requests(), timeout=run.timeout), write)
    total = time.monotonic() - trickle.begun
    require(heard.summary.chunks > 0, "no audio came")
    require(not trickle.gave_up, f"no audio within {trickle.patience:g} s of the first text; the service holds it back")
    require(FLUSH_ID in heard.flushed, "the flush was not answered")
    seconds = heard.summary.audio_duration.ToTimedelta().total_seconds()
    _require_playable(audio, heard.started.format, seconds)
    return (
        f"first audio after {trickle.first_audio:.2f} s of {total:.2f} s; {seconds:.1f} s in {heard.summary.chunks} chunks "
        f"by {heard.started.provider}/{heard.started.model}"
    )


def text_limit(run: Run) -> str:
    """SMK-10, speech: a text above the model's limit is refused."""
    limit = run.model(SPEAK).stream_speech.max_text_characters
    if not limit:
        raise CheckSkippedError("the model has no limit of the text")
    request = speech_service_pb2.SynthesizeSpeechRequest(text="a" * (limit + 1), config=_config(run))
    stub = speech_service_pb2_grpc.SpeechServiceStub(run.channel)
    return f"text of {limit + 1}: {refused(lambda: stub.SynthesizeSpeech(request, timeout=run.timeout), 'text')}"


class _Trickle:
    """Text that goes on only when its beginning was heard."""

    def __init__(self, config: speech_service_pb2.SpeechConfig, waits: bool, patience: float) -> None:
        self._config = config
        self._waits = waits
        self._heard = threading.Event()
        self.patience = patience
        self.begun = time.monotonic()
        self.first_audio = 0.0
        self.gave_up = False

    def hear(self) -> None:
        if not self._heard.is_set():
            self.first_audio = time.monotonic() - self.begun
            self._heard.set()

    def requests(self) -> Iterator[speech_service_pb2.StreamSpeechRequest]:
        message = speech_service_pb2.StreamSpeechRequest
        yield message(config=self._config)
        yield message(text=BEGINNING)
        yield message(flush=speech_service_pb2.Flush(id=FLUSH_ID))
        if self._waits:
            self.gave_up = not self._heard.wait(self.patience)
        yield message(text=END)


def _config(run: Run) -> speech_service_pb2.SpeechConfig:
    model = run.model(SPEAK)
    encodings = model.stream_speech.encodings
    wanted = (media_pb2.AUDIO_ENCODING_WAV, media_pb2.AUDIO_ENCODING_PCM_S16LE, *encodings)
    encoding = next((one for one in wanted if one in encodings), media_pb2.AUDIO_ENCODING_UNSPECIFIED)
    return speech_service_pb2.SpeechConfig(
        model=model.id,
        provider=model.provider,
        request_id=f"smoke-{uuid.uuid4()}",
        format=media_pb2.AudioFormat(encoding=encoding),
    )


def _require_playable(audio: io.BytesIO, audio_format: media_pb2.AudioFormat, seconds: float) -> None:
    """Open what can be opened without a codec; of the others look at the beginning."""
    data = audio.getvalue()
    rate = audio_format.sample_rate_hertz
    if audio_format.encoding == media_pb2.AUDIO_ENCODING_WAV:
        data, rate = _samples_of_wav(audio)
    elif audio_format.encoding != media_pb2.AUDIO_ENCODING_PCM_S16LE:
        magic = MAGIC.get(audio_format.encoding, (b"",))
        require(data.startswith(magic), f"the audio begins with {data[:4]!r}")
        return
    require(any(data), "the audio is silent")
    require(
        rate == audio_format.sample_rate_hertz,
        f"the audio has {rate} Hz, announced were {audio_format.sample_rate_hertz}",
    )
    length = len(data) / 2 / rate
    require(abs(length - seconds) < 0.1, f"the audio is {length:.2f} s long, the summary says {seconds:.2f} s")


def _samples_of_wav(audio: io.BytesIO) -> tuple[bytes, int]:
    wav.set_lengths(audio)
    audio.seek(0)
    try:
        with wave.open(audio) as opened:
            require((opened.getnchannels(), opened.getsampwidth()) == (1, 2), "the WAV is not mono with 16 bits")
            return opened.readframes(opened.getnframes()), opened.getframerate()
    except (wave.Error, EOFError) as error:
        raise CheckFailedError(f"the WAV cannot be opened: {error}") from error
