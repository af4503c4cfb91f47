"""The plans' switch between Modal and DashScope and back while calls are running: none is lost, and each says who served it."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from PIL import Image

import serving
from calling import (
    Stubs,
    check_invariants,
    config_message,
    flush_message,
    rest_of,
    spoken,
    stubs_of,
    text_message,
    until,
)
from emulated import provider_table
from pixvox import server
from pixvox.concurrency import alongside
from pixvox.settings.environment import with_environment
from pixvox.testing.dashscope import DashScopeEmulator, Fault, Refused, expected_pcm
from pixvox.testing.modal import JobApp, ModalEmulator, drawn, said
from pixvox.v1 import image_service_pb2, media_pb2, model_service_pb2, speech_service_pb2
from reloaded import DIGEST, started_with

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SIDES = ("modal", "qwen")
MODELS = {"Qwen-Image": {"verb": "generate"}, "Qwen3-TTS-CustomVoice": {"verb": "speak"}}
VOICES = {"modal": "Vivian", "qwen": "Cherry"}
PICTURES = "qwen/qwen-image-2.0"
SIZE = media_pb2.Size(width=512, height=512)
CALLERS = 4
# Long enough for every caller to have come to its end several times.
CALLS_OF_A_PHASE = 12


def speech_of(side: str, text: str) -> bytes:
    return said(text) if side == "modal" else expected_pcm(text, VOICES["qwen"])


def settings_text(first: str, modal: ModalEmulator, vendor: DashScopeEmulator, *, route: bool = False) -> str:
    """The file with one side in front: by defaults, or by a route that falls back to the other one."""
    second = SIDES[1 - SIDES.index(first)]
    providers = {
        "modal": {"kind": "modal", "url": modal.url, "models": MODELS, "poll_seconds": 0.02},
        "qwen": provider_table(vendor),
    }
    targets = {
        "modal": [{"to": "modal"}],
        "qwen": [
            {"to": "qwen", "when": {"verbs": ["stream_speech"]}},
            {"to": PICTURES, "when": {"verbs": ["generate_image"]}},
        ],
    }
    either = {"verbs": ["stream_speech", "generate_image"], "targets": targets[first] + targets[second]}
    pictures = "modal" if first == "modal" else PICTURES
    return tomli_w.dumps(
        {
            "providers": providers,
            "routes": {"either": either},
            "defaults": dict.fromkeys(either["verbs"], "either")
            if route
            else {"stream_speech": first, "generate_image": pictures},
            "target_defaults": serving.UNLIMITED,
        }
    )


@dataclass
class Load:
    """Calls that come one after another from several callers, and what became of them.

    Attributes:
        stubs: Of the service that calls go to from now on.
        kinds: Of calls.
        phase: Is counted up whenever something changes.
        served: Who served the calls that began and ended within one phase.
        ids: The provider of each request id.
        digests: Of the settings that served.
        failures: Of calls.
    """

    stubs: Any
    kinds: tuple[str, ...] = ("_synthesised", "_streamed", "_drawn")
    phase: int = 0
    served: dict[int, list[str]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    digests: set[str] = field(default_factory=set)
    failures: list[BaseException] = field(default_factory=list)

    async def run(self, stop: asyncio.Event) -> None:
        calls = [getattr(self, name) for name in self.kinds]
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(self._caller(calls[number % len(calls)], number, stop))

    async def steady(self) -> set[str]:
        """Who serves the calls that begin and end from now on; there are so many of them that each kind is among them."""
        self.phase += 1
        served: list[str] = self.served.setdefault(self.phase, [])
        await until(lambda: self.failures or len(served) >= CALLS_OF_A_PHASE, seconds=60)
        if self.failures:
            raise self.failures[0]
        return set(served)

    async def _caller(self, call: Callable[[str], Awaitable[str]], number: int, stop: asyncio.Event) -> None:
        count = 0
        while not stop.is_set():
            before = self.phase
            count += 1
            try:
                provider = await call(f"caller {number} call {count}")
            except BaseException as error:
                self.failures.append(error)
                raise
            if before == self.phase:
                self.served.setdefault(before, []).append(provider)
            await asyncio.sleep(0.01)

    async def _synthesised(self, text: str) -> str:
        request = speech_service_pb2.SynthesizeSpeechRequest(text=text)
        request.config.request_id = text.replace(" ", "-")
        request.config.format.encoding = media_pb2.AUDIO_ENCODING_PCM_S16LE
        call = self.stubs.speech.SynthesizeSpeech(request)
        answer = await call
        assert answer.data == speech_of(answer.receipt.provider, text)
        return await self._noted(answer.receipt, call)

    async def _streamed(self, text: str) -> str:
        messages = [config_message(request_id=text.replace(" ", "-")), text_message(text[:9]), text_message(text[9:])]
        answers = await spoken(self.stubs, messages)
        check_invariants_but_for_starts(answers)
        receipt = answers[-1].summary.receipt
        audio = b"".join(answer.audio.data for answer in answers if answer.HasField("audio"))
        assert audio == speech_of(receipt.provider, text)
        return await self._noted(receipt)

    async def _drawn(self, text: str) -> str:
        request = image_service_pb2.GenerateImageRequest(
            prompt=text, size=SIZE, seed=7, delivery=media_pb2.DELIVERY_INLINE, request_id=text.replace(" ", "-")
        )
        call = self.stubs.images.GenerateImage(request)
        answer = await call
        [image] = answer.images
        if answer.receipt.provider == "modal":
            assert image.data == drawn(text, (512, 512), 7)
        else:
            assert Image.open(io.BytesIO(image.data)).size == (512, 512)
        return await self._noted(answer.receipt, call)

    async def _noted(self, receipt: media_pb2.Receipt, call: object = None) -> str:
        self.ids[receipt.request_id] = receipt.provider
        if call is not None:
            self.digests.add(dict(await call.trailing_metadata())[DIGEST])
        return receipt.provider


def check_invariants_but_for_starts(answers: list[speech_service_pb2.StreamSpeechResponse]) -> None:
    """What holds for every stream; one that was taken to another target has said `started` once for each."""
    starts = [number for number, answer in enumerate(answers) if answer.HasField("started")]
    check_invariants(answers[starts[-1] :])


@contextlib.asynccontextmanager
async def loaded(file, text):
    """A service on a file, under load; gives the load, a function that changes the file, the spans and the stubs."""
    given = started_with(file, text, 0.02, "")
    exporter = InMemorySpanExporter()
    async with (
        server.running(given.settings, exporter=exporter, loaded=given, reload=asyncio.Event()) as running,
        stubs_of(running.target) as stubs,
    ):
        load, stop = Load(stubs), asyncio.Event()

        async def changed(text: str) -> None:
            before = running.current.generation
            load.phase += 1
            file.write_text(text)
            await until(lambda: running.current.generation is not before)

        async with alongside(load.run(stop)) as calling:
            yield load, changed, exporter, stubs
            stop.set()
            await calling


async def begun(stubs, text: str) -> object:
    """A stream that has spoken its first text and goes on later."""
    call = stubs.speech.StreamSpeech()
    for message in (config_message(), text_message(text), flush_message("here")):
        await call.write(message)
    while not (answer := await call.read()).HasField("flushed"):
        assert answer is not None
    return call


async def ended(call, text: str) -> tuple[str, bytes]:
    """Who has served a stream that was begun, and its audio since then."""
    await call.write(text_message(text))
    await call.done_writing()
    answers = await rest_of(call)
    audio = b"".join(answer.audio.data for answer in answers if answer.HasField("audio"))
    return answers[-1].summary.receipt.provider, audio


def providers_in(exporter, ids):
    """The providers of the operation spans of each call, in order."""
    spans = [one for one in exporter.get_finished_spans() if one.name.startswith("generate_content")]
    found: dict[str, list[str]] = {}
    for one in sorted(spans, key=lambda one: one.start_time):
        found.setdefault(one.attributes["pixvox.request_id"], []).append(one.attributes["gen_ai.provider.name"])
    return {name: found[name] for name in ids}


def die(side: str, modal: ModalEmulator, vendor: DashScopeEmulator) -> None:
    """Have a side take nothing new; what it has begun it ends."""
    if side == "modal":
        modal.stopped = True
        return
    for operation in ("realtime", "generate"):
        vendor.faults.add(Fault(operation, Refused(503, "ServiceUnavailable", "down"), times=None))


async def test_the_switch_from_modal_to_dashscope_and_back_by_reloads_loses_no_call(tmp_path):
    async with ModalEmulator(speech="CustomVoice") as modal, DashScopeEmulator() as vendor:
        texts = {side: settings_text(side, modal, vendor) for side in SIDES}
        async with loaded(tmp_path / "pixvox.toml", texts["modal"]) as (load, changed, exporter, stubs):
            for old, new in (("modal", "qwen"), ("qwen", "modal")):
                assert await load.steady() == {old}
                running = [await begun(stubs, "Before the switch.") for _ in range(3)]
                await changed(texts[new])
                assert await load.steady() == {new}
                for call in running:
                    assert await ended(call, "After it.") == (old, speech_of(old, "After it."))
            assert await load.steady() == {"modal"}
    assert load.failures == []
    assert set(load.ids.values()) == set(SIDES)
    assert len(load.digests) == 2
    assert providers_in(exporter, load.ids) == {name: [provider] for name, provider in load.ids.items()}
    # The two sides together have done the work of each call once.
    asked = [one.fields["prompt"] for one in modal.requests if one.operation == "generate"]
    asked += [
        one.json["input"]["messages"][0]["content"][0]["text"] for one in vendor.requests if one.operation == "generate"
    ]
    assert set(Counter(asked).values()) == {1}


@pytest.mark.parametrize("dying", SIDES)
@pytest.mark.parametrize("to", SIDES)
async def test_a_side_that_dies_at_the_moment_of_the_switch_loses_no_call_where_there_is_a_fallback(
    tmp_path, to, dying
):
    old, other = SIDES[1 - SIDES.index(to)], SIDES[1 - SIDES.index(dying)]
    async with ModalEmulator(speech="CustomVoice", piece_seconds=0.005) as modal, DashScopeEmulator() as vendor:
        texts = {side: settings_text(side, modal, vendor, route=True) for side in SIDES}
        async with loaded(tmp_path / "pixvox.toml", texts[old]) as (load, changed, exporter, _):
            assert await load.steady() == {old}
            die(dying, modal, vendor)
            await changed(texts[to])
            assert await load.steady() == {other}
    assert load.failures == []
    tried = providers_in(exporter, load.ids)
    assert all(providers[-1] == load.ids[name] for name, providers in tried.items())
    assert all(providers[:-1] in ([], [dying]) for providers in tried.values())
    if dying == to:
        assert any(providers == [dying, other] for providers in tried.values())


async def test_the_plans_variable_switches_by_a_restart_in_which_the_old_process_ends_what_it_has(tmp_path):
    path = tmp_path / "reference.wav"
    path.write_bytes(b"RIFF" + bytes(200))
    voices = {"host": {"audio": str(path), "transcript": "Good evening."}}
    async with JobApp(seconds=0.05) as app, DashScopeEmulator() as vendor:
        table = {"kind": "modal", "voices": voices, "job_poll_seconds": 0.02}
        settings = serving.settings_with(
            {"qwen": provider_table(vendor), "modal": table}, {}, target_defaults=serving.UNLIMITED
        )

        async def started(mode: str, process: contextlib.AsyncExitStack) -> Stubs:
            environment = app.urls | {"TTS_PROVIDER_MODE": mode}
            chosen = with_environment(settings, environment, appear=False)
            running = await process.enter_async_context(server.running(chosen))
            return await last.enter_async_context(stubs_of(running.target))

        load, stop = Load(None), asyncio.Event()
        load.kinds = ("_synthesised", "_streamed")
        async with contextlib.AsyncExitStack() as last:
            before = await last.enter_async_context(contextlib.AsyncExitStack())
            load.stubs = await started("modal", before)
            calling = await last.enter_async_context(alongside(load.run(stop)))
            for mode in ("qwen", "modal"):
                old = SIDES[1 - SIDES.index(mode)]
                assert await load.steady() == {old}
                running = await begun(load.stubs, "Before the switch.")
                following = await last.enter_async_context(contextlib.AsyncExitStack())
                load.phase += 1
                # What stands before the processes sends new calls to the new one, and then the old one is told to end.
                leaving, load.stubs = load.stubs, await started(mode, following)
                # A connection keeps its order: when this is answered, all that was sent before it has arrived.
                await leaving.models.ListModels(model_service_pb2.ListModelsRequest())
                ending = asyncio.create_task(before.aclose())
                assert await ended(running, "After it.") == (old, speech_of(old, "After it."))
                assert await load.steady() == {mode}
                await ending
                before = following
            stop.set()
            await calling
    assert load.failures == []
    assert set(load.ids.values()) == set(SIDES)
