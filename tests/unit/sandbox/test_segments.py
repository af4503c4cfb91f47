"""Text is cut where it can be, and nothing of it is lost."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixvox.providers.sandbox.segments import LONGEST, Segmenter, ends_with_mark

texts = st.text(st.sampled_from('ab Z1.,!?;:…。，？\n"」é漢カ한я😀'), max_size=400) | st.text(max_size=400)


def cut(*pieces: str) -> list[str]:
    segmenter = Segmenter()
    return [segment for piece in pieces for segment in segmenter.push(piece)] + segmenter.flush()


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("One. Two! Three? Four", ["One. ", "Two! ", "Three? ", "Four"]),
        ("It costs 3.14 euros. Fine.", ["It costs 3.14 euros. ", "Fine."]),
        ("Dr. Smith met Mrs. Jones vs. J. S. Bach. Good.", ["Dr. Smith met Mrs. Jones vs. J. S. Bach. ", "Good."]),
        ("Das ist z.B. der 3. Mai. Ja.", ["Das ist z.B. der 3. Mai. ", "Ja."]),
        ("It was 1999. Then", ["It was 1999. ", "Then"]),
        ('He said "Go!" She went.', ['He said "Go!" ', "She went."]),
        ("Wait... what? Yes", ["Wait... ", "what? ", "Yes"]),
        ("Well… yes", ["Well… ", "yes"]),
        ("first line\nsecond line\n", ["first line\n", "second line\n"]),
        ("\n\n one. two", ["\n\n one. ", "two"]),
        ("你好。今天好吗？好", ["你好。", "今天好吗？", "好"]),
        ("こんにちは。元気ですか", ["こんにちは。", "元気ですか"]),
        ("Short, clause, and on", ["Short, clause, and on"]),
        ("", []),
    ],
)
def test_a_segment_is_a_sentence(text, segments):
    assert cut(text) == segments


def test_a_segment_is_given_out_when_the_space_behind_its_mark_has_come():
    segmenter = Segmenter()
    assert segmenter.push("It is 3") == []
    assert segmenter.push(".") == []
    assert segmenter.push("14 now.") == []
    assert segmenter.push(" ") == ["It is 3.14 now. "]
    assert segmenter.pending == ""


def test_a_long_sentence_is_cut_at_the_end_of_a_clause():
    clause = "this is a clause that is long enough to be spoken by itself as one piece, "
    assert cut(clause * 3) == [clause] * 3


def test_a_long_chinese_sentence_is_cut_at_the_end_of_a_clause():
    clause = "这是一个足够长的可以单独说出来的分句，"
    assert cut(clause * 2 + "完") == [clause, clause, "完"]


def test_a_sentence_without_an_end_is_cut_between_words():
    segments = cut("word " * 200)
    assert len(segments) > 3
    assert all(segment.endswith("word ") for segment in segments)


def test_a_word_without_an_end_is_cut_anywhere():
    assert [len(segment) for segment in cut("x" * 600)] == [250, 250, 100]


def test_what_is_slow_to_speak_makes_short_segments():
    assert max(map(len, cut("漢" * 500))) < 60
    assert max(map(len, cut("1" * 500))) < 80


@pytest.mark.parametrize(
    ("text", "spoken", "kept"),
    [
        ("Hello wor", "Hello ", "wor"),
        ("Hello", "", "Hello"),
        ("Hello there.", "Hello there.", ""),
        ("Hello there,", "Hello there,", ""),
        ("It is 3.", "It is ", "3."),
        ("你好今天", "你好今天", ""),
        ("   ", "", "   "),
        ("", "", ""),
    ],
)
def test_in_a_pause_the_words_that_are_whole_are_spoken(text, spoken, kept):
    segmenter = Segmenter()
    assert segmenter.push(text) == []
    assert "".join(segmenter.pause()) == spoken
    assert segmenter.pending == kept


@pytest.mark.parametrize(
    ("text", "ends"),
    [("Yes. ", True), ('"Yes!" ', True), ("well, ", True), ("よ。", True), ("word ", False), ("line\n", True)],
)
def test_a_mark_at_the_end_asks_for_a_pause(text, ends):
    assert ends_with_mark(text) is ends


@given(texts, st.lists(st.integers(0, 400), max_size=8), st.booleans())
def test_all_segments_together_are_the_text(text, places, pausing):
    segmenter = Segmenter()
    segments = []
    edges = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    for start, end in itertools.pairwise(edges):
        segments += segmenter.push(text[start:end])
        if pausing:
            segments += segmenter.pause()
    segments += segmenter.flush()
    assert "".join(segments) == text
    assert all(0 < len(segment) <= LONGEST for segment in segments)


@given(texts)
def test_letter_by_letter_gives_the_same_segments_as_all_at_once(text):
    assert cut(text) == cut(*text)
