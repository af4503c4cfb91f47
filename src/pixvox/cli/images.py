"""`pixvox image generate` and `pixvox image edit`."""

from __future__ import annotations

import hashlib
import mimetypes
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from pixvox.cli.calls import Session, client_command, gathered
from pixvox.cli.download import downloaded
from pixvox.cli.files import STANDARD, check_output, media_input, unfinished
from pixvox.cli.output import document, receipt_text
from pixvox.cli.request_options import CallOptions, PictureSize, call_options
from pixvox.client import MAX_REQUEST_BYTES
from pixvox.v1 import image_service_pb2, image_service_pb2_grpc, media_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    Request = image_service_pb2.GenerateImageRequest | image_service_pb2.EditImageRequest
    Response = image_service_pb2.GenerateImageResponse | image_service_pb2.EditImageResponse

FORMATS = {
    "png": media_pb2.IMAGE_FORMAT_PNG,
    "jpeg": media_pb2.IMAGE_FORMAT_JPEG,
    "webp": media_pb2.IMAGE_FORMAT_WEBP,
}
SUFFIXES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the picture is to be like; None and empty mean the provider's default."""

    size: media_pb2.Size | None
    n: int | None
    seed: int | None
    negative: str
    format: str | None
    prompt_extend: bool | None
    watermark: bool | None

    def fill(self, request: Request, output: str = "") -> None:
        """Set the fields in a request; the output file's suffix decides on the format if nothing else does."""
        request.negative_prompt = self.negative
        if self.size is not None:
            request.size.CopyFrom(self.size)
        if self.n is not None:
            request.n = self.n
        if self.seed is not None:
            request.seed = self.seed
        if self.prompt_extend is not None:
            request.prompt_extend = self.prompt_extend
        if self.watermark is not None:
            request.watermark = self.watermark
        if name := self.format or SUFFIXES.get(Path(output).suffix.lower()):
            request.format = FORMATS[name]


output_option = click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    help="Where to write; `-` is standard output. With several pictures NAME-1.png, NAME-2.png, ...",
)


