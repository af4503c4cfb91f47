"""Pictures as they come in and go out: bounded before they are decoded, upright after, and RGBA or RGB."""

from __future__ import annotations

import base64
import binascii
import io

from PIL import ExifTags, Image, UnidentifiedImageError

from pixvox_worker.failures import BadRequest, NotAPicture, TooLarge

READ_FORMATS = ("PNG", "JPEG", "WEBP")
MIME_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
_LONGEST_RATIO = 200
_BLANKS = b" \t\r\n\v\f"
# By the orientation in the EXIF data, tag 0x0112; 1 is upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, *, max_pixels: int, param: str = "image") -> Image.Image:
    """A picture turned as its EXIF data says, without its metadata: RGBA where something is transparent, else RGB.

    Raises:
        NotAPicture: the bytes are no PNG, JPEG or WebP, or are damaged.
        TooLarge: it has more than `max_pixels`; nothing was decoded.
        BadRequest: it is longer than the models can see.
    """
    try:
        with Image.open(io.BytesIO(data), formats=READ_FORMATS) as opened:
            _check(opened.width, opened.height, max_pixels, param)
            upright = _upright(opened)
            return upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    except Image.DecompressionBombError:
        message = f"The picture has more than {max_pixels} pixels."
        raise TooLarge(message, param=param) from None
    except UnidentifiedImageError:
        message = "The file is no PNG, JPEG or WebP picture."
        raise NotAPicture(message, param=param) from None
    # Pillow asserts where a picture with a palette has none.
    except (OSError, ValueError, SyntaxError, AssertionError):
        message = "The picture is damaged."
        raise NotAPicture(message, param=param) from None


def from_text(text: str, *, param: str = "image") -> bytes:
    """The bytes of a picture given as base64, plain or as a data: URL. Other URLs are never fetched.

    Raises:
        BadRequest: it is neither.
    """
    if text.startswith(("http://", "https://", "file:")):
        message = "The worker fetches nothing: send the picture itself."
        raise BadRequest(message, param=param)
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(encoded.encode("ascii").translate(None, _BLANKS), validate=True)
    except (binascii.Error, ValueError):
        message = "The picture is not base64."
        raise BadRequest(message, param=param) from None


def flattened(image: Image.Image) -> Image.Image:
    """RGB: on white where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    opaque = Image.new("RGBA", image.size, "white")
    opaque.alpha_composite(image.convert("RGBA"))
    return opaque.convert("RGB")


def background(image: Image.Image) -> str:
    """`transparent` or `opaque`, as OpenAI calls them."""
    if image.mode != "RGBA":
        return "opaque"
    return "transparent" if image.getchannel("A").getextrema()[0] != 255 else "opaque"


def encode(image: Image.Image, format: str = "png", quality: int = 100) -> bytes:
    """The bytes of `image` as png, jpeg or webp; what is transparent stays so where the format can."""
    buffer = io.BytesIO()
    if format == "png":
        # Level 1: a megapixel in a tenth of the time of the default for a few percent more bytes.
        image.save(buffer, "PNG", compress_level=1)
    else:
        fitting = flattened(image) if format == "jpeg" else image
        fitting.save(buffer, format.upper(), quality=max(1, quality))
    return buffer.getvalue()


def _upright(image: Image.Image) -> Image.Image:
    """Turned by hand: Pillow's own way writes the EXIF data anew, and fails where it has read what it cannot write."""
    # PNG may have it behind the pixels.
    image.load()
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def _check(width: int, height: int, max_pixels: int, param: str) -> None:
    if width * height > max_pixels:
        message = f"The picture has {width}x{height} pixels; {max_pixels} are allowed."
        raise TooLarge(message, param=param)
    if max(width, height) > _LONGEST_RATIO * min(width, height):
        message = f"The picture is more than {_LONGEST_RATIO} times longer than it is wide."
        raise BadRequest(message, param=param)
