"""A changed configuration takes over while the service runs: nothing that was begun notices, and everybody can tell."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import grpc
import pytest
import tomli_w
from grpc_health.v1 import health_pb2, health_pb2_grpc

from calling import config_message, kinds, rest_of, settings_for_tests, stubs_of, text_message, until
from emulated import provider_table
from pixvox.providers import dashscope
from pixvox.testing.dashscope import DashScopeEmulator, Fault, Stalled
from pixvox.v1 import voice_service_pb2, voice_service_pb2_grpc
from pixvox.v1.image_service_pb2 import GenerateImageRequest
from pixvox.v1.voice_service_pb2 import ListVoicesRequest
from recording import cloning
from reloaded import DIGEST, SANDBOX, SLOW, SMALL, TWO, closed, reloads, served, serving, told

__all__ = ["closed", "served"]


async def test_everything_that_tells_the_digest_tells_the_new_one_after_a_reload(served):
    before = await told(served)
    assert set(before.values()) == {served.digest}
    await served.changed(SANDBOX.format("false"))
    after = await told(served)
    assert set(after.values()) == {served.digest}
    assert after["health"] != before["health"]


async def test_a_refused_call_has_the_digest_in_its_trailers_too(served):
    call = served.stubs.images.GenerateImage(GenerateImageRequest(prompt="x", model="none"))
    with pytest.raises(grpc.RpcError) as raised:
        await call
    assert dict(raised.value.trailing_metadata())[DIGEST] == served.digest


async def test_replicas_on_different_files_show_different_digests_and_on_equal_files_equal_ones(tmp_path):
    database = settings_for_tests().database.url
    texts = (SANDBOX.format("true"), SANDBOX.format("true") + "# the same\n", SANDBOX.format("false"))
    async with contextlib.AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(serving(tmp_path / f"{number}.toml", text, database=database))
            for number, text in enumerate(texts)
        ]
        first, second, third = [await told(one) for one in replicas]
    assert first == second
    assert all(first[place] != third[place] for place in first)


async def test_a_reload_under_load_loses_no_call(served):
    failures: list[Exception] = []
    done = 0
    digests = set()

    async def call() -> None:
        nonlocal done
        request = served.stubs.images.GenerateImage(SMALL)
        try:
            await request
            digests.add(dict(await request.trailing_metadata())[DIGEST])
            done += 1
        except grpc.RpcError as error:
            failures.append(error)

    async def load() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(125):
                group.create_task(call())
                await asyncio.sleep(0.02)

    loading = asyncio.create_task(load())
    seen = [served.digest]
    for flip in range(10):
        await served.changed(SANDBOX.format("false" if flip % 2 == 0 else "true") + f"# {flip}\n")
        seen.append(served.digest)
        await asyncio.sleep(0.15)
    await loading
    assert failures == []
    assert done == 125
    assert all(one != other for one, other in itertools.pairwise(seen))
    assert digests == set(seen)
    assert await reloads(served, "reloaded") == 10


async def test_calls_in_flight_finish_on_the_old_provider_which_is_closed_after_the_last_of_them(served, closed):
    old = served.provider()
    call = served.stubs.speech.StreamSpeech()
    await call.write(config_message())
    await call.write(text_message("This was begun before the change. "))
    while not (await call.read()).HasField("audio"):
        pass
    await served.changed(SANDBOX.format("false"))
    assert served.provider() is not old
    # Somebody else's call, begun later, keeps nothing open.
    later = served.stubs.speech.StreamSpeech()
    await later.write(config_message())
    await asyncio.sleep(0.3)
    assert closed == []
    await call.write(text_message("And it ends after it."))
    await call.done_writing()
    assert kinds(await rest_of(call))[-1] == "summary"
    await until(lambda: bool(closed))
    assert closed == [old]
    later.cancel()


async def test_the_making_of_a_voice_whose_caller_has_left_keeps_its_provider_open(tmp_path, monkeypatch):
    gone: list[object] = []

    async def closing(self: dashscope.DashScope) -> None:
        gone.append(self)

    monkeypatch.setattr(dashscope.DashScope, "aclose", closing)
    async with DashScopeEmulator() as emulator:
        emulator.faults.add(Fault("voice_create", Stalled(1.0, after=1)))
        text = tomli_w.dumps({"providers": {"qwen": provider_table(emulator)}}) + "timeout_ms = {}\n"
        async with serving(tmp_path / "pixvox.toml", text.format(5000)) as served:
            voices = voice_service_pb2_grpc.VoiceServiceStub(served.stubs.channel)
            old = served.provider("qwen")
            making = voices.CloneVoice(cloning())
            await until(lambda: emulator.count("voice_create") == 1)
            await served.changed(text.format(6000))
            making.cancel()
            await until(lambda: served.running.calls.in_flight == 0)
            await asyncio.sleep(0.2)
            assert gone == []
            await until(lambda: gone == [old])
            found = await voices.ListVoices(ListVoicesRequest(kind=voice_service_pb2.VOICE_KIND_CLONED))
        assert len(found.voices) == 1


async def test_a_provider_whose_table_means_the_same_keeps_its_object(tmp_path, closed):
    async with serving(tmp_path / "pixvox.toml", TWO.format("true")) as served:
        stays, goes = served.provider("sandbox"), served.provider("other")
        changed = TWO.format("true").replace('kind = "sandbox"\nfaults', 'enabled = true\nkind = "sandbox"\nfaults')
        await served.changed(f"{changed}faults = false\nswitched_off = ['edit_image']\n")
        assert served.provider("sandbox") is stays
        assert served.provider("other") is not goes
        await until(lambda: closed == [goes])
        kept = served.provider("other")
        await served.changed(f"{changed}faults = false\n")
        assert served.provider("other") is kept
        assert closed == [goes]


async def test_a_provider_that_is_gone_is_closed_and_health_forgets_it(tmp_path, closed):
    async with serving(tmp_path / "pixvox.toml", TWO.format("true")) as served:
        gone = served.provider("other")
        health = health_pb2_grpc.HealthStub(served.stubs.channel)
        asked = health_pb2.HealthCheckRequest(service="providers/other")
        watch = health.Watch(asked)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        await served.changed(SANDBOX.format("true"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        with pytest.raises(grpc.RpcError) as raised:
            await health.Check(asked)
        assert raised.value.code() == grpc.StatusCode.NOT_FOUND
        await until(lambda: closed == [gone])
        await served.changed(TWO.format("true"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING


async def test_what_is_still_in_use_at_the_end_is_closed_then(tmp_path, closed):
    async with contextlib.AsyncExitStack() as after:
        async with serving(tmp_path / "pixvox.toml", SANDBOX.format("true")) as served:
            stubs = await after.enter_async_context(stubs_of(served.running.target))
            old = served.provider()
            call = stubs.images.GenerateImage(SLOW)
            await until(lambda: served.running.calls.in_flight == 1)
            await served.changed(SANDBOX.format("false"))
            new = served.provider()
            await asyncio.sleep(0.1)
            assert closed == []
        assert closed == [old, new]
        with pytest.raises(grpc.RpcError) as raised:
            await call
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
