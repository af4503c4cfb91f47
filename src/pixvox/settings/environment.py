"""What the settings take from the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pixvox.settings.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pixvox.settings.tables import Settings, Verb

ENVIRONMENT = {
    "PIXVOX_LISTEN": "server.listen",
    "PIXVOX_HTTP": "server.http",
    "PIXVOX_ADMIN": "server.admin",
    "PIXVOX_WORKERS": "server.workers",
    "PIXVOX_GRACE_SECONDS": "server.grace_seconds",
    "PIXVOX_REFLECTION": "server.reflection",
    "PIXVOX_CALLER_METADATA": "server.caller_metadata",
    "PIXVOX_WATCH_SECONDS": "server.watch_seconds",
    "PIXVOX_LOG_LEVEL": "log.level",
    "PIXVOX_LOG_FORMAT": "log.format",
    "PIXVOX_LOG_SAMPLE": "log.sample",
    "PIXVOX_FETCH_ALLOWED_HOSTS": "fetch.allowed_hosts",
    "PIXVOX_SPAN_FILE": "telemetry.span_file",
    "PIXVOX_TRACE_KEEP_FAILED": "telemetry.keep_failed",
    "PIXVOX_TRACE_SLOW_SECONDS": "telemetry.slow_seconds",
    "PIXVOX_DATABASE_URL": "database.url",
    "PIXVOX_PRICES_FILE": "prices.file",
}

# What a kind of provider takes from the environment where its table says nothing; of two names for one field the first
# wins. The names are those that operators of the vendors' own tools know.
PROVIDER_ENVIRONMENT = {
    "dashscope": {
        "QWEN_API_KEY": "api_key",
        "DASHSCOPE_API_KEY": "api_key",
        "QWEN_REGION": "region",
        "DASHSCOPE_REGION": "region",
        "DASHSCOPE_BASE_URL": "http_base",
        "QWEN_IMAGE_MODEL": "image_model",
        "QWEN_IMAGE_EDIT_MODEL": "image_edit_model",
        "QWEN_TIMEOUT_MS": "timeout_ms",
        "QWEN_VC_TARGET_MODEL": "vc_target_model",
        "QWEN_VD_TARGET_MODEL": "vd_target_model",
        "QWEN_MAX_TEXT_CHARS": "max_text_chars",
    },
    "modal": {
        "MODAL_JOB_SUBMIT": "job_submit",
        "MODAL_JOB_STATUS": "job_status",
        "MODAL_JOB_RESULT": "job_result",
        "MODAL_JOB_CANCEL": "job_cancel",
        "MODAL_ENDPOINT_VOICE_DESIGN": "voice_design",
    },
    "worker": {
        "AI_SERVICE_HOST": "host",
        "AI_SERVICE_PORT": "port",
        "AI_SERVICE_SCHEME": "scheme",
        "AI_SERVICE_TIMEOUT": "timeout_ms",
        "AI_SERVICE_HEALTH_PATH": "health_path",
    },
}
# Fields whose presence in the environment is enough for the provider to be there when no file says otherwise.
KEY_FIELDS = {"dashscope": "api_key", "modal": "job_submit", "worker": "host"}

# The plans' switch of all speech from one provider to the other, and each mode's kind of provider.
SPEECH_MODE = "TTS_PROVIDER_MODE"
SPEECH_MODES = {"modal": "modal", "qwen": "dashscope"}
VOICE_DESIGN = "VOICE_DESIGN_ENABLED"
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


def with_environment(settings: Settings, environment: Mapping[str, str], *, appear: bool) -> Settings:
    """Return the settings with what the environment says laid over them.

    Args:
        settings: Of the file.
        environment: Names to values.
        appear: Whether a key alone makes its provider appear, before all others.

    Raises:
        SettingsError: A value cannot be used; the text names the variable.
    """
    settings = _with_providers(settings, environment, appear=appear)
    for name, dotted in ENVIRONMENT.items():
        if (text := environment.get(name)) is not None:
            settings = with_value(settings, dotted, _from_text(dotted, text), source=name)
    if text := environment.get(VOICE_DESIGN):
        switches: dict[Verb, bool] = settings.switches | {"design_voice": _truth(VOICE_DESIGN, text)}
        settings = msgspec.structs.replace(settings, switches=switches)
    if text := environment.get(SPEECH_MODE):
        settings = _with_speech_mode(settings, text)
    return settings


def with_value(settings: Settings, dotted: str, value: object, source: str) -> Settings:
    """Return the settings with one value changed.

    Args:
        settings: That are changed.
        dotted: TABLE.KEY.
        value: May be text that means another type.
        source: For the error.

    Raises:
        SettingsError: The value has no meaning there.
    """
    table, _, key = dotted.partition(".")
    section = getattr(settings, table)
    try:
        changed = msgspec.convert(
            msgspec.structs.asdict(section) | {key: value}, type=type(section), strict=False, from_attributes=True
        )
    except msgspec.ValidationError as error:
        raise SettingsError(f"{source}: {error}") from error
    return msgspec.structs.replace(settings, **{table: changed})


def _with_providers(settings: Settings, environment: Mapping[str, str], *, appear: bool) -> Settings:
    """Fill the providers' tables from the environment; with `appear`, a key alone puts its provider first."""
    tables = dict(settings.providers)
    for kind, names in PROVIDER_ENVIRONMENT.items():
        values: dict[str, object] = {}
        for name, field in names.items():
            if text := environment.get(name):
                values.setdefault(field, text)
        if appear and KEY_FIELDS.get(kind) in values:
            tables = {kind: {"kind": kind}, **tables}
        tables = {name: {**values, **table} if table.get("kind") == kind else table for name, table in tables.items()}
    return msgspec.structs.replace(settings, providers=tables)


def _from_text(dotted: str, text: str) -> object:
    if dotted == "fetch.allowed_hosts":
        return [host.strip() for host in text.split(",") if host.strip()]
    return text


def _truth(name: str, text: str) -> bool:
    if text.lower() not in _TRUTHS:
        raise SettingsError(f"{name}: {text!r} is not one of {', '.join(_TRUTHS)}")
    return _TRUTHS[text.lower()]


def _with_speech_mode(settings: Settings, mode: str) -> Settings:
    """Make the mode's provider the default of speech, and of made voices where it turns out to have them.

    A default of the file stays if it names a model of the same provider: the mode decides between providers alone.
    """
    if mode not in SPEECH_MODES:
        raise SettingsError(f"{SPEECH_MODE}: {mode!r} is not one of {', '.join(SPEECH_MODES)}")
    provider = _of_mode(settings, mode)
    modes: dict[Verb, str] = {
        "stream_speech": provider,
        "clone_voice": f"{provider}?",
        "design_voice": f"{provider}?",
    }
    kept: dict[Verb, str] = {
        verb: text for verb, text in settings.defaults.items() if text.partition("/")[0] == provider
    }
    return msgspec.structs.replace(settings, defaults=settings.defaults | modes | kept)


def _of_mode(settings: Settings, mode: str) -> str:
    if mode in settings.providers:
        return mode
    of_kind = [name for name, table in settings.providers.items() if table.get("kind") == SPEECH_MODES[mode]]
    enabled = [name for name in of_kind if settings.providers[name].get("enabled", True)]
    if not of_kind:
        raise SettingsError(
            f"{SPEECH_MODE}: {mode!r} has no provider; configure one of that name or of kind {SPEECH_MODES[mode]!r}; "
            f"there are: {', '.join(settings.providers) or 'none'}"
        )
    return (enabled or of_kind)[0]
