"""Instructions change real pixels, and what is done otherwise than asked is told."""

from __future__ import annotations

import pytest
from PIL import Image, ImageChops, ImageStat

from pixvox.errors import InvalidMediaError
from pixvox.providers.sandbox.backdrop import painted
from pixvox.providers.sandbox.editing import edited
from pixvox.providers.sandbox.fonts import Fonts
from pixvox.providers.sandbox.instructions import operations
from pixvox.providers.sandbox.pixels import applied
from pixvox.v1 import media_pb2

FONTS = Fonts()
# Upper left red, upper right green, lower left blue, lower right white.
QUARTERS = Image.new("RGB", (80, 60), "white")
QUARTERS.paste("red", (0, 0, 40, 30))
QUARTERS.paste("lime", (40, 0, 80, 30))
QUARTERS.paste("blue", (0, 30, 40, 60))
PHOTO = painted("sunset", (200, 150), 5)


def edit(prompt, *pictures, mask=None, size=None):
    return edited(prompt, pictures or (QUARTERS,), mask, size, FONTS)


def pixels(prompt, picture=QUARTERS):
    """Apply the operations alone, without the sandbox's mark."""
    for operation in operations(prompt):
        picture = applied(picture, operation, FONTS, 1.0)
    return picture


def corners(image):
    width, height = image.size
    names = {(255, 0, 0): "red", (0, 255, 0): "green", (0, 0, 255): "blue", (255, 255, 255): "white"}
    places = [(5, 5), (width - 6, 5), (5, height - 6), (width - 6, height - 6)]
    return [names.get(image.getpixel(place)[:3]) for place in places]


def spread(image):
    return ImageStat.Stat(image.convert("L")).stddev[0]


def mean(image):
    return ImageStat.Stat(image.convert("L")).mean[0]


def reasons(result):
    return [(warning.reason, warning.field) for warning in result.warnings]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("rotate 90 degrees clockwise", ["blue", "red", "white", "green"]),
        ("rotate left", ["green", "white", "red", "blue"]),
        ("rotate 180", ["white", "blue", "green", "red"]),
        ("turn it upside down", ["white", "blue", "green", "red"]),
        ("flip horizontally", ["green", "red", "white", "blue"]),
        ("flip vertically", ["blue", "white", "red", "green"]),
        ("mirror horizontally and vertically", ["white", "blue", "green", "red"]),
        ("crop the left half", ["red", "red", "blue", "blue"]),
        ("crop the bottom half", ["blue", "white", "blue", "white"]),
    ],
)
def test_the_corners_go_where_the_instruction_sends_them(prompt, expected):
    assert corners(pixels(prompt)) == expected


@pytest.mark.parametrize(
    ("prompt", "size"),
    [
        ("rotate 90 degrees", (60, 80)),
        ("crop to square", (60, 60)),
        ("crop to 16:9", (80, 45)),
        ("crop to 1 by 2", (30, 60)),
        ("crop to portrait", (45, 60)),
        ("crop to 33x20 pixels", (33, 20)),
        ("crop to 500x400", (80, 60)),
        ("resize to 40x50", (40, 50)),
        ("scale to 50%", (40, 30)),
        ("double the size", (160, 120)),
        ("resize to width 20", (20, 15)),
        ("resize to height 20", (27, 20)),
        ("add a 7px border", (94, 74)),
        ("crop to a square, then add a 10 px border, then resize to half", (40, 40)),
    ],
)
def test_the_result_has_the_size_that_the_instruction_gives(prompt, size):
    assert edit(prompt).image.size == size


def test_a_crooked_rotation_cuts_nothing_off():
    image = pixels("rotate 45 degrees")
    assert image.size == pytest.approx((99, 99), abs=2)
    assert image.getpixel((1, 1)) == (255, 255, 255)


def test_grayscale_leaves_no_colour():
    red, green, blue = pixels("make it grayscale", PHOTO).split()
    assert red.tobytes() == green.tobytes() == blue.tobytes()


def test_sepia_is_brown():
    red, green, blue = ImageStat.Stat(pixels("sepia", PHOTO)).mean
    assert red > green > blue


def test_invert_twice_is_the_picture_again():
    once = pixels("invert the colors", PHOTO)
    assert once.getpixel((3, 3)) == tuple(255 - value for value in PHOTO.getpixel((3, 3)))
    assert pixels("invert", once).tobytes() == PHOTO.tobytes()


def test_blur_softens_by_as_much_as_asked():
    assert spread(PHOTO) > spread(pixels("blur by 4 pixels", PHOTO)) > spread(pixels("blur by 20 pixels", PHOTO))


def test_sharpen_makes_edges_steeper():
    soft = pixels("blur by 3 pixels")
    assert spread(pixels("sharpen", soft)) > spread(soft)


