"""A run of the smoke list: what its checks share, and how each ends."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc

from pixvox.cli.catalogue import VERBS, list_models
from pixvox.cli.speech_stream import IncompleteStreamError
from pixvox.client import failure
from pixvox.v1 import model_service_pb2, model_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class CheckFailedError(Exception):
    """The service did not do what the contract says; the text says what it did."""


class CheckSkippedError(Exception):
    """The check cannot be made; the text says why."""


@dataclass(slots=True)
class Run:
    """What the checks work with.

    Attributes:
        channel: To the service.
        timeout: Seconds that one call may take.
        image_url: Public address of a picture, or empty.
        models: For each verb the model that is tried; a verb that no model has is absent.
        picture: A picture that the service made, once it has made one.
    """

    channel: grpc.Channel
    timeout: float
    image_url: str
    models: Mapping[model_service_pb2.Verb.ValueType, model_service_pb2.Model]
    picture: bytes = field(default=b"", repr=False)

    def model(self, verb: model_service_pb2.Verb.ValueType) -> model_service_pb2.Model:
        """Return the model that is tried.

        Raises:
            CheckSkippedError: No configured model has the verb.
        """
        if verb not in self.models:
            raise CheckSkippedError(f"no configured model has {model_service_pb2.Verb.Name(verb)}")
        return self.models[verb]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a check ended.

    Attributes:
        check: Its number, for example ``SMK-01``.
        title: What it is about.
        result: ``PASS``, ``FAIL`` or ``SKIP``.
        seconds: How long it took.
        detail: What was seen, or why it failed or was left out.
    """

    check: str
    title: str
    result: str
    seconds: float
    detail: str


def outcome(check: str, title: str, make: Callable[[Run], str], run: Run) -> Outcome:
    """Make one check and tell how it ended; a call that fails unexpectedly fails the check."""
    begun = time.monotonic()
    try:
        result, detail = "PASS", make(run)
    except CheckSkippedError as error:
        result, detail = "SKIP", str(error)
    except (CheckFailedError, IncompleteStreamError) as error:
        result, detail = "FAIL", str(error)
    except grpc.RpcError as error:
        result, detail = "FAIL", str(failure(error))
    except OSError as error:
        result, detail = "FAIL", str(error)
    return Outcome(check, title, result, time.monotonic() - begun, detail)


def chosen_models(
    channel: grpc.Channel, provider: str, timeout: float
) -> dict[model_service_pb2.Verb.ValueType, model_service_pb2.Model]:
    """Return for each verb a model that has it: of `provider`, else of the verb's default provider, else of any.

    Raises:
        grpc.RpcError: The service cannot be asked.
    """
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    response: model_service_pb2.ListProvidersResponse = stub.ListProviders(
        model_service_pb2.ListProvidersRequest(), timeout=timeout
    )
    chosen = {}
    for verb in VERBS.values():
        found = list_models(channel, provider, verb, timeout)
        default = next((one.name for one in response.providers if verb in one.default_verbs), "")
        found.sort(key=lambda model, default=default: model.provider != default)  # type: ignore[misc]
        if found:
            chosen[verb] = found[0]
    return chosen


def require(holds: bool, otherwise: str) -> None:
    """Fail the check unless something holds.

    Raises:
        CheckFailedError: It does not.
    """
    if not holds:
        raise CheckFailedError(otherwise)


def refused(call: Callable[[], object], path: str) -> str:
    """Make a call that has to be refused because of the field `path`, and return the reason.

    Raises:
        CheckFailedError: It was accepted, or refused in another way than the contract's.
    """
    try:
        call()
    except grpc.RpcError as error:
        seen = failure(error)
    else:
        raise CheckFailedError(f"a wrong {path} was accepted")
    require(seen.code is grpc.StatusCode.INVALID_ARGUMENT, f"a wrong {path} gave {seen}")
    require(bool(seen.reason), f"a wrong {path} was refused without a reason")
    named = [violation.field for violation in seen.violations]
    require(
        any(name == path or name.startswith(f"{path}.") for name in named),
        f"a wrong {path} was refused without naming it, only {named}",
    )
    return seen.reason
