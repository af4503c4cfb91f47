"""Span trees: a service whose spans are kept, and trees as a test writes them down."""

from __future__ import annotations

import contextlib
import difflib
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import serving
from calling import Stubs, stubs_of
from emulated import provider_table
from pixvox import server
from pixvox.v1 import image_service_pb2, media_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

    from opentelemetry.sdk.trace import ReadableSpan

    from pixvox.settings import Settings
    from pixvox.testing.dashscope import DashScopeEmulator

# In the place of a value: the attribute is there, with whatever value.
ANY = ...
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PICTURES = "qwen-image-2.0"
TASKS = "wan2.2-t2i-flash"
SSE = "qwen3-tts-flash"
REALTIME = "qwen3-tts-flash-realtime"
CLONES = "qwen3-tts-vc-realtime-2026-01-15"
DESIGNS = "qwen3-tts-vd-realtime-2026-01-15"
MULTIMODAL = "/services/aigc/multimodal-generation/generation"
CUSTOMIZATION = "/services/audio/tts/customization"
AT_ONCE = {"pixvox.lane": "at_once"}
STREAMED = {"gen_ai.request.stream": True, "gen_ai.response.time_to_first_chunk": ANY}
_OF_FAILURES = {
    "code": "pixvox.provider_code",
    "id": "pixvox.provider_request_id",
    "task": "pixvox.provider_task_id",
    "replay": "pixvox.attempt.replay_class",
}


@dataclass(frozen=True)
class Node:
    """A span with those under it, in the order in which they began."""

    name: str
    attributes: Mapping[str, Any]
    children: tuple[Node, ...] = ()
    kind: str = "client"
    status: str = "unset"
    links: tuple[str, ...] = ()
    events: tuple[str, ...] = ()


def span(name: str, attributes: Mapping[str, Any], *children: Node, **more: Any) -> Node:
    return Node(name, attributes, children, **more)


def rpc(method: str, *children: Node, code: str = "OK", error: str = "", **attributes: Any) -> Node:
    """The server span of a call; `error` is there if the service is to blame."""
    name = f"pixvox.v1.{method}"
    found = {"rpc.system.name": "grpc", "rpc.method": name, "rpc.status_code": code, "pixvox.request_id": ANY}
    failed = {"error.type": error} if error else {}
    return Node(name, found | failed | attributes, children, "server", f"error {error}" if error else "unset")


def operation(model: str, output: str, attributes: Mapping[str, Any], *children: Node, **more: Any) -> Node:
    """The span of an operation, whose provider is "qwen" in Singapore unless `attributes` say otherwise; None takes away."""
    found = {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.output.type": output,
        "gen_ai.provider.name": "qwen",
        "gen_ai.request.model": model,
        "pixvox.request_id": ANY,
        "pixvox.attempt.number": 1,
        "pixvox.region": "sg",
    } | attributes
    kept = {name: value for name, value in found.items() if value is not None}
    return Node(f"generate_content {model}", kept, children, **more)


def billed(model: str, amount: str | None, **usage: Any) -> dict[str, Any]:
    """What stands on the span of an operation that succeeded; without an amount there is no price."""
    found = {"gen_ai.response.model": model, "pixvox.output.bytes": ANY}
    found |= {f"pixvox.usage.{name}": value for name, value in usage.items()}
    if amount is None:
        return found | {"pixvox.cost.state": "COST_STATE_UNPRICED"}
    return found | {
        "pixvox.cost.state": "COST_STATE_PRICED",
        "pixvox.cost.amount": amount,
        "pixvox.cost.currency": "USD",
        "pixvox.cost.price_table": ANY,
        "gen_ai.response.id": ANY,
    }


def failed(reason: str, **attributes: Any) -> dict[str, Any]:
    """What stands on the span of an operation that failed with a reason."""
    return {"error.type": reason} | {_OF_FAILURES[name]: value for name, value in attributes.items()}


def error(reason: str) -> dict[str, str]:
    """The status of a span that has its reason in words, too."""
    return {"status": f"error {reason}"}


@dataclass(frozen=True)
class Vendor:
    """Writes down the spans of requests to an emulator."""

    emulator: DashScopeEmulator

    def post(self, path: str, what: str, **more: Any) -> Node:
        return self.request("POST", path, what, {"http.request.body.size": ANY}, **more)

    def poll(self, **more: Any) -> Node:
        ids = {"pixvox.provider_task_id": ANY}
        return self.request("GET", "/tasks/ID", "task poll", ids, links=("submit POST image generation",), **more)

    def download(self, what: str = "result download", *, of: str, **more: Any) -> Node:
        return self.request("GET", "/results/ID", what, {}, links=(f"submit POST {of}",), named=False, **more)

    def session(self, attributes: Mapping[str, Any] | None = None, *, error: str = "", **more: Any) -> Node:
        found = self._address("GET", self.emulator.ws_base, "/realtime", "speech session") | {
            "http.response.status_code": 101,
            "pixvox.attempt.replay_class": "committed",
            "pixvox.provider_request_id": ANY,
            "pixvox.socket.messages.sent": ANY,
            "pixvox.socket.messages.received": ANY,
            "pixvox.socket.bytes.sent": ANY,
            "pixvox.socket.bytes.received": ANY,
        }
        failed = {"error.type": error} if error else {}
        return Node("GET speech session", found | failed | (attributes or {}), (), **_status(error), **more)

    def request(
        self,
        method: str,
        path: str,
        what: str,
        attributes: Mapping[str, Any],
        *,
        status: int = 200,
        error: str = "",
        replay: str = "accepted",
        named: bool = True,
        **more: Any,
    ) -> Node:
        """One attempt over HTTP; `named` if its reply has the vendor's id, status 0 if there is no reply."""
        error = error or (str(status) if status >= 400 else "")
        found = self._address(method, self.emulator.http_base, path, what) | {"pixvox.attempt.replay_class": replay}
        if status:
            found |= {"http.response.status_code": status, "http.response.body.size": ANY}
        if status and named:
            found |= {"pixvox.provider_request_id": ANY}
        if error:
            found |= {"error.type": error}
        return Node(f"{method} {what}", found | attributes, (), **_status(error), **more)

    def _address(self, method: str, base: str, path: str, what: str) -> dict[str, Any]:
        host = base.partition("://")[2].partition("/")[0]
        url = f"http://{host}{path}" if path.startswith("/results/") else f"{base}{path}"
        return {
            "http.request.method": method,
            "url.full": url,
            "server.address": "127.0.0.1",
            "server.port": int(host.partition(":")[2]),
            "pixvox.upstream.operation": what,
        }


