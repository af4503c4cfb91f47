"""Pictures as bytes: what they are, whether they are whole and small enough, decoded upright, and encoded again."""

from __future__ import annotations

import dataclasses
import io
import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from pixvox.errors import InvalidMediaError, MediaTooLargeError, UnsupportedError, Violation
from pixvox.media import headers
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from PIL import ImageFile

    from pixvox.v1.media_pb2 import ImageFormat

MIME_TYPES = (headers.JPEG, headers.PNG, headers.WEBP, headers.BMP, headers.TIFF, headers.GIF)

# The plugin's class is called rather than `Image.open`: no other decoder can run, no JPEG becomes a multi-picture one, and
# Pillow's process-wide pixel limit and its warning stay out of it, because the header is checked against our own limit.
_DECODERS: dict[str, type[ImageFile.ImageFile]] = {
    headers.PNG: PngImagePlugin.PngImageFile,
    headers.JPEG: JpegImagePlugin.JpegImageFile,
    headers.WEBP: WebPImagePlugin.WebPImageFile,
    headers.BMP: BmpImagePlugin.BmpImageFile,
    headers.TIFF: TiffImagePlugin.TiffImageFile,
    headers.GIF: GifImagePlugin.GifImageFile,
}
# What Pillow's decoders raise on damaged files; DecompressionBombError comes from frames that enlarge a GIF.
_DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_FORMAT_NAMES = {
    media_pb2.IMAGE_FORMAT_PNG: "PNG",
    media_pb2.IMAGE_FORMAT_JPEG: "JPEG",
    media_pb2.IMAGE_FORMAT_WEBP: "WEBP",
}
# Measured on 4096x4096 with zlib-ng: level 3 takes 0.3 s, 6 half as long again for a tenth less.
_PNG_LEVEL = 3
_QUALITY = 90
_EXIF_ORIENTATION = 0x0112
_EXIF_SOFTWARE = 0x0131

