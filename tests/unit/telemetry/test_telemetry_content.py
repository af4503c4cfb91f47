"""What callers sent, where it stands on spans: the words, and the first of them alone."""

from __future__ import annotations

import json

from pixvox.telemetry import Overheard, put_content
from raw_vendor import Spans


def attributes(*texts, instructions=""):
    spans = Spans()
    with spans.tracer.start_as_current_span("operation") as span:
        put_content(span, *texts, instructions=instructions)
    return dict(spans.finished[0].attributes)


def test_words_have_the_form_of_the_convention():
    found = attributes("a fox", "no hound", instructions="slowly")
    parts = [{"type": "text", "content": "a fox"}, {"type": "text", "content": "no hound"}]
    assert {name: json.loads(value) for name, value in found.items()} == {
        "gen_ai.input.messages": [{"role": "user", "parts": parts}],
        "gen_ai.system_instructions": [{"type": "text", "content": "slowly"}],
    }


def test_what_was_not_said_is_not_there():
    assert attributes("", instructions="") == {}


def test_a_long_text_is_cut_and_says_so():
    (message,) = json.loads(attributes("x" * 5000)["gen_ai.input.messages"])
    assert message["parts"] == [{"type": "text", "content": "x" * 4096 + "…"}]


async def test_a_text_that_passes_is_remembered_as_far_as_it_is_shown():
    async def text():
        for _ in range(10):
            yield "x" * 1000
            yield object()

    heard = Overheard(text())
    passed = [piece async for piece in heard]
    assert [piece for piece in passed if isinstance(piece, str)] == ["x" * 1000] * 10
    assert len(passed) == 20
    assert json.loads(attributes(heard.said)["gen_ai.input.messages"])[0]["parts"][0]["content"] == "x" * 4096 + "…"
