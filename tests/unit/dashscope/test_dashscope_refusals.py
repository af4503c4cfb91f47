"""What the vendor's complaints become: every row of its error table, in both spellings, and the odd bodies between."""

from __future__ import annotations

import json

import pytest

from pixvox import errors
from pixvox.errors import OutcomeUnknownError
from pixvox.providers.dashscope import wording
from pixvox.providers.dashscope.refusals import Complaint, complaint_of, error_of, retry_seconds
from pixvox.upstream import Reply

ROWS = [
    (400, "InvalidParameter", "size must be one of 1664*928", errors.InvalidParameterError),
    (400, "invalid_parameter", "", errors.InvalidParameterError),
    (400, "InvalidParameter", "Model not exist.", errors.ModelNotFoundError),
    (400, "InvalidParameter", "url error, please check url!", errors.ModelEndpointMismatchError),
    (400, "InvalidParameter", "download image failed", errors.InputDownloadError),
    (400, "InvalidParameter", "Invalid image format or corrupted file", errors.InvalidInputError),
    (400, "InvalidParameter", "image format error", errors.InvalidInputError),
    (400, "InvalidParameter.DataInspection", "Unable to download the media resource", errors.InputDownloadError),
    (400, "BadRequest.InputDownloadFailed", "", errors.InputDownloadError),
    (400, "InvalidURL", "", errors.InputDownloadError),
    (400, "InvalidURL.ConnectionRefused", "", errors.InputDownloadError),
    (400, "InvalidURL.Timeout", "", errors.InputDownloadError),
    (400, "BadRequest.EmptyInput", "", errors.InvalidInputError),
    (400, "BadRequest.EmptyParameters", "", errors.InvalidInputError),
    (400, "BadRequest.EmptyModel", "", errors.InvalidInputError),
    (400, "BadRequest.IllegalInput", "", errors.InvalidInputError),
    (400, "BadRequest.TooLarge", "", errors.InvalidInputError),
    (400, "BadRequest.UnsupportedFileFormat", "", errors.InvalidInputError),
    (400, "InvalidImageFormat", "", errors.InvalidInputError),
    (400, "InvalidImage.Resolution", "", errors.InvalidInputError),
    (400, "InvalidFile.Size", "", errors.InvalidInputError),
    (400, "Audio.DurationLimitError", "", errors.InvalidAudioError),
    (430, "Audio.PreprocessError", "", errors.InvalidAudioError),
    (430, "", "", errors.InvalidAudioError),
    (400, "BadRequest.VoiceNotFound", "", errors.VoiceNotFoundError),
    (400, "VoiceNotFound", "", errors.VoiceNotFoundError),
    (400, "BadRequest.ResourceNotExist", "", errors.VoiceNotFoundError),
    (400, "invalid_value", "The requested voice 'x' is not supported.", errors.VoiceModelMismatchError),
    (0, "invalid_value", "session.update was sent twice", errors.InvalidParameterError),
    (400, "418", "", errors.VoiceModelMismatchError),
    (418, "", "", errors.VoiceModelMismatchError),
    (0, "CLIENT_ERROR", "[qwen-tts:]Engine return error code: 411", errors.VoiceModelMismatchError),
    (0, "CLIENT_ERROR", "[qwen-tts:]Engine return error code: 428", errors.InvalidParameterError),
    (0, "CLIENT_ERROR", "request timeout after 23 seconds.", errors.ProviderTimeoutError),
    (0, "session_expired", "", errors.ProviderTimeoutError),
    (
        400,
        "DataInspectionFailed",
        "Input data may contain inappropriate content.",
        errors.InputBlockedError,
    ),
    (400, "data_inspection_failed", "Output data may contain inappropriate content.", errors.OutputBlockedError),
    (400, "DataInspectionFailed", "", errors.ContentBlockedError),
    (400, "IPInfringementSuspect", "", errors.ContentBlockedError),
    (400, "CustomRoleBlocked", "", errors.ContentBlockedError),
    (400, "FaqRuleBlocked", "", errors.ContentBlockedError),
    (400, "Arrearage", "", errors.ProviderBillingError),
    (400, "Throttling.AllocationQuota", "Maximum voice storage limit exceeded.", errors.VoiceQuotaError),
    (429, "Throttling.AllocationQuota", "Maximum voice-clone voice limit exceeded.", errors.VoiceQuotaError),
    (400, "UnsupportedOperation", "", errors.ProviderRejectedError),
    (400, "ClientDisconnect", "", errors.ProviderDisconnectedError),
    (401, "InvalidApiKey", "Invalid API-key provided.", errors.ProviderCredentialsError),
    (401, "invalid_api_key", "", errors.ProviderCredentialsError),
    (401, "", "NOT AUTHORIZED for the workspace", errors.ProviderCredentialsError),
    (403, "AccessDenied", "The API does not support synchronous calls.", errors.ModelEndpointMismatchError),
    (403, "AccessDenied", "The API does not support asynchronous calls.", errors.ModelEndpointMismatchError),
    (403, "AccessDenied", "", errors.ProviderAccessDeniedError),
    (403, "AccessDenied.Unpurchased", "", errors.ProviderAccessDeniedError),
    (403, "Model.AccessDenied", "", errors.ProviderAccessDeniedError),
    (403, "Workspace.AccessDenied", "", errors.ProviderAccessDeniedError),
    (403, "App.AccessDenied", "", errors.ProviderAccessDeniedError),
    (403, "Endpoint.AccessDenied", "", errors.ProviderAccessDeniedError),
    (403, "", "", errors.ProviderAccessDeniedError),
    (403, "AllocationQuota.FreeTierOnly", "", errors.ProviderBillingError),
    (404, "ModelNotFound", "", errors.ModelNotFoundError),
    (404, "model_not_found", "", errors.ModelNotFoundError),
    (404, "model_not_supported", "", errors.ModelNotFoundError),
    (404, "Model.NotExist", "", errors.ModelNotFoundError),
    (404, "WorkSpaceNotFound", "", errors.ProviderConfigError),
    (404, "NotFound", "", errors.ProviderConfigError),
    (404, "", "", errors.ProviderConfigError),
    (302, "", "", errors.ProviderConfigError),
    (409, "Conflict", "", errors.ConflictError),
    (429, "Throttling", "", errors.RateLimitedError),
    (429, "Throttling.RateQuota", "", errors.RateLimitedError),
    (429, "LimitRequests", "", errors.RateLimitedError),
    (429, "Throttling.BurstRate", "", errors.RateLimitedError),
    (429, "limit_burst_rate", "", errors.RateLimitedError),
    (429, "", "", errors.RateLimitedError),
    (429, "Throttling.AllocationQuota", "Allocated quota exceeded", errors.QuotaExceededError),
    (429, "insufficient_quota", "", errors.QuotaExceededError),
    (429, "CommodityNotPurchased", "", errors.ProviderBillingError),
    (429, "PrepaidBillOverdue", "", errors.ProviderBillingError),
    (429, "PostpaidBillOverdue", "", errors.ProviderBillingError),
    (500, "InternalError", "", errors.ProviderInternalError),
    (500, "InternalError.Algo", "", errors.ProviderInternalError),
    (500, "InternalError.FileUpload", "", errors.ProviderInternalError),
    (500, "SystemError", "", errors.ProviderInternalError),
    (500, "ModelServiceFailed", "", errors.ProviderInternalError),
    (500, "RewriteFailed", "", errors.ProviderInternalError),
    (500, "", "", errors.ProviderInternalError),
    (500, "InternalError.Timeout", "", errors.ProviderTimeoutError),
    (500, "ResponseTimeout", "", errors.ProviderTimeoutError),
    (500, "RequestTimeOut", "", errors.ProviderTimeoutError),
    (408, "", "", errors.ProviderTimeoutError),
    (500, "ModelServingError", "", errors.ProviderUnavailableError),
    (503, "ModelUnavailable", "", errors.ProviderUnavailableError),
    (503, "ServiceUnavailable", "", errors.ProviderUnavailableError),
    (503, "", "", errors.ProviderUnavailableError),
    (502, "", "", OutcomeUnknownError),
    (504, "", "", errors.ProviderTimeoutError),
    (504, "GatewayTimeout", "", errors.ProviderTimeoutError),
    (200, "InvalidParameter", "", errors.InvalidParameterError),
    (200, "SomethingNew", "", errors.ProviderInternalError),
    (400, "SomethingNew", "", errors.ProviderRejectedError),
    (0, "SomethingNew", "", errors.ProviderInternalError),
    (0, "invalid_request_error", "", errors.InvalidParameterError),
]


