"""A service whose provider is the emulated DashScope, and what a test says to it and sees of it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import msgspec

from calling import Stubs, check_invariants, kinds, settings_for_tests, spoken, stubs_of
from emulated import provider_table
from pixvox import client, server

if TYPE_CHECKING:
    from pixvox.testing.dashscope import DashScopeEmulator

REALTIME = "qwen3-tts-flash-realtime"
HTTP = "qwen3-tts-flash"
TEXT = "Hello there. How are you today? 今天很好。 Fine"


@dataclass
class Place:
    """A service and the vendor behind it."""

    vendor: DashScopeEmulator
    service: server.Running
    stubs: Stubs

    @property
    def asked(self):
        """What the vendor was asked, downloads apart."""
        return [record for record in self.vendor.requests if record.operation != "download"]

    def said(self, number=-1):
        """What was said in a session: the types of events, or the text."""
        return [one.json.get("text") or one.json["type"] for one in self.asked[number].events]

    async def stream(self, *messages, **options):
        answers = await spoken(self.stubs, messages, **options)
        check_invariants(answers)
        return answers

    async def failure(self, *messages, **options):
        """What a stream answered before it failed, and how it failed."""
        call = self.stubs.speech.StreamSpeech(iter(messages), **options)
        seen = []
        try:
            async for answer in call:
                seen.append(answer)  # noqa: PERF401 - what came before the failure counts
        except grpc.RpcError as error:
            return kinds(seen), client.failure(error)
        raise AssertionError("the stream ended with OK")


@contextlib.asynccontextmanager
async def place_of(vendor, **config):
    providers = {"qwen": provider_table(vendor, **config)}
    chosen = msgspec.structs.replace(settings_for_tests(), providers=providers)
    async with server.running(chosen) as service, stubs_of(service.target) as stubs:
        yield Place(vendor, service, stubs)


def pcm_of(answers):
    return b"".join(answer.audio.data for answer in answers if answer.HasField("audio"))
