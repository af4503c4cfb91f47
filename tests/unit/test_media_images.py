"""Pictures from callers are verified down to the last pixel, and nothing hostile gets as far as a decoder."""

from __future__ import annotations

import contextlib
import io
import struct
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from pixvox.errors import InvalidMediaError, MediaTooLargeError, RequestError, UnsupportedError
from pixvox.media import images
from pixvox.v1 import media_pb2

PICTURE = Image.effect_mandelbrot((97, 61), (-2, -1.5, 1, 1.5), 60).convert("RGB")
FORMATS = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "GIF": "image/gif",
}
OUTPUTS = (media_pb2.IMAGE_FORMAT_PNG, media_pb2.IMAGE_FORMAT_JPEG, media_pb2.IMAGE_FORMAT_WEBP)


def file_of(picture, file_format, **options):
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def checked(data, *, mime_types=images.MIME_TYPES, max_bytes=10 * 1024 * 1024, max_pixels=64_000_000):
    return images.checked_input(
        data, field="images[0]", mime_types=mime_types, max_bytes=max_bytes, max_pixels=max_pixels
    )


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, *chunks):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def refusal(error):
    (violation,) = error.value.violations
    assert violation.field == "images[0]"
    return violation.description


@pytest.mark.parametrize(("file_format", "mime_type"), FORMATS.items())
def test_each_format_is_known_by_its_bytes(file_format, mime_type):
    assert checked(file_of(PICTURE, file_format)) == images.ImageFacts(mime_type, 97, 61, 1)


@pytest.mark.parametrize(
    "data",
    [
        file_of(PICTURE, "WEBP", lossless=True),
        file_of(PICTURE.convert("RGBA"), "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
        file_of(PICTURE, "JPEG", progressive=True),
        file_of(PICTURE.convert("CMYK"), "JPEG"),
        file_of(PICTURE, "JPEG") + b"a phone puts a video here",
        file_of(PICTURE, "TIFF", compression="tiff_lzw"),
        file_of(PICTURE, "TIFF", big_tiff=True),
        file_of(PICTURE.convert("1"), "BMP"),
        file_of(PICTURE.convert("I;16"), "PNG"),
        file_of(PICTURE.quantize(8), "PNG", transparency=0),
    ],
    ids=[
        "webp-lossless",
        "webp-extended",
        "jpeg-progressive",
        "jpeg-cmyk",
        "jpeg-trailing",
        "lzw",
        "big",
        "bit",
        "16",
        "P",
    ],
)
def test_variants_of_the_formats_are_accepted(data):
    facts = checked(data)
    assert (facts.width, facts.height) == (97, 61)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_frames_are_counted(file_format):
    data = file_of(PICTURE, file_format, save_all=True, append_images=[PICTURE.rotate(90), PICTURE.rotate(180)])
    assert checked(data).frames == 3
    assert images.probed(data).frames == 3


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(file_format, share):
    data = file_of(PICTURE, file_format)
    with pytest.raises(InvalidMediaError):
        checked(data[: int(len(data) * share)])


@pytest.mark.parametrize(("file_format", "cut"), [("PNG", 1), ("PNG", 12), ("JPEG", 2), ("WEBP", 1), ("BMP", 4)])
def test_a_file_that_lacks_only_its_end_is_refused(file_format, cut):
    with pytest.raises(InvalidMediaError) as error:
        checked(file_of(PICTURE, file_format)[:-cut])
    assert "truncated" in refusal(error)


def test_a_flipped_bit_in_a_png_is_found():
    data = bytearray(file_of(PICTURE, "PNG"))
    data[len(data) // 2] ^= 1
    with pytest.raises(InvalidMediaError) as error:
        checked(bytes(data))
    assert "checksum" in refusal(error)


def test_a_jpeg_with_a_damaged_table_is_refused():
    data = bytearray(file_of(PICTURE, "JPEG"))
    at = data.index(b"\xff\xc4") + 4
    data[at : at + 20] = b"\xff" * 20
    with pytest.raises(InvalidMediaError):
        checked(bytes(data))


def bombs():
    """Files of few bytes that would unfold to more than 64 megapixels."""
    yield "png", png(20_000, 20_000, chunk(b"IDAT", zlib.compress(bytes(60_001))))
    yield "png-large", png(2**31 - 1, 2**31 - 1, chunk(b"IDAT", b""))
    yield "gif", b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0) + b"," + bytes(9) + b"\x02\x00;"
    frame = b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x00;"
    yield "gif-frame", b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + frame
    entries = struct.pack("<HHIIHHII", 256, 4, 1, 50_000, 257, 4, 1, 50_000)
    yield "tiff", b"II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + bytes(4)
    extended = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + (16_382).to_bytes(3, "little") * 2
    yield "webp", b"RIFF" + struct.pack("<I", len(extended)) + extended
    yield "bmp", b"BM" + bytes(12) + struct.pack("<IiiHHIIiiII", 40, 30_000, -30_000, 1, 24, 0, 0, 0, 0, 0, 0)
    jpeg = bytearray(file_of(PICTURE, "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    yield "jpeg", bytes(jpeg)


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in bombs()])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(data):
    started = time.perf_counter()
    with pytest.raises(MediaTooLargeError) as error:
        checked(data)
    assert time.perf_counter() - started < 0.1
    assert "at most 64000000" in refusal(error)


def test_the_refusal_of_a_large_picture_names_its_size_and_the_limit():
    with pytest.raises(MediaTooLargeError) as error:
        checked(file_of(PICTURE, "PNG"), max_pixels=5000)
    assert refusal(error) == "The file has 97x61 = 5917 pixels; at most 5000 are allowed."


def test_a_picture_between_pillows_two_limits_gives_no_warning():
    # 100 megapixels of one bit: Pillow itself would warn here, and warnings are errors in this suite.
    assert checked(file_of(Image.new("1", (10_000, 10_000)), "PNG"), max_pixels=0).width == 10_000


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_png_whose_text_unfolds_endlessly_does_no_harm(kind):
    packed = zlib.compress(bytes(100_000_000), 9)
    body = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"p\0\0"}[kind] + packed
    row = b"\0" + bytes(3)
    data = png(1, 1, chunk(kind, body), chunk(b"IDAT", zlib.compress(row)))
    started = time.perf_counter()
    with contextlib.suppress(InvalidMediaError):
        checked(data)
    assert time.perf_counter() - started < 0.5


