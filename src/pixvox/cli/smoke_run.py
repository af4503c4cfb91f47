"""A run of the smoke list: what its checks share, and how each ends."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc

from pixvox.cli.catalogue import list_models
from pixvox.cli.speech_stream import IncompleteStreamError
from pixvox.client import failure
from pixvox.v1 import (
    error_reason_pb2,
    image_service_pb2,
    media_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    speech_service_pb2,
)

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
        models: For each verb the model that is tried; a verb that no model has, or that is switched off, is absent.
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
            CheckSkippedError: No configured model has the verb, or it is switched off.
        """
        if verb not in self.models:
            raise CheckSkippedError(f"no configured model has {model_service_pb2.Verb.Name(verb)} and is switched on")
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
    """Return for each verb the model that serves a plain call: of `provider`, else of the verb's default.

    A verb that nobody has, or that is switched off, is absent.

    Raises:
        grpc.RpcError: The service cannot be asked.
    """
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    chosen = {}
    for verb, request in _plain_calls(provider).items():
        models = {(one.provider, one.id): one for one in list_models(channel, provider, verb, timeout)}
        answer: model_service_pb2.ExplainRouteResponse = stub.ExplainRoute(request, timeout=timeout)
        candidates = [one for one in answer.candidates if (one.provider, one.model) in models]
        # If nobody can serve it now, the check is to find that out.
        candidates.sort(key=lambda one: not one.eligible)
        if candidates and answer.error_reason != error_reason_pb2.ERROR_REASON_SWITCHED_OFF:
            chosen[verb] = models[candidates[0].provider, candidates[0].model]
    return chosen


def _plain_calls(
    provider: str,
) -> dict[model_service_pb2.Verb.ValueType, model_service_pb2.ExplainRouteRequest]:
    """Return a call of each verb that is tried, which asks for nothing special."""
    explain = model_service_pb2.ExplainRouteRequest
    generate = image_service_pb2.GenerateImageRequest(prompt="any", provider=provider)
    edit = image_service_pb2.EditImageRequest(prompt="any", images=[media_pb2.MediaInput(uri="any")], provider=provider)
    return {
        model_service_pb2.VERB_GENERATE_IMAGE: explain(generate_image=generate),
        model_service_pb2.VERB_EDIT_IMAGE: explain(edit_image=edit),
        model_service_pb2.VERB_STREAM_SPEECH: explain(stream_speech=speech_service_pb2.SpeechConfig(provider=provider)),
    }


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
