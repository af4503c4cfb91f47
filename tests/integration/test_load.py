"""Many calls at once: nothing is lost and nothing stays behind."""

from __future__ import annotations

import asyncio
import threading

from calling import check_invariants, config_message, stubs_of, text_message, until
from pixvox.v1 import media_pb2
from pixvox.v1.image_service_pb2 import GenerateImageRequest

CALLS = 200


async def test_200_streams_at_once_all_finish(service):
    async with stubs_of(service.target) as stubs:

        async def one(index: int) -> list[object]:
            messages = iter([config_message(request_id=f"s{index}"), text_message(f"This is stream number {index}.")])
            return [answer async for answer in stubs.speech.StreamSpeech(messages)]

        # The first call starts what the provider keeps.
        await one(CALLS)
        tasks_before = len(asyncio.all_tasks())
        for answers in await asyncio.gather(*(one(index) for index in range(CALLS))):
            check_invariants(answers)
    await until(lambda: service.calls.in_flight == 0)
    await until(lambda: len(asyncio.all_tasks()) <= tasks_before)


async def test_200_pictures_at_once_all_finish(service):
    tasks_before = len(asyncio.all_tasks())
    threads_before = threading.active_count()
    async with stubs_of(service.target) as stubs:

        async def one(index: int) -> tuple[str, bytes]:
            request = GenerateImageRequest(
                prompt=f"picture {index}", size=media_pb2.Size(width=64, height=64), seed=index, request_id=f"i{index}"
            )
            answer = await stubs.images.GenerateImage(request)
            return answer.receipt.request_id, answer.images[0].data

        answers = await asyncio.gather(*(one(index) for index in range(CALLS)))
    assert [identifier for identifier, _ in answers] == [f"i{index}" for index in range(CALLS)]
    assert len({data for _, data in answers}) == CALLS
    await until(lambda: service.calls.in_flight == 0)
    await until(lambda: len(asyncio.all_tasks()) <= tasks_before)
    assert threading.active_count() < threads_before + 40


async def test_100_streams_whose_callers_leave_end(service):
    async with stubs_of(service.target) as stubs:

        async def one() -> None:
            call = stubs.speech.StreamSpeech(iter([config_message(), text_message("And so on and so forth. " * 100)]))
            while not (await call.read()).HasField("audio"):
                pass
            call.cancel()

        await asyncio.gather(*(one() for _ in range(100)))
        await until(lambda: service.calls.in_flight == 0, seconds=30)
        answers = [
            answer async for answer in stubs.speech.StreamSpeech(iter([config_message(), text_message("Still here.")]))
        ]
    check_invariants(answers)
