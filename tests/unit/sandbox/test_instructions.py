"""Plain English becomes operations, in order, and only what is asked for."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixvox.providers.sandbox.instructions import operations, understood
from pixvox.providers.sandbox.operations import (
    AddText,
    Blur,
    Border,
    Brighten,
    Compose,
    Contrast,
    Crop,
    CropPart,
    CropTo,
    Flip,
    Invert,
    Pixelate,
    Posterize,
    Resize,
    Rotate,
    Saturate,
    Sepia,
    Sharpen,
    Sketch,
    Vignette,
    Watercolor,
)

GREY = Saturate(0.0)

NAMED = {
    "Make it grayscale": [GREY],
    "GREYSCALE!": [GREY],
    "Turn this photo black and white": [GREY],
    "make a black-and-white version": [GREY],
    "convert to B&W": [GREY],
    "monochrome please": [GREY],
    "desaturate the image": [GREY],
    "desaturate by 40%": [Saturate(0.6)],
    "remove all colour": [GREY],
    "Remove the colors from the picture": [GREY],
    "blur": [Blur()],
    "Please blur the background slightly": [Blur(strength=0.5)],
    "strongly blur it": [Blur(strength=2.0)],
    "blur it by 12 pixels": [Blur(12)],
    "apply a 5px gaussian blur": [Blur(5)],
    "gaussian blur with radius 7": [Blur(7)],
    "make it blurry": [Blur()],
    "add a little blur": [Blur(strength=0.5)],
    "sharpen the picture": [Sharpen()],
    "make it much sharper": [Sharpen(2.0)],
    "increase the sharpness": [Sharpen()],
    "rotate": [Rotate(90)],
    "rotate 90 degrees": [Rotate(90)],
    "rotate by 45 degrees clockwise": [Rotate(45)],
    "rotate 90 degrees counter-clockwise": [Rotate(270)],
    "rotate 30° counterclockwise": [Rotate(330)],
    "rotate the image anticlockwise by 10": [Rotate(350)],
    "rotate left": [Rotate(270)],
    "rotate it to the right": [Rotate(90)],
    "Rotate by -15 degrees": [Rotate(345)],
    "rotate it by ninety degrees": [Rotate(90)],
    "rotate one hundred and eighty degrees": [Rotate(180)],
    "turn it upside down": [Rotate(180)],
    "rotate the photo upside-down": [Rotate(180)],
    "flip it upside down": [Flip(horizontal=False)],
    "turn the picture 90 degrees to the left": [Rotate(270)],
    "turn it clockwise": [Rotate(90)],
    "a quarter turn": [Rotate(90)],
    "a half-turn": [Rotate(180)],
    "a 90 degree rotation": [Rotate(90)],
    "flip": [Flip(horizontal=True)],
    "flip horizontally": [Flip(horizontal=True)],
    "flip the image vertically": [Flip(horizontal=False)],
    "mirror it": [Flip(horizontal=True)],
    "make a mirror image of it": [Flip(horizontal=True)],
    "vertical flip": [Flip(horizontal=False)],
    "flip vertically and horizontally": [Flip(horizontal=False), Flip(horizontal=True)],
    "flip left to right": [Flip(horizontal=True)],
    "crop to a square": [Crop(1.0)],
    "crop it square": [Crop(1.0)],
    "center crop": [Crop(1.0)],
    "Crop to 16:9": [Crop(16 / 9)],
    "crop it 4 by 3": [Crop(4 / 3)],
    "crop to 4x5": [Crop(4 / 5)],
    "crop to portrait": [Crop(3 / 4)],
    "crop to landscape format": [Crop(4 / 3)],
    "crop to a widescreen aspect ratio": [Crop(16 / 9)],
    "crop to 300x200 pixels": [CropTo(300, 200)],
    "crop the left half": [CropPart(0.0, 0.0, 0.5, 1.0)],
    "crop to the bottom third": [CropPart(0.0, pytest.approx(2 / 3), 1.0, 1.0)],
    "crop to 50%": [CropPart(0.25, 0.25, 0.75, 0.75)],
    "make it square": [Crop(1.0)],
    "resize to 800x600": [Resize(800, 600)],
    "Resize it to 800 by 600 pixels": [Resize(800, 600)],
    "scale to 50%": [Resize(factor=0.5)],
    "scale it by 2": [Resize(factor=2.0)],
    "scale by 1.5x": [Resize(factor=1.5)],
    "resize to half": [Resize(factor=0.5)],
    "make it half the size": [Resize(factor=0.5)],
    "double the size": [Resize(factor=2.0)],
    "make it twice as big": [Resize(factor=2.0)],
    "resize to width 640": [Resize(640)],
    "resize to a width of 640 pixels": [Resize(640)],
    "resize to 640 pixels wide": [Resize(640)],
    "resize to height 480": [Resize(None, 480)],
    "shrink by 25%": [Resize(factor=0.75)],
    "enlarge it by 10%": [Resize(factor=1.1)],
    "reduce the size to 30%": [Resize(factor=0.3)],
    "make the image smaller": [Resize(factor=0.5)],
    "upscale 2x": [Resize(factor=2.0)],
    "downscale 4x": [Resize(factor=0.25)],
    "make it 320x240": [Resize(320, 240)],
    "brighten": [Brighten(1.25)],
    "brighten it by 20%": [Brighten(1.2)],
    "make it slightly brighter": [Brighten(1.125)],
    "increase the brightness by 30 percent": [Brighten(1.3)],
    "brightness +10%": [Brighten(1.1)],
    "lighten the picture": [Brighten(1.25)],
    "darken by 40%": [Brighten(0.6)],
    "make it much darker": [Brighten(0.5)],
    "reduce the brightness by 10%": [Brighten(0.9)],
    "lower the exposure": [Brighten(0.75)],
    "set brightness to 120%": [Brighten(1.2)],
    "increase contrast": [Contrast(1.25)],
    "more contrast": [Contrast(1.25)],
    "decrease the contrast by 50%": [Contrast(0.5)],
    "high contrast": [Contrast(1.25)],
    "double the contrast": [Contrast(2.0)],
    "increase the contrast and brightness by 20%": [Contrast(1.2), Brighten(1.2)],
    "more saturated": [Saturate(1.25)],
    "boost saturation by 50%": [Saturate(1.5)],
    "less saturation": [Saturate(0.75)],
    "apply sepia": [Sepia()],
    "Sepia tone": [Sepia()],
    "invert the colors": [Invert()],
    "turn it into a negative": [Invert()],
    "negative image": [Invert()],
    "add a border": [Border()],
    "add a 20px red border": [Border(20, colour="red")],
    "add a border of 15 pixels in light blue": [Border(15, colour="lightblue")],
    "add a #ff8800 border": [Border(colour="#ff8800")],
    "put it in a gold frame": [Border(colour="gold")],
    "frame it in white, 30 px wide": [Border(30, colour="white")],
    "with a thick white border": [Border(None, 0.08, "white")],
    "thin black frame": [Border(None, 0.015)],
    'add text "Hello"': [AddText("Hello")],
    'Add the text "Hello World" at the top': [AddText("Hello World", "top")],
    "write 'Summer 2024' in the center in red": [AddText("Summer 2024", "center", "center", "red")],
    "caption it “Fin”": [AddText("Fin")],
    'put "SALE" in big yellow letters in the top left corner': [AddText("SALE", "top", "left", "yellow", 1.6)],
    "Write «Привет» at the bottom right": [AddText("Привет", "bottom", "right")],
    "add the caption 「你好」": [AddText("你好")],
    'Add a caption: "It\'s done"': [AddText("It's done")],
    "add a caption saying Happy Birthday at the top": [AddText("Happy Birthday", "top")],
    "add a caption at the top that says Hello World in yellow": [AddText("Hello World", "top", "center", "yellow")],
    "add a black and white border": [Border(colour="white")],
    "tone down the contrast": [Contrast(0.75)],
    "half size": [Resize(factor=0.5)],
    "add text: Hello there": [AddText("Hello there")],
    "pixelate": [Pixelate()],
    "pixelate with 16px blocks": [Pixelate(16)],
    "add a vignette": [Vignette()],
    "strong vignette": [Vignette(2.0)],
    "Turn this into a watercolor painting": [Watercolor()],
    "in watercolour style": [Watercolor()],
    "Repaint as an oil painting": [Watercolor()],
    "posterize": [Posterize()],
    "make it a pencil sketch": [Sketch()],
    "put them side by side": [Compose("row")],
    "combine the two pictures": [Compose("row")],
    "stack them vertically": [Compose("column")],
    "arrange them in a grid": [Compose("grid")],
    "make a collage": [Compose("grid")],
}

SEVERAL = {
    "Crop to square, make it grayscale and add a 10px white border": [Crop(1.0), GREY, Border(10, colour="white")],
    "rotate 90 degrees left, then blur by 3 pixels; finally sharpen.": [Rotate(270), Blur(3), Sharpen()],
    "sharpen then blur then sharpen": [Sharpen(), Blur(), Sharpen()],
    "Rotate 90 degrees and blur by 5 px": [Rotate(90), Blur(5)],
    "blur it and make it 20% brighter": [Blur(), Brighten(1.2)],
    'Make it black and white. Write "Blur and rotate" at the top, in red. Resize to 50%.': [
        GREY,
        AddText("Blur and rotate", "top", "center", "red"),
        Resize(factor=0.5),
    ],
    "flip horizontally and rotate 180 degrees": [Flip(horizontal=True), Rotate(180)],
    "Add a border. Resize to 640x480": [Border(), Resize(640, 480)],
    'add a border and the text "x"': [Border(), AddText("x")],
    "increase contrast by 10%, brightness by 20%": [Contrast(1.1), Brighten(1.2)],
    "put them side by side and make it sepia": [Compose("row"), Sepia()],
    "watercolor painting, slightly darker, with a vignette": [Watercolor(), Brighten(0.875), Vignette()],
}

FORBIDDEN = {
    "do not blur": [],
    "Don't blur it": [],
    "don’t blur it": [],
    "rotate it 90 degrees without blurring": [Rotate(90)],
    "without cropping, resize to 50%": [Resize(factor=0.5)],
    "Do not blur, crop, or rotate the image": [],
    "do not blur and sharpen": [],
    "do not blur, rotate 90 degrees": [Rotate(90)],
    "don't rotate but flip it": [Flip(horizontal=True)],
    "never crop; sharpen": [Sharpen()],
    "sharpen instead of blurring": [Sharpen()],
    "instead of blurring, sharpen": [Sharpen()],
    "no border, just sepia": [Sepia()],
    "no blur and no border": [],
    "remove the blur": [],
    "remove the border and rotate it left": [Rotate(270)],
    "without blurring and sharpen it": [Sharpen()],
    "make it darker, not brighter": [Brighten(0.75)],
    "not only blur but also sharpen": [Blur(), Sharpen()],
    "don't forget to blur it": [Blur()],
    "why not blur it": [Blur()],
    'no text saying "blur"': [],
}

NOTHING = (
    "",
    "Put a hat on the cat",
    "add a crop top to the woman",
    "place a mirror on the wall",
    "use more negative space",
    'make it look like "black and white"',
    '"blur"',
    "'rotate 90 degrees'",
    "“sepia”",
    "keep the brightness",
    "resize it",
    "the mother of the bride",
    "add some text",
    "blurb, cropland and frames per second of brighton",
)


@pytest.mark.parametrize(("prompt", "expected"), NAMED.items())
def test_an_operation_is_found_in_the_words_that_people_use(prompt, expected):
    assert operations(prompt) == expected


@pytest.mark.parametrize(("prompt", "expected"), SEVERAL.items())
def test_several_operations_come_in_the_order_of_the_sentence(prompt, expected):
    assert operations(prompt) == expected


@pytest.mark.parametrize(("prompt", "expected"), FORBIDDEN.items())
def test_what_is_forbidden_is_not_done(prompt, expected):
    assert operations(prompt) == expected


@pytest.mark.parametrize("prompt", NOTHING)
def test_words_that_name_no_operation_give_none(prompt):
    assert operations(prompt) == []


@pytest.mark.parametrize("prompt", [*NAMED, *SEVERAL])
def test_case_does_not_matter(prompt):
    def folded(found):
        return re.sub(r"text='[^']*'", "", repr(found)).lower()

    assert folded(operations(prompt.upper())) == folded(operations(prompt))


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("make it grayscale", True),
        ("make it grayscale, please, thank you", True),
        ("add a border. Make it 20 pixels wide", True),
        ("blur it and make the cat wear a hat", False),
        ("Replace the sky with a galaxy; then crop to square", False),
    ],
)
def test_a_clause_that_is_not_understood_is_noticed(prompt, expected):
    assert understood(prompt).understood is expected


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_without_a_fault(prompt):
    understood(prompt)


@given(st.lists(st.sampled_from([*NAMED, *SEVERAL, *FORBIDDEN, "x" * 50, '"', "'", ",", "9" * 30, "%"]), max_size=12))
@settings(max_examples=100, deadline=None)
def test_any_mixture_of_instructions_is_read_without_a_fault(parts):
    understood(" ".join(parts))


@pytest.mark.parametrize(
    "piece", ["a ", "rotate ", '"', "add the ", "not ", "no x or ", ", ", "1", "text: ", "make it ", "(", "x'"]
)
def test_the_longest_instruction_is_read_in_a_moment(piece):
    started = time.perf_counter()
    understood((piece * 4000)[:4000])
    assert time.perf_counter() - started < 1.5