def error(complaint: Complaint, **options: object) -> errors.PixvoxError:
    return error_of(complaint, region="sg", **options)


def reply(status: int, code: str = "", message: str = "", headers: dict[str, str] | None = None) -> Reply:
    body = {"code": code, "message": message, "request_id": "r-8"} if code else {}
    return Reply(status, headers or {}, json.dumps(body).encode())


@pytest.mark.parametrize(("status", "code", "message", "kind"), ROWS)
def test_a_complaint_becomes_the_error_of_its_row(status, code, message, kind):
    assert type(error(Complaint(status, code, message))) is kind


@pytest.mark.parametrize(("status", "code", "message", "kind"), ROWS)
def test_every_error_names_the_code_the_request_and_the_region(status, code, message, kind):
    metadata = error(Complaint(status, code, message, "r-8")).metadata
    assert metadata["provider_code"] == code
    assert metadata["provider_request_id"] == "r-8"
    assert metadata["region"] == "sg"


def test_a_refused_key_is_said_to_be_refused_in_its_region():
    refused = error_of(Complaint(401, "InvalidApiKey", "Incorrect API key provided: sk-hush"), region="bj")
    assert "region bj" in refused.message
    assert refused.metadata["region"] == "bj"
    assert "hush" not in refused.message


def test_a_socket_refused_with_403_and_no_code_is_a_refused_key():
    assert type(error(Complaint(403), handshake=True)) is errors.ProviderCredentialsError
    assert type(error(Complaint(403, "AccessDenied"), handshake=True)) is errors.ProviderAccessDeniedError


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{}", ""),
        (b"", ""),
        (b"<html><body>502 Bad Gateway</body></html>", ""),
        (b'{"code":"Throttling","message":null,"request_id":null}', "Throttling"),
        (b'{"code":null}', ""),
        (b'{"code":418}', "418"),
        (b'{"code":{"a":1}}', ""),
        (b'["code"]', ""),
        (b'\xff\xfe{"code":"x"}', ""),
        (b'{"code":"a\xff"}', ""),
    ],
)
def test_any_body_gives_a_complaint(body, code):
    assert complaint_of(Reply(500, {}, body)).code == code


