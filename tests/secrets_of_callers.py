"""What nobody but the caller and the provider may ever see, in every form in which it might turn up somewhere."""

from __future__ import annotations

import base64
import io
import urllib.parse
from typing import TYPE_CHECKING

from google.protobuf import struct_pb2
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from recording import recording

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Long enough that no part of an answer has them by chance, and of a form that nothing strips or folds.
NAMES = (
    *("prompt", "negative", "text", "instructions", "description", "preview", "transcript", "speaker", "statement"),
    *("display", "option", "label", "image", "path", "query", "key", "metadata", "bug"),
)
WORDS = {name: f"zq{name}5d1c2b7ezq" for name in NAMES}
KEY = f"sk-{WORDS['key']}"


def picture_file() -> bytes:
    """A picture with a word in its metadata."""
    info = PngInfo()
    info.add_text("Comment", WORDS["image"])
    file = io.BytesIO()
    picture = Image.effect_noise((512, 512), 60).convert("RGB")
    picture.save(file, "PNG", pnginfo=info)
    return file.getvalue()


def of_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """A piece out of the middle of each file, by a name for it."""
    return {name: data[len(data) // 2 :][:24] for name, data in files.items()}


def sound_file() -> bytes:
    return recording()


def options() -> struct_pb2.Struct:
    given = struct_pb2.Struct()
    given.update({"dashscope": {"style_hint": WORDS["option"]}})
    return given


def found_in(places: Iterable[tuple[str, str]], pieces: Mapping[str, bytes]) -> set[tuple[str, str]]:
    """Which secret is found where; `places` are texts by what they are, `pieces` are secrets beside the words."""
    secrets = {name: word.encode() for name, word in WORDS.items()} | dict(pieces)
    forms = {name: set(_forms(secret)) for name, secret in secrets.items()}
    return {(name, place) for place, text in places for name, all_ in forms.items() if any(one in text for one in all_)}


def _forms(secret: bytes) -> Iterable[str]:
    yield secret.hex()
    yield urllib.parse.quote(secret)
    yield repr(secret)[2:-1]
    if secret.isascii():
        yield secret.decode()
    for shift in range(3):
        # What a character of base64 shares with its neighbours is cut off.
        coded = base64.b64encode(b"\0" * shift + secret).decode()
        yield coded[(0, 2, 3)[shift] : len(secret) // 3 * 4]
