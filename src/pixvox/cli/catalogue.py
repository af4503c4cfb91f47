"""`pixvox models`, `providers` and `health`: what the service has, and whether it is up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pixvox.cli.calls import Session, client_command
from pixvox.cli.exits import ExitCode
from pixvox.cli.output import document
from pixvox.cli.routes import routes_table, verbs_text
from pixvox.v1 import (
    image_service_pb2,
    media_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    speech_service_pb2,
    voice_service_pb2,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

VERBS = {
    "generate-image": model_service_pb2.VERB_GENERATE_IMAGE,
    "edit-image": model_service_pb2.VERB_EDIT_IMAGE,
    "stream-speech": model_service_pb2.VERB_STREAM_SPEECH,
    "clone-voice": model_service_pb2.VERB_CLONE_VOICE,
    "design-voice": model_service_pb2.VERB_DESIGN_VOICE,
}
# The empty name stands for the service as a whole.
SERVICES = (
    "",
    image_service_pb2.DESCRIPTOR.services_by_name["ImageService"].full_name,
    speech_service_pb2.DESCRIPTOR.services_by_name["SpeechService"].full_name,
    voice_service_pb2.DESCRIPTOR.services_by_name["VoiceService"].full_name,
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
)


@click.command()
@click.option("--verb", type=click.Choice(list(VERBS)), help="Only models that can do this.")
@click.option("--provider", default="", help="Only models of this provider.")
@client_command
def models(session: Session, verb: str | None, provider: str) -> None:
    """List the models and what they can do; --json tells all."""
    found = list_models(session.channel, provider, VERBS[verb] if verb else None, session.timeout)
    table = Table("Model", "Provider", "Can", "Limits", box=None, pad_edge=False)
    for model in found:
        name = "\n".join([model.id, *(f"= {alias}" for alias in model.aliases)])
        rows = list(_abilities(model))
        table.add_row(name, model.provider, "\n".join(can for can, _ in rows), "\n".join(limits for _, limits in rows))
    session.report.result({"models": [document(model) for model in found]}, table)


@click.command()
@client_command
def providers(session: Session) -> None:
    """List the configured providers, and the routes to them with the state of each target."""
    stub = model_service_pb2_grpc.ModelServiceStub(session.channel)
    response: model_service_pb2.ListProvidersResponse = stub.ListProviders(
        model_service_pb2.ListProvidersRequest(), timeout=session.timeout
    )
    table = Table("Provider", "Kind", "Region", "Models", "Can (* by default)", "Ready", box=None, pad_edge=False)
    for one in response.providers:
        can = verbs_text(one.verbs, VERBS, default=one.default_verbs, off=one.switched_off)
        table.add_row(one.name, one.kind, one.region, str(one.models), can, _readiness(one))
    answer = {
        "providers": [document(one) for one in response.providers],
        "routes": [document(one) for one in response.routes],
        "config_digest": response.config_digest,
    }
    session.report.result(answer, Group(*_parts(response, table)))


@click.command()
@click.option("--service", help="Full name of one service, for example pixvox.v1.ImageService.  [default: all]")
@client_command
def health(session: Session, service: str | None) -> None:
    """Ask whether the service is up; exits with 4 if anything is not serving."""
    names = SERVICES if service is None else (service,)
    found = {name: health_status(session.channel, name, session.timeout) for name in names}
    table = Table("Service", "Status", box=None, pad_edge=False)
    for name, status in found.items():
        table.add_row(name or "(the whole)", status)
    session.report.result({"services": [{"service": name, "status": status} for name, status in found.items()]}, table)
    if any(status != "SERVING" for status in found.values()):
        raise click.exceptions.Exit(ExitCode.UNAVAILABLE)


def list_models(
    channel: grpc.Channel,
    provider: str = "",
    verb: model_service_pb2.Verb.ValueType | None = None,
    timeout: float | None = None,
) -> list[model_service_pb2.Model]:
    """Return all models, page by page.

    Raises:
        grpc.RpcError: The service refused or cannot be reached.
    """
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    request = model_service_pb2.ListModelsRequest(
        page_size=1000, provider=provider, verb=verb or model_service_pb2.VERB_UNSPECIFIED
    )
    found: list[model_service_pb2.Model] = []
    while True:
        page: model_service_pb2.ListModelsResponse = stub.ListModels(request, timeout=timeout)
        found += page.models
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def health_status(channel: grpc.Channel, service: str, timeout: float | None = None) -> str:
    """Return the status by its name in `grpc.health.v1`; a service that is not there is ``SERVICE_UNKNOWN``.

    Raises:
        grpc.RpcError: The service cannot be reached.
    """
    stub = health_pb2_grpc.HealthStub(channel)
    try:
        response: health_pb2.HealthCheckResponse = stub.Check(
            health_pb2.HealthCheckRequest(service=service), timeout=timeout
        )
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return "SERVICE_UNKNOWN"
        raise
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    return name


def _readiness(provider: model_service_pb2.ProviderInfo) -> str:
    if provider.ready:
        return "yes"
    # A service that does not know of switches leaves `enabled` unset, and always says why a provider is not ready.
    off = not (provider.enabled or provider.unready_reason)
    return "no: it is switched off" if off else f"no: {provider.unready_reason}"


def _parts(response: model_service_pb2.ListProvidersResponse, table: Table) -> Iterator[RenderableType]:
    yield table
    if response.routes:
        yield ""
        yield routes_table(response.routes, VERBS)
    if response.config_digest:
        yield Text.assemble(("\nconfig ", "dim"), response.config_digest)


def _abilities(model: model_service_pb2.Model) -> Iterator[tuple[str, str]]:
    if model.HasField("generate_image"):
        yield "generate-image", _output_limits(model.generate_image.output)
    if model.HasField("edit_image"):
        edit = model.edit_image
        mask = ", mask" if edit.takes_mask else ""
        yield "edit-image", f"{edit.max_images} inputs{mask}, {_output_limits(edit.output)}"
    if model.HasField("stream_speech"):
        yield "stream-speech", _speech_limits(model.stream_speech)
    if model.HasField("clone_voice"):
        clone = model.clone_voice
        yield "clone-voice", f"recordings of {clone.min_audio_seconds:g}..{clone.max_audio_seconds:g} s"
    if model.HasField("design_voice"):
        design = model.design_voice
        yield "design-voice", f"descriptions to {design.max_description_characters}"


def _output_limits(output: model_service_pb2.ImageOutput) -> str:
    formats = "/".join(media_pb2.ImageFormat.Name(one).removeprefix("IMAGE_FORMAT_").lower() for one in output.formats)
    return f"{_sizes(output.size)}, n to {output.max_n}, {formats}, prompt to {output.max_prompt_characters}"


def _sizes(rule: model_service_pb2.SizeRule) -> str:
    if rule.fixed:
        return "no choice of size"
    if rule.sizes:
        return " ".join(f"{size.width}x{size.height}" for size in rule.sizes)
    sides = f"sides {rule.min_side}..{rule.max_side}" if rule.max_side else "any side"
    return f"{sides}, {rule.max_area / 1e6:.1f} Mpixel" if rule.max_area else sides


def _speech_limits(speech: model_service_pb2.StreamSpeechCapability) -> str:
    encodings = "/".join(
        media_pb2.AudioEncoding.Name(one).removeprefix("AUDIO_ENCODING_").lower() for one in speech.encodings
    )
    rates = "/".join(f"{rate / 1000:g}" for rate in speech.sample_rates_hertz)
    counts = f"{len(speech.voices)} voices, {len(speech.language_codes)} languages"
    return f"{counts}, {encodings}, {rates} kHz, text to {speech.max_text_characters}"
