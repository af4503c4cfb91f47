"""`pixvox smoke`: passes on a service that keeps the contract, and each check fails on one that breaks it."""

from __future__ import annotations

import functools
import http.server
import json
import threading

import pytest

from pixvox.v1 import error_reason_pb2, image_service_pb2, model_service_pb2


def smoke(pixvox, *arguments):
    """Return the exit code and the outcomes by check."""
    done = pixvox("smoke", "--json", "--timeout", "8", *arguments)
    answer = json.loads(done.out)
    assert answer["passed"] == (done.code == 0)
    return done.code, {check["check"]: check for check in answer["checks"]}


@pytest.fixture
def picture_url(pixvox, tmp_path_factory):
    """The address of a picture on a small web server."""
    folder = tmp_path_factory.mktemp("web")
    pixvox("image", "generate", "x", "-o", folder / "a.jpg", "--size", "64x64")
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/a.jpg"
    server.shutdown()
    server.server_close()
    thread.join()


def test_everything_passes_on_a_service_that_keeps_the_contract(pixvox, picture_url):
    code, checks = smoke(pixvox, "--image-url", picture_url)
    assert {name: check["result"] for name, check in checks.items()} == dict.fromkeys(
        ["SMK-01", "SMK-02", "SMK-03", "SMK-04", "SMK-05", "SMK-08", "SMK-10"], "PASS"
    )
    assert code == 0


def test_the_table_tells_check_result_time_and_detail(pixvox):
    done = pixvox("smoke", "--timeout", "8")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == [
        *("Check", "SMK-01", "SMK-02", "SMK-03", "SMK-04", "SMK-05", "SMK-08", "SMK-10")
    ]
    assert "1328x1328 image/jpeg by box/box-image" in done.out


def test_the_asked_sizes_and_switches_are_those_of_the_list(pixvox, service):
    smoke(pixvox)
    generate = next(one for one in service.requests if type(one).__name__ == "GenerateImageRequest")
    assert (generate.size.width, generate.size.height) == (1328, 1328)
    assert (generate.prompt_extend, generate.watermark) == (True, False)
    edit = next(one for one in service.requests if type(one).__name__ == "EditImageRequest")
    assert (edit.size.width, edit.size.height) == (1024, 1536)
    assert "watercolor" in edit.prompt


def test_without_an_address_the_check_of_addresses_is_skipped_and_says_why(pixvox):
    _, checks = smoke(pixvox)
    assert checks["SMK-05"]["result"] == "SKIP"
    assert "--image-url" in checks["SMK-05"]["detail"]


def test_a_verb_that_no_model_has_is_skipped_and_says_so(pixvox, service):
    del service.models[1]
    code, checks = smoke(pixvox)
    assert code == 0
    assert checks["SMK-08"]["result"] == "SKIP"
    assert "VERB_STREAM_SPEECH" in checks["SMK-08"]["detail"]
    assert checks["SMK-10"]["result"] == "PASS"
    assert "not tried: no configured model has VERB_STREAM_SPEECH" in checks["SMK-10"]["detail"]


def test_the_model_that_serves_by_default_is_tried_and_not_the_first_in_the_list(pixvox, service):
    other = model_service_pb2.Model()
    other.CopyFrom(service.models[0])
    other.id = "box-other"
    service.models.insert(1, other)
    # The first candidate has no model of the list, the second one is not eligible.
    service.explanation = model_service_pb2.ExplainRouteResponse(
        candidates=[
            {"provider": "off", "model": ""},
            {"provider": "box", "model": "box-image"},
            {"provider": "box", "model": "box-other", "eligible": True},
        ]
    )
    smoke(pixvox, "--provider", "box")
    generate = next(one for one in service.requests if isinstance(one, image_service_pb2.GenerateImageRequest))
    assert (generate.model, generate.provider) == ("box-other", "box")
    explained = [one for one in service.requests if isinstance(one, model_service_pb2.ExplainRouteRequest)]
    assert {one.WhichOneof("call") for one in explained} == {"generate_image", "edit_image", "stream_speech"}
    assert all(getattr(one, one.WhichOneof("call")).provider == "box" for one in explained)