def _status(error: str) -> dict[str, str]:
    return {"status": "error" if error not in {"", "cancelled"} else "unset"}


@dataclass
class Traced:
    """A running service that keeps its spans; they are all there when its block has been left."""

    service: server.Running
    stubs: Stubs
    exporter: InMemorySpanExporter = field(repr=False)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [one for one in self.spans if one.name == name]

    def check(self, *expected: Node) -> None:
        """Assert that these trees were made, in the order in which they began, and no other span."""
        found = list(trees(self.spans))
        pairs = list(zip_longest(found, expected))
        seen = [line for one, other in pairs for line in _lines(one, other)]
        wanted = [line for one, other in pairs for line in _lines(other, one)]
        if seen != wanted:
            # What is marked by + is there and was not expected.
            raise AssertionError("\n".join(["the spans are others", *difflib.ndiff(wanted, seen)]))


def settings_of(
    emulator: DashScopeEmulator,
    second: DashScopeEmulator | None = None,
    *,
    provider: Mapping[str, object] | None = None,
    **tables: object,
) -> Settings:
    """Settings with the emulated vendor as "qwen", and a "second" one by way of the route "two"; inputs may lie here."""
    providers = {"qwen": provider_table(emulator, **(provider or {}))}
    routes = {}
    if second is not None:
        providers["second"] = provider_table(second)
        targets = [{"to": f"{name}/{PICTURES}"} for name in providers]
        routes["two"] = {"verbs": ["generate_image"], "targets": targets}
    given = {"target_defaults": serving.UNLIMITED, "fetch": {"allowed_hosts": ["127.0.0.1"]}} | tables
    return serving.settings_with(providers, routes, **given)


def picture(model: str = PICTURES, **fields: object) -> image_service_pb2.GenerateImageRequest:
    given = {"prompt": "a red bicycle", "delivery": media_pb2.DELIVERY_INLINE, "model": model}
    return image_service_pb2.GenerateImageRequest(**given | fields)


@contextlib.asynccontextmanager
async def traced(settings: Settings) -> AsyncIterator[Traced]:
    exporter = InMemorySpanExporter()
    async with server.running(settings, exporter=exporter) as running, stubs_of(running.target) as stubs:
        yield Traced(running, stubs, exporter)


def trees(spans: Iterable[ReadableSpan]) -> Iterator[Node]:
    """The trees of spans; those whose parent is not among them are roots."""
    ordered = sorted(spans, key=lambda one: one.start_time or 0)
    by_id = {one.context.span_id: one for one in ordered}
    children = defaultdict(list)
    for one in ordered:
        parent = one.parent.span_id if one.parent is not None else 0
        children[parent if parent in by_id else 0].append(one)

    def node(one: ReadableSpan) -> Node:
        return Node(
            one.name,
            {name: _without_ids(name, value) for name, value in (one.attributes or {}).items()},
            tuple(node(child) for child in children[one.context.span_id]),
            one.kind.name.lower() if one.kind is not SpanKind.INTERNAL else "internal",
            _told(one),
            tuple(f"{(link.attributes or {}).get('pixvox.link')} {_name(link, by_id)}" for link in one.links),
            tuple(event.name for event in one.events),
        )

    return map(node, children[0])


def _name(link: Any, by_id: Mapping[int, ReadableSpan]) -> str:
    linked = by_id.get(link.context.span_id)
    return linked.name if linked is not None else "?"


def _told(one: ReadableSpan) -> str:
    status = one.status
    code = {StatusCode.UNSET: "unset", StatusCode.OK: "ok", StatusCode.ERROR: "error"}[status.status_code]
    return f"{code} {status.description}" if status.description else code


def _without_ids(name: str, value: Any) -> Any:
    """Put ID for what an address has of the vendor's own names of tasks and files."""
    if name != "url.full":
        return value
    for folder in ("/tasks/", "/results/"):
        before, found, after = value.partition(folder)
        if found:
            return f"{before}{folder}ID" + ("/cancel" if after.endswith("/cancel") else "")
    return value


def _lines(node: Node | None, other: Node | None, depth: int = 0) -> list[str]:
    """Lines that show a tree; where `other` or it takes any value, none is shown."""
    if node is None:
        return []
    indent = "  " * depth
    lines = [f"{indent}{node.kind} {node.name}: {node.status}"]
    lines += [f"{indent}  link {one}" for one in node.links] + [f"{indent}  event {one}" for one in node.events]
    others = other.attributes if other is not None else {}
    for name, value in sorted(node.attributes.items()):
        shown = "any" if ANY in (value, others.get(name)) else repr(value)
        lines.append(f"{indent}  {name} = {shown}")
    pairs = zip_longest(node.children, other.children if other is not None else ())
    for child, of_other in pairs:
        lines += _lines(child, of_other, depth + 1)
    return lines
