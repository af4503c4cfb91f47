"""What the settings can say of DashScope, checked as a whole before anything starts."""

from __future__ import annotations

from typing import Literal

import msgspec

from pixvox.providers.dashscope import regions
from pixvox.providers.dashscope.models import preferred
from pixvox.providers.dashscope.voices import CLONE_TARGETS, DESIGN_TARGETS, check_target
from pixvox.upstream.addresses import host_and_port

MAX_POLL_SECONDS = 60


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One account of the vendor in one region.

    Attributes:
        region: ``sg`` (Singapore) or ``bj`` (Beijing); ``intl`` and ``cn`` are taken for them.
        api_key: Of an account in that region. Empty means that the provider is there and every call to it fails.
        http_base: Instead of the region's address of calls, for a workspace's own host, a proxy or an emulator.
        ws_base: Instead of the region's address of WebSockets. Empty with `http_base` given: beside that.
        workspace: Id of a workspace, if not the account's default one.
        timeout_ms: How long the vendor may send nothing during a call. A picture that is made at once commonly takes one
            to two minutes: set 300000 for those, which is the vendor's own limit.
        poll_seconds: Before a picture that is made by a task is asked after for the first time; later waits grow to five
            times as long.
        result_hosts: From which finished media may be downloaded: domains with all that is below them, or HOST:PORT.
        image_model: Makes pictures where a request names no model.
        image_edit_model: Edits pictures where a request names no model.
        extra_models: Ids that the built-in tables lack, each with the id of the model that it is like.
        vc_target_model: For which voices are cloned where a request names no model. Empty means the newest.
        vd_target_model: For which voices are designed where a request names no model. Empty means the newest.
        max_text_chars: The most characters of text that one call may have spoken, where that is less than the model's
            own limit. 0 means the model's own.
        speech_lane: How models without a WebSocket are asked for speech: ``sse`` streams it, ``download`` gives a file.
        prewarm: How many realtime sessions of each model that is in use are kept open for the next calls.
        propagate_trace: Whether the vendor is told the trace that a request belongs to; for a gateway of one's own in front
            of it, which goes on with the trace.
    """

    region: str = "sg"
    api_key: str = ""
    http_base: str = ""
    ws_base: str = ""
    workspace: str = ""
    timeout_ms: int = 45_000
    poll_seconds: float = 1.0
    result_hosts: tuple[str, ...] = (".aliyuncs.com",)
    image_model: str = "qwen-image-max"
    image_edit_model: str = "qwen-image-edit-max"
    extra_models: dict[str, str] = {}
    vc_target_model: str = ""
    vd_target_model: str = ""
    max_text_chars: int = 0
    speech_lane: Literal["sse", "download"] = "sse"
    prewarm: int = 0
    propagate_trace: bool = False

    def __post_init__(self) -> None:
        """Complete what follows from the rest.

        Raises:
            ValueError: A value cannot be used; the text names it.
        """
        region = regions.region_named(self.region)
        http_base = regions.http_address(self.http_base) if self.http_base else region.http_base
        if self.ws_base:
            ws_base = regions.websocket_address(self.ws_base)
        else:
            ws_base = regions.websocket_address_beside(http_base)
        found = {"region": region.name, "http_base": http_base, "ws_base": ws_base, "api_key": self.api_key.strip()}
        for name, value in found.items():
            msgspec.structs.force_setattr(self, name, value)
        for name in ("api_key", "workspace"):
            _check_header(name, getattr(self, name))
        self._check_numbers()
        _check_hosts(self.result_hosts)
        preferred(self.image_model, self.image_edit_model, self.extra_models)
        check_target("vc_target_model", self.vc_target_model, CLONE_TARGETS)
        check_target("vd_target_model", self.vd_target_model, DESIGN_TARGETS)

    def __repr__(self) -> str:
        """Return everything but the key."""
        shown = {name: getattr(self, name) for name in self.__struct_fields__ if name != "api_key"}
        return f"Config({', '.join(f'{name}={value!r}' for name, value in shown.items())}, api_key=...)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Return everything but the key."""
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name != "api_key"]

    def _check_numbers(self) -> None:
        if self.timeout_ms <= 0:
            message = f"timeout_ms: {self.timeout_ms} is not more than 0"
            raise ValueError(message)
        if not 0 < self.poll_seconds <= MAX_POLL_SECONDS:
            message = f"poll_seconds: {self.poll_seconds:g} is not more than 0 and at most {MAX_POLL_SECONDS}"
            raise ValueError(message)
        for name in ("max_text_chars", "prewarm"):
            if getattr(self, name) < 0:
                message = f"{name}: {getattr(self, name)} is less than 0"
                raise ValueError(message)


def _check_header(name: str, text: str) -> None:
    if not text.isascii() or any(not one.isprintable() or one == " " for one in text):
        message = f"{name}: holds characters that have no place in one"
        raise ValueError(message)


def _check_hosts(entries: tuple[str, ...]) -> None:
    for entry in entries:
        host, port = host_and_port(entry.removeprefix("."))
        if port is None and "." not in host and ":" not in host:
            message = f"result_hosts: {entry!r} is a whole top-level domain; a host of one label needs a port"
            raise ValueError(message)