_OTHER_MAGIC: tuple[tuple[bytes, str], ...] = (
    (rb"%PDF", "a PDF document"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file"),
    (rb"PK[\x03\x05]", "a ZIP archive"),
    (rb"\x1f\x8b", "gzip data"),
    (rb".{4}ftypavi[fs]", "an AVIF picture"),
    (rb".{4}ftyp(hei|hev|mif1|msf1)", "a HEIC picture"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (rb".{4}ftyp|\x1aE\xdf\xa3", "a video"),
    (rb"8BPS", "a Photoshop file"),
    (rb"\0\0[\x01\x02]\0", "an icon"),
    (rb"RIFF.{4}WAVE|OggS|fLaC|ID3|\xff[\xfb\xf3\xf2]", "audio"),
    (rb"\s*data:image/", "a data URI; send the bytes it encodes"),
    (rb"\s*(iVBORw0KGgo|/9j/|R0lGOD|UklGR|Qk[01])", "base64 text; send the bytes it encodes"),
    (rb"(?i:\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*(<!doctype svg[^>]*>\s*)?<svg)", "an SVG drawing"),
    (rb"(?i:\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body))", "an HTML page"),
    (rb"\s*<\?xml", "an XML document"),
    (rb"\s*[\[{]\s*[\"\]}\[{]", "JSON"),
)


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What was found out about a picture's file.

    Attributes:
        mime_type: Found from the bytes, one of `MIME_TYPES`.
        width: In pixels; `checked_input` gives it as the picture is meant to be seen, `probed` as it is stored, which
            differs where an EXIF orientation lays it on its side.
        height: In pixels, likewise.
        frames: Pictures in the file, of which only the first is ever read; counting stops at 1000.
    """

    mime_type: str
    width: int
    height: int
    frames: int


def checked_input(
    data: bytes, *, field: str, mime_types: Collection[str], max_bytes: int, max_pixels: int
) -> ImageFacts:
    """Verify a caller's picture down to its last pixel; the limits are checked before any pixel is decoded.

    Costs as much as decoding the picture: call it in a thread.

    Args:
        data: The encoded file. Its format is found from the bytes alone.
        field: Path of the request's field, for the error.
        mime_types: Formats that are accepted.
        max_bytes: Longest file. 0 is no limit.
        max_pixels: Most width times height. 0 is no limit.

    Raises:
        InvalidMediaError: It is no picture, or damaged.
        MediaTooLargeError: It has too many bytes or pixels.
        UnsupportedError: It is a picture of a format that is not in `mime_types`.
    """
    if not data:
        raise _invalid(field, "is empty")
    if max_bytes and len(data) > max_bytes:
        raise _too_large(field, f"has {len(data)} bytes; at most {max_bytes} are allowed")
    facts = probed(data, field=field)
    if facts.mime_type not in mime_types:
        allowed = ", ".join(mime_types)
        raise UnsupportedError(
            "The picture's format is not supported.",
            Violation(field, f"The file is {facts.mime_type}; allowed are {allowed}."),
        )
    _check_pixels(facts.width, facts.height, max_pixels, field)
    try:
        headers.checked_structure(data)
    except headers.BrokenPictureError as error:
        raise _invalid(field, f"{error} ({facts.mime_type})") from error
    with _decoded(data, field, max_pixels) as image:
        width, height = _seen_size(image, field)
    return dataclasses.replace(facts, width=width, height=height)


def probed(data: bytes, *, field: str = "") -> ImageFacts:
    """Return what a picture's header says, without decoding anything.

    Raises:
        InvalidMediaError: It is no picture of `MIME_TYPES`, or its header is damaged.
    """
    if not headers.sniffed(data):
        raise _invalid(field, f"is {_described(data)}; allowed are {', '.join(MIME_TYPES)}")
    try:
        found = headers.header(data)
    except headers.BrokenPictureError as error:
        raise _invalid(field, f"{error} ({headers.sniffed(data)})") from error
    return ImageFacts(found.mime_type, found.width, found.height, found.frames)


def upright(data: bytes, *, field: str = "") -> Image.Image:
    """Decode a picture's first frame as it is meant to be seen.

    Returns:
        Mode ``RGB``, or ``RGBA`` if it has transparency; EXIF orientation and colour profile applied, 16-bit values
        scaled down; without any metadata.

    Raises:
        InvalidMediaError: It is no picture, or damaged.
    """
    stored = _decoded(data, field, 0)
    try:
        image = _in_srgb(_in_eight_bits(ImageOps.exif_transpose(stored)), stored.info.get("icc_profile"))
    except _DECODING_ERRORS as error:
        raise _invalid(field, "cannot be decoded") from error
    image.info.clear()
    return image


def encoded(image: Image.Image, image_format: ImageFormat.ValueType, *, text: Mapping[str, str]) -> bytes:
    """Encode a picture; equal pictures and texts give equal bytes.

    Args:
        image: Mode ``RGB`` or ``RGBA``; transparency is flattened on white for JPEG.
        image_format: PNG, JPEG (quality 90) or WebP (quality 90).
        text: Metadata: text chunks of a PNG, else a comment, with ``Software`` as the EXIF field of that name.
    """
    buffer = io.BytesIO()
    if image_format == media_pb2.IMAGE_FORMAT_PNG:
        chunks = PngImagePlugin.PngInfo()
        for key, value in text.items():
            chunks.add_text(key, value)
        image.save(buffer, "PNG", pnginfo=chunks, compress_level=_PNG_LEVEL)
        return buffer.getvalue()
    exif = Image.Exif()
    if software := text.get("Software"):
        exif[_EXIF_SOFTWARE] = software
    if image_format == media_pb2.IMAGE_FORMAT_WEBP:
        # Method 2 costs half of the default and gives about the same size.
        image.save(buffer, "WEBP", quality=_QUALITY, method=2, exif=exif.tobytes())
        return buffer.getvalue()
    comment = "; ".join(f"{key}: {value}" for key, value in text.items()).encode()
    on_white(image).save(buffer, "JPEG", quality=_QUALITY, exif=exif.tobytes(), comment=comment)
    return buffer.getvalue()


def shrunk(data: bytes, *, max_bytes: int, max_pixels: int, field: str = "") -> bytes:
    """Return a picture made small enough, upright and in its own aspect: PNG if it has transparency, else JPEG.

    Args:
        data: A whole picture.
        max_bytes: Of the result.
        max_pixels: Width times height of the result.
        field: Where in the request the picture stands, for the error.

    Raises:
        InvalidMediaError: It is no picture, or damaged.
    """
    image = upright(data, field=field)
    image_format = media_pb2.IMAGE_FORMAT_PNG if image.mode == "RGBA" else media_pb2.IMAGE_FORMAT_JPEG
    scale = min(1.0, (max_pixels / (image.width * image.height)) ** 0.5)
    while True:
        side = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
        small = image if side == image.size else image.resize(side, Image.Resampling.LANCZOS)
        result = encoded(small, image_format, text={})
        if len(result) <= max_bytes or side == (1, 1):
            return result
        scale *= min(0.9, (max_bytes / len(result)) ** 0.5)


def mime_type_of(image_format: ImageFormat.ValueType) -> str:
    """Return the MIME type of an output format."""
    return f"image/{_FORMAT_NAMES[image_format].lower()}"


def on_white(image: Image.Image) -> Image.Image:
    """Return an ``RGB`` picture: the transparent parts of an ``RGBA`` one become white."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A"))
    return flat


