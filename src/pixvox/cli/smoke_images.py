"""The smoke checks of health and pictures: SMK-01 to SMK-05, and the prompt's limit of SMK-10."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from pixvox.cli.catalogue import SERVICES, health_status
from pixvox.cli.download import downloaded
from pixvox.cli.images import image_bytes
from pixvox.cli.pictures import read_picture
from pixvox.cli.smoke_run import CheckFailedError, CheckSkippedError, Run, refused, require
from pixvox.v1 import image_service_pb2, image_service_pb2_grpc, media_pb2, model_service_pb2

if TYPE_CHECKING:
    Request = image_service_pb2.GenerateImageRequest | image_service_pb2.EditImageRequest
    Response = image_service_pb2.GenerateImageResponse | image_service_pb2.EditImageResponse

PROMPT = "A red bicycle leaning against a white wall, morning light"
INSTRUCTION = "Turn the picture into a watercolor painting"
GENERATE = model_service_pb2.VERB_GENERATE_IMAGE
EDIT = model_service_pb2.VERB_EDIT_IMAGE


def health(run: Run) -> str:
    """SMK-01: the whole and each service report that they serve."""
    found = {name or "(the whole)": health_status(run.channel, name, run.timeout) for name in SERVICES}
    down = [f"{name} is {status}" for name, status in found.items() if status != "SERVING"]
    require(not down, ", ".join(down))
    return f"{len(found)} of {len(found)} SERVING"


def generate(run: Run) -> str:
    """SMK-02: a picture from a prompt, of the size that was asked for, with both ids."""
    output = run.model(GENERATE).generate_image.output
    request = image_service_pb2.GenerateImageRequest(
        prompt=PROMPT, size=allowed_size(output.size, 1328, 1328), prompt_extend=True, watermark=False
    )
    if media_pb2.IMAGE_FORMAT_JPEG in output.formats:
        # The edit that follows is to have a JPEG.
        request.format = media_pb2.IMAGE_FORMAT_JPEG
    run.picture, facts = _checked(_generate(run, request), request)
    return facts


def edit(run: Run) -> str:
    """SMK-03: an edit by an instruction; the result has the asked size and is another file than the input."""
    size = allowed_size(run.model(EDIT).edit_image.output.size, 1024, 1536)
    if run.image_url:
        return _edited(run, media_pb2.MediaInput(uri=run.image_url), size)
    return _edited(run, media_pb2.MediaInput(data=_own_picture(run)), size)


def refusals(run: Run) -> str:
    """SMK-04: a bad size and a bad n are refused, each with a reason and its field."""
    output = run.model(GENERATE).generate_image.output
    request = image_service_pb2.GenerateImageRequest
    bad = [
        ("size", request(prompt=PROMPT, size=media_pb2.Size(width=100_000, height=1))),
        ("n", request(prompt=PROMPT, n=0)),
    ]
    if output.max_n:
        # Just above the limit: should the service accept it after all, the bill stays small.
        bad.append(("n", request(prompt=PROMPT, n=output.max_n + 1)))
    return ", ".join(f"{path}: {_refused(run, wrong, path)}" for path, wrong in bad)


def url_and_bytes(run: Run) -> str:
    """SMK-05: an input by address and an input by bytes both work."""
    run.model(EDIT)
    if not run.image_url:
        raise CheckSkippedError("needs a public picture: --image-url URL")
    by_url = _edited(run, media_pb2.MediaInput(uri=run.image_url), None)
    data = run.picture or downloaded(run.image_url)
    by_bytes = _edited(run, media_pb2.MediaInput(data=data), None)
    return f"by URL: {by_url}; by bytes: {by_bytes}"


def prompt_limit(run: Run) -> str:
    """SMK-10, pictures: a prompt above the model's limit is refused."""
    limit = run.model(GENERATE).generate_image.output.max_prompt_characters
    if not limit:
        raise CheckSkippedError("the model has no limit of the prompt")
    request = image_service_pb2.GenerateImageRequest(prompt="a" * (limit + 1))
    return f"prompt of {limit + 1}: {_refused(run, request, 'prompt')}"


def allowed_size(rule: model_service_pb2.SizeRule, width: int, height: int) -> media_pb2.Size | None:
    """Return the wanted size if the model makes it, else another one that it makes; None leaves it to the model."""
    wanted = media_pb2.Size(width=width, height=height)
    if rule.fixed:
        return None
    if rule.sizes:
        return wanted if wanted in rule.sizes else rule.sizes[0]
    fits = (
        rule.min_side <= min(width, height)
        and max(width, height) <= (rule.max_side or width + height)
        and rule.min_area <= width * height <= (rule.max_area or width * height)
    )
    if fits:
        return wanted
    return rule.default_size if rule.HasField("default_size") else None


def _generate(run: Run, request: image_service_pb2.GenerateImageRequest) -> image_service_pb2.GenerateImageResponse:
    _address(request, run.model(GENERATE))
    stub = image_service_pb2_grpc.ImageServiceStub(run.channel)
    response: image_service_pb2.GenerateImageResponse = stub.GenerateImage(request, timeout=run.timeout)
    return response


def _refused(run: Run, request: image_service_pb2.GenerateImageRequest, path: str) -> str:
    return refused(lambda: _generate(run, request), path)


def _edited(run: Run, source: media_pb2.MediaInput, size: media_pb2.Size | None) -> str:
    request = image_service_pb2.EditImageRequest(prompt=INSTRUCTION, images=[source], size=size)
    _address(request, run.model(EDIT))
    stub = image_service_pb2_grpc.ImageServiceStub(run.channel)
    response: image_service_pb2.EditImageResponse = stub.EditImage(request, timeout=run.timeout)
    data, facts = _checked(response, request)
    require(data != source.data, "the result is the input, byte for byte")
    return facts


def _own_picture(run: Run) -> bytes:
    if not run.picture:
        raise CheckSkippedError("there is no picture to edit: SMK-02 made none; give one with --image-url URL")
    return run.picture


def _address(request: Request, model: model_service_pb2.Model) -> None:
    request.model = model.id
    request.provider = model.provider
    request.request_id = f"smoke-{uuid.uuid4()}"


def _checked(response: Response, request: Request) -> tuple[bytes, str]:
    require(len(response.images) == 1, f"{len(response.images)} pictures came where one was asked for")
    image, receipt = response.images[0], response.receipt
    data = image_bytes(image)
    try:
        picture = read_picture(data)
    except ValueError as error:
        raise CheckFailedError(f"what came is no picture: {error}") from error
    require(picture.mime_type == image.mime_type, f"a {picture.mime_type} came announced as {image.mime_type}")
    size = (picture.width, picture.height)
    for announced in (request.size, image.size):
        if announced.width:
            expected = (announced.width, announced.height)
            require(size == expected, f"the picture is {size[0]}x{size[1]} and not {expected[0]}x{expected[1]}")
    require(receipt.request_id == request.request_id, f"request_id came back as {receipt.request_id!r}")
    require(bool(receipt.provider_request_id), "there is no provider_request_id")
    return data, f"{size[0]}x{size[1]} {picture.mime_type} by {receipt.provider}/{receipt.model}"
