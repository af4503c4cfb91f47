"""Trickling text becomes segments: when one is complete, where it may end, and how flushes stand among them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixvox.providers.dashscope.speech_text import LONGEST, Script, billed_characters
from pixvox.testing import dashscope as vendor
from pixvox.v1 import speech_service_pb2


def flush(identifier):
    return speech_service_pb2.Flush(id=identifier)


def written(*pieces):
    script = Script()
    for piece in pieces:
        script.write(piece)
    return script


def drained(script):
    """All that can be given out: segments, and the ids of flushes in brackets."""
    out = []
    while True:
        if script.flush is not None:
            out.append(f"[{script.flush.id}]")
            script.answer()
        elif segment := script.take():
            out.append(segment)
        else:
            return out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two", ["One. "]),
        ("One! Two? Three", ["One! Two? "]),
        ('He said "no." Then', ['He said "no." ']),
        ("Wait… what", ["Wait… "]),
        ("First line\nsecond", ["First line\n"]),
        ("今天很好。明天", ["今天很好。"]),
        ("「行く。」と", ["「行く。」"]),
        ("It costs 3.14 today", []),
        ("On 3. May we", []),
        ("In 1999. Then", ["In 1999. "]),
        ("J. S. Bach", []),
        ("Dr. Who and e.g. others", []),
        ("One.", []),
        ("", []),
        (" \n ", []),
    ],
)
def test_a_segment_ends_where_a_sentence_surely_has(text, expected):
    assert drained(written(text)) == expected


def test_all_sentences_that_are_complete_come_out_together():
    assert drained(written("One. Two. Three. Four")) == ["One. Two. Three. "]


def test_the_first_segment_of_a_turn_ends_behind_a_clause_sooner_than_later_ones():
    clause = "a clause that is rather long for one of its kind, "
    script = written(clause, "and")
    assert drained(script) == [clause]
    script.write(clause + "and")
    assert drained(script) == []
    script.write(clause + clause)
    assert drained(script) == ["and" + clause + "and" + clause + clause]


def test_after_a_flush_a_turn_begins():
    clause = "a clause that is rather long for one of its kind, "
    script = written("So. ", clause, "and")
    script.mark(flush("1"))
    script.write(clause + "and")
    assert drained(script) == ["So. " + clause + "and", "[1]", clause]


def test_text_without_any_mark_is_parted_between_words_before_it_grows_too_long():
    script = written("word " * 60)
    assert drained(script) == ["word " * 60]
    assert drained(written("汉" * 90)) == ["汉" * 90]


def test_no_segment_is_longer_than_the_vendor_surely_takes():
    script = written("x" * (2 * LONGEST + 5))
    script.end()
    assert [len(segment) for segment in drained(script)] == [LONGEST, LONGEST, 5]


def test_the_end_of_the_text_completes_it():
    script = written("No mark here")
    assert drained(script) == []
    script.end()
    assert not script.over
    assert drained(script) == ["No mark here"]
    assert script.over


def test_a_flush_completes_the_text_before_it_and_comes_behind_it():
    script = written("before")
    script.mark(flush("a"))
    script.write("after")
    assert drained(script) == ["before", "[a]"]
    script.end()
    assert drained(script) == ["after"]


def test_flushes_without_text_between_them_are_answered_each():
    script = Script()
    script.mark(flush("a"))
    script.write(" ")
    script.mark(flush("b"))
    script.end()
    assert drained(script) == ["[a]", "[b]"]
    assert script.over


def test_blanks_before_a_flush_stay_with_the_text_behind_it():
    script = written("One.")
    script.mark(flush("a"))
    script.write(" ")
    script.mark(flush("b"))
    script.write("Two.")
    script.end()
    assert drained(script) == ["One.", "[a]", "[b]", " Two."]


def test_a_pause_gives_what_is_there_up_to_the_last_whole_word():
    script = written("the words so f")
    assert script.unfinished
    assert script.pause() == "the words so "
    assert not script.unfinished
    script.write("ar")
    assert script.unfinished
    assert script.pause() == ""
    script.end()
    assert drained(script) == ["far"]


def test_nothing_is_unfinished_that_is_empty_or_closed():
    assert not Script().unfinished
    assert not written(" ").unfinished
    script = written("text")
    script.end()
    assert not script.unfinished


def test_a_segment_that_is_given_back_comes_out_again_before_the_rest():
    script = written("One. Two. And")
    segment = script.take()
    script.give_back(segment)
    script.end()
    assert "".join(drained(script)) == "One. Two. And"


@given(st.lists(st.text(alphabet="aB 3.!,。汉\n'", max_size=30)), st.data())
def test_the_segments_are_the_text_however_it_is_cut_up(pieces, data):
    script = Script()
    out = []
    for piece in pieces:
        script.write(piece)
        if data.draw(st.booleans()):
            out += [one for one in drained(script) if one[0] != "["]
        if data.draw(st.booleans()):
            script.mark(flush("f"))
    script.end()
    out += [one for one in drained(script) if one != "[f]"]
    text = "".join(pieces)
    spoken = "".join(out)
    assert script.over
    assert text.startswith(spoken)
    assert not text[len(spoken) :].strip()
    assert all(not segment.isspace() for segment in out)


@pytest.mark.parametrize("text", ["", "Hello.", "你好, world", "カナ漢字", "한국어", "🙂𠀀豈"])
def test_characters_are_counted_as_the_vendor_bills_them(text):
    assert billed_characters(text) == vendor.billed_characters(text)
