"""What a failed call says, decoded for the caller: code, reason, fields, when to try again.

The details travel as google.rpc messages whose Python classes are in googleapis-common-protos. The light install has
only grpcio and protobuf, so the few fields that pixvox sends are described here to protobuf's own parser, in a descriptor
pool of their own where they cannot meet the real ones.
Source: https://google.aip.dev/193 and google/rpc/{status,error_details}.proto.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import grpc

STATUS_TRAILER = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One request field that is wrong: its path as in the proto, and what would be right."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call failed.

    Attributes:
        code: The gRPC status code.
        reason: A name of `pixvox.v1.ErrorReason` without its prefix, for example ``RATE_LIMITED``. Empty if the failure
            was not made by pixvox, for example when nothing listens at the address.
        message: A sentence for a person.
        violations: The request's fields that are wrong.
        retry_after: Seconds after which trying again makes sense, or None if the service did not say.
        metadata: More about it, such as ``request_id``, ``provider`` and ``provider_code``.
        resource: (type, name) of the thing that was not found, or None.
        quota: (subject, description) of each limit that is used up.
    """

    code: grpc.StatusCode
    reason: str = ""
    message: str = ""
    violations: tuple[FieldViolation, ...] = ()
    retry_after: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    resource: tuple[str, str] | None = None
    quota: tuple[tuple[str, str], ...] = ()

    @property
    def request_id(self) -> str:
        """The id under which the service's log has the call. Empty if it never got there."""
        return self.metadata.get("request_id", "")

    def __str__(self) -> str:
        """Return the whole failure in one line."""
        name = f"{self.code.name} ({self.reason})" if self.reason else self.code.name
        fields = "".join(f"; {violation.field}: {violation.description}" for violation in self.violations)
        return f"{name}: {self.message}{fields}"


def failure(error: grpc.RpcError) -> Failure:
    """Decode what a call raised, from a `grpc` or a `grpc.aio` channel.

    Details that are missing or damaged leave the code and the message; nothing is raised.
    """
    plain = Failure(code=error.code(), message=error.details() or "")
    trailers = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    encoded = next((value for key, value in trailers if key == STATUS_TRAILER), None)
    if not isinstance(encoded, bytes):
        return plain
    try:
        return _decoded(plain.code, encoded)
    except DecodeError:
        return plain


def _decoded(code: grpc.StatusCode, encoded: bytes) -> Failure:
    status = _parsed("Status", encoded)
    details = {detail.type_url.rpartition("/")[2]: detail.value for detail in status.details}
    info = _parsed("ErrorInfo", details.get("google.rpc.ErrorInfo", b""))
    request = _parsed("BadRequest", details.get("google.rpc.BadRequest", b""))
    retry = _parsed("RetryInfo", details.get("google.rpc.RetryInfo", b""))
    resource = _parsed("ResourceInfo", details.get("google.rpc.ResourceInfo", b""))
    quota = _parsed("QuotaFailure", details.get("google.rpc.QuotaFailure", b""))
    return Failure(
        code=code,
        reason=info.reason,
        message=status.message,
        violations=tuple(
            FieldViolation(violation.field, violation.description) for violation in request.field_violations
        ),
        retry_after=retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
        if retry.HasField("retry_delay")
        else None,
        metadata={entry.key: entry.value for entry in info.metadata},
        resource=(resource.resource_type, resource.resource_name) if resource.resource_name else None,
        quota=tuple((one.subject, one.description) for one in quota.violations),
    )


def _parsed(name: str, data: bytes) -> Any:  # noqa: ANN401 - a class that exists only at run time
    return _classes()[name].FromString(data)


# A map is on the wire a repeated message of key and value, and Any is a type_url with bytes.
_MESSAGES: Mapping[str, tuple[tuple[str, int, str], ...]] = {
    "Status": (("message", 2, "string"), ("details", 3, "repeated Detail")),
    "Detail": (("type_url", 1, "string"), ("value", 2, "bytes")),
    "ErrorInfo": (("reason", 1, "string"), ("metadata", 3, "repeated Entry")),
    "Entry": (("key", 1, "string"), ("value", 2, "string")),
    "BadRequest": (("field_violations", 1, "repeated Violation"),),
    "Violation": (("field", 1, "string"), ("description", 2, "string")),
    "RetryInfo": (("retry_delay", 1, "Delay"),),
    "Delay": (("seconds", 1, "int64"), ("nanos", 2, "int32")),
    "QuotaFailure": (("violations", 1, "repeated Quota"),),
    "Quota": (("subject", 1, "string"), ("description", 2, "string")),
    "ResourceInfo": (("resource_type", 1, "string"), ("resource_name", 2, "string")),
}


@functools.cache
def _classes() -> Mapping[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="pixvox/failures.proto", package="pixvox.failures", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            message.field.append(_described(field_name, number, kind))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}"))
        for name in _MESSAGES
    }


def _described(name: str, number: int, kind: str) -> descriptor_pb2.FieldDescriptorProto:
    wire = descriptor_pb2.FieldDescriptorProto
    label, _, type_name = kind.rpartition(" ")
    described = wire(
        name=name, number=number, label=wire.LABEL_REPEATED if label == "repeated" else wire.LABEL_OPTIONAL
    )
    if type_name in _MESSAGES:
        described.type = wire.TYPE_MESSAGE
        described.type_name = f".pixvox.failures.{type_name}"
    else:
        described.type = wire.Type.Value(f"TYPE_{type_name.upper()}")
    return described
