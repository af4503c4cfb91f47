"""`pixvox voice`: makes voices from recordings and descriptions, and keeps house among them."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from rich.table import Table
from rich.text import Text

from pixvox.cli.calls import Session, client_command
from pixvox.cli.files import STANDARD, check_output, media_input, unfinished
from pixvox.cli.output import document, receipt_text
from pixvox.cli.request_options import CallOptions, call_options
from pixvox.cli.speech import ENCODINGS, SUFFIXES
from pixvox.client import MAX_REQUEST_BYTES
from pixvox.v1 import media_pb2, voice_service_pb2, voice_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pixvox.v1.voice_service_pb2 import Voice

KINDS = {
    "system": voice_service_pb2.VOICE_KIND_SYSTEM,
    "cloned": voice_service_pb2.VOICE_KIND_CLONED,
    "designed": voice_service_pb2.VOICE_KIND_DESIGNED,
}
_TIME_FORMATS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z")


@click.group()
def voice() -> None:
    """Make voices and list them.

    `pixvox speak --voice ID` speaks with one.
    """


@voice.command()
@click.argument("file")
@click.option("--name", required=True, help="What a person calls the voice.")
@click.option("--speaker", required=True, help="Name of the person who speaks in the recording.")
@click.option("--consent", required=True, metavar="TEXT", help="What the person agreed to, or where that is kept.")
@click.option(
    "--consent-time", type=click.DateTime(_TIME_FORMATS), help="When the person agreed; in UTC unless it has a zone."
)
@click.option("--transcript", default="", metavar="TEXT", help="What is said in the recording.")
@click.option("--language", default="", help="BCP-47 tag of the recording, for example en.")
@call_options
@client_command
def clone(
    session: Session,
    file: str,
    *,
    name: str,
    speaker: str,
    consent: str,
    consent_time: datetime.datetime | None,
    transcript: str,
    language: str,
    call: CallOptions,
) -> None:
    """Make a voice from a recording.

    FILE is a path, an http(s) address that the service downloads, or `-` for standard input.
    """
    request = voice_service_pb2.CloneVoiceRequest(
        display_name=name,
        audio=media_input(file),
        transcript=transcript,
        language_code=language,
        consent=voice_service_pb2.Consent(speaker=speaker, statement=consent),
    )
    if consent_time is not None:
        zoned = consent_time if consent_time.tzinfo else consent_time.replace(tzinfo=datetime.UTC)
        request.consent.consent_time.FromDatetime(zoned.astimezone(datetime.UTC))
    if request.ByteSize() > MAX_REQUEST_BYTES:
        raise click.BadParameter(f"the file has more than {MAX_REQUEST_BYTES >> 20} MiB", param_hint="FILE")
    call.fill(cast("Any", request))  # it has the fields of every billable request
    with session.report.progress("Making the voice"):
        response: voice_service_pb2.CloneVoiceResponse = _stub(session).CloneVoice(request, timeout=session.timeout)
    session.report.warnings(response.warnings)
    session.report.result(_answer(response.voice, response.warnings), _shown(response.voice))


@voice.command()
@click.argument("description")
@click.option("--name", required=True, help="What a person calls the voice.")
@click.option("--text", required=True, help="What the voice says in its preview.")
@click.option(
    "-o", "--output", required=True, metavar="FILE", help="Where to write the preview; `-` is standard output."
)
@click.option("--encoding", type=click.Choice(list(ENCODINGS)), help="[default: by the file's suffix; wav for `-`]")
@click.option("--rate-hertz", type=click.IntRange(0, 1_000_000), default=0, help="[default: the provider's own rate]")
@click.option("--language", default="", help="BCP-47 tag of the text, for example en.")
@call_options
@client_command
def design(
    session: Session,
    description: str,
    *,
    name: str,
    text: str,
    output: str,
    encoding: str | None,
    rate_hertz: int,
    language: str,
    call: CallOptions,
) -> None:
    """Make a voice from a DESCRIPTION in words, and a preview of it."""
    check_output(output, session.report.as_json)
    request = voice_service_pb2.DesignVoiceRequest(
        display_name=name,
        description=description,
        preview_text=text,
        language_code=language,
        preview_format=media_pb2.AudioFormat(
            encoding=ENCODINGS[encoding or _encoding_of(output)], sample_rate_hertz=rate_hertz
        ),
    )
    call.fill(cast("Any", request))  # it has the fields of every billable request
    with session.report.progress("Making the voice"):
        response: voice_service_pb2.DesignVoiceResponse = _stub(session).DesignVoice(request, timeout=session.timeout)
    session.report.warnings(response.warnings)
    try:
        _write(output, response.preview)
    except OSError as error:
        error.add_note(f"The voice was made all the same: {response.voice.id}")
        raise
    seconds = response.preview_duration.ToTimedelta().total_seconds()
    file = {"path": output, "mime_type": response.preview_mime_type, "seconds": seconds}
    answer = _answer(response.voice, response.warnings) | {"files": [file]}
    facts = f"  {response.preview_mime_type}  {seconds:.2f} s  {len(response.preview)} bytes"
    shown = Text("\n").join([_shown(response.voice), Text.assemble((output, "bold green"), facts)])
    session.report.result(answer, shown, aside=output == STANDARD)


@voice.command("list")
@click.option("--kind", type=click.Choice(list(KINDS)), help="Only voices of this kind.")
@click.option("--provider", default="", help="Only this provider's voices.")
@click.option("--model", default="", help="Only voices that speak with this model.")
@click.option("--deleted", is_flag=True, help="Show deleted voices, too.")
@client_command
def list_voices(session: Session, kind: str | None, provider: str, model: str, deleted: bool) -> None:
    """List the voices, made ones first."""
    request = voice_service_pb2.ListVoicesRequest(
        page_size=1000,
        kind=KINDS[kind] if kind else voice_service_pb2.VOICE_KIND_UNSPECIFIED,
        provider=provider,
        model=model,
        show_deleted=deleted,
    )
    found = list(_all_pages(session, request))
    table = Table("Voice", "Name", "Kind", "State", "Provider", "Model", "Made", box=None, pad_edge=False)
    for one in found:
        made = f"{one.create_time.ToDatetime():%Y-%m-%d %H:%M}" if one.HasField("create_time") else ""
        table.add_row(one.id, one.display_name, _kind(one), _state(one), one.provider, one.model, made)
    session.report.result({"voices": [document(one) for one in found]}, table)


@voice.command()
@click.argument("voice_id", metavar="ID")
@click.option("--provider", default="", help="Provider that a model's own voice belongs to.  [default: the first]")
@client_command
def get(session: Session, voice_id: str, provider: str) -> None:
    """Show one voice; --json tells all."""
    request = voice_service_pb2.GetVoiceRequest(id=voice_id, provider=provider)
    response: voice_service_pb2.GetVoiceResponse = _stub(session).GetVoice(request, timeout=session.timeout)
    session.report.result(_answer(response.voice), _shown(response.voice))


@voice.command()
@click.argument("voice_id", metavar="ID")
@click.option("--purge", is_flag=True, help="Delete it at the provider, too, for good.")
@client_command
def delete(session: Session, voice_id: str, purge: bool) -> None:
    """Take a voice out of use; `undelete` takes it back unless it was purged."""
    request = voice_service_pb2.DeleteVoiceRequest(id=voice_id, purge=purge)
    response: voice_service_pb2.DeleteVoiceResponse = _stub(session).DeleteVoice(request, timeout=session.timeout)
    session.report.result(_answer(response.voice), _shown(response.voice))


@voice.command()
@click.argument("voice_id", metavar="ID")
@client_command
def undelete(session: Session, voice_id: str) -> None:
    """Take a deleted voice back into use."""
    request = voice_service_pb2.UndeleteVoiceRequest(id=voice_id)
    response: voice_service_pb2.UndeleteVoiceResponse = _stub(session).UndeleteVoice(request, timeout=session.timeout)
    session.report.result(_answer(response.voice), _shown(response.voice))


def _stub(session: Session) -> voice_service_pb2_grpc.VoiceServiceStub:
    return voice_service_pb2_grpc.VoiceServiceStub(session.channel)


def _all_pages(session: Session, request: voice_service_pb2.ListVoicesRequest) -> Iterator[Voice]:
    while True:
        page: voice_service_pb2.ListVoicesResponse = _stub(session).ListVoices(request, timeout=session.timeout)
        yield from page.voices
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _encoding_of(output: str) -> str:
    if output == STANDARD:
        return "wav"
    suffix = Path(output).suffix.lower()
    if suffix not in SUFFIXES:
        raise click.BadParameter(
            f"{output} has none of the suffixes {', '.join(SUFFIXES)}; say --encoding", param_hint="-o"
        )
    return SUFFIXES[suffix]


def _write(output: str, data: bytes) -> None:
    if output == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with unfinished(Path(output)) as file:
        file.write(data)


def _answer(voice: Voice, warnings: Iterable[media_pb2.Warning] = ()) -> dict[str, object]:
    return {"voice": document(voice), "warnings": [document(warning) for warning in warnings]}


def _shown(voice: Voice) -> Text:
    facts = [("", voice.display_name), ("", _kind(voice)), ("", _state(voice))]
    facts += [("speaks with ", voice.model), ("region ", voice.region), ("provider's voice ", voice.provider_voice_id)]
    if voice.consent.speaker:
        facts.append(("of ", voice.consent.speaker))
    pairs = (Text.assemble((name, "dim"), value) for name, value in facts if value)
    lines = [Text.assemble((voice.id, "bold green"), "  ", Text("  ").join(pairs))]
    if voice.HasField("receipt"):
        lines.append(receipt_text(voice.receipt))
    return Text("\n").join(lines)


def _kind(voice: Voice) -> str:
    return voice_service_pb2.VoiceKind.Name(voice.kind).removeprefix("VOICE_KIND_").lower()


def _state(voice: Voice) -> str:
    return voice_service_pb2.VoiceState.Name(voice.state).removeprefix("VOICE_STATE_").lower()
