"""Each fault of the emulated DashScope, as a caller of pictures meets it: code, reason, details, and what was asked upstream."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import aiohttp
import grpc
import pytest

from calling import photo
from emulated import failure_of, serving
from pixvox.testing.dashscope import (
    Behaviour,
    Cut,
    DashScopeEmulator,
    Dripped,
    Expired,
    Fault,
    FewerImages,
    NoResult,
    PartlyFailed,
    PlacedAt,
    Raw,
    Redirected,
    Refused,
    Retyped,
    Stalled,
    TaskFailed,
    TaskUnknown,
)
from pixvox.v1 import media_pb2
from pixvox.v1.image_service_pb2 import EditImageRequest, GenerateImageRequest

PROMPT = "a red bicycle in the rain"
INVALID, FAILED, DENIED = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
)
EXHAUSTED, INTERNAL, UNAVAILABLE = (
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
)
LATE, MISSING, UNKNOWN = (
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNKNOWN,
)


@dataclass
class Row:
    """A fault that meets every request, what the caller is told, and how often the vendor was asked."""

    effect: object
    code: grpc.StatusCode
    reason: str
    asked: int = 1
    details: dict[str, str] = field(default_factory=dict)
    retry_after: float | None = None


def refused(
    status: int,
    vendor_code: str,
    code: grpc.StatusCode,
    reason: str,
    message: str = "Ordered from the emulator.",
    **more: object,
) -> Row:
    return Row(Refused(status, vendor_code, message), code, reason, details={"provider_code": vendor_code}, **more)


def identifier(row: Row) -> str:
    effect = row.effect
    name = f"{effect.status}-{effect.code}" if isinstance(effect, Refused) else type(effect).__name__
    return f"{name}-{row.reason}"


MADE_AT_ONCE = [
    refused(400, "InvalidParameter", INVALID, "INVALID_PARAMETER"),
    refused(400, "InvalidParameter", MISSING, "MODEL_NOT_FOUND", "Model not exist."),
    refused(400, "InvalidParameter", INTERNAL, "MODEL_ENDPOINT_MISMATCH", "url error, please check url!"),
    refused(400, "InvalidParameter.DataInspection", INVALID, "INPUT_DOWNLOAD_FAILED"),
    refused(400, "BadRequest.TooLarge", INVALID, "INVALID_INPUT"),
    refused(
        400, "DataInspectionFailed", INVALID, "CONTENT_BLOCKED_INPUT", "Input data may contain inappropriate content."
    ),
    refused(
        400,
        "data_inspection_failed",
        INVALID,
        "CONTENT_BLOCKED_OUTPUT",
        "Output data may contain inappropriate content.",
    ),
    refused(400, "IPInfringementSuspect", INVALID, "CONTENT_BLOCKED"),
    refused(400, "Arrearage", FAILED, "PROVIDER_BILLING"),
    refused(400, "UnsupportedOperation", FAILED, "PROVIDER_REJECTED"),
    refused(401, "InvalidApiKey", FAILED, "PROVIDER_CREDENTIALS"),
    refused(403, "AccessDenied", INTERNAL, "MODEL_ENDPOINT_MISMATCH", "The API does not support synchronous calls."),
    refused(403, "AccessDenied.Unpurchased", DENIED, "PROVIDER_ACCESS_DENIED"),
    refused(403, "AllocationQuota.FreeTierOnly", FAILED, "PROVIDER_BILLING"),
    refused(404, "ModelNotFound", MISSING, "MODEL_NOT_FOUND"),
    refused(404, "WorkSpaceNotFound", FAILED, "PROVIDER_CONFIG"),
    refused(409, "Conflict", grpc.StatusCode.ABORTED, "CONFLICT"),
    # Two a minute is the limit of the model.
    refused(429, "Throttling.RateQuota", EXHAUSTED, "RATE_LIMITED", asked=3, retry_after=30.0),
    refused(429, "limit_requests", EXHAUSTED, "RATE_LIMITED", asked=3, retry_after=30.0),
    refused(429, "Throttling.AllocationQuota", EXHAUSTED, "QUOTA_EXCEEDED", retry_after=60.0),
    refused(429, "PostpaidBillOverdue", FAILED, "PROVIDER_BILLING"),
    refused(429, "CommodityNotPurchased", FAILED, "PROVIDER_BILLING"),
    refused(500, "InternalError.Algo", INTERNAL, "PROVIDER_INTERNAL"),
    refused(500, "RequestTimeOut", LATE, "PROVIDER_TIMEOUT"),
    refused(503, "ServiceUnavailable", UNAVAILABLE, "PROVIDER_UNAVAILABLE"),
    refused(200, "InternalError.Algo", INTERNAL, "PROVIDER_INTERNAL"),
    refused(
        200, "DataInspectionFailed", INVALID, "CONTENT_BLOCKED_OUTPUT", "Output data may contain inappropriate content."
    ),
    refused(400, "", FAILED, "PROVIDER_REJECTED"),
    refused(403, "", DENIED, "PROVIDER_ACCESS_DENIED"),
    refused(418, "SomethingNew", FAILED, "VOICE_MODEL_MISMATCH"),
    refused(400, "SomethingNew", FAILED, "PROVIDER_REJECTED"),
    Row(Refused(429, "Throttling", retry_after=45), EXHAUSTED, "RATE_LIMITED", retry_after=45.0),
    Row(Raw(502), UNKNOWN, "OUTCOME_UNKNOWN", details={"replay": "ambiguous", "provider_code": ""}),
    Row(Raw(504), LATE, "PROVIDER_TIMEOUT"),
    Row(Raw(503), UNAVAILABLE, "PROVIDER_UNAVAILABLE"),
    Row(Raw(200), INTERNAL, "PROVIDER_INTERNAL", details={"replay": "accepted"}),
    Row(Raw(200, b'{"output":{"choices"', "application/json"), INTERNAL, "PROVIDER_INTERNAL"),
    Row(Raw(200, b"{}", "application/json"), INTERNAL, "PROVIDER_INTERNAL"),
    Row(Raw(302, b"", "text/plain"), FAILED, "PROVIDER_CONFIG"),
    Row(NoResult(), INTERNAL, "PROVIDER_INTERNAL", details={"replay": "accepted"}),
    Row(FewerImages(1), INTERNAL, "PROVIDER_INTERNAL"),
    Row(Cut(), UNKNOWN, "OUTCOME_UNKNOWN", details={"replay": "ambiguous"}),
    Row(Cut(after=10), UNKNOWN, "OUTCOME_UNKNOWN", details={"replay": "ambiguous"}),
]

EDITED = [
    refused(400, "InvalidParameter", INVALID, "INVALID_INPUT", "Invalid image format or corrupted file"),
    refused(400, "InvalidParameter", INVALID, "INPUT_DOWNLOAD_FAILED", "download image failed"),
    refused(401, "InvalidApiKey", FAILED, "PROVIDER_CREDENTIALS"),
    refused(429, "PrepaidBillOverdue", FAILED, "PROVIDER_BILLING"),
    refused(500, "InternalError.Timeout", LATE, "PROVIDER_TIMEOUT"),
    Row(NoResult(), INTERNAL, "PROVIDER_INTERNAL", details={"replay": "accepted"}),
    Row(Cut(after=10), UNKNOWN, "OUTCOME_UNKNOWN", details={"replay": "ambiguous"}),
]

BY_TASK = [
    refused(429, "Throttling.RateQuota", EXHAUSTED, "RATE_LIMITED", asked=3, retry_after=0.5),
    refused(500, "InternalError", INTERNAL, "PROVIDER_INTERNAL"),
    refused(403, "AccessDenied", INTERNAL, "MODEL_ENDPOINT_MISMATCH", "The model does not support asynchronous calls."),
    Row(Raw(200), INTERNAL, "PROVIDER_INTERNAL", details={"replay": "accepted"}),
    Row(Cut(), UNKNOWN, "OUTCOME_UNKNOWN", details={"replay": "ambiguous"}),
]

POLLED = [
    Row(
        TaskFailed("DataInspectionFailed", "Output data may contain inappropriate content."),
        INVALID,
        "CONTENT_BLOCKED_OUTPUT",
        details={"provider_code": "DataInspectionFailed"},
    ),
    Row(TaskFailed("InternalError.Timeout"), LATE, "PROVIDER_TIMEOUT"),
    Row(TaskFailed("", ""), INTERNAL, "PROVIDER_INTERNAL"),
    Row(TaskUnknown(), MISSING, "TASK_NOT_FOUND"),
    Row(PartlyFailed(1, "InternalError.Timeout"), LATE, "PROVIDER_TIMEOUT"),
    refused(401, "InvalidApiKey", FAILED, "PROVIDER_CREDENTIALS"),
    Row(Raw(200, b"[]", "application/json"), INTERNAL, "PROVIDER_INTERNAL"),
    Row(Cut(), UNKNOWN, "OUTCOME_UNKNOWN", asked=3),
]

DOWNLOADED = [
    Row(Expired(), INTERNAL, "PROVIDER_INTERNAL"),
    Row(Redirected(), INTERNAL, "PROVIDER_INTERNAL"),
    Row(Redirected("https://example.com/else.png"), INTERNAL, "PROVIDER_INTERNAL"),
    Row(Raw(200), INTERNAL, "PROVIDER_INTERNAL"),
    Row(Raw(200, b""), INTERNAL, "PROVIDER_INTERNAL"),
    Row(Cut(after=100), UNKNOWN, "OUTCOME_UNKNOWN", asked=3),
    Row(Raw(503), UNKNOWN, "OUTCOME_UNKNOWN", asked=3),
]


@pytest.fixture
async def emulator():
    async with DashScopeEmulator() as running:
        yield running


@pytest.fixture
async def stubs(emulator):
    async with serving(emulator) as reached:
        yield reached


def generation(**fields: object) -> GenerateImageRequest:
    return GenerateImageRequest(**({"prompt": PROMPT} | fields))


def editing(**fields: object) -> EditImageRequest:
    images = [media_pb2.MediaInput(data=photo())]
    return EditImageRequest(**({"prompt": PROMPT, "images": images} | fields))


def check(failed, row: Row) -> None:
    assert (failed.code, failed.reason) == (row.code, row.reason)
    assert (failed.metadata["provider"], failed.metadata["region"]) == ("qwen", "sg")
    assert {"provider_code", "provider_request_id"} <= failed.metadata.keys()
    for name, value in row.details.items():
        assert failed.metadata[name] == value
    assert failed.retry_after == row.retry_after
    assert PROMPT not in str(failed)
    assert "Signature" not in str(failed)


@pytest.mark.parametrize("row", MADE_AT_ONCE, ids=identifier)
async def test_a_fault_of_a_picture_made_at_once(emulator, stubs, row):
    emulator.faults.add(Fault("generate", row.effect, times=None))
    check(await failure_of(stubs.images.GenerateImage(generation())), row)
    assert emulator.count() == emulator.count("generate") == row.asked


@pytest.mark.parametrize("row", EDITED, ids=identifier)
async def test_a_fault_of_an_edit(emulator, stubs, row):
    emulator.faults.add(Fault("edit", row.effect, times=None))
    check(await failure_of(stubs.images.EditImage(editing())), row)
    assert emulator.count() == emulator.count("edit") == row.asked


@pytest.mark.parametrize("row", BY_TASK, ids=identifier)
async def test_a_fault_when_a_task_is_begun(emulator, stubs, row):
    emulator.faults.add(Fault("task_create", row.effect, times=None))
    check(await failure_of(stubs.images.GenerateImage(generation(model="qwen-image-plus"))), row)
    assert emulator.count() == emulator.count("task_create") == row.asked


@pytest.mark.parametrize("row", POLLED, ids=identifier)
async def test_a_fault_of_a_task_that_was_accepted(emulator, stubs, row):
    emulator.faults.add(Fault("task_get", row.effect, times=None))
    failed = await failure_of(stubs.images.GenerateImage(generation(model="qwen-image-plus")))
    check(failed, row)
    assert failed.metadata["replay"] == "accepted"
    assert failed.metadata["provider_request_id"]
    assert failed.metadata["provider_task_id"]
    assert (emulator.count("task_create"), emulator.count("task_get")) == (1, row.asked)


@pytest.mark.parametrize("row", DOWNLOADED, ids=identifier)
async def test_a_fault_of_a_result_that_is_to_come_inline(emulator, stubs, row):
    emulator.faults.add(Fault("download", row.effect, times=None))
    failed = await failure_of(stubs.images.GenerateImage(generation(delivery=media_pb2.DELIVERY_INLINE)))
    check(failed, row)
    assert failed.metadata["replay"] == "accepted"
    assert failed.metadata["provider_request_id"]
    assert (emulator.count("generate"), emulator.count("download")) == (1, row.asked)


@pytest.mark.parametrize(
    "base", ["http://169.254.169.254", "http://127.0.0.1:9", "https://example.com", "https://aliyuncs.com.example.com"]
)
async def test_a_result_at_another_host_is_not_fetched(emulator, base):
    emulator.faults.add(Fault("generate", PlacedAt(base)))
    async with serving(emulator, result_hosts=[".aliyuncs.com"]) as stubs:
        failed = await failure_of(stubs.images.GenerateImage(generation(delivery=media_pb2.DELIVERY_INLINE)))
    check(failed, Row(None, INTERNAL, "PROVIDER_INTERNAL"))
    assert emulator.count() == 1


@pytest.mark.parametrize("operation", ["task_get", "download"])
@pytest.mark.parametrize("effect", [Cut(), Raw(502), Refused(500, "InternalError"), Refused(429, "Throttling")])
async def test_what_costs_nothing_is_asked_again(emulator, stubs, operation, effect):
    emulator.faults.add(Fault(operation, effect))
    request = generation(model="qwen-image-plus", delivery=media_pb2.DELIVERY_INLINE)
    answer = await stubs.images.GenerateImage(request)
    assert len(answer.images) == 1
    assert emulator.count("task_create") == 1


async def test_a_task_outlasts_a_vendor_that_cannot_be_asked_for_a_while(emulator, stubs):
    emulator.faults.add(Fault("task_get", Refused(503, "ServiceUnavailable"), times=4))
    answer = await stubs.images.GenerateImage(generation(model="qwen-image-plus"))
    assert len(answer.images) == 1
    assert (emulator.count("task_create"), emulator.count("task_get")) == (1, 7)


@pytest.mark.parametrize(("model", "operation"), [("qwen-image-max", "generate"), ("qwen-image-plus", "task_create")])
async def test_a_rate_limit_that_passes_is_waited_for(emulator, stubs, model, operation):
    emulator.faults.add(Fault(operation, Refused(429, "Throttling.RateQuota")))
    answer = await stubs.images.GenerateImage(generation(model=model))
    assert answer.receipt.usage.images == 1
    assert emulator.count(operation) == 2


async def test_the_vendors_silence_ends_at_the_configured_time_and_nothing_is_repeated(emulator):
    emulator.faults.add(Fault("generate", Stalled(30)))
    async with serving(emulator, timeout_ms=200) as stubs:
        failed = await failure_of(stubs.images.GenerateImage(generation()))
    check(failed, Row(None, UNKNOWN, "OUTCOME_UNKNOWN", details={"replay": "ambiguous"}))
    assert "0.2 seconds" in failed.message
    assert emulator.count() == 1


async def test_a_vendor_that_cannot_be_reached_has_done_nothing():
    async with DashScopeEmulator() as gone:
        pass
    async with serving(gone) as stubs:
        failed = await failure_of(stubs.images.GenerateImage(generation()))
    check(failed, Row(None, UNAVAILABLE, "PROVIDER_UNAVAILABLE", details={"replay": "not_dispatched"}))


@pytest.mark.parametrize("effect", [Retyped(), Dripped(20, 0.001), Stalled(0.05, after=30)])
async def test_an_answer_that_is_merely_odd_is_read(emulator, stubs, effect):
    emulator.faults.add(Fault("generate", effect))
    assert len((await stubs.images.GenerateImage(generation())).images) == 1


async def test_fewer_pictures_than_asked_for_are_given_billed_and_said_to_be_fewer(emulator, stubs):
    emulator.faults.add(Fault("edit", FewerImages(2)))
    answer = await stubs.images.EditImage(editing(n=3))
    assert len(answer.images) == answer.receipt.usage.images == 1
    assert answer.receipt.cost.amount == "0.075"
    [warning] = answer.warnings
    assert (warning.field, warning.message) == ("n", "The provider made 1 of 3 pictures.")


async def test_a_task_of_which_some_pictures_failed_gives_the_others(emulator, stubs):
    emulator.faults.add(Fault("task_get", PartlyFailed(1)))
    answer = await stubs.images.GenerateImage(generation(model="wan2.5-t2i-preview", n=3))
    assert len(answer.images) == answer.receipt.usage.images == 2
    [warning] = answer.warnings
    assert warning.message == "The provider made 2 of 3 pictures (InternalError.Timeout)."


async def test_a_task_that_somebody_else_cancels_is_said_to_be_cancelled(emulator, stubs):
    emulator.behaviour = Behaviour(task_pending=float("inf"))
    call = asyncio.ensure_future(failure_of(stubs.images.GenerateImage(generation(model="qwen-image"))))
    await emulator.until(lambda: emulator.count("task_get"))
    url = f"{emulator.http_base}/tasks/{emulator.tasks[0].task_id}/cancel"
    headers = {"Authorization": "Bearer sk-test"}
    async with aiohttp.ClientSession() as session, session.post(url, headers=headers) as response:
        assert response.status == 200
    check(await call, Row(None, FAILED, "PROVIDER_REJECTED", details={"replay": "accepted"}))


async def test_a_key_of_another_region_is_refused_with_the_region_that_was_tried(emulator):
    emulator.behaviour = Behaviour(foreign_keys=frozenset({"sk-beijing"}))
    async with serving(emulator, api_key="sk-beijing") as stubs:
        failed = await failure_of(stubs.images.GenerateImage(generation()))
    check(failed, Row(None, FAILED, "PROVIDER_CREDENTIALS", details={"region": "sg", "provider_code": "InvalidApiKey"}))
    assert "region sg" in failed.message
    assert "beijing" not in str(failed)
    assert emulator.count() == 1


async def test_the_prompt_and_the_key_stay_out_of_what_a_caller_is_told(emulator, stubs):
    message = f"Cannot draw {PROMPT} for sk-test at https://h/x?Signature=s"
    emulator.faults.add(Fault("generate", Refused(400, "InvalidParameter", message)))
    failed = await failure_of(stubs.images.GenerateImage(generation()))
    assert failed.message == "The provider refused a value of the request."
