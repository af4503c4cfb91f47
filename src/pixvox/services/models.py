"""ModelService: what the configured providers can do."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from pixvox.errors import InvalidRequestError, ProviderNotFoundError, Violation
from pixvox.registry import VERBS, has_capability
from pixvox.routing import VERB_NAMES
from pixvox.v1 import model_service_pb2, model_service_pb2_grpc

if TYPE_CHECKING:
    import grpc

    from pixvox.registry import Entry
    from pixvox.routing import Router

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Serves the capability tables that requests are checked against."""

    def __init__(self, router: Router) -> None:
        self._router = router

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
        _, model = self._router.find(request.model, request.provider)
        return model_service_pb2.GetModelResponse(model=model)

    async def ListProviders(
        self, request: model_service_pb2.ListProvidersRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> model_service_pb2.ListProvidersResponse:
        """Return every configured provider."""
        return model_service_pb2.ListProvidersResponse(providers=[self._info(one) for one in self._router.entries])

    def _models(self, request: model_service_pb2.ListModelsRequest) -> list[model_service_pb2.Model]:
        names = [entry.name for entry in self._router.entries]
        if request.provider and request.provider not in names:
            raise ProviderNotFoundError(
                "No provider of that name is configured.", Violation("provider", f"allowed: {', '.join(names)}")
            )
        capability = next((name for name, (verb, _) in VERBS.items() if verb == request.verb), None)
        return sorted(
            (
                model
                for entry in self._router.entries
                for model in entry.models
                if request.provider in {"", entry.name} and (capability is None or has_capability(model, capability))
            ),
            key=lambda model: (model.provider, model.id),
        )

    def _info(self, entry: Entry) -> model_service_pb2.ProviderInfo:
        return model_service_pb2.ProviderInfo(
            name=entry.name,
            kind=entry.kind,
            region=entry.region,
            verbs=[
                number
                for name, (number, _) in VERBS.items()
                if any(has_capability(model, name) for model in entry.models)
            ],
            default_verbs=[
                VERBS[verb][0]
                for verb in VERB_NAMES
                if (default := self._router.default(verb)) is not None and default[0] is entry
            ],
            models=len(entry.models),
            ready=not entry.unready,
            unready_reason=entry.unready,
        )


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