def test_brightness_and_contrast_go_both_ways():
    assert mean(pixels("darken by 40%", PHOTO)) < mean(PHOTO) < mean(pixels("brighten by 10%", PHOTO))
    assert (
        spread(pixels("decrease the contrast", PHOTO)) < spread(PHOTO) < spread(pixels("increase the contrast", PHOTO))
    )


def test_saturation_goes_both_ways():
    def colourful(image):
        return ImageStat.Stat(image.convert("HSV").getchannel("S")).mean[0]

    assert colourful(pixels("less saturation", PHOTO)) < colourful(PHOTO) < colourful(pixels("more saturated", PHOTO))


def test_a_border_has_its_width_and_colour():
    image = pixels("add a 5 pixel border in #ff8800")
    assert image.getpixel((4, 30)) == (255, 136, 0)
    assert image.getpixel((5, 5)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("place", "box"), [("top", (0, 0, 200, 60)), ("bottom", (0, 90, 200, 150)), ("center", (0, 40, 200, 110))]
)
def test_text_is_written_where_it_is_asked_for(place, box):
    difference = ImageChops.difference(PHOTO, pixels(f'write "Hi" at the {place}', PHOTO)).getbbox()
    assert difference[1] >= box[1]
    assert difference[3] <= box[3]


def test_text_has_its_colour():
    colours = pixels('add text "HHHH" in lime', PHOTO).getcolors(40_000)
    assert any(green > 200 and red < 100 and blue < 100 for _, (red, green, blue) in colours)


def test_pixelate_makes_squares():
    assert len(pixels("pixelate with 50 px blocks", PHOTO).crop((0, 0, 50, 50)).getcolors()) == 1


def test_vignette_darkens_the_corners_alone():
    white = Image.new("RGB", (100, 100), "white")
    image = pixels("add a vignette", white)
    assert image.getpixel((50, 50)) == (255, 255, 255)
    assert image.getpixel((0, 0))[0] < 120


@pytest.mark.parametrize("prompt", ["watercolor", "pencil sketch", "posterize"])
def test_a_style_changes_the_whole_picture_and_not_its_size(prompt):
    image = pixels(prompt, PHOTO)
    assert image.size == PHOTO.size
    assert ImageStat.Stat(ImageChops.difference(image, PHOTO)).mean[0] > 3


@pytest.mark.parametrize(
    "prompt", ["grayscale", "blur", "rotate 30 degrees", "flip", "sepia", "watercolor", "pixelate", "scale to 50%"]
)
def test_transparency_is_kept(prompt):
    picture = PHOTO.convert("RGBA")
    picture.putalpha(Image.new("L", PHOTO.size, 255))
    picture.paste((0, 0, 0, 0), (0, 75, 200, 150))
    image = edit(prompt, picture).image
    assert image.mode == "RGBA"
    assert image.getchannel("A").getextrema()[0] == 0


def test_blur_does_not_bleed_colour_out_of_transparent_parts():
    picture = Image.new("RGBA", (40, 40), (0, 255, 0, 0))
    picture.paste((255, 0, 0, 255), (20, 0, 40, 40))
    assert pixels("blur by 5 pixels", picture).getpixel((22, 20))[1] < 10


def test_an_instruction_without_operation_is_written_onto_the_picture():
    result = edit("Put a hat on the cat", PHOTO)
    assert reasons(result) == [(media_pb2.WARNING_REASON_NOTHING_APPLIED, "prompt")]
    assert ImageChops.difference(PHOTO, result.image).getbbox()[3] > 120


def test_a_clause_that_was_not_understood_is_told():
    assert reasons(edit("sepia, and let the cat wear a hat")) == [(media_pb2.WARNING_REASON_VALUE_ADJUSTED, "prompt")]
    assert reasons(edit("make it sepia, please")) == []


def test_every_result_bears_the_mark():
    result = edit("flip horizontally", PHOTO)
    assert ImageChops.difference(result.image, pixels("flip horizontally", PHOTO)).getbbox()


def test_the_inputs_stay_as_they_are():
    before = PHOTO.tobytes()
    for prompt in ("rotate 0 degrees", "no operation here", 'write "x"', "crop to 4:3"):
        edit(prompt, PHOTO)
        edit(prompt, PHOTO, mask=Image.new("L", PHOTO.size, 255))
    assert PHOTO.tobytes() == before


@pytest.mark.parametrize("mode", ["L", "RGBA", "RGB"])
def test_only_where_the_mask_allows_it_does_the_picture_change(mode):
    mask = Image.new("RGB", PHOTO.size, "black")
    mask.paste("white", (100, 0, 200, 150))
    if mode == "RGBA":
        mask = Image.new("RGBA", PHOTO.size, (255, 255, 255, 255))
        mask.paste((0, 0, 0, 0), (100, 0, 200, 150))
    image = edit("invert", PHOTO, mask=mask.convert(mode)).image
    assert ImageChops.difference(image, PHOTO).getbbox() == (100, 0, 200, 150)