def test_a_jpeg_of_hundreds_of_scans_is_refused():
    data = file_of(PICTURE, "JPEG", progressive=True)
    first = data.index(b"\xff\xda")
    second = data.index(b"\xff\xda", first + 2)
    repeated = data[:second] + data[first:second] * 200 + data[second:]
    with pytest.raises(InvalidMediaError) as error:
        checked(repeated)
    assert "scans" in refusal(error)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"hello, this is no picture\n", "text"),
        ("Grüße".encode(), "text"),
        (b"<!DOCTYPE html><html></html>", "an HTML page"),
        (b"\n <HTML><body>404</body>", "an HTML page"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"<svg/>", "an SVG drawing"),
        (b'<?xml version="1.0"?><feed/>', "an XML document"),
        (b'{"error": "gone"}', "JSON"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript file"),
        (b"PK\x03\x04....", "a ZIP archive"),
        (b"\0\0\0\x20ftypavif....", "an AVIF picture"),
        (b"\0\0\0\x18ftypheic....", "a HEIC picture"),
        (b"\0\0\0\x18ftypmp42....", "a video"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "audio"),
        (b"data:image/png;base64,iVBORw0KGgo=", "a data URI"),
        (b"iVBORw0KGgoAAAANSUhEUg", "base64 text"),
        (b"/9j/4AAQSkZJRg", "base64 text"),
        (b"\x00\x01\x02\x03", "not a picture"),
        (b"BM is how this text begins", "text"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(data, found):
    with pytest.raises(InvalidMediaError) as error:
        checked(data)
    assert found in refusal(error)


def test_an_empty_file_is_refused():
    with pytest.raises(InvalidMediaError) as error:
        checked(b"")
    assert "empty" in refusal(error)


def test_a_file_over_the_limit_is_refused_with_both_numbers():
    data = file_of(PICTURE, "BMP")
    with pytest.raises(MediaTooLargeError) as error:
        checked(data, max_bytes=1000)
    assert refusal(error) == f"The file has {len(data)} bytes; at most 1000 are allowed."


def test_a_known_format_that_is_not_wanted_is_unsupported():
    with pytest.raises(UnsupportedError) as error:
        checked(file_of(PICTURE, "GIF"), mime_types=["image/png", "image/jpeg"])
    assert refusal(error) == "The file is image/gif; allowed are image/png, image/jpeg."


@pytest.mark.filterwarnings("ignore")
@given(
    st.sampled_from([*FORMATS]),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=12),
    st.data(),
)
@settings(max_examples=150, deadline=None)
def test_any_damage_is_either_harmless_or_refused(file_format, changes, drawn):
    data = bytearray(file_of(PICTURE, file_format))
    for place, value in changes:
        data[place % len(data)] = value
    cut = drawn.draw(st.integers(0, len(data)))
    for damaged in (bytes(data), bytes(data[:cut])):
        with contextlib.suppress(RequestError):
            checked(damaged)
            assert images.upright(damaged).mode in ("RGB", "RGBA")


@pytest.mark.filterwarnings("ignore")
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"GIF89a", b"II*\0", b"MM\0+"]),
)
@settings(max_examples=300, deadline=None)
def test_a_header_of_nonsense_is_refused(body, start):
    with pytest.raises(RequestError):
        checked(start + body)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_camera_that_lay_on_its_side_is_heeded(file_format):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "Camera"
    picture = Image.new("RGB", (40, 20), "blue")
    picture.paste("red", (0, 0, 20, 20))
    data = file_of(picture, file_format, exif=exif)
    facts = checked(data)
    image = images.upright(data)
    assert (facts.width, facts.height) == image.size == (20, 40)
    assert image.getpixel((10, 5))[0] > 200
    assert image.getpixel((10, 35))[2] > 200


