"""Which targets may serve a call, in which order."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from pixvox import limits, telemetry, voice_limits
from pixvox.errors import NoProviderError, ProviderNotConfiguredError, SwitchedOffError
from pixvox.routing.candidates import CallFacts, Candidate, Finding
from pixvox.routing.catalogue import Catalogue
from pixvox.routing.plans import Plan, capability
from pixvox.routing.routes import compiled, default_of, switched_off
from pixvox.v1 import model_service_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pixvox.prices import PriceTable
    from pixvox.registry import Entry
    from pixvox.routing.routes import Route, RouteTarget
    from pixvox.routing.states import TargetStates
    from pixvox.settings import Settings, Verb
    from pixvox.telemetry import Telemetry
    from pixvox.v1 import image_service_pb2, speech_service_pb2, voice_service_pb2

    ImageRequest = image_service_pb2.GenerateImageRequest | image_service_pb2.EditImageRequest
    Check = Callable[[model_service_pb2.Model], None]

MEGAPIXEL = 1_000_000
UNARY_VERBS: dict[str, Verb] = {
    "GenerateImage": "generate_image",
    "EditImage": "edit_image",
    "SynthesizeSpeech": "stream_speech",
    "CloneVoice": "clone_voice",
    "DesignVoice": "design_voice",
}


class Router:
    """Resolves requests to plans.

    A request may name a model: a route, else the id or alias of a model, of which the first provider that has it serves. It
    may name a provider, which keeps the call there. It may name neither; then the default of the verb serves, which is the
    first model that has the verb unless the settings say otherwise.
    """

    def __init__(
        self,
        settings: Settings,
        entries: Sequence[Entry],
        signals: Telemetry,
        prices: PriceTable,
        states: TargetStates,
    ) -> None:
        """Check routes and defaults.

        Raises:
            SettingsError: One names something that is not there or lacks the verb.
        """
        self.settings = settings
        self.prices = prices
        self.states = states
        self.routes: Mapping[str, Route] = compiled(settings, entries)
        self._signals = signals
        self._catalogue = Catalogue(entries, settings)
        self._defaults = {verb: default_of(verb, settings, self.routes, entries) for verb in settings.defaults}

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The providers, in the configuration's order."""
        return self._catalogue.entries

    def activate(self) -> None:
        """Put this router's limits in force; is called when calls begin to come to it."""
        self.states.activate(self)

    def entry(self, provider: str, prefix: str = "") -> Entry:
        """Return the provider of that name; see `Catalogue.entry`."""
        return self._catalogue.entry(provider, prefix)

    def find(self, model: str, provider: str = "", prefix: str = "") -> tuple[Entry, model_service_pb2.Model]:
        """Return the model of that id or alias; see `Catalogue.find`."""
        return self._catalogue.find(model, provider, prefix)

    def default(self, verb: Verb) -> Route | tuple[Entry, model_service_pb2.Model] | None:
        """Return what serves `verb` when a request names neither provider nor model."""
        return self._defaults[verb] if verb in self._defaults else self._catalogue.first(verb)

    def generate_image(self, request: image_service_pb2.GenerateImageRequest) -> Plan:
        """Return the plan of `request`, whose candidates are held against their limits; perhaps none may be tried."""
        return self._image_plan("generate_image", request, lambda model: limits.check_generate_image(request, model))

    def edit_image(self, request: image_service_pb2.EditImageRequest) -> Plan:
        """Return the plan of `request` as of `generate_image`; what is in the inputs is looked at later."""
        return self._image_plan("edit_image", request, lambda model: limits.check_edit_image(request, model))

    def stream_speech(self, config: speech_service_pb2.SpeechConfig, *, bound: bool = False) -> Plan:
        """Return the plan of `config` as of `generate_image`; see `pixvox.voices.resolved` for made voices.

        Args:
            config: With the names of a model and its provider if `bound`.
            bound: Whether the call stays with that very model, even if a route has its name.
        """
        facts = CallFacts("stream_speech", _caller(), config.labels, voice=config.voice, language=config.language_code)
        return self._plan(
            facts,
            config.provider,
            config.model,
            lambda model: limits.check_speech(config, model),
            "config.",
            bound=bound,
        )

    def clone_voice(self, request: voice_service_pb2.CloneVoiceRequest) -> Plan:
        """Return the plan of `request` as of `generate_image`; the recording is looked at later."""
        facts = CallFacts("clone_voice", _caller(), request.labels, language=request.language_code)
        return self._plan(
            facts, request.provider, request.model, lambda model: voice_limits.check_clone_voice(request, model)
        )

    def design_voice(self, request: voice_service_pb2.DesignVoiceRequest) -> Plan:
        """Return the plan of `request`, whose candidates are held against their limits; perhaps none may be tried."""
        facts = CallFacts("design_voice", _caller(), request.labels, language=request.language_code)
        return self._plan(
            facts, request.provider, request.model, lambda model: voice_limits.check_design_voice(request, model)
        )

    def route_of(self, verb: Verb, model: str) -> Route | None:
        """Return the route that a request with that model takes, None if it takes none."""
        if model:
            route = self.routes.get(model)
            return route if route is not None and verb in route.verbs else None
        default = self.default(verb)
        return None if default is None or isinstance(default, tuple) else default

    def shares(self, method: str, request: Any) -> bool:  # noqa: ANN401 - messages have no common class with these fields
        """Tell whether a call may share its answer with identical calls that are in flight, as its route says.

        Args:
            method: Such as `pixvox.v1.ImageService/GenerateImage`.
            request: Its message.
        """
        verb = UNARY_VERBS.get(method.rpartition("/")[2])
        if verb is None:
            return False
        asked = request.config if verb == "stream_speech" else request
        route = self.route_of(verb, asked.model)
        return route is not None and route.single_flight

    def _image_plan(self, verb: Verb, request: ImageRequest, check: Check) -> Plan:
        pixels = request.size.width * request.size.height
        facts = CallFacts(verb, _caller(), request.labels, pixels=pixels)
        plan = self._plan(facts, request.provider, request.model, check)
        plan.cost = max(request.n, 1) * max(pixels / MEGAPIXEL, 1.0)
        return plan

    def _plan(
        self, facts: CallFacts, provider: str, model: str, check: Check, prefix: str = "", *, bound: bool = False
    ) -> Plan:
        route = self.route_of(facts.verb, model) if not bound and (not provider or model in self.routes) else None
        candidates: list[Candidate] = []
        if route is not None:
            candidates = route.candidates(facts, functools.partial(self._weight, route.name))
            if provider:
                entry = self.entry(provider, prefix)
                candidates = [one for one in candidates if one.entry is entry]
        if not candidates:
            route, candidates = None, [self._direct(facts.verb, provider, model, prefix)]
        for candidate in candidates:
            if candidate.error is None:
                candidate.findings += (capability(candidate.model, check), _readiness(candidate.entry))
        return Plan(candidates, route, self.states, self._signals, self.prices)

    def _direct(self, verb: Verb, provider: str, model: str, prefix: str) -> Candidate:
        """Return the one candidate of a call that takes no route."""
        if model:
            entry, found = self._catalogue.able(verb, model, provider, prefix)
        elif provider:
            entry, found = self._of_provider(verb, provider, prefix)
        else:
            default = self.default(verb)
            if not isinstance(default, tuple):
                raise NoProviderError(f"No configured provider has a model for {verb}; configure one that has.")
            entry, found = default
        off = switched_off(self.settings, entry.name, verb)
        error = SwitchedOffError(f"{off}.", metadata={"provider": entry.name, "capability": verb}) if off else None
        finding = Finding(model_service_pb2.ROUTE_CHECK_SWITCH, off or "is switched on", error)
        return Candidate(entry, found, findings=[finding])

    def _of_provider(self, verb: Verb, provider: str, prefix: str) -> tuple[Entry, model_service_pb2.Model]:
        default = self.default(verb)
        if isinstance(default, tuple) and default[0].name == provider:
            return default
        return self._catalogue.first_of(verb, provider, prefix)

    def _weight(self, route: str, target: RouteTarget) -> float:
        return self.states.weight(route, target)


def _caller() -> str:
    return telemetry.current_call().caller


def _readiness(entry: Entry) -> Finding:
    unready = entry.unready
    if not unready:
        return Finding(model_service_pb2.ROUTE_CHECK_READY, "is configured")
    metadata = {"provider": entry.name} | ({"region": entry.region} if entry.region else {})
    error = ProviderNotConfiguredError(unready, metadata=metadata)
    return Finding(model_service_pb2.ROUTE_CHECK_READY, unready, error)
