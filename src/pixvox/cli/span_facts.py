"""What a person has to know of a span, in a few words each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pixvox.cli.spans import Span

_ANSWERS = {"kept": "answer of an earlier call", "shared": "answer of a call under way"}
_UNITS = ("B", "kB", "MB", "GB", "TB")


def facts(span: Span) -> Iterator[str]:
    """Give what matters of a span: how it ended, who did it, how often it was tried, what it took and cost."""
    attributes = span.attributes
    for name, worded in _WORDS:
        if name in attributes and (words := worded(attributes[name], attributes)):
            yield words


def size(count: float) -> str:
    """Return a number of bytes for a person, in steps of a thousand."""
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_UNITS[-1]}"


def _error(kind: object, attributes: Mapping[str, Any]) -> str:
    said = {str(attributes.get(name)) for name in ("rpc.status_code", "http.response.status_code")}
    return "" if str(kind) in said else str(kind)


def _replay(replay: object, attributes: Mapping[str, Any]) -> str:
    # How far it came matters where it went wrong.
    return str(replay).replace("_", " ") if "error.type" in attributes else ""


def _model(model: object, attributes: Mapping[str, Any]) -> str:
    return "" if model == attributes.get("gen_ai.request.model") else f"by {model}"


def _cost(state: object, attributes: Mapping[str, Any]) -> str:
    if "pixvox.cost.amount" in attributes:
        return f"{attributes['pixvox.cost.amount']} {attributes.get('pixvox.cost.currency', '')}".strip()
    return str(state).removeprefix("COST_STATE_").lower()


def _messages(way: str) -> Callable[[object, Mapping[str, Any]], str]:
    def worded(count: object, attributes: Mapping[str, Any]) -> str:
        return f"{way} {count} messages ({_size(attributes.get(f'pixvox.socket.bytes.{way}', 0))})"

    return worded


def _size(count: object) -> str:
    return size(count) if isinstance(count, int | float) else str(count)


def _as(form: str) -> Callable[[object, Mapping[str, Any]], str]:
    return lambda value, _: form.format(value)


_WORDS: tuple[tuple[str, Callable[[Any, Mapping[str, Any]], str]], ...] = (
    ("rpc.status_code", _as("{}")),
    ("http.response.status_code", _as("{}")),
    ("error.type", _error),
    ("pixvox.attempt.replay_class", _replay),
    ("pixvox.provider_code", _as("code {}")),
    ("pixvox.socket.close_code", _as("closed with {}")),
    ("pixvox.answer", lambda value, _: _ANSWERS.get(value, str(value))),
    ("gen_ai.provider.name", _as("{}")),
    ("pixvox.region", _as("{}")),
    ("pixvox.route", _as("route {}")),
    ("pixvox.lane", _as("lane {}")),
    ("gen_ai.response.model", _model),
    ("pixvox.attempt.number", lambda value, _: f"attempt {value}" if value != 1 else ""),
    ("pixvox.attempt.earlier", lambda value, _: f"after {', '.join(map(str, value))}"),
    ("pixvox.target.queue.wait", lambda value, _: f"waited {float(value) * 1000:.0f} ms"),
    ("http.request.resend_count", _as("resent {}x")),
    ("pixvox.field", _as("{}")),
    ("pixvox.usage.images", lambda value, _: f"{value} image{'s' * (value != 1)}"),
    ("pixvox.usage.voices", lambda value, _: f"{value} voice{'s' * (value != 1)}"),
    ("pixvox.usage.characters", _as("{} characters")),
    ("pixvox.usage.audio_seconds", _as("{:.2f} s of audio")),
    ("pixvox.cost.state", _cost),
    ("gen_ai.response.time_to_first_chunk", lambda value, _: f"first audio after {float(value) * 1000:.0f} ms"),
    ("pixvox.output.bytes", lambda value, _: _size(value)),
    ("http.request.body.size", lambda value, _: f"sent {_size(value)}"),
    ("http.response.body.size", lambda value, _: f"received {_size(value)}"),
    ("pixvox.events.received", _as("{} events")),
    ("pixvox.socket.messages.sent", _messages("sent")),
    ("pixvox.socket.messages.received", _messages("received")),
    # On the spans below the call's own it is the same.
    ("pixvox.request_id", lambda value, others: f"request {value}" if "rpc.method" in others else ""),
    ("pixvox.provider_task_id", _as("task {}")),
    ("pixvox.provider_request_id", _as("id {}")),
    ("pixvox.trace.kept", lambda value, _: f"exported because it {'was slow' if value == 'slow' else 'failed'}"),
)
