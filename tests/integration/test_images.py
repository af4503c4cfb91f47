"""Pictures through a real server."""

from __future__ import annotations

import asyncio
import hashlib
import io
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import pytest
from PIL import Image, ImageStat

from calling import fault, photo, settings_for_tests, stubs_of, until
from pixvox import client, server
from pixvox.media.images import shrunk
from pixvox.v1 import media_pb2
from pixvox.v1.image_service_pb2 import EditImageRequest, GenerateImageRequest


def opened(image: media_pb2.Image) -> Image.Image:
    return Image.open(io.BytesIO(image.data))


async def test_a_picture_has_the_size_asked_for_and_a_complete_receipt(stubs):
    answer = await stubs.images.GenerateImage(
        GenerateImageRequest(prompt="a lighthouse", size=media_pb2.Size(width=320, height=200), request_id="mine-1")
    )
    (image,) = answer.images
    assert opened(image).size == (320, 200)
    assert (image.size.width, image.size.height) == (320, 200)
    assert (answer.effective_size.width, answer.effective_size.height) == (320, 200)
    assert image.mime_type == "image/png"
    assert image.sha256 == hashlib.sha256(image.data).hexdigest()
    assert image.size_bytes == len(image.data)
    receipt = answer.receipt
    assert receipt.request_id == "mine-1"
    assert (receipt.provider, receipt.model) == ("sandbox", "sandbox-image")
    assert receipt.provider_request_id
    assert receipt.usage.images == 1
    assert receipt.cost.state == media_pb2.COST_STATE_PRICED
    assert [attempt.provider_request_id for attempt in receipt.attempts] == [receipt.provider_request_id]


async def test_the_service_makes_a_request_id_when_the_caller_gives_none(stubs):
    first = await stubs.images.GenerateImage(GenerateImageRequest(prompt="x", size=media_pb2.Size(width=8, height=8)))
    second = await stubs.images.GenerateImage(GenerateImageRequest(prompt="x", size=media_pb2.Size(width=8, height=8)))
    assert first.receipt.request_id
    assert first.receipt.request_id != second.receipt.request_id


async def test_equal_seeds_give_identical_bytes_and_other_seeds_other_pictures(stubs):
    async def data(seed: int) -> list[bytes]:
        request = GenerateImageRequest(prompt="harbour", size=media_pb2.Size(width=128, height=96), seed=seed, n=2)
        return [image.data for image in (await stubs.images.GenerateImage(request)).images]

    assert await data(7) == await data(7)
    assert await data(7) != await data(8)
    first, second = await data(7)
    assert first != second


@pytest.mark.parametrize(
    ("image_format", "mime_type"),
    [
        (media_pb2.IMAGE_FORMAT_PNG, "image/png"),
        (media_pb2.IMAGE_FORMAT_JPEG, "image/jpeg"),
        (media_pb2.IMAGE_FORMAT_WEBP, "image/webp"),
    ],
)
async def test_every_format_is_what_it_says(stubs, image_format, mime_type):
    answer = await stubs.images.GenerateImage(
        GenerateImageRequest(prompt="x", size=media_pb2.Size(width=64, height=64), format=image_format)
    )
    assert answer.images[0].mime_type == mime_type
    assert Image.MIME[opened(answer.images[0]).format] == mime_type


async def test_the_largest_picture_is_made(stubs):
    answer = await stubs.images.GenerateImage(
        GenerateImageRequest(prompt="wide", size=media_pb2.Size(width=4096, height=4096))
    )
    assert opened(answer.images[0]).size == (4096, 4096)


async def test_options_that_the_provider_lacks_are_reported_and_change_nothing(stubs):
    answer = await stubs.images.GenerateImage(
        GenerateImageRequest(prompt="x", size=media_pb2.Size(width=64, height=64), prompt_extend=True, watermark=False)
    )
    assert {warning.field for warning in answer.warnings} == {"prompt_extend", "watermark"}
    assert {warning.reason for warning in answer.warnings} == {media_pb2.WARNING_REASON_FIELD_IGNORED}