@pytest.mark.parametrize("name", ["x-request-id", "x-acs-request-id", "x-dashscope-request-id"])
def test_the_headers_tell_the_request_where_the_body_does_not(name):
    assert complaint_of(Reply(500, {name: "r-9"}, b"{}")).request_id == "r-9"
    assert complaint_of(Reply(500, {name: "r-9"}, b'{"request_id":"r-8"}')).request_id == "r-8"


@pytest.mark.parametrize(
    ("status", "code", "message", "seconds"),
    [
        (429, "Throttling", "", 1.0),
        (429, "Throttling.RateQuota", "", 1.0),
        (429, "LimitRequests", "", 1.0),
        (429, "", "", 1.0),
        (429, "Throttling.BurstRate", "", 2.0),
        (429, "limit_burst_rate", "", 2.0),
        (429, "Throttling.AllocationQuota", "", 60.0),
        (429, "insufficient_quota", "", 60.0),
        (429, "Throttling.AllocationQuota", "Maximum voice-clone voice limit exceeded.", None),
        (400, "Throttling.AllocationQuota", "Maximum voice storage limit exceeded.", None),
        (429, "CommodityNotPurchased", "", None),
        (429, "PrepaidBillOverdue", "", None),
        (429, "PostpaidBillOverdue", "", None),
        (500, "InternalError", "", None),
        (503, "ServiceUnavailable", "", None),
        (409, "Conflict", "", None),
        (200, "Throttling", "", None),
    ],
)
def test_only_a_rate_limit_is_worth_asking_again(status, code, message, seconds):
    assert retry_seconds(reply(status, code, message)) == seconds


