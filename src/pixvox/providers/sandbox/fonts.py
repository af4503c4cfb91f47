"""Which installed font has which characters, so that a text in any script can be drawn with what the machine has."""

from __future__ import annotations

import functools
import io
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from fontTools.ttLib import TTFont, TTLibError
from PIL import ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

# One face for each family is enough for coverage; a machine with thousands of fonts shall not cost minutes.
MAX_FACES = 400

_SUFFIXES = frozenset((".ttf", ".otf", ".ttc", ".otc"))
_FAVOURITES = (
    "inter",
    "notosans",
    "opensans",
    "roboto",
    "sfns",
    "helveticaneue",
    "helvetica",
    "segoeui",
    "ubuntu",
    "cantarell",
    "liberationsans",
    "arial",
    "dejavusans",
    "freesans",
)
# A plain upright sans is drawn where there is one; the number is how unwelcome a style is.
_STYLES = (
    (re.compile("italic|oblique|slanted"), 8),
    (re.compile("condensed|narrow|compressed|extended"), 4),
    (re.compile("thin|hairline|light|black|heavy|ultra"), 4),
    (re.compile("mono|code|typewriter|console"), 3),
    (re.compile("bold|medium"), 2),
    (re.compile("serif|slab|math|symbol|unifont|bitmap"), 2),
)
_STYLE_WORDS = re.compile(
    "[-_ ]|italic|oblique|slanted|condensed|narrow|thin|hairline|extralight|ultralight|light|semibold|demibold|"
    "extrabold|bold|medium|black|heavy|regular|book|roman"
)
# These claim every character and draw a blank or a box for it.
_PRETENDERS = re.compile("lastresort|blank|notdef|fallback")
_COLOUR_STRIKES = (109, 136, 128, 160, 96, 72, 64, 48, 40, 32, 20)
_BROKEN_FONT = (TTLibError, OSError, LookupError, ValueError, TypeError, AssertionError, AttributeError, struct.error)


class Face:
    """One font that text can be drawn with.

    Attributes:
        name: For a person: the file's name.
    """

    def __init__(self, path: Path | None) -> None:
        self.name = path.name if path else "built-in"
        self._path = path
        self._sized = functools.lru_cache(maxsize=16)(self._open)

    def has(self, char: str) -> bool:
        """Say whether the font has a glyph for a character."""
        return ord(char) in self._coverage[0]

    @property
    def strike(self) -> int:
        """The size of the font's coloured bitmaps, or 0 if it is drawn at any size."""
        return self._coverage[1]

    def at(self, size: int) -> ImageFont.FreeTypeFont:
        """Return the font at a size in pixels, which for a coloured one has to be `strike`."""
        return self._sized(size)

    @functools.cached_property
    def _coverage(self) -> tuple[frozenset[int], int]:
        """The code points, and the strike of a coloured font or 0; nothing at all for a font that cannot be used."""
        try:
            with self._file() as file, TTFont(file, fontNumber=0, lazy=True) as font:
                if "glyf" in font or "CFF " in font or "CFF2" in font:
                    usable = "COLR" not in font or font.reader["COLR"][:2] == b"\0\0"
                    strike = 0 if "sbix" not in font else self._first_strike()
                else:
                    strike = self._first_strike() if "CBDT" in font or "sbix" in font else 0
                    usable = bool(strike)
                return frozenset(font.getBestCmap() or ()) if usable else frozenset(), strike
        except _BROKEN_FONT:
            return frozenset(), 0

    def _file(self) -> BinaryIO:
        # Opened here, because fontTools leaves a file open that turns out to be no font.
        return self._path.open("rb") if self._path else io.BytesIO(self.at(16).font_bytes)

    def _first_strike(self) -> int:
        for size in _COLOUR_STRIKES:
            try:
                self.at(size)
            except OSError:
                continue
            return size
        return 0

    def _open(self, size: int) -> ImageFont.FreeTypeFont:
        if self._path is not None:
            return ImageFont.truetype(self._path, size)
        font = ImageFont.load_default(size)
        if not isinstance(font, ImageFont.FreeTypeFont):
            raise TypeError("Pillow was built without FreeType")
        return font


class Fonts:
    """The installed fonts, found at first use; safe to use from several threads.

    Args:
        folders: Where to look, or None for the system's usual places.
    """

    def __init__(self, folders: Sequence[Path] | None = None) -> None:
        self._folders = standard_folders() if folders is None else tuple(folders)
        self._found = functools.lru_cache(maxsize=4096)(self._search)
        self._most = functools.lru_cache(maxsize=64)(self._search_most)

    def covering(self, cluster: str, *, emoji: bool = False) -> Face | None:
        """Return the best font that has every character of `cluster`, or None.

        Args:
            cluster: One or more characters that are drawn as one.
            emoji: Whether coloured fonts come first.
        """
        return self._found(cluster, emoji)

    def best_for(self, chars: str) -> Face | None:
        """Return the font that has most of the characters, so that a whole text comes out in one hand, or None."""
        return self._most(chars)

    @functools.cached_property
    def faces(self) -> tuple[Face, ...]:
        """All fonts, best first; the last is Pillow's own, which has Latin letters."""
        found = sorted({path for folder in self._folders for path in _font_files(folder)}, key=_rank)
        families: dict[str, Path] = {}
        for path in found:
            families.setdefault(_STYLE_WORDS.sub("", path.stem.lower()), path)
        return (*(Face(path) for path in list(families.values())[:MAX_FACES]), Face(None))

    def _search(self, cluster: str, emoji: bool) -> Face | None:
        covering = (face for face in self.faces if all(face.has(char) for char in cluster))
        if not emoji:
            # A coloured font has digits, too, for its keycaps; they are not meant for text.
            return next((face for face in covering if not face.strike), None) or self._search(cluster, True)
        fallback = None
        for face in covering:
            if face.strike:
                return face
            fallback = fallback or face
        return fallback

    def _search_most(self, chars: str) -> Face | None:
        # Of equals the first is taken, which is the better one.
        best = max(self.faces, key=lambda face: sum(face.has(char) for char in chars))
        return best if any(best.has(char) for char in chars) else None


def standard_folders() -> tuple[Path, ...]:
    """Return where Linux, macOS and Windows keep fonts, the user's own included."""
    home = Path.home()
    return (
        home / ".fonts",
        home / ".local/share/fonts",
        home / "Library/Fonts",
        home / "AppData/Local/Microsoft/Windows/Fonts",
        Path("/usr/share/fonts"),
        Path("/usr/local/share/fonts"),
        Path("/Library/Fonts"),
        Path("/System/Library/Fonts"),
        Path("C:/Windows/Fonts"),
    )


def _font_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES and not _PRETENDERS.search(path.stem.lower())
    ]


def _rank(path: Path) -> tuple[int, int, str]:
    name = _STYLE_WORDS.sub("", path.stem.lower())
    style = sum(cost for pattern, cost in _STYLES if pattern.search(path.stem.lower()))
    favourite = _FAVOURITES.index(name) if name in _FAVOURITES else len(_FAVOURITES)
    return favourite, style, str(path)