async def test_an_edit_really_changes_the_pixels(stubs):
    answer = await stubs.images.EditImage(
        EditImageRequest(prompt="make it grayscale", images=[media_pb2.MediaInput(data=photo(640, 480))])
    )
    picture = opened(answer.images[0]).convert("RGB")
    assert picture.size == (640, 480)
    for place in ((80, 100), (500, 100)):
        red, green, blue = picture.getpixel(place)
        assert red == green == blue


async def test_an_edit_takes_sixteen_inputs(stubs):
    answer = await stubs.images.EditImage(
        EditImageRequest(prompt="collage", images=[media_pb2.MediaInput(data=photo()) for _ in range(16)])
    )
    assert len(answer.images) == 1


async def test_a_mask_keeps_the_rest_of_the_picture(stubs):
    mask = Image.new("L", (64, 48), 0)
    mask.paste(255, (0, 0, 32, 48))
    file = io.BytesIO()
    mask.save(file, "PNG")
    answer = await stubs.images.EditImage(
        EditImageRequest(
            prompt="invert",
            images=[media_pb2.MediaInput(data=photo())],
            mask=media_pb2.MediaInput(data=file.getvalue()),
        )
    )
    picture = opened(answer.images[0]).convert("RGB")
    assert picture.getpixel((4, 10)) == (0, 255, 255)
    assert picture.getpixel((60, 10)) == (0, 0, 255)


async def test_an_instruction_without_an_operation_is_said_so(stubs):
    answer = await stubs.images.EditImage(
        EditImageRequest(prompt="make the dog happier", images=[media_pb2.MediaInput(data=photo(400, 300))])
    )
    assert [warning.reason for warning in answer.warnings] == [media_pb2.WARNING_REASON_NOTHING_APPLIED]
    before = ImageStat.Stat(Image.open(io.BytesIO(photo(400, 300)))).mean
    assert ImageStat.Stat(opened(answer.images[0]).convert("RGB")).mean != before


def noise(width: int, height: int) -> bytes:
    """The file of a picture that does not compress."""
    file = io.BytesIO()
    Image.effect_noise((width, height), 200).convert("RGB").save(file, "PNG", compress_level=1)
    return file.getvalue()


async def test_an_input_that_is_too_large_is_scaled_down_where_the_caller_allows_it(stubs):
    large = noise(4000, 3000)
    request = EditImageRequest(
        prompt="grayscale", images=[media_pb2.MediaInput(data=photo()), media_pb2.MediaInput(data=large)]
    )
    with pytest.raises(grpc.RpcError) as raised:
        await stubs.images.EditImage(request)
    assert client.failure(raised.value).reason == "MEDIA_TOO_LARGE"
    request.scale_inputs_down = True
    answer = await stubs.images.EditImage(request)
    reduced = [one for one in answer.warnings if one.reason == media_pb2.WARNING_REASON_INPUT_REDUCED]
    assert [one.field for one in reduced] == ["images[1]"]
    assert "4000x3000" in reduced[0].message


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_picture_is_shrunk_to_the_bytes_and_pixels_that_are_allowed_and_keeps_its_aspect(mode):
    picture = Image.effect_noise((1200, 800), 200).convert(mode)
    picture.putpixel((0, 0), (1, 2, 3) if mode == "RGB" else (1, 2, 3, 0))
    file = io.BytesIO()
    picture.save(file, "PNG")
    data = shrunk(file.getvalue(), max_bytes=100_000, max_pixels=300_000)
    small = Image.open(io.BytesIO(data))
    assert len(data) <= 100_000
    assert small.width * small.height <= 300_000
    assert small.width / small.height == pytest.approx(1.5, abs=0.02)
    assert small.mode == mode


class _Photo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        data = photo(image_format="JPEG")
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def photo_address():
    with HTTPServer(("127.0.0.1", 0), _Photo) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{web.server_port}"
        web.shutdown()
        thread.join()


