"""The sandbox's pictures: decided by seed and prompt, legible, marked, of any size."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageChops

from pixvox.providers.sandbox.backdrop import painted
from pixvox.providers.sandbox.drawing import drawn
from pixvox.providers.sandbox.fonts import Fonts

FONTS = Fonts()


def draw(prompt="A red fox", negative="", size=(320, 240), seed=1, fonts=FONTS):
    return drawn(prompt, negative, size, seed, fonts).image


def changed_box(one, other):
    return ImageChops.difference(one, other).getbbox()


def test_equal_requests_give_equal_pixels():
    assert draw().tobytes() == draw().tobytes()


@pytest.mark.parametrize("other", [{"seed": 2}, {"prompt": "A blue fox"}, {"negative": "snow"}])
def test_whatever_differs_gives_another_picture(other):
    assert changed_box(draw(), draw(**other))


def test_a_hundred_seeds_give_a_hundred_pictures():
    assert len({painted("a fox", (48, 48), seed).tobytes() for seed in range(100)}) == 100


@pytest.mark.parametrize(
    "size", [(1, 1), (16, 16), (1, 300), (300, 1), (31, 64), (64, 31), (128, 128), (1000, 40), (40, 1000)]
)
def test_every_size_works(size):
    image = draw("a prompt that is somewhat longer than one word", "and a negative one", size)
    assert image.size == size
    assert image.mode == "RGB"


def test_the_largest_size_takes_no_more_than_moments():
    started = time.perf_counter()
    assert draw(size=(4096, 4096)).size == (4096, 4096)
    assert time.perf_counter() - started < 5


def test_the_prompt_stands_in_the_lower_part():
    plain = painted("A red fox", (320, 240), 1)
    left, top, right, bottom = changed_box(plain.crop((0, 60, 320, 240)), draw().crop((0, 60, 320, 240)))
    assert top + 60 > 120
    assert bottom + 60 > 200
    assert right - left > 80


def test_letters_stand_out_against_their_panel():
    image = draw(size=(512, 512)).convert("L").crop((40, 380, 470, 480))
    darkest, brightest = image.getextrema()
    assert brightest - darkest > 150


def test_the_mark_is_in_the_upper_right_corner():
    corner = (160, 0, 320, 40)
    assert changed_box(painted("A red fox", (320, 240), 1).crop(corner), draw().crop(corner))


@pytest.mark.parametrize("side", [48, 64])
def test_a_small_picture_has_the_mark_if_there_is_room(side):
    plain = painted("fox", (side * 2, side), 1)
    assert changed_box(plain, draw("fox", size=(side * 2, side)))[1] < side / 2


def test_what_no_font_has_is_told():
    drawing = drawn("语 a", "言", (200, 200), 1, Fonts([]))
    assert drawing.missing == ("语", "言")


def test_four_thousand_characters_are_drawn():
    image = draw("word " * 800, "other " * 160, (512, 512))
    assert image.convert("L").crop((40, 80, 470, 470)).getextrema()[1] > 200


@given(st.text(max_size=400), st.text(max_size=50), st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**31 - 1))
@settings(max_examples=100, deadline=None)
def test_any_prompt_is_drawn(prompt, negative, width, height, seed):
    assert draw(prompt, negative, (width, height), seed).size == (width, height)
