"""ModelService: what the configured providers can do."""

from __future__ import annotations

import base64
import binascii
import time
from typing import TYPE_CHECKING, Any, get_args

from pixvox import telemetry
from pixvox.errors import InvalidRequestError, PixvoxError, Violation
from pixvox.limits import check_text_length
from pixvox.registry import VERBS, has_capability
from pixvox.routing.candidates import Finding
from pixvox.routing.explain import explained, route_message
from pixvox.routing.routes import switched_off
from pixvox.settings import Verb
from pixvox.v1 import media_pb2, model_service_pb2, model_service_pb2_grpc
from pixvox.voices import resolved

if TYPE_CHECKING:
    import grpc

    from pixvox.registry import Entry
    from pixvox.routing import Plan, Router
    from pixvox.routing.routes import Route
    from pixvox.services.current import Current
    from pixvox.voices import VoiceStore

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000
# The field of the settings that has the deadline of a call whose caller sets none.
_DEADLINES: dict[Verb, str] = {
    "generate_image": "generate_image",
    "edit_image": "edit_image",
    "stream_speech": "stream_speech",
    "clone_voice": "make_voice",
    "design_voice": "make_voice",
}


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Serves the capability tables that requests are checked against."""

    def __init__(self, current: Current, voices: VoiceStore) -> None:
        self._current = current
        self._voices = voices

    async def ListModels(
        self, request: model_service_pb2.ListModelsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> model_service_pb2.ListModelsResponse:
        """Return one page of models."""
        if request.page_size > LARGEST_PAGE:
            raise InvalidRequestError(
                "The page is too large.", Violation("page_size", f"is {request.page_size}; allowed: 0..{LARGEST_PAGE}")
            )
        models = self._models(request)
        start = _offset(request.page_token)
        end = start + (request.page_size or DEFAULT_PAGE)
        return model_service_pb2.ListModelsResponse(
            models=models[start:end], next_page_token=_token(end) if end < len(models) else ""
        )

    async def GetModel(
        self, request: model_service_pb2.GetModelRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> model_service_pb2.GetModelResponse:
        """Return one model."""
        if not request.model:
            raise InvalidRequestError("A model has to be named.", Violation("model", "is empty"))
        _, model = self._current.router.find(request.model, request.provider)
        return model_service_pb2.GetModelResponse(model=model)

    async def ListProviders(
        self, request: model_service_pb2.ListProvidersRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> model_service_pb2.ListProvidersResponse:
        """Return every configured provider."""
        router = self._current.router
        return model_service_pb2.ListProvidersResponse(
            providers=[_info(entry, router) for entry in router.entries]
            + [
                model_service_pb2.ProviderInfo(name=name, kind=table["kind"])
                for name, table in router.settings.providers.items()
                if not table.get("enabled", True)
            ],
            routes=[route_message(route, router) for route in router.routes.values()],
            config_digest=self._current.digest,
        )

    async def ExplainRoute(
        self, request: model_service_pb2.ExplainRouteRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> model_service_pb2.ExplainRouteResponse:
        """Tell what would become of a call."""
        asking = telemetry.current_call()
        caller = request.caller or asking.caller
        with telemetry.calling(telemetry.Call(asking.method, asking.request_id, caller=caller)):
            answer = await self._explained(request)
        answer.caller = caller
        answer.config_digest = self._current.digest
        return answer

    async def _explained(
        self, request: model_service_pb2.ExplainRouteRequest
    ) -> model_service_pb2.ExplainRouteResponse:
        kind = request.WhichOneof("call")
        if kind is None:
            raise InvalidRequestError("A call to explain has to be given.", Violation("call", "is not set"))
        deadline = time.monotonic() + getattr(self._current.settings.deadlines, _DEADLINES[kind])
        try:
            plan = await self._plan(kind, request)
        except PixvoxError as error:
            return model_service_pb2.ExplainRouteResponse(error_reason=error.reason, error_message=error.message)
        return explained(plan, _usage(kind, request), deadline)

    async def _plan(self, kind: Verb, request: model_service_pb2.ExplainRouteRequest) -> Plan:
        router = self._current.router
        if kind == "generate_image":
            return router.generate_image(request.generate_image)
        if kind == "edit_image":
            return router.edit_image(request.edit_image)
        if kind == "clone_voice":
            return router.clone_voice(request.clone_voice)
        if kind == "design_voice":
            return router.design_voice(request.design_voice)
        config, plan = await resolved(request.stream_speech, self._voices, router)
        plan.held_against(lambda model: check_text_length(request.text_characters, model))
        if config.voice != request.stream_speech.voice:
            found = f"{request.stream_speech.voice} was made for it, and speaks with no other"
            for candidate in plan.candidates:
                candidate.findings.append(Finding(model_service_pb2.ROUTE_CHECK_VOICE, found))
        return plan

    def _models(self, request: model_service_pb2.ListModelsRequest) -> list[model_service_pb2.Model]:
        router = self._current.router
        entries = (router.entry(request.provider),) if request.provider else router.entries
        capability = next((name for name, (verb, _) in VERBS.items() if verb == request.verb), None)
        return sorted(
            (
                model
                for entry in entries
                for model in entry.models
                if capability is None or has_capability(model, capability)
            ),
            key=lambda model: (model.provider, model.id),
        )


def _info(entry: Entry, router: Router) -> model_service_pb2.ProviderInfo:
    return model_service_pb2.ProviderInfo(
        name=entry.name,
        kind=entry.kind,
        region=entry.region,
        verbs=[
            number for name, (number, _) in VERBS.items() if any(has_capability(model, name) for model in entry.models)
        ],
        default_verbs=[VERBS[verb][0] for verb in get_args(Verb) if _serves(router.default(verb), entry)],
        models=len(entry.models),
        ready=not entry.unready,
        unready_reason=entry.unready,
        enabled=True,
        switched_off=[VERBS[verb][0] for verb in get_args(Verb) if switched_off(router.settings, entry.name, verb)],
    )


def _usage(kind: Verb, request: model_service_pb2.ExplainRouteRequest) -> media_pb2.Usage:
    """Return what the call would use, as far as it says."""
    if kind == "stream_speech":
        return media_pb2.Usage(characters=request.text_characters or None)
    if kind in {"clone_voice", "design_voice"}:
        return media_pb2.Usage(voices=1)
    asked = request.generate_image if kind == "generate_image" else request.edit_image
    return media_pb2.Usage(images=asked.n or 1)


def _serves(default: Route | tuple[Entry, model_service_pb2.Model] | None, entry: Entry) -> bool:
    return isinstance(default, tuple) and default[0] is entry


def _token(offset: int) -> str:
    return base64.urlsafe_b64encode(str(offset).encode()).decode()


def _offset(token: str) -> int:
    if not token:
        return 0
    try:
        return max(0, int(base64.urlsafe_b64decode(token.encode())))
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError(
            "The page token is not one of this service's.", Violation("page_token", "use next_page_token")
        ) from error
