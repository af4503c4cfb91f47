"""The emulator keeps asynchronous tasks as the vendor does."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from pixvox.testing.dashscope import Fault, TaskFailed, TaskUnknown

TEXT2IMAGE = "/services/aigc/text2image/image-synthesis"
IMAGE_GENERATION = "/services/aigc/image-generation/generation"
ENABLE = {"X-DashScope-Async": "enable"}


def prompt(model: str = "qwen-image-plus", **parameters: object) -> dict:
    return {"model": model, "input": {"prompt": "cat"}, "parameters": parameters}


async def created(ask, body: dict, path: str = TEXT2IMAGE) -> str:
    answered = await ask(path, body, **ENABLE)
    assert answered.json["output"]["task_status"] == "PENDING"
    return answered.json["output"]["task_id"]


async def test_a_task_goes_through_its_states_one_poll_each(ask):
    task = await created(ask, prompt())
    answers = [await ask(f"/tasks/{task}") for _ in range(4)]
    statuses = [answered.json["output"]["task_status"] for answered in answers]
    assert statuses == ["PENDING", "RUNNING", "SUCCEEDED", "SUCCEEDED"]
    assert answers[2].json["output"] == answers[3].json["output"]
    (result,) = answers[2].json["output"]["results"]
    assert result["orig_prompt"] == "cat"
    assert result["actual_prompt"]
    assert answers[2].json["usage"] == {"image_count": 1}
    assert "usage" not in answers[1].json


async def test_a_task_can_take_time_instead_of_polls(ask, dashscope_emulator):
    dashscope_emulator.behaviour = replace(
        dashscope_emulator.behaviour, task_unit="seconds", task_pending=0, task_running=0.2
    )
    task = await created(ask, prompt(prompt_extend=False))
    assert (await ask(f"/tasks/{task}")).json["output"]["task_status"] == "RUNNING"
    await asyncio.sleep(0.25)
    answered = await ask(f"/tasks/{task}")
    assert answered.json["output"]["task_status"] == "SUCCEEDED"
    assert "actual_prompt" not in answered.json["output"]["results"][0]


async def test_wan_tasks_by_messages_have_choices_and_four_pictures(ask, dashscope_emulator):
    dashscope_emulator.behaviour = replace(dashscope_emulator.behaviour, task_pending=0, task_running=0)
    messages = [{"role": "user", "content": [{"text": "cat"}]}]
    body = {"model": "wan2.6-t2i", "input": {"messages": messages}, "parameters": {"is_async": True}}
    task = await created(ask, body, IMAGE_GENERATION)
    answered = await ask(f"/tasks/{task}")
    content = answered.json["output"]["choices"][0]["message"]["content"]
    assert [part["type"] for part in content] == ["image"] * 4
    assert answered.json["output"]["finished"] is True
    assert answered.json["usage"]["size"] == "1280*1280"


@pytest.mark.parametrize(
    ("model", "headers", "status", "words"),
    [
        ("qwen-image-plus", {}, 403, "does not support synchronous calls"),
        ("qwen-image-max", ENABLE, 403, "does not support asynchronous calls"),
        ("wan2.6-t2i", ENABLE, 400, "url error, please check url"),
        ("no-such-model", ENABLE, 400, "Model not exist."),
    ],
)
async def test_a_model_that_does_not_fit_the_endpoint_is_refused(ask, model, headers, status, words):
    answered = await ask(TEXT2IMAGE, prompt(model), **headers)
    assert answered.status == status
    assert words in answered.json["message"]


async def test_a_task_that_nobody_made_is_unknown_with_status_200(ask):
    answered = await ask("/tasks/nobody")
    assert (answered.status, answered.json["output"]["task_status"]) == (200, "UNKNOWN")


async def test_a_running_task_cannot_be_cancelled(ask, dashscope_emulator):
    dashscope_emulator.behaviour = replace(dashscope_emulator.behaviour, task_pending=0)
    task = await created(ask, prompt())
    answered = await ask(f"/tasks/{task}/cancel", {})
    assert (answered.status, answered.json["code"]) == (400, "UnsupportedOperation")


async def test_tasks_are_listed_in_pages_and_by_status(ask):
    tasks = [await created(ask, prompt()) for _ in range(3)]
    await ask(f"/tasks/{tasks[0]}/cancel", {})
    page = (await ask("/tasks?page_no=2&page_size=2")).json
    assert [entry["task_id"] for entry in page["data"]] == tasks[:1]
    assert (page["total"], page["total_page"]) == (3, 2)
    pending = (await ask("/tasks?status=PENDING")).json
    assert [entry["task_id"] for entry in pending["data"]] == [tasks[2], tasks[1]]


async def test_an_ordered_failure_stays(ask, dashscope_emulator):
    task = await created(ask, prompt())
    dashscope_emulator.faults.add(Fault("task_get", TaskFailed("InternalError.Algo", "No.")))
    answers = [(await ask(f"/tasks/{task}")).json["output"] for _ in range(2)]
    assert [(answer["task_status"], answer["code"]) for answer in answers] == [("FAILED", "InternalError.Algo")] * 2


async def test_a_task_that_is_forgotten_stays_unknown(ask, dashscope_emulator):
    task = await created(ask, prompt())
    dashscope_emulator.faults.add(Fault("task_get", TaskUnknown()))
    statuses = [(await ask(f"/tasks/{task}")).json["output"]["task_status"] for _ in range(2)]
    assert statuses == ["UNKNOWN", "UNKNOWN"]