def test_a_rate_limit_tells_how_long_to_wait():
    assert error(Complaint(429, "Throttling"), pause=30.0).retry_after == 30.0
    assert error(complaint_of(reply(429, "Throttling", headers={"Retry-After": "7"})), pause=30.0).retry_after == 7.0
    assert error(Complaint(429, "Throttling.AllocationQuota")).retry_after == 60.0
    assert error(Complaint(429, "PostpaidBillOverdue")).retry_after is None


def test_the_vendors_words_are_quoted_where_they_help_the_caller():
    told = error(Complaint(400, "InvalidParameter", "num_images_per_prompt must be 1")).message
    assert told.endswith("It says: num_images_per_prompt must be 1")
    assert "secret" not in error(Complaint(500, "InternalError", "secret")).message
    assert "secret" not in error(Complaint(400, "BadRequest.InputDownloadFailed", "secret")).message


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("size must be one of 1664*928", "size must be one of 1664*928"),
        ("bad\nlines\tand \x07 bells", "bad lines and bells"),
        ("see https://h.example/a.png?Signature=s for more", "see [address] for more"),
        ("broken data:image/png;base64,AAAA here", "broken [address] here"),
        ("key sk-0123abc is wrong", "key [key] is wrong"),
        ("value 'short' and 'this quotation goes on for rather too long a while'", "value 'short' and […]"),
        ("token " + "A" * 40, "token […]"),
        ("", ""),
    ],
)
def test_what_does_not_belong_into_a_message_is_taken_out(message, shown):
    assert wording.safe(message) == shown


def test_a_long_message_is_cut():
    shown = wording.safe("word " * 100)
    assert len(shown) == wording.MAX_CHARACTERS
    assert shown.endswith("…")


@pytest.mark.parametrize(
    ("message", "prompt", "is_shown"),
    [
        ("Cannot draw: a red bicycle in the rain", "a red bicycle in the rain, at night", False),
        ("CANNOT DRAW: A RED  BICYCLE IN THE RAIN", "a red\nbicycle in the rain", False),
        ("no picture of Anna", "Anna", False),
        ("size is wrong", "a red bicycle in the rain", True),
        ("size is wrong", "is", True),
        ("size is wrong", "", True),
    ],
)
def test_a_message_that_repeats_the_prompt_is_not_shown(message, prompt, is_shown):
    assert (wording.safe(message, [prompt]) == message) is is_shown


def test_a_prompt_repeated_in_a_refusal_stays_out_of_the_error():
    prompt = "a red bicycle in the rain"
    refused = error(Complaint(400, "InvalidParameter", f"cannot draw {prompt}"), private=[prompt])
    assert "bicycle" not in refused.message


def test_codes_and_ids_carry_nothing_else():
    refused = error(Complaint(400, "A b\n<script>" + "x" * 100, "", "id\r\nset-cookie: x"))
    assert refused.metadata["provider_code"] == ("Abscript" + "x" * 100)[:64]
    assert refused.metadata["provider_request_id"] == "idset-cookie:x"
