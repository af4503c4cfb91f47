"""`pixvox image generate` and `pixvox image edit`."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import signal
import threading

import pytest
from PIL import Image

from pixvox.errors import PixvoxError, ProviderUnavailableError, RateLimitedError
from pixvox.v1 import media_pb2


def test_a_generated_picture_is_a_real_file_of_the_asked_size_and_format(pixvox):
    done = pixvox("image", "generate", "a red bicycle", "-o", "bike.webp", "--size", "640x480")
    assert done.code == 0
    with Image.open(pixvox.folder / "bike.webp") as opened:
        assert (opened.format, opened.size) == ("WEBP", (640, 480))


def test_success_prints_path_size_type_provider_model_cost_seed_and_ids(pixvox):
    done = pixvox("image", "generate", "x", "-o", "a.png", "--size", "64x64", "--seed", "7", "--request-id", "mine-1")
    for fact in (
        "a.png",
        "64x64",
        "image/png",
        "seed 7",
        "provider box",
        "model box-image",
        "0.075 USD",
        "mine-1",
        "box-1",
    ):
        assert fact in done.out
    assert done.err == ""


def test_every_option_reaches_the_request(pixvox, service):
    pixvox(
        *("image", "generate", "x", "-o", "a.png", "--size", "100X200", "-n", "2", "--seed", "5", "--negative", "fog"),
        *("--format", "jpeg", "--model", "picture", "--provider", "box", "--request-id", "r-1"),
        *("--label", "team=art", "--label", "k=a=b", "--option", '{"sandbox": {"a": [1, true]}}'),
        *("--prompt-extend", "--no-watermark"),
    )
    (request,) = service.requests
    assert (request.size.width, request.size.height, request.n, request.seed) == (100, 200, 2, 5)
    assert (request.negative_prompt, request.format) == ("fog", media_pb2.IMAGE_FORMAT_JPEG)
    assert (request.model, request.provider, request.request_id) == ("picture", "box", "r-1")
    assert dict(request.labels) == {"team": "art", "k": "a=b"}
    assert request.provider_options["sandbox"]["a"][1] is True
    assert request.prompt_extend is True
    assert request.watermark is False
    assert request.HasField("watermark")


def test_options_that_are_left_out_stay_unset_in_the_request(pixvox, service):
    pixvox("image", "generate", "x", "-o", "picture")
    (request,) = service.requests
    assert [field.name for field, _ in request.ListFields()] == ["prompt"]


def test_several_pictures_are_numbered(pixvox):
    done = pixvox("image", "generate", "x", "-o", "a.b.png", "-n", "3")
    assert done.code == 0
    assert sorted(file.name for file in pixvox.folder.iterdir()) == ["a.b-1.png", "a.b-2.png", "a.b-3.png"]


def test_json_is_one_document_with_files_receipt_and_warnings(pixvox):
    done = pixvox("image", "generate", "x", "-o", "a.png", "-n", "2", "--negative", "fog", "--json")
    answer = json.loads(done.out)
    assert [file["path"] for file in answer["files"]] == ["a-1.png", "a-2.png"]
    first = answer["files"][0]
    assert first["sha256"] == hashlib.sha256((pixvox.folder / "a-1.png").read_bytes()).hexdigest()
    assert answer["receipt"]["cost"]["amount"] == "0.075"
    assert answer["warnings"][0]["field"] == "negative_prompt"


def test_a_warning_is_shown_on_standard_error(pixvox):
    done = pixvox("image", "generate", "x", "-o", "a.png", "--negative", "fog")
    assert "negative_prompt: It was not used." in done.err
    assert "It was not used" not in done.out


def test_a_file_whose_suffix_belies_its_content_is_said_aloud(pixvox):
    done = pixvox("image", "generate", "x", "-o", "a.png", "--format", "jpeg")
    assert "a.png holds image/jpeg" in done.err


def test_a_picture_goes_to_standard_output_alone(start, tmp_path):
    process = start("image", "generate", "x", "-o", "-", "--size", "64x64")
    out, err = process.communicate(timeout=20)
    assert out.startswith(b"\x89PNG")
    assert out.endswith(b"IEND\xaeB`\x82")
    assert b"64x64" in err


def test_edit_sends_files_addresses_standard_input_and_mask(pixvox, service):
    (pixvox.folder / "a.png").write_bytes(b"first")
    (pixvox.folder / "m.png").write_bytes(b"mask")
    done = pixvox(
        *(
            "image",
            "edit",
            "a.png",
            "https://example.com/b.jpg",
            "-",
            "make it blue",
            "-o",
            "out.png",
            "--mask",
            "m.png",
        ),
        stdin=b"third",
    )
    assert done.code == 0
    (request,) = service.requests
    assert request.prompt == "make it blue"
    assert [one.data or one.uri for one in request.images] == [b"first", "https://example.com/b.jpg", b"third"]
    assert request.mask.data == b"mask"


def test_a_file_that_is_not_there_is_a_usage_error_and_nothing_is_sent(pixvox, service):
    done = pixvox("image", "edit", "missing.png", "make it blue", "-o", "out.png")
    assert done.code == 2
    assert "missing.png" in done.err
    assert service.requests == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("-o", "no/such/folder/a.png"),
        ("-o", "."),
        ("-o", "a.png", "--size", "large"),
        ("-o", "a.png", "--label", "novalue"),
        ("-o", "a.png", "--option", "[1]"),
        ("-o", "a.png", "--option", "{"),
        ("-o", "-", "-n", "2"),
        ("-o", "-", "--json"),
        ("-o", "a.png", "--timeout", "0"),
        (),
    ],
)
def test_a_wrong_command_line_exits_with_2_before_anything_is_sent(pixvox, service, arguments):
    assert pixvox("image", "generate", "x", *arguments).code == 2
    assert service.requests == []


def test_inputs_beyond_the_message_limit_are_refused_before_they_are_sent(pixvox, service):
    with (pixvox.folder / "big.png").open("wb") as file:
        file.truncate(49 * 1024 * 1024)
    done = pixvox("image", "edit", "big.png", "blue", "-o", "out.png")
    assert done.code == 2
    assert "48 MiB" in done.err
    assert service.requests == []


def test_an_invalid_request_exits_with_3_and_names_each_field(pixvox):
    done = pixvox("image", "generate", "x", "-o", "a.png", "-n", "99", "--size", "1x1")
    assert done.code == 3
    assert "field n: is 99; allowed: 1..4" in done.err
    assert "field size: is 1x1" in done.err
    assert "request_id made-here" in done.err
    assert list(pixvox.folder.iterdir()) == []


def test_an_unavailable_provider_exits_with_4_and_gives_a_hint(pixvox, service):
    service.fault = ProviderUnavailableError("Nobody answers.", metadata={"provider": "box", "provider_code": "503"})
    done = pixvox("image", "generate", "x", "-o", "a.png")
    assert done.code == 4
    assert "PROVIDER_UNAVAILABLE Nobody answers." in done.err
    assert "provider_code 503" in done.err
    assert "hint: " in done.err


def test_a_rate_limit_exits_with_6_and_says_when_to_try_again(pixvox, service):
    service.fault = RateLimitedError("Too many.", retry_after=12.5)
    done = pixvox("image", "generate", "x", "-o", "a.png")
    assert done.code == 6
    assert "try again in 12.5 s" in done.err


def test_any_other_failure_exits_with_1(pixvox, service):
    service.fault = PixvoxError("Something broke.")
    assert pixvox("image", "generate", "x", "-o", "a.png").code == 1


def test_a_failure_with_json_is_one_document_too(pixvox):
    done = pixvox("image", "generate", "x", "-o", "a.png", "-n", "99", "--json")
    error = json.loads(done.out)["error"]
    assert (error["code"], error["reason"]) == ("INVALID_ARGUMENT", "UNSUPPORTED")
    assert error["violations"][0]["field"] == "n"
    assert error["request_id"] == "made-here"


def test_the_deadline_exits_with_5(pixvox, service):
    service.delay = 2
    done = pixvox("image", "generate", "x", "-o", "a.png", "--timeout", "0.3")
    assert done.code == 5
    assert "--timeout" in done.err


def test_where_nobody_listens_it_exits_with_4_and_says_how_to_start(pixvox):
    done = pixvox("image", "generate", "x", "-o", "a.png", "--target", "127.0.0.1:1")
    assert done.code == 4
    assert "127.0.0.1:1" in done.err
    assert "pixvox serve" in done.err


def test_ctrl_c_cancels_the_call_and_exits_with_130(start, service, tmp_path):
    service.delay = 5
    process = start("image", "generate", "x", "-o", "a.png")
    while not service.requests:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=4)
    assert process.returncode == 130
    assert err.decode().strip() == "Interrupted."
    assert service.cancelled.wait(2)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_by_address_is_downloaded(pixvox, service, tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    pixvox("image", "generate", "x", "-o", folder / "picture.png", "--size", "64x64")
    with web(folder) as address:
        service.uri = f"{address}/picture.png"
        done = pixvox("image", "generate", "x", "-o", "a.png", "--size", "64x64")
    assert done.code == 0
    assert (pixvox.folder / "a.png").read_bytes() == (folder / "picture.png").read_bytes()


def test_a_download_that_fails_exits_with_1_and_shows_the_address(pixvox, service, tmp_path_factory):
    with web(tmp_path_factory.mktemp("web")) as address:
        service.uri = f"{address}/missing.png"
        done = pixvox("image", "generate", "x", "-o", "a.png")
    assert done.code == 1
    assert "404" in done.err
    assert service.uri in done.err
    assert not (pixvox.folder / "a.png").exists()


def test_a_download_that_is_not_the_announced_file_exits_with_1(pixvox, service, tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    (folder / "picture.png").write_bytes(b"another file")
    with web(folder) as address:
        service.uri = f"{address}/picture.png"
        done = pixvox("image", "generate", "x", "-o", "a.png")
    assert done.code == 1
    assert "checksum" in done.err
    assert not (pixvox.folder / "a.png").exists()


class web:  # noqa: N801 - reads as a function where it is used
    """Serves a folder over HTTP inside the block."""

    def __init__(self, folder):
        quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=folder))
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self):
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
