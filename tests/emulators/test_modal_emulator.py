"""The emulated edge of Modal behaves as the reference says, whoever asks."""

from __future__ import annotations

import asyncio
import base64
import time
from urllib.parse import urlsplit

import aiohttp
import pytest

from pixvox.testing.modal import Fault, ModalEmulator, changed, drawn, edge_answer

WISH = {"prompt": "a cat", "model": "Qwen-Image", "size": "32x32", "seed": 1}


async def post(session, edge, path="/v1/images/generations", **how):
    async with session.post(edge.url + path, allow_redirects=False, **({"json": WISH} | how)) as response:
        return response.status, response.headers, await response.read()


async def get(session, url):
    async with session.get(url, allow_redirects=False) as response:
        return response.status, response.headers, await response.read()


async def test_a_long_request_is_redirected_until_its_work_is_done(session):
    async with ModalEmulator(work_seconds=0.25, redirect_seconds=0.1) as edge:
        status, headers, _ = await post(session, edge)
        hops = 0
        while status == 303:
            hops += 1
            location = headers["Location"]
            assert urlsplit(location).path == "/v1/images/generations"
            assert "__modal_function_call_id=fc-" in location
            status, headers, body = await get(session, location)
        again, _, text = await post(session, edge, urlsplit(location)._replace(scheme="", netloc="").geturl())
    assert (status, hops) == (200, 2)
    assert b"b64_json" in body
    assert (again, text) == (400, b"modal-http: bad redirect method")
    assert edge.worker.begun == 1


async def test_a_function_holds_requests_while_it_starts_and_a_server_refuses_them(session):
    async with ModalEmulator(cold_seconds=0.2) as edge:
        began = time.monotonic()
        status, _, _ = await post(session, edge)
        assert (status, time.monotonic() - began >= 0.2) == (200, True)
    async with ModalEmulator(kind="server", cold_seconds=0.1) as edge:
        status, _, text = await post(session, edge)
        assert (status, text[:11]) == (503, b"modal-http:")
        await edge.until(lambda: edge.warm)
        assert (await post(session, edge))[0] == 200
        edge.scale_to_zero()
        assert (await post(session, edge))[0] == 503


async def test_a_server_takes_as_many_at_once_as_it_may_and_redirects_nobody(session):
    async with ModalEmulator(kind="server", work_seconds=0.3, redirect_seconds=0.01) as edge:
        edge.max_concurrency = 1
        await post(session, edge)
        both = await asyncio.gather(post(session, edge), post(session, edge))
    assert sorted(status for status, _, _ in both) == [200, 429]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, (401, b"modal-http: missing credentials for proxy authorization")),
        (
            {"Modal-Key": "wk-1", "Modal-Secret": "no"},
            (401, b"modal-http: invalid credentials for proxy authorization"),
        ),
    ],
)
async def test_only_who_has_the_token_gets_in(session, headers, expected):
    async with ModalEmulator(key="wk-1", secret="ws-1") as edge:
        status, _, text = await post(session, edge, headers=headers)
        good, _, _ = await post(session, edge, headers={"Modal-Key": "wk-1", "Modal-Secret": "ws-1"})
    assert ((status, text), good) == (expected, 200)


async def test_a_stopped_app_and_a_spent_budget_are_the_edges_own_answers(session):
    async with ModalEmulator() as edge:
        edge.spent = True
        assert (await post(session, edge))[::2] == (429, b"modal-http: workspace billing cycle spend limit reached")
        edge.stopped = True
        assert (await post(session, edge))[::2] == (404, b"modal-http: app for invoked web endpoint is stopped")
    assert edge.worker.begun == 0


async def test_the_worker_edits_forms_and_json_alike(session):
    picture = drawn("before", (40, 30), 0)
    expected = changed(picture, "after", None, 2)
    form = aiohttp.FormData({"prompt": "after", "options": '{"seed": 2}'})
    form.add_field("image", picture, filename="image.png", content_type="image/png")
    encoded = base64.b64encode(picture).decode()
    document = {"prompt": "after", "image_base64": encoded, "options": {"seed": 2}}
    async with ModalEmulator() as edge:
        _, _, answer = await post(session, edge, "/process", json=None, data=form)
        raw = await post(session, edge, "/process", json=document, headers={"Accept": "image/png"})
        bad, _, complaint = await post(session, edge, "/process", json={"image_base64": encoded})
    assert base64.b64encode(expected) in answer
    assert (raw[1]["Content-Type"], raw[2]) == ("image/png", expected)
    assert (bad, b'"success": false' in complaint) == (400, True)


async def test_a_lost_call_and_an_ordered_fault_are_answered_as_the_edge_does(session):
    async with ModalEmulator(work_seconds=5, redirect_seconds=0.05) as edge:
        edge.faults.add(Fault("generate", edge_answer(500, "Server has lost track of input", Retry_After="3")))
        status, headers, _ = await post(session, edge)
        assert (status, headers["Retry-After"]) == (500, "3")
        _, headers, _ = await post(session, edge)
        edge.lose()
        status, _, text = await get(session, headers["Location"])
    assert (status, text[:27]) == (408, b"modal-http: missing request")
