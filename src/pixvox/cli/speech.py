"""`pixvox speak`: text to audio, sent as it is typed and written as it is spoken."""

from __future__ import annotations

import codecs
import logging
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click
import grpc
from rich.text import Text

from pixvox.cli import wav
from pixvox.cli.calls import Session, client_command, gathered
from pixvox.cli.files import STANDARD, check_output, unfinished
from pixvox.cli.output import document, receipt_text
from pixvox.cli.request_options import CallOptions, call_options
from pixvox.cli.speech_stream import IncompleteStreamError, listen
from pixvox.v1 import media_pb2, speech_service_pb2, speech_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ENCODINGS = {
    "pcm": media_pb2.AUDIO_ENCODING_PCM_S16LE,
    "wav": media_pb2.AUDIO_ENCODING_WAV,
    "mp3": media_pb2.AUDIO_ENCODING_MP3,
    "opus": media_pb2.AUDIO_ENCODING_OGG_OPUS,
    "flac": media_pb2.AUDIO_ENCODING_FLAC,
    "mulaw": media_pb2.AUDIO_ENCODING_MULAW,
}
SUFFIXES = {
    ".wav": "wav",
    ".mp3": "mp3",
    ".ogg": "opus",
    ".opus": "opus",
    ".flac": "flac",
    ".pcm": "pcm",
    ".raw": "pcm",
    ".ulaw": "mulaw",
}


@dataclass(frozen=True, slots=True)
class Manner:
    """How to speak; None and empty mean the provider's default."""

    encoding: str | None
    rate_hertz: int
    voice: str
    language: str
    speaking_rate: float | None
    pitch: float | None
    volume: float | None
    instructions: str

    def config(self, call: CallOptions, output: str = "") -> speech_service_pb2.SpeechConfig:
        """Return the stream's first message; without an output the encoding may be left to the service.

        Raises:
            click.BadParameter: Nothing says which encoding to ask for.
        """
        encoding = self.encoding or (_encoding_of(output) if output else None)
        config = speech_service_pb2.SpeechConfig(
            voice=self.voice,
            language_code=self.language,
            format=media_pb2.AudioFormat(
                encoding=ENCODINGS[encoding] if encoding else media_pb2.AUDIO_ENCODING_UNSPECIFIED,
                sample_rate_hertz=self.rate_hertz,
            ),
            speaking_rate=self.speaking_rate,
            pitch=self.pitch,
            volume=self.volume,
            instructions=self.instructions,
        )
        call.fill(config)
        return config


