"""Errors become statuses with exactly one ErrorInfo and the details that apply."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2

from pixvox import errors
from pixvox.errors import InvalidRequestError, ModelNotFoundError, RateLimitedError, Violation


def details_of(error: errors.PixvoxError) -> dict[str, object]:
    found = {}
    for detail in error.to_status("r-1").details:
        kind = getattr(error_details_pb2, detail.TypeName().rpartition(".")[2])
        assert kind.__name__ not in found
        found[kind.__name__] = message = kind()
        assert detail.Unpack(message)
    return found


def test_error_info_has_reason_domain_and_request_id():
    info = details_of(RateLimitedError("wait", metadata={"provider": "p"}))["ErrorInfo"]
    assert (info.reason, info.domain) == ("RATE_LIMITED", "pixvox")
    assert dict(info.metadata) == {"provider": "p", "request_id": "r-1"}


def test_violations_retry_and_resource_come_as_details_of_their_own():
    assert set(details_of(InvalidRequestError("no", Violation("n", "is 0")))) == {"ErrorInfo", "BadRequest"}
    retry = details_of(RateLimitedError("wait", retry_after=1.5))["RetryInfo"]
    assert retry.retry_delay.ToMilliseconds() == 1500
    resource = details_of(ModelNotFoundError("no", resource=("pixvox.v1.Model", "m")))["ResourceInfo"]
    assert (resource.resource_type, resource.resource_name) == ("pixvox.v1.Model", "m")


def test_a_status_fits_into_trailers_whatever_the_caller_sent():
    huge = "x" * 100_000
    error = ModelNotFoundError(
        huge,
        *[Violation("model", huge)] * 100,
        metadata={"model": huge},
        resource=("pixvox.v1.Model", huge),
    )
    assert error.to_status("r").ByteSize() < 8192


@pytest.mark.parametrize("kind", [errors.RequestError, errors.ProviderError, errors.ServiceError])
def test_every_leaf_has_a_reason_of_its_own(kind):
    def leaves_of(one):
        below = [sub for sub in one.__subclasses__() if sub.__module__ == errors.__name__]
        return [leaf for sub in below for leaf in leaves_of(sub)] or [one]

    leaves = leaves_of(kind)
    assert len({leaf.reason for leaf in leaves}) == len(leaves)


def test_the_providers_refusal_of_our_key_is_never_the_callers_unauthenticated():
    def all_of(one):
        return [one, *(each for sub in one.__subclasses__() for each in all_of(sub))]

    assert grpc.StatusCode.UNAUTHENTICATED not in {one.code for one in all_of(errors.PixvoxError)}
