"""Server reflection in both versions: v1, which current clients ask for, and v1alpha.

grpcio-reflection implements v1alpha. The two differ in nothing but the package name, so v1 is the same servicer under the
other name, with a descriptor of its own so that clients can ask for that, too.
Source: https://github.com/grpc/grpc-proto, grpc/reflection/v1/reflection.proto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool

# Imported so that their descriptors are known: clients resolve the details of an error through reflection.
from google.rpc import error_details_pb2, status_pb2  # noqa: F401
from grpc_reflection.v1alpha import reflection, reflection_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

ALPHA = "grpc.reflection.v1alpha"
STABLE = "grpc.reflection.v1"
METHOD = "ServerReflectionInfo"


def add_reflection(server: grpc.aio.Server, services: Iterable[str]) -> None:
    """Let clients of `server` read the contract of `services` and of reflection itself."""
    _describe_stable()
    stable = f"{STABLE}.ServerReflection"
    names = (*services, reflection.SERVICE_NAME, stable)
    reflection.enable_server_reflection(names, server)
    servicer = reflection.aio.ReflectionServicer(names)
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(stable, {METHOD: method}),))


def _describe_stable() -> None:
    pool = descriptor_pool.Default()
    name = "grpc/reflection/v1/reflection.proto"
    try:
        pool.FindFileByName(name)
    except KeyError:
        file = descriptor_pb2.FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(file)
        file.name, file.package = name, STABLE
        for message in file.message_type:
            for field in filter(lambda one: one.type_name, message.field):
                field.type_name = field.type_name.replace(f".{ALPHA}.", f".{STABLE}.")
        for method in file.service[0].method:
            method.input_type = method.input_type.replace(f".{ALPHA}.", f".{STABLE}.")
            method.output_type = method.output_type.replace(f".{ALPHA}.", f".{STABLE}.")
        pool.AddSerializedFile(file.SerializeToString())
