"""Options that all billable calls share, and how the command line writes sizes, labels and provider options."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from google.protobuf import json_format, struct_pb2

from pixvox.cli.calls import gathered
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixvox.v1 import image_service_pb2, speech_service_pb2

    Request = (
        image_service_pb2.GenerateImageRequest | image_service_pb2.EditImageRequest | speech_service_pb2.SpeechConfig
    )


@dataclass(frozen=True, slots=True)
class CallOptions:
    """Who is to do the work and under what name; the fields are those of every billable request."""

    model: str
    provider: str
    request_id: str
    labels: tuple[tuple[str, str], ...]
    provider_options: struct_pb2.Struct | None

    def fill(self, request: Request) -> None:
        """Set the fields in a request."""
        request.model = self.model
        request.provider = self.provider
        request.request_id = self.request_id
        request.labels.update(self.labels)
        if self.provider_options is not None:
            request.provider_options.CopyFrom(self.provider_options)


def call_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `CallOptions`, which it gets as `call`."""
    decorators = (
        click.option("--model", default="", help="Id or alias, see `pixvox models`; or route, see `pixvox providers`."),
        click.option("--provider", default="", help="Name; see `pixvox providers`."),
        click.option("--request-id", default="", help="Identifies the call; a repetition uses the same one."),
        click.option("--label", "labels", type=Label(), multiple=True, help="Your own word on the call; repeatable."),
        click.option(
            "--option",
            "provider_options",
            type=JsonObject(),
            help='Options of one kind of provider: \'{"KIND": {"key": "value"}}\'.',
        ),
    )
    function = gathered(CallOptions, "call")(function)
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


class PictureSize(click.ParamType[Any]):
    """WIDTHxHEIGHT in pixels."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> media_pb2.Size:  # noqa: ANN401
        """Return the size.

        Raises:
            click.BadParameter: It is something else.
        """
        match = re.fullmatch(r"(\d{1,9})[xX*](\d{1,9})", value)
        if match is None:
            self.fail(f"{value!r} is not WIDTHxHEIGHT, for example 1328x1328", param, ctx)
        return media_pb2.Size(width=int(match[1]), height=int(match[2]))


class Label(click.ParamType[Any]):
    """KEY=VALUE."""

    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:  # noqa: ANN401
        """Return key and value.

        Raises:
            click.BadParameter: It has no `=`.
        """
        key, equals, text = value.partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        return key, text


class JsonObject(click.ParamType[Any]):
    """A JSON object."""

    name = "JSON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> struct_pb2.Struct:  # noqa: ANN401
        """Return the object.

        Raises:
            click.BadParameter: It is not JSON, or JSON of another kind.
        """
        try:
            parsed = json.loads(value)
        except ValueError as error:
            self.fail(f"not JSON: {error}", param, ctx)
        if not isinstance(parsed, dict):
            self.fail("not a JSON object", param, ctx)
        return json_format.ParseDict(parsed, struct_pb2.Struct())