def _decoded(data: bytes, field: str, max_pixels: int) -> ImageFile.ImageFile:
    try:
        image = _DECODERS[headers.sniffed(data)](io.BytesIO(data))
        # What the decoder is about to allocate, should it read the header otherwise than we do.
        _check_pixels(*image.size, max_pixels, field)
        image.load()
    except _DECODING_ERRORS as error:
        raise _invalid(field, "is damaged or truncated: its pixels cannot be decoded") from error
    return image


def _seen_size(image: ImageFile.ImageFile, field: str) -> tuple[int, int]:
    try:
        on_its_side = image.getexif().get(_EXIF_ORIENTATION) in (5, 6, 7, 8)
    except _DECODING_ERRORS as error:
        raise _invalid(field, "has damaged EXIF data") from error
    return (image.height, image.width) if on_its_side else image.size


def _check_pixels(width: int, height: int, max_pixels: int, field: str) -> None:
    if max_pixels and width * height > max_pixels:
        pixels = width * height
        raise _too_large(field, f"has {width}x{height} = {pixels} pixels; at most {max_pixels} are allowed")


def _in_eight_bits(image: Image.Image) -> Image.Image:
    transparent = image.has_transparency_data
    if image.mode.startswith("I;16"):
        image = image.convert("I")
    if image.mode in ("I", "F"):
        image = _scaled_down(image)
    mode = "RGBA" if transparent else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    opaque = mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255)
    return image.convert("RGB") if opaque else image


def _scaled_down(image: Image.Image) -> Image.Image:
    """Bring whole numbers from 0..65535, or floating-point ones from their own range, to 0..255."""
    low, high = image.getextrema()
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        raise TypeError("a picture of one band has one pair of extremes")
    if image.mode == "I" and low >= 0 and high <= 65535:
        low, high = 0, 65535 if high > 255 else 255
    scale = 255 / (high - low) if high > low else 0.0
    return image.convert("F").point(lambda value: value * scale - low * scale + 0.5).convert("L")


def _in_srgb(image: Image.Image, profile: object) -> Image.Image:
    """Convert from an embedded RGB profile, so that dropping the profile does not change the colours."""
    if not isinstance(profile, bytes) or not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != "RGB":
            return image
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB")) or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        # A profile that cannot be read says nothing about the colours.
        return image


def _described(data: bytes) -> str:
    for pattern, name in _OTHER_MAGIC:
        if re.match(pattern, data[:2048], re.DOTALL):
            return name
    try:
        sample = data[:512].decode("utf-8", "strict" if len(data) <= 512 else "ignore")
    except UnicodeDecodeError:
        return "not a picture"
    printable = all(char.isprintable() or char in "\r\n\t\f" for char in sample)
    return "text" if printable else "not a picture"


def _invalid(field: str, description: str) -> InvalidMediaError:
    return InvalidMediaError("The picture cannot be used.", Violation(field, f"The file {description}."))


def _too_large(field: str, description: str) -> MediaTooLargeError:
    return MediaTooLargeError("The picture is too large.", Violation(field, f"The file {description}."))
