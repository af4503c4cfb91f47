"""What the settings take from the standard variables of OpenTelemetry.

Those that the SDK and its exporters read themselves are left to them; docs/observability.md lists all.
Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox.settings.environment import with_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pixvox.settings.tables import Settings

SIGNALS = ("traces", "metrics", "logs")
_OTLP = "OTEL_EXPORTER_OTLP"
_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
# The older form of the variable, and the two of the newer values by which content stands on spans.
_ON_SPANS = frozenset({"true", "span_only", "span_and_event"})


def with_open_telemetry(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """Return the settings with what the standard variables say laid over the table `telemetry`.

    An empty variable is as good as none. A signal for which nothing says where to goes to an OTLP endpoint if there is one.

    Raises:
        SettingsError: A value cannot be used; the text names the variable.
    """
    given = {name: text.strip() for name, text in environment.items() if name.startswith("OTEL_") and text.strip()}
    for name, field, value in _values(given):
        settings = with_value(settings, f"telemetry.{field}", value, source=name)
    for signal in SIGNALS:
        endpoints = {f"{_OTLP}_ENDPOINT", f"{_OTLP}_{signal.upper()}_ENDPOINT"} & given.keys()
        if endpoints and not getattr(settings.telemetry, signal):
            settings = with_value(settings, f"telemetry.{signal}", ("otlp",), source=min(endpoints))
    return settings


def _values(given: Mapping[str, str]) -> list[tuple[str, str, object]]:
    """Return what there is as variable, field and value; what is more special comes later."""
    values: list[tuple[str, str, object]] = []
    for signal in SIGNALS:
        if text := given.get(name := f"OTEL_{signal.upper()}_EXPORTER"):
            values.append((name, signal, tuple(part.strip().lower() for part in text.split(",") if part.strip())))
        protocols = (f"{_OTLP}_PROTOCOL", f"{_OTLP}_{signal.upper()}_PROTOCOL")
        values.extend((name, f"{signal}_protocol", given[name].lower()) for name in protocols if name in given)
    if text := given.get("OTEL_SDK_DISABLED"):
        # By the standard everything but true is false.
        values.append(("OTEL_SDK_DISABLED", "disabled", text.lower() == "true"))
    if text := given.get("OTEL_TRACES_SAMPLER"):
        values.append(("OTEL_TRACES_SAMPLER", "sampler", text.lower()))
        if text.lower().endswith("traceidratio") and (share := given.get("OTEL_TRACES_SAMPLER_ARG")):
            values.append(("OTEL_TRACES_SAMPLER_ARG", "sampler_ratio", share))
    if text := given.get(_CONTENT):
        values.append((_CONTENT, "capture_content", text.lower() in _ON_SPANS))
    return values