def manner_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Manner`, which it gets as `manner`."""
    decorators = (
        click.option(
            "--encoding", type=click.Choice(list(ENCODINGS)), help="[default: by the file's suffix; wav for `-`]"
        ),
        click.option(
            "--rate-hertz", type=click.IntRange(0, 1_000_000), default=0, help="[default: the model's own rate]"
        ),
        click.option("--voice", default="", help="Id; see `pixvox models --json`."),
        click.option("--language", default="", help="BCP-47 tag, for example en or zh-CN."),
        click.option("--speaking-rate", type=float, help="1.0 is the voice's normal one."),
        click.option("--pitch", type=float, help="1.0 is the voice's normal one."),
        click.option("--volume", type=float, help="From 0 to 100; 50 is the voice's normal one."),
        click.option("--instructions", default="", help="In words how to speak, for models that take them."),
    )
    function = gathered(Manner, "manner")(function)
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


@click.command()
@click.argument("text")
@click.option("-o", "--output", required=True, metavar="FILE", help="Where to write; `-` is standard output.")
@click.option("--whole", is_flag=True, help="Send all the text and wait for one finished audio, without streaming.")
@manner_options
@call_options
@client_command
def speak(session: Session, text: str, output: str, whole: bool, manner: Manner, call: CallOptions) -> None:
    """Speak a text.

    TEXT `-` is read from standard input and spoken as it comes; with `-o -` audio leaves as it arrives:

    \b
      pixvox speak "Good morning." -o - | aplay
    """
    check_output(output, session.report.as_json)
    config = manner.config(call, output)
    text_source = _Typed(_from_stdin() if text == STANDARD else [text])
    try:
        (_speak_whole if whole else _speak_stream)(session, config, text_source, output)
    except IncompleteStreamError as error:
        if text_source.problem is not None:
            error.add_note(f"Standard input is not UTF-8 text: {text_source.problem}")
        raise
    except (grpc.RpcError, UnicodeDecodeError):
        if text_source.problem is None:
            raise
        raise click.UsageError(f"standard input is not UTF-8 text: {text_source.problem}") from text_source.problem


@dataclass(slots=True)
class _Typed:
    """The text, which may break off in a way that gRPC would hide: it runs this in a thread of its own."""

    pieces: Iterable[str]
    problem: UnicodeDecodeError | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self.pieces
        except UnicodeDecodeError as error:
            self.problem = error
            raise


def _encoding_of(output: str) -> str:
    if output == STANDARD:
        return "wav"
    suffix = Path(output).suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise click.BadParameter(f"{output} has none of the suffixes {known}; say --encoding", param_hint="-o")
    return SUFFIXES[suffix]


def _from_stdin() -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    # Not through sys.stdin: its buffer waits for more, and stays locked meanwhile, which breaks the exit after Ctrl-C.
    while data := os.read(sys.stdin.fileno(), 65536):
        if piece := decoder.decode(data):
            yield piece
    decoder.decode(b"", final=True)


def _speak_stream(session: Session, config: speech_service_pb2.SpeechConfig, text: _Typed, output: str) -> None:
    # gRPC logs a traceback when the text breaks off; the command says it in its own words.
    logging.getLogger("grpc").addHandler(logging.NullHandler())
    stub = speech_service_pb2_grpc.SpeechServiceStub(session.channel)
    with session.report.progress("Speaking") as tell, _sink(output) as sink:

        def write(data: bytes) -> None:
            sink.write(data)
            sink.flush()

        responses = stub.StreamSpeech(_requests(config, text), timeout=session.timeout)
        heard = listen(responses, write, lambda seconds: tell(f"Speaking, {seconds:.1f} s of audio"))
        if heard.started.format.encoding == media_pb2.AUDIO_ENCODING_WAV and output != STANDARD and sink.seekable():
            wav.set_lengths(sink)
    session.report.warnings(heard.warnings)
    _show(session, output, heard.started.format, _spoken(heard.summary), heard.summary.receipt, heard.warnings)


def _speak_whole(session: Session, config: speech_service_pb2.SpeechConfig, text: _Typed, output: str) -> None:
    request = speech_service_pb2.SynthesizeSpeechRequest(text="".join(text), config=config)
    stub = speech_service_pb2_grpc.SpeechServiceStub(session.channel)
    with session.report.progress("Speaking"):
        response: speech_service_pb2.SynthesizeSpeechResponse = stub.SynthesizeSpeech(request, timeout=session.timeout)
    with _sink(output) as sink:
        sink.write(response.data)
        sink.flush()
    session.report.warnings(response.warnings)
    spoken = _Spoken(response.audio_duration.ToTimedelta().total_seconds(), len(response.data), response.sha256)
    _show(session, output, response.format, spoken, response.receipt, response.warnings)


def _requests(
    config: speech_service_pb2.SpeechConfig, text: _Typed
) -> Iterator[speech_service_pb2.StreamSpeechRequest]:
    yield speech_service_pb2.StreamSpeechRequest(config=config)
    for piece in text:
        yield speech_service_pb2.StreamSpeechRequest(text=piece)


@contextmanager
def _sink(output: str) -> Iterator[BinaryIO]:
    if output == STANDARD:
        yield sys.stdout.buffer
        return
    with unfinished(Path(output)) as file:
        yield file


@dataclass(frozen=True, slots=True)
class _Spoken:
    seconds: float
    size_bytes: int
    sha256: str


def _spoken(summary: speech_service_pb2.SpeechSummary) -> _Spoken:
    return _Spoken(summary.audio_duration.ToTimedelta().total_seconds(), summary.size_bytes, summary.sha256)


def _show(
    session: Session,
    output: str,
    audio: media_pb2.AudioFormat,
    spoken: _Spoken,
    receipt: media_pb2.Receipt,
    warnings: Iterable[media_pb2.Warning],
) -> None:
    encoding = media_pb2.AudioEncoding.Name(audio.encoding).removeprefix("AUDIO_ENCODING_")
    file = {
        "path": output,
        "encoding": encoding,
        "sample_rate_hertz": audio.sample_rate_hertz,
        "seconds": spoken.seconds,
        "size_bytes": spoken.size_bytes,
        # Of the audio as it came; a WAV file's header is corrected after that.
        "received_sha256": spoken.sha256,
    }
    answer = {
        "files": [file],
        "warnings": [document(warning) for warning in warnings],
        "receipt": document(receipt),
    }
    facts = f"  {encoding}  {audio.sample_rate_hertz} Hz  {spoken.seconds:.2f} s  {spoken.size_bytes} bytes"
    shown = Text("\n").join([Text.assemble((output, "bold green"), facts), receipt_text(receipt)])
    session.report.result(answer, shown, aside=output == STANDARD)