async def test_an_input_can_be_an_address_of_an_allowed_host(photo_address):
    async with (
        server.running(settings_for_tests(fetch__allowed_hosts=[photo_address])) as service,
        stubs_of(service.target) as stubs,
    ):
        answer = await stubs.images.EditImage(
            EditImageRequest(prompt="flip horizontally", images=[media_pb2.MediaInput(uri=f"http://{photo_address}/a")])
        )
    red, _, blue = opened(answer.images[0]).convert("RGB").getpixel((4, 10))
    assert blue > 200 > red


async def test_an_address_that_is_not_public_is_refused(stubs, photo_address):
    with pytest.raises(grpc.RpcError) as raised:
        await stubs.images.EditImage(
            EditImageRequest(prompt="blur", images=[media_pb2.MediaInput(uri=f"http://{photo_address}/a?key=secret")])
        )
    failed = client.failure(raised.value)
    assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "URI_NOT_ALLOWED")
    assert [violation.field for violation in failed.violations] == ["images[0]"]
    assert "secret" not in str(failed)


@pytest.mark.parametrize(
    ("kind", "code", "reason"),
    [
        ("unavailable", grpc.StatusCode.UNAVAILABLE, "PROVIDER_UNAVAILABLE"),
        ("rate_limited", grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED"),
        ("internal", grpc.StatusCode.INTERNAL, "PROVIDER_INTERNAL"),
    ],
)
async def test_a_provider_failure_names_its_provider(stubs, kind, code, reason):
    with pytest.raises(grpc.RpcError) as raised:
        await stubs.images.GenerateImage(GenerateImageRequest(prompt="x", provider_options=fault(kind=kind)))
    failed = client.failure(raised.value)
    assert (failed.code, failed.reason) == (code, reason)
    assert failed.metadata["provider"] == "sandbox"


async def test_an_unexpected_error_shows_a_request_id_and_nothing_else(stubs, caplog):
    with pytest.raises(grpc.RpcError) as raised:
        await stubs.images.GenerateImage(
            GenerateImageRequest(prompt="x", request_id="find-me", provider_options=fault(kind="crash"))
        )
    failed = client.failure(raised.value)
    assert (failed.code, failed.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert failed.request_id == "find-me"
    assert "find-me" in failed.message
    assert "Traceback" not in str(failed)
    assert "RuntimeError" not in str(failed)


async def test_the_callers_cancellation_reaches_the_provider(service, stubs):
    call = stubs.images.GenerateImage(
        GenerateImageRequest(prompt="x", provider_options=fault(kind="stall", seconds=600))
    )
    await asyncio.sleep(0.2)
    assert service.calls.in_flight == 1
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: service.calls.in_flight == 0)


async def test_the_callers_deadline_reaches_the_provider(service, stubs):
    with pytest.raises(grpc.RpcError) as raised:
        await stubs.images.GenerateImage(
            GenerateImageRequest(prompt="x", provider_options=fault(kind="stall", seconds=600)), timeout=0.3
        )
    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: service.calls.in_flight == 0)


async def test_a_call_without_a_deadline_gets_that_of_its_method():
    running = server.running(settings_for_tests(deadlines__generate_image=0.3))
    async with running as service, stubs_of(service.target) as stubs:
        with pytest.raises(grpc.RpcError) as raised:
            await stubs.images.GenerateImage(
                GenerateImageRequest(prompt="x", provider_options=fault(kind="stall", seconds=600))
            )
    failed = client.failure(raised.value)
    assert (failed.code, failed.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert "0.3 s" in failed.message


async def test_pictures_that_do_not_fit_into_an_answer_are_refused_with_advice():
    running = server.running(settings_for_tests(server__max_response_bytes=70_000))
    async with running as service, stubs_of(service.target) as stubs:
        with pytest.raises(grpc.RpcError) as raised:
            await stubs.images.GenerateImage(GenerateImageRequest(prompt="x", n=4))
    failed = client.failure(raised.value)
    assert (failed.code, failed.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OUTPUT_TOO_LARGE")
    assert [violation.field for violation in failed.violations] == ["delivery"]