def test_a_verb_that_is_switched_off_is_skipped(pixvox, service):
    service.explanation = model_service_pb2.ExplainRouteResponse(
        candidates=[{"provider": "box", "model": "box-image"}],
        error_reason=error_reason_pb2.ERROR_REASON_SWITCHED_OFF,
    )
    code, checks = smoke(pixvox)
    assert code == 0
    assert checks["SMK-02"]["result"] == "SKIP"
    assert "switched on" in checks["SMK-02"]["detail"]


def test_a_size_that_the_model_lacks_is_replaced_by_one_that_it_has(pixvox, service):
    size = service.models[0].generate_image.output.size
    size.sizes.add(width=96, height=64)
    _, checks = smoke(pixvox)
    assert checks["SMK-02"]["result"] == "PASS"
    assert "96x64" in checks["SMK-02"]["detail"]


@pytest.mark.parametrize(
    ("bad", "failing", "words"),
    [
        ("down", ["SMK-01"], "pixvox.v1.SpeechService is NOT_SERVING"),
        ("small", ["SMK-02"], "664x1328 and not 1328x1328"),
        ("cut", ["SMK-02"], "cut off"),
        ("anonymous", ["SMK-02"], "provider_request_id"),
        ("accepts", ["SMK-04", "SMK-10"], "a wrong size was accepted"),
        ("rude", ["SMK-04", "SMK-10"], "a wrong size gave INTERNAL"),
        ("buffers", ["SMK-08"], "holds it back"),
        ("silent", ["SMK-08"], "silent"),
        ("gap", ["SMK-08"], "chunk 2 came where chunk 1 was due"),
        ("checksum", ["SMK-08"], "checksum"),
        ("no summary", ["SMK-08"], "without a summary"),
        ("unflushed", ["SMK-08"], "flush"),
    ],
)
def test_each_check_fails_on_a_service_that_breaks_the_contract(pixvox, service, bad, failing, words):
    service.bad.add(bad)
    code, checks = smoke(pixvox)
    assert code == 1
    assert [name for name, check in checks.items() if check["result"] == "FAIL"] == failing
    assert words in checks[failing[0]]["detail"]


def test_an_edit_fails_without_a_picture_of_ours_too(pixvox, service, picture_url):
    service.bad.add("anonymous")
    code, checks = smoke(pixvox, "--image-url", picture_url)
    assert code == 1
    assert [checks[name]["result"] for name in ("SMK-02", "SMK-03", "SMK-05")] == ["FAIL"] * 3


def test_an_edit_without_any_picture_is_skipped_and_says_what_is_missing(pixvox, service):
    service.bad.add("cut")
    _, checks = smoke(pixvox)
    assert checks["SMK-03"]["result"] == "SKIP"
    assert "SMK-02 made none" in checks["SMK-03"]["detail"]


def test_an_edit_that_changes_nothing_fails(pixvox, service):
    service.bad.add("echoes")
    service.models[0].edit_image.output.size.fixed = True
    _, checks = smoke(pixvox)
    assert checks["SMK-03"]["result"] == "FAIL"
    assert "byte for byte" in checks["SMK-03"]["detail"]


def test_bytes_that_come_back_unchanged_fail_although_the_address_works(pixvox, service, picture_url):
    service.bad.add("echoes")
    _, checks = smoke(pixvox, "--image-url", picture_url)
    assert checks["SMK-03"]["result"] == "PASS"
    assert checks["SMK-05"]["result"] == "FAIL"


def test_a_service_that_cannot_be_asked_ends_like_any_other_call(pixvox):
    done = pixvox("smoke", "--target", "127.0.0.1:1")
    assert done.code == 4
    assert "pixvox serve" in done.err
