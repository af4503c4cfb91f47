"""Realtime sessions on a socket: how they open and fail, and that warm ones spare a call the handshake."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from websockets.asyncio.server import serve

from calling import until
from pixvox import errors
from pixvox.providers.dashscope import realtime_sessions
from pixvox.providers.dashscope.account import Account
from pixvox.providers.dashscope.config import Config
from pixvox.providers.dashscope.realtime_sessions import Sessions
from pixvox.testing.dashscope import (
    Behaviour,
    Closed,
    Cut,
    DashScopeEmulator,
    ErrorEvent,
    Fault,
    Raw,
    Refused,
    Stalled,
)
from pixvox.upstream import Upstream, replay

MODEL = "qwen3-tts-flash-realtime"
MANNER = {"voice": "Cherry", "language_type": "Auto"}


@pytest.fixture
async def emulator():
    async with DashScopeEmulator() as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Time between attempts of the handshake does not pass."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(replay, "sleep", sleep)
    return waits


@contextlib.asynccontextmanager
async def sessions_of(emulator, **config):
    upstream = Upstream()
    warm = config.pop("warm", 0)
    account = Account(
        Config(**{"api_key": "sk-test", "http_base": emulator.http_base, "ws_base": emulator.ws_base} | config),
        upstream,
    )
    sessions = Sessions(account.sockets, account.region, warm=warm)
    try:
        yield sessions
    finally:
        await sessions.aclose()
        await upstream.aclose()


@contextlib.asynccontextmanager
async def begun(sessions, model=MODEL, **manner):
    session = await sessions.begun(model, MANNER | manner)
    try:
        yield session
    finally:
        await session.aclose()


def realtime(emulator):
    return [record for record in emulator.requests if record.operation == "realtime"]


async def test_a_session_is_ready_when_its_settings_hold(emulator):
    async with sessions_of(emulator, workspace="llm-1") as sessions, begun(sessions, volume=70) as session:
        assert session.dialogue.updated
        assert session.dialogue.id.startswith("sess_")
    (record,) = realtime(emulator)
    assert record.query == {"model": MODEL}
    assert record.headers["authorization"] == "Bearer ***"
    assert record.headers["x-dashscope-workspace"] == "llm-1"
    assert [one.json["type"] for one in record.events] == ["session.update"]
    assert record.events[0].json["session"]["volume"] == 70


@pytest.mark.parametrize(
    ("effect", "error", "code", "attempts"),
    [
        (Refused(401, "InvalidApiKey"), errors.ProviderCredentialsError, "InvalidApiKey", 1),
        (Refused(403, ""), errors.ProviderCredentialsError, "", 1),
        (Refused(403, "AccessDenied.Unpurchased"), errors.ProviderAccessDeniedError, "AccessDenied.Unpurchased", 1),
        (Refused(404, "ModelNotFound"), errors.ModelNotFoundError, "ModelNotFound", 1),
        (Refused(404, "WorkSpaceNotFound"), errors.ProviderConfigError, "WorkSpaceNotFound", 1),
        (Refused(400, "Arrearage"), errors.ProviderBillingError, "Arrearage", 1),
        (Refused(429, "Throttling.RateQuota"), errors.RateLimitedError, "Throttling.RateQuota", 3),
        (Refused(503, "ModelUnavailable"), errors.ProviderUnavailableError, "ModelUnavailable", 3),
        (ErrorEvent("InternalError", after=None, close_code=1011), errors.ProviderInternalError, "InternalError", 1),
        (ErrorEvent("Throttling", after=None), errors.RateLimitedError, "Throttling", 1),
        (Closed(1011, after=None), errors.ProviderUnavailableError, "1011", 1),
        (Cut(), errors.ProviderUnavailableError, None, 3),
    ],
    ids=str,
)
async def test_a_refusal_says_what_it_means_and_a_handshake_is_tried_again_where_that_helps(
    emulator, effect, error, code, attempts
):
    emulator.faults.add(Fault("realtime", effect, times=None))
    async with sessions_of(emulator) as sessions:
        with pytest.raises(errors.PixvoxError) as raised:
            await sessions.begun(MODEL, MANNER)
    assert type(raised.value) is error
    if code is not None:
        assert raised.value.metadata["provider_code"] == code
        assert "provider_request_id" in raised.value.metadata
    assert len(realtime(emulator)) == attempts


@pytest.mark.parametrize("status", [502, 504])
async def test_the_page_of_a_proxy_is_no_session_and_costs_nothing(emulator, status):
    emulator.faults.add(Fault("realtime", Raw(status), times=None))
    async with sessions_of(emulator) as sessions:
        with pytest.raises(errors.ProviderUnavailableError) as raised:
            await sessions.begun(MODEL, MANNER)
    assert raised.value.metadata["replay"] == "not_dispatched"


async def test_a_wrong_key_names_the_region(emulator):
    async with sessions_of(emulator, api_key="sk-other", region="bj") as sessions:
        with pytest.raises(errors.ProviderCredentialsError, match="region bj"):
            await sessions.begun(MODEL, MANNER)


async def test_a_model_that_the_vendor_does_not_have_is_named(emulator):
    async with sessions_of(emulator) as sessions:
        with pytest.raises(errors.ProviderUnavailableError, match="region sg offers qwen9-tts-realtime") as raised:
            await sessions.begun("qwen9-tts-realtime", MANNER)
    assert raised.value.metadata["provider_code"] == "1006"
    assert raised.value.metadata["provider_request_id"].startswith("sess_")


async def test_a_voice_that_is_not_the_models_is_refused_before_anything_is_spoken(emulator):
    async with sessions_of(emulator) as sessions:
        with pytest.raises(errors.VoiceModelMismatchError) as raised:
            await sessions.begun(MODEL, MANNER | {"voice": "Nobody"})
        assert raised.value.metadata["provider_code"] == "invalid_value"
        with pytest.raises(errors.VoiceModelMismatchError):
            await sessions.begun("qwen3-tts-vc-realtime-2026-01-15", MANNER)


@pytest.mark.parametrize("greeting", [None, '{"type":"session.created","session":{"id":"sess_1"}}'])
async def test_a_vendor_that_opens_and_says_nothing_is_unavailable_and_is_left(emulator, monkeypatch, greeting):
    monkeypatch.setattr(realtime_sessions, "OPENING_SECONDS", 0.2)
    left = asyncio.Event()

    async def silent(connection):
        if greeting is not None:
            await connection.send(greeting)
        await connection.wait_closed()
        left.set()

    async with serve(silent, "127.0.0.1", 0) as server:
        address = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/api-ws/v1"
        async with sessions_of(emulator, ws_base=address) as sessions:
            # The error holds the session, so that it is not the garbage collector that closes it.
            with pytest.raises(errors.ProviderUnavailableError, match="said nothing") as raised:
                await sessions.begun(MODEL, MANNER)
            async with asyncio.timeout(1.0):
                await left.wait()
    assert raised.value.metadata["provider_request_id"] == ("" if greeting is None else "sess_1")


async def test_a_warm_session_spares_a_call_the_handshake(emulator):
    delay = 0.3
    emulator.faults.add(Fault("realtime", Stalled(delay, after=None), times=None))
    async with sessions_of(emulator, warm=1) as sessions:
        started = time.monotonic()
        async with begun(sessions):
            cold = time.monotonic() - started
        await until(lambda: len(realtime(emulator)) == 2 and realtime(emulator)[1].status == 101)
        await asyncio.sleep(0.05)
        started = time.monotonic()
        async with begun(sessions):
            warm = time.monotonic() - started
    assert sessions.reused == 1
    assert cold >= delay
    assert warm < delay / 2


async def test_as_many_sessions_are_kept_as_configured_and_all_are_closed(emulator):
    async with sessions_of(emulator, warm=3) as sessions:
        async with begun(sessions):
            pass
        await until(lambda: len(realtime(emulator)) == 4)
        await asyncio.sleep(0.1)
        assert len(realtime(emulator)) == 4
        # Held here, so that it is not the garbage collector that closes them.
        offered = [offer for kept in sessions._kept.values() for offer in kept._ready]
        left_at = time.monotonic()
    assert len(offered) == 3
    await until(lambda: all(record.cancelled for record in realtime(emulator)))
    assert max(record.client_closed_at for record in realtime(emulator)) - left_at < 1.0


async def test_no_session_is_kept_unless_configured(emulator):
    async with sessions_of(emulator) as sessions:
        async with begun(sessions):
            pass
        await asyncio.sleep(0.1)
    assert len(realtime(emulator)) == 1


async def test_a_model_that_is_not_in_use_has_no_warm_session(emulator, monkeypatch):
    monkeypatch.setattr(realtime_sessions, "WANTED_SECONDS", 0.1)
    monkeypatch.setattr(realtime_sessions, "IDLE_SECONDS", 0.2)
    async with sessions_of(emulator, warm=1) as sessions:
        async with begun(sessions):
            pass
        await until(lambda: len(realtime(emulator)) == 2 and realtime(emulator)[1].cancelled)
        await asyncio.sleep(0.3)
        assert len(realtime(emulator)) == 2


async def test_a_warm_session_is_replaced_before_the_vendor_ends_it(emulator, monkeypatch):
    monkeypatch.setattr(realtime_sessions, "IDLE_SECONDS", 0.2)
    emulator.behaviour = Behaviour(idle_seconds=0.4)
    async with sessions_of(emulator, warm=1) as sessions:
        async with begun(sessions):
            pass
        await until(lambda: len(realtime(emulator)) == 4)
        assert all(record.cancelled for record in realtime(emulator)[1:3])
        async with begun(sessions):
            assert sessions.reused == 1


async def test_a_warm_session_that_died_costs_the_call_nothing_but_a_new_one(emulator):
    emulator.behaviour = Behaviour(idle_seconds=0.1)
    async with sessions_of(emulator, warm=1) as sessions:
        async with begun(sessions):
            pass
        await until(lambda: len(realtime(emulator)) == 2 and realtime(emulator)[1].status == 101)
        await asyncio.sleep(0.3)
        async with begun(sessions) as session:
            assert session.dialogue.updated
        assert sessions.reused == 0


async def test_a_vendor_that_is_down_is_not_asked_for_warm_sessions_without_a_pause(emulator):
    emulator.faults.add(Fault("realtime", Refused(401, "InvalidApiKey"), times=None, after=1))
    async with sessions_of(emulator, warm=1) as sessions:
        async with begun(sessions):
            pass
        await until(lambda: len(realtime(emulator)) == 2)
        await asyncio.sleep(0.3)
        assert len(realtime(emulator)) == 2