def test_nothing_but_pixels_is_left_of_a_picture():
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Somebody"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "private")
    image = images.upright(file_of(PICTURE, "PNG", exif=exif, icc_profile=profile, pnginfo=text, dpi=(72, 72)))
    assert image.info == {}
    assert b"private" not in images.encoded(image, media_pb2.IMAGE_FORMAT_PNG, text={})


@pytest.mark.parametrize(
    ("picture", "mode"),
    [
        (PICTURE.convert("1"), "RGB"),
        (PICTURE.convert("L"), "RGB"),
        (PICTURE.convert("LA"), "RGB"),
        (PICTURE.quantize(16), "RGB"),
        (PICTURE.convert("RGBA"), "RGB"),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 128)), "RGBA"),
        (Image.new("LA", (8, 8), (9, 0)), "RGBA"),
        (PICTURE.convert("I;16"), "RGB"),
    ],
    ids=["1", "L", "LA-opaque", "P", "RGBA-opaque", "RGBA", "LA", "I;16"],
)
def test_every_mode_becomes_rgb_or_rgba(picture, mode):
    assert images.upright(file_of(picture, "PNG")).mode == mode


def test_a_palette_with_a_transparent_colour_becomes_rgba():
    picture = Image.new("P", (8, 8), 3)
    picture.putpalette([value for grey in range(256) for value in (grey,) * 3])
    assert images.upright(file_of(picture, "PNG", transparency=3)).getpixel((0, 0))[3] == 0


def test_a_transparent_colour_of_an_rgb_png_becomes_rgba():
    picture = Image.new("RGB", (8, 8), (1, 2, 3))
    assert images.upright(file_of(picture, "PNG", transparency=(1, 2, 3))).getpixel((0, 0)) == (1, 2, 3, 0)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("I;16", 65535, 255), ("I;16", 32768, 128), ("I;16", 257, 1)],
)
def test_sixteen_bits_are_scaled_down_and_not_cut_off(mode, value, expected):
    red, _, _ = images.upright(file_of(Image.new(mode, (4, 4), value), "TIFF")).getpixel((0, 0))
    assert abs(red - expected) <= 1


def test_floating_point_values_are_spread_over_the_range():
    picture = Image.new("F", (2, 1))
    picture.putpixel((1, 0), 0.5)
    image = images.upright(file_of(picture, "TIFF"))
    assert [image.getpixel((x, 0))[0] for x in (0, 1)] == [0, 255]


def test_cmyk_keeps_its_colours_roughly():
    image = images.upright(file_of(Image.new("RGB", (16, 16), (200, 30, 30)).convert("CMYK"), "JPEG"))
    red, green, _ = image.getpixel((8, 8))
    assert red > 150
    assert green < 80


def test_a_profile_that_cannot_be_read_is_passed_over():
    data = file_of(PICTURE, "PNG", icc_profile=b"no profile")
    assert images.upright(data).tobytes() == PICTURE.tobytes()


@pytest.mark.parametrize("image_format", OUTPUTS)
def test_equal_pictures_give_equal_bytes_that_say_what_made_them(image_format):
    one, two = (images.encoded(PICTURE, image_format, text={"Software": "pixvox sandbox"}) for _ in range(2))
    assert one == two
    assert b"pixvox sandbox" in one
    facts = checked(one)
    assert (facts.mime_type, facts.width, facts.height) == (images.mime_type_of(image_format), 97, 61)


@pytest.mark.parametrize(("image_format", "mode"), list(zip(OUTPUTS, ["RGBA", "RGB", "RGBA"], strict=True)))
def test_transparency_is_kept_or_becomes_white(image_format, mode):
    data = images.encoded(Image.new("RGBA", (16, 16), (255, 0, 0, 0)), image_format, text={})
    image = images.upright(data)
    assert image.mode == mode
    if mode == "RGB":
        assert min(image.getpixel((8, 8))) > 250


def test_words_beyond_latin_are_kept_in_the_metadata():
    data = images.encoded(PICTURE, media_pb2.IMAGE_FORMAT_PNG, text={"Title": "图画"})
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["Title"] == "图画"