def test_a_black_mask_changes_nothing_at_all():
    for prompt in ("blur", "no operation here", 'write "x"'):
        assert edit(prompt, PHOTO, mask=Image.new("L", PHOTO.size)).image.tobytes() == PHOTO.tobytes()


def test_a_mask_that_is_transparent_everywhere_or_white_lets_everything_change():
    plain = edit("invert", PHOTO).image.tobytes()
    for mask in (Image.new("RGBA", PHOTO.size, (0, 0, 0, 0)), Image.new("RGB", PHOTO.size, "white")):
        assert edit("invert", PHOTO, mask=mask).image.tobytes() == plain


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(InvalidMediaError) as error:
        edit("blur", PHOTO, mask=Image.new("L", (150, 200)))
    assert [violation.field for violation in error.value.violations] == ["mask"]
    assert "150x200" in error.value.violations[0].description


def test_with_a_mask_the_picture_keeps_its_size_and_says_so():
    mask = Image.new("L", PHOTO.size)
    mask.paste(255, (100, 0, 200, 150))
    result = edit("rotate 90 degrees", PHOTO, mask=mask)
    assert result.image.size == PHOTO.size
    assert reasons(result) == [(media_pb2.WARNING_REASON_VALUE_ADJUSTED, "mask")]
    assert result.image.crop((0, 0, 100, 150)).tobytes() == PHOTO.crop((0, 0, 100, 150)).tobytes()


@pytest.mark.parametrize(
    ("prompt", "size"),
    [
        ("put them side by side", (161, 60)),
        ("stack them vertically", (80, 121)),
        ("make a grid", (161, 60)),
        ("make it sepia", (161, 60)),
        ("combine them and rotate 90 degrees", (60, 161)),
    ],
)
def test_two_pictures_become_one(prompt, size):
    assert edit(prompt, QUARTERS, QUARTERS).image.size == size


def test_composing_alone_is_an_operation():
    assert reasons(edit("combine these", QUARTERS, QUARTERS)) == []
    assert reasons(edit("combine these", QUARTERS)) == [(media_pb2.WARNING_REASON_NOTHING_APPLIED, "prompt")]


def test_every_one_of_sixteen_pictures_is_seen():
    colours = [(16 * index, 255 - 16 * index, 90) for index in range(16)]
    image = edit("a collage of all of them", *(Image.new("RGB", (40, 40), colour) for colour in colours)).image
    found = {colour for _, colour in image.getcolors(100_000)}
    assert found.issuperset(colours[:3] + colours[4:])


def test_pictures_of_different_shape_keep_their_aspect_in_a_row():
    image = edit("side by side", Image.new("RGB", (50, 100), "red"), Image.new("RGB", (400, 100), "blue")).image
    assert image.size == (451, 100)


def test_with_a_mask_only_the_first_of_several_pictures_is_edited():
    image = edit("invert", PHOTO, PHOTO, mask=Image.new("L", PHOTO.size, 255)).image
    assert image.crop((image.width - 190, 40, image.width, 150)).tobytes() == PHOTO.crop((10, 40, 200, 150)).tobytes()


def test_a_size_is_reached_exactly_and_what_is_cut_off_is_told():
    result = edit("sepia", PHOTO, size=(100, 100))
    assert result.image.size == (100, 100)
    assert reasons(result) == [(media_pb2.WARNING_REASON_VALUE_ADJUSTED, "size")]
    assert reasons(edit("sepia", PHOTO, size=(400, 300))) == []


def test_a_result_beyond_the_limit_is_scaled_down_and_told():
    wide = Image.new("RGB", (5000, 10), "red")
    for prompt, picture in (
        ("sepia", wide),
        ("resize to 9000x10", QUARTERS),
        ("scale to 900%", Image.new("RGB", (900, 5))),
    ):
        result = edit(prompt, picture)
        assert result.image.width == 4096
        assert reasons(result) == [(media_pb2.WARNING_REASON_VALUE_ADJUSTED, "size")]


def test_a_large_picture_that_is_made_small_has_the_size_that_was_meant():
    result = edit("resize to 10%", Image.new("RGB", (6000, 300), "red"))
    assert result.image.size == (600, 30)
    assert reasons(result) == []


def test_characters_of_a_text_that_no_font_has_are_told():
    result = edited('write "语"', [PHOTO], None, None, Fonts([]))
    assert reasons(result) == [(media_pb2.WARNING_REASON_VALUE_ADJUSTED, "prompt")]
    assert "U+8BED" in result.warnings[0].message


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (3, 3)])
def test_the_smallest_pictures_can_be_edited(size):
    everything = (
        "grayscale, blur, sharpen, rotate 30 degrees, flip, crop square, brighten, contrast +10%, sepia, invert"
    )
    more = ', border, write "x", pixelate, vignette, watercolor, posterize, sketch, crop to 9:1, resize to 50%'
    for prompt in (everything + more, "nothing of this kind"):
        assert min(edit(prompt, Image.new("RGB", size, "red")).image.size) >= 1
