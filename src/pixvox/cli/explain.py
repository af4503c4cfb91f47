"""`pixvox explain`: which targets would serve a call, in which order and why, without calling any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click
from rich.text import Text

from pixvox.cli.calls import Session, client_command
from pixvox.cli.images import Wanted, wanted_options
from pixvox.cli.output import cost, document
from pixvox.cli.request_options import CallOptions, call_options
from pixvox.cli.speech import Manner, manner_options
from pixvox.v1 import (
    error_reason_pb2,
    image_service_pb2,
    media_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    voice_service_pb2,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# Stands for what a call has to have and no target is chosen by.
_ANY = "any"

caller_option = click.option(
    "--caller", default="", metavar="NAME", help="Explain it for this caller.  [default: who runs the command]"
)


@click.group()
def explain() -> None:
    """Tell who would serve a call, and why.

    Every target that is considered is listed in the order in which it would be tried, with what speaks for and against it
    and what the call would cost there. Nobody is called, and no file is read.
    """


@explain.command()
@click.argument("prompt")
@wanted_options
@call_options
@caller_option
@client_command
def image(session: Session, prompt: str, wanted: Wanted, call: CallOptions, caller: str) -> None:
    """Explain `pixvox image generate`."""
    request = image_service_pb2.GenerateImageRequest(prompt=prompt)
    wanted.fill(request)
    call.fill(request)
    _explain(session, model_service_pb2.ExplainRouteRequest(generate_image=request, caller=caller))


@explain.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.argument("instruction")
@click.option("--mask", metavar="FILE", help="As of `pixvox image edit`.")
@wanted_options
@call_options
@caller_option
@client_command
def edit(
    session: Session,
    files: tuple[str, ...],
    instruction: str,
    mask: str | None,
    wanted: Wanted,
    call: CallOptions,
    caller: str,
) -> None:
    """Explain `pixvox image edit`.

    Of the files only their number counts.
    """
    images = [media_pb2.MediaInput(uri=file) for file in files]
    request = image_service_pb2.EditImageRequest(prompt=instruction, images=images)
    if mask is not None:
        request.mask.uri = mask
    wanted.fill(request)
    call.fill(request)
    _explain(session, model_service_pb2.ExplainRouteRequest(edit_image=request, caller=caller))


@explain.command()
@click.argument("text")
@manner_options
@call_options
@caller_option
@client_command
def speech(session: Session, text: str, manner: Manner, call: CallOptions, caller: str) -> None:
    """Explain `pixvox speak`."""
    config = manner.config(call)
    _explain(
        session,
        model_service_pb2.ExplainRouteRequest(stream_speech=config, caller=caller, text_characters=len(text)),
    )


@explain.command()
@click.argument("file", metavar="[FILE]", default=_ANY)
@click.option("--transcript", default="", metavar="TEXT", help="As of `pixvox voice clone`.")
@click.option("--language", default="", help="As of `pixvox voice clone`.")
@call_options
@caller_option
@client_command
def clone(session: Session, file: str, transcript: str, language: str, call: CallOptions, caller: str) -> None:
    """Explain `pixvox voice clone`."""
    request = voice_service_pb2.CloneVoiceRequest(
        display_name=_ANY,
        audio=media_pb2.MediaInput(uri=file),
        transcript=transcript,
        language_code=language,
        consent=voice_service_pb2.Consent(speaker=_ANY, statement=_ANY),
    )
    call.fill(cast("Any", request))  # it has the fields of every billable request
    _explain(session, model_service_pb2.ExplainRouteRequest(clone_voice=request, caller=caller))


@explain.command()
@click.argument("description")
@click.option("--text", default=_ANY, help="As of `pixvox voice design`.")
@click.option("--language", default="", help="As of `pixvox voice design`.")
@call_options
@caller_option
@client_command
def design(session: Session, description: str, text: str, language: str, call: CallOptions, caller: str) -> None:
    """Explain `pixvox voice design`."""
    request = voice_service_pb2.DesignVoiceRequest(
        display_name=_ANY, description=description, preview_text=text, language_code=language
    )
    call.fill(cast("Any", request))  # it has the fields of every billable request
    _explain(session, model_service_pb2.ExplainRouteRequest(design_voice=request, caller=caller))


def _explain(session: Session, request: model_service_pb2.ExplainRouteRequest) -> None:
    stub = model_service_pb2_grpc.ModelServiceStub(session.channel)
    response: model_service_pb2.ExplainRouteResponse = stub.ExplainRoute(request, timeout=session.timeout)
    session.report.result(document(response), Text("\n").join(_lines(response, session.report.marks)))


def _lines(response: model_service_pb2.ExplainRouteResponse, marks: tuple[str, str]) -> Iterator[Text]:
    yield _heading(response)
    for number, candidate in enumerate(response.candidates, 1):
        yield from _candidate(number, candidate, marks)
    yield _outcome(response)


def _heading(response: model_service_pb2.ExplainRouteResponse) -> Text:
    pairs = [("route", response.route or "none"), ("caller", response.caller), ("config", response.config_digest)]
    return Text("  ").join(Text.assemble((f"{name} ", "dim"), value) for name, value in pairs if value)


def _candidate(number: int, candidate: model_service_pb2.RouteCandidate, marks: tuple[str, str]) -> Iterator[Text]:
    eligible = ("eligible", "green") if candidate.eligible else ("not eligible", "red")
    price = cost(candidate.estimated_cost)
    yield Text.assemble(f"{number}. ", (_target(candidate), "bold"), "  ", eligible, "  ", (f"cost {price}", "dim"))
    for finding in candidate.findings:
        mark = (marks[0], "green") if finding.passed else (marks[1], "bold red")
        check = model_service_pb2.RouteCheck.Name(finding.check).removeprefix("ROUTE_CHECK_").lower()
        yield Text.assemble("   ", mark, f" {check:<10} {finding.message}")


def _outcome(response: model_service_pb2.ExplainRouteResponse) -> Text:
    serving = next((one for one in response.candidates if one.eligible), None)
    if serving is not None:
        return Text.assemble("The call would be served by ", (_target(serving), "bold green"), ".")
    reason = error_reason_pb2.ErrorReason.Name(response.error_reason).removeprefix("ERROR_REASON_")
    return Text.assemble("The call would fail with ", (reason, "bold red"), f": {response.error_message}")


def _target(candidate: model_service_pb2.RouteCandidate) -> str:
    return f"{candidate.provider}/{candidate.model}" if candidate.model else candidate.provider