def wanted_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Wanted`, which it gets as `wanted`."""
    decorators = (
        click.option("--size", type=PictureSize(), help="In pixels, for example 1328x1328."),
        click.option("-n", type=click.IntRange(0, 1000), help="How many pictures."),
        click.option(
            "--seed", type=click.IntRange(0, 2**31 - 1), help="Makes the result repeatable where the model can."
        ),
        click.option("--negative", default="", metavar="TEXT", help="What not to show."),
        click.option(
            "--format", type=click.Choice(sorted(FORMATS)), help="Of the file.  [default: by the file's suffix]"
        ),
        click.option(
            "--prompt-extend/--no-prompt-extend", default=None, help="Whether the provider may rewrite the prompt."
        ),
        click.option(
            "--watermark/--no-watermark", default=None, help="Whether the provider puts its mark on the picture."
        ),
    )
    function = gathered(Wanted, "wanted")(function)
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


@click.group()
def image() -> None:
    """Make and edit pictures."""


@image.command()
@click.argument("prompt")
@output_option
@wanted_options
@call_options
@client_command
def generate(session: Session, prompt: str, output: str, wanted: Wanted, call: CallOptions) -> None:
    """Make pictures from PROMPT."""
    check_output(output, session.report.as_json, wanted.n or 1)
    request = image_service_pb2.GenerateImageRequest(prompt=prompt)
    wanted.fill(request, output)
    call.fill(request)
    stub = image_service_pb2_grpc.ImageServiceStub(session.channel)
    with session.report.progress("Making the picture"):
        response: Response = stub.GenerateImage(request, timeout=session.timeout)
    _deliver(session, response, output, several=request.n > 1)


@image.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.argument("instruction")
@click.option("--mask", metavar="FILE", help="Only where this picture is not black may the result differ.")
@output_option
@wanted_options
@call_options
@client_command
def edit(
    session: Session,
    files: tuple[str, ...],
    instruction: str,
    mask: str | None,
    output: str,
    wanted: Wanted,
    call: CallOptions,
) -> None:
    """Change pictures as INSTRUCTION says.

    FILE is a path, an http(s) address that the service downloads, or `-` for standard input.
    """
    check_output(output, session.report.as_json, wanted.n or 1)
    request = image_service_pb2.EditImageRequest(prompt=instruction, images=_inputs(files, mask))
    if mask is not None:
        request.mask.CopyFrom(media_input(mask))
    if request.ByteSize() > MAX_REQUEST_BYTES:
        raise click.BadParameter(f"the files have more than {MAX_REQUEST_BYTES >> 20} MiB together", param_hint="FILE")
    wanted.fill(request, output)
    call.fill(request)
    stub = image_service_pb2_grpc.ImageServiceStub(session.channel)
    with session.report.progress("Editing the picture"):
        response: Response = stub.EditImage(request, timeout=session.timeout)
    _deliver(session, response, output, several=request.n > 1)


def image_bytes(picture: media_pb2.Image) -> bytes:
    """Return a finished picture's file, downloaded if the service gave an address.

    Raises:
        OSError: It cannot be downloaded, or is not what the service announced.
    """
    data = picture.data if picture.WhichOneof("content") == "data" else downloaded(picture.uri)
    if picture.sha256 and hashlib.sha256(data).hexdigest() != picture.sha256:
        raise OSError("the picture is damaged: its checksum is not the announced one")
    return data


def _inputs(files: tuple[str, ...], mask: str | None) -> list[media_pb2.MediaInput]:
    if [*files, mask].count(STANDARD) > 1:
        raise click.BadParameter("standard input can be read only once", param_hint="FILE")
    return [media_input(file) for file in files]


def _deliver(session: Session, response: Response, output: str, several: bool) -> None:
    session.report.warnings(response.warnings)
    several = several or len(response.images) > 1
    if output == STANDARD and several:
        session.report.warn("Standard output takes one picture; the others are left out.")
    files: list[dict[str, object]] = []
    for number, picture in enumerate(response.images if output != STANDARD else response.images[:1], 1):
        data = image_bytes(picture)
        path = _numbered(output, number) if several and output != STANDARD else output
        _write(path, data)
        _check_suffix(session, path, picture)
        files.append(_file_document(path, picture, len(data)))
    answer = {
        "files": files,
        "warnings": [document(warning) for warning in response.warnings],
        "receipt": document(response.receipt),
    }
    session.report.result(answer, _shown(files, response.receipt), aside=output == STANDARD)


def _numbered(output: str, number: int) -> str:
    path = Path(output)
    return str(path.with_name(f"{path.stem}-{number}{path.suffix}"))


def _write(path: str, data: bytes) -> None:
    if path == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with unfinished(Path(path)) as file:
        file.write(data)


def _check_suffix(session: Session, path: str, picture: media_pb2.Image) -> None:
    by_name, _ = mimetypes.guess_type(path)
    if by_name is not None and by_name != picture.mime_type:
        session.report.warn(f"{path} holds {picture.mime_type}, whatever its name says.")


def _file_document(path: str, picture: media_pb2.Image, size_bytes: int) -> dict[str, object]:
    return {
        "path": path,
        "mime_type": picture.mime_type,
        "width": picture.size.width,
        "height": picture.size.height,
        "size_bytes": size_bytes,
        "sha256": picture.sha256,
        "seed": picture.seed if picture.HasField("seed") else None,
    }


def _shown(files: list[dict[str, object]], receipt: media_pb2.Receipt) -> Text:
    lines = []
    for file in files:
        seed = "" if file["seed"] is None else f"  seed {file['seed']}"
        facts = f"  {file['width']}x{file['height']}  {file['mime_type']}  {file['size_bytes']} bytes{seed}"
        lines.append(Text.assemble((str(file["path"]), "bold green"), facts))
    return Text("\n").join([*lines, receipt_text(receipt)])
