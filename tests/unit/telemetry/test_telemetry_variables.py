"""The standard variables of OpenTelemetry: which of them the settings read, and what becomes of them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import msgspec
import pytest
from opentelemetry.sdk import environment_variables

from pixvox.settings import Settings, SettingsError, load
from pixvox.settings.tables import TelemetrySettings
from pixvox.telemetry.options import Options

ROOT = Path(__file__).parents[3]
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """A folder without a settings file."""
    monkeypatch.chdir(tmp_path)


def telemetry(file: Path | None = None, **environment: str) -> TelemetrySettings:
    return load(file, environment=environment).telemetry


def test_without_variables_nothing_is_sent_anywhere():
    settings = telemetry()
    assert (settings.traces, settings.metrics, settings.logs) == ((), (), ())
    assert settings == TelemetrySettings()


def test_what_the_settings_say_is_what_telemetry_takes_with_the_same_defaults():
    assert Options(**msgspec.structs.asdict(Settings().telemetry)) == Options()
    assert [field.name for field in dataclasses.fields(Options)] == list(TelemetrySettings.__struct_fields__)


def test_an_endpoint_for_all_sends_every_signal():
    settings = telemetry(**ENDPOINT)
    assert (settings.traces, settings.metrics, settings.logs) == (("otlp",), ("otlp",), ("otlp",))


@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
def test_an_endpoint_for_one_signal_sends_that_one(signal):
    settings = telemetry(**{f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT": "http://collector:4317"})
    assert {name for name in ("traces", "metrics", "logs") if getattr(settings, name)} == {signal}


@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
def test_an_exporter_is_named_for_each_signal(signal):
    settings = telemetry(**{f"OTEL_{signal.upper()}_EXPORTER": "otlp, Console"})
    assert getattr(settings, signal) == ("otlp", "console")


@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
def test_none_wins_over_an_endpoint(signal):
    settings = telemetry(**ENDPOINT, **{f"OTEL_{signal.upper()}_EXPORTER": "none"})
    assert getattr(settings, signal) == ("none",)


def test_metrics_may_be_left_to_prometheus():
    assert telemetry(**ENDPOINT, OTEL_METRICS_EXPORTER="prometheus").metrics == ("prometheus",)


def test_the_protocol_of_all_signals_yields_to_that_of_one():
    settings = telemetry(OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf", OTEL_EXPORTER_OTLP_LOGS_PROTOCOL="grpc")
    assert settings.traces_protocol == settings.metrics_protocol == "http/protobuf"
    assert settings.logs_protocol == "grpc"


@pytest.mark.parametrize(
    ("text", "disabled"), [("true", True), ("TRUE", True), ("1", False), ("no", False), ("", False)]
)
def test_only_true_disables_everything(text, disabled):
    assert telemetry(OTEL_SDK_DISABLED=text).disabled is disabled


def test_a_sampler_is_named_and_given_its_share():
    settings = telemetry(OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0.01")
    assert (settings.sampler, settings.sampler_ratio) == ("parentbased_traceidratio", 0.01)


def test_the_share_is_ignored_by_a_sampler_that_takes_none():
    settings = telemetry(OTEL_TRACES_SAMPLER="always_on", OTEL_TRACES_SAMPLER_ARG="endpoint=x")
    assert (settings.sampler, settings.sampler_ratio) == ("always_on", 1.0)


@pytest.mark.parametrize(
    ("text", "captured"), [("true", True), ("SPAN_ONLY", True), ("event_only", False), ("false", False)]
)
def test_words_of_callers_are_captured_only_where_the_standard_variable_asks_for_them_on_spans(text, captured):
    assert not telemetry().capture_content
    assert telemetry(OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=text).capture_content is captured


def test_an_empty_variable_is_as_good_as_none():
    assert (
        telemetry(OTEL_TRACES_EXPORTER="", OTEL_TRACES_SAMPLER=" ", OTEL_EXPORTER_OTLP_ENDPOINT="")
        == TelemetrySettings()
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_METRICS_EXPORTER", "statsd"),
        ("OTEL_LOGS_EXPORTER", "prometheus"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "udp"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("PIXVOX_TRACE_SLOW_SECONDS", "long"),
        ("PIXVOX_LOG_SAMPLE", "half"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_under_its_name(name, value):
    with pytest.raises(SettingsError, match=name):
        telemetry(**{name: value})


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ("[telemetry]\nsampler_ratio = 1.5\n", "telemetry.sampler_ratio"),
        ("[telemetry]\nslow_seconds = -1.0\n", "telemetry.slow_seconds"),
        ("[log]\nsample = 2.0\n", "log.sample"),
    ],
)
def test_numbers_have_bounds(tmp_path, table, named):
    (tmp_path / "given.toml").write_text(table)
    with pytest.raises(SettingsError, match=named):
        load(tmp_path / "given.toml", environment={})


def test_the_variables_win_over_the_file_and_the_rest_of_the_file_holds(tmp_path):
    file = tmp_path / "given.toml"
    file.write_text('[telemetry]\ntraces = ["console"]\nlogs = ["none"]\nsampler = "always_off"\nslow_seconds = 3.0\n')
    settings = telemetry(file, **ENDPOINT, OTEL_TRACES_SAMPLER="always_on")
    assert settings.traces == ("console",)
    assert settings.logs == ("none",)
    assert settings.metrics == ("otlp",)
    assert (settings.sampler, settings.slow_seconds) == ("always_on", 3.0)


def test_what_is_kept_of_the_rest_has_variables_of_our_own():
    settings = telemetry(PIXVOX_TRACE_KEEP_FAILED="false", PIXVOX_TRACE_SLOW_SECONDS="2.5")
    assert (settings.keep_failed, settings.slow_seconds) == (False, 2.5)
    assert load(environment={"PIXVOX_LOG_SAMPLE": "0.1"}).log.sample == 0.1


def test_the_documentation_names_every_variable_of_the_sdk():
    text = (ROOT / "docs" / "observability.md").read_text()
    told = set(re.findall(r"OTEL_[A-Z_]*[A-Z]", text))
    # A signal's own variables are told of together, as OTEL_EXPORTER_OTLP_<SIGNAL>_*.
    there = {
        re.sub(r"OTLP_(TRACES|METRICS|LOGS)_(?!TEMPORALITY|DEFAULT)", "OTLP_", name)
        for name in vars(environment_variables)
        if name.startswith("OTEL_")
    }
    foreign = {name for name in there if "ZIPKIN" in name}
    assert there - foreign - told == set()
