"""Voices that callers have left here by a recording, in a folder or in memory, each with the consent of who speaks."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pixvox_worker.failures import BadRequest, Conflict, NotFound

if TYPE_CHECKING:
    from pixvox_worker.settings import Settings

_log = logging.getLogger(__name__)
# Letters, digits and a few marks, begun by a letter or digit: nothing that means anything to a file system or a log.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# What clients name that mean no voice: one of that name would be heard by all of them.
_RESERVED = frozenset({"default", "auto"})
_NUMBERS = ("created_at", "file_size")
_OPTIONAL = ("transcript", "description")
_STEM = re.compile(r"[0-9a-f]{32}")
_DENIALS = frozenset({"", "0", "false", "no", "none", "null"})


@dataclass(frozen=True, slots=True)
class Voice:
    """One voice; the recording itself is asked for with `VoiceShelf.recording`."""

    name: str
    """In lower case."""
    consent: str
    """What the caller says of the speaker's consent, word for word."""
    created_at: int
    """Unix seconds."""
    file_size: int
    """Bytes of the recording."""
    mime_type: str
    digest: str
    """Of the recording."""
    transcript: str | None = None
    """What is said in it."""
    description: str | None = None


def clean_name(given: str) -> str:
    """The name under which a voice is kept.

    Raises:
        BadRequest: it has characters that a name has not.
    """
    if _NAME.fullmatch(given) is None:
        message = "A voice's name is letters, digits, - and _, at most 64, and begins with a letter or digit."
        raise BadRequest(message, param="name")
    if given.lower() in _RESERVED:
        message = f"{given} means that no voice is named."
        raise BadRequest(message, param="name")
    return given.lower()


def check_consent(given: str) -> str:
    """What the caller says of the speaker's consent.

    Raises:
        BadRequest: it says that there is none.
    """
    if given.strip().lower() in _DENIALS:
        message = "A voice is kept only with the consent of who speaks: say which."
        raise BadRequest(message, param="consent")
    return given.strip()


class VoiceShelf:
    """The voices of this worker, for as long as it lives or as its folder does. Its methods read and write
    files and may be called from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._folder = Path(settings.voices_dir) if settings.voices_dir else None
        self._most = settings.max_voices
        self._most_bytes = settings.max_voices_mb * 1024 * 1024
        self._voices: dict[str, Voice] = {}
        self._recordings: dict[str, bytes] = {}
        self._changing = threading.Lock()
        if self._folder is not None:
            # Somebody's voice is nobody else's to read.
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sweep(self._folder)
            self._voices = {voice.name: voice for voice in _read_all(self._folder)}

    def all(self) -> list[Voice]:
        """By name."""
        with self._changing:
            return sorted(self._voices.values(), key=lambda voice: voice.name)

    def find(self, name: str) -> Voice | None:
        """The voice of that name, however it is written."""
        return self._voices.get(name.lower())

    def recording(self, voice: Voice) -> bytes:
        """The bytes that were sent.

        Raises:
            NotFound: the voice was deleted in the meantime.
        """
        try:
            return (
                self._recordings[voice.name] if self._folder is None else _sound(self._folder, voice.name).read_bytes()
            )
        except (KeyError, FileNotFoundError):
            raise _unknown(voice.name) from None

    def check(self, name: str, size: int) -> None:
        """Whether there is room for a voice of that name and size.

        Raises:
            Conflict: there is one of that name, or as many as may be.
        """
        if name in self._voices:
            message = f"There is a voice {name!r} already: delete it first."
            raise Conflict(message, param="name")
        held = sum(voice.file_size for voice in list(self._voices.values()))
        if len(self._voices) >= self._most or held + size > self._most_bytes:
            message = "The worker keeps as many voices as it may."
            raise Conflict(message, param="name")

    def add(self, voice: Voice, recording: bytes) -> None:
        """Keep it.

        Raises:
            Failure: as `check`.
        """
        with self._changing:
            self.check(voice.name, len(recording))
            if self._folder is None:
                self._recordings[voice.name] = recording
            else:
                _write(_sound(self._folder, voice.name), recording)
                # Last, as this is what makes the voice one.
                _write(_facts(self._folder, voice.name), json.dumps(asdict(voice)).encode())
            self._voices[voice.name] = voice

    def remove(self, name: str) -> Voice:
        """Forget it, recording and all.

        Raises:
            NotFound: there is none of that name.
        """
        with self._changing:
            voice = self._voices.pop(name.lower(), None)
            if voice is None:
                raise _unknown(name)
            self._recordings.pop(voice.name, None)
            if self._folder is not None:
                for file in (_facts(self._folder, voice.name), _sound(self._folder, voice.name)):
                    file.unlink(missing_ok=True)
            return voice


def now() -> int:
    """Unix seconds."""
    return int(time.time())


def _read_all(folder: Path) -> list[Voice]:
    found = []
    for file in sorted(folder.glob("*.json")):
        # One damaged file must not cost the others.
        try:
            voice = _voice(json.loads(file.read_text()))
        except (OSError, ValueError, TypeError, RecursionError):
            _log.warning("%s is no voice and is passed over", file.name)
            continue
        if file == _facts(folder, voice.name) and _sound(folder, voice.name).is_file():
            found.append(voice)
    return found


def _voice(facts: object) -> Voice:
    """What a file says of a voice.

    Raises:
        ValueError, TypeError: it is none.
    """
    if not isinstance(facts, dict):
        message = "no object"
        raise TypeError(message)
    for name, value in facts.items():
        wanted = int if name in _NUMBERS else str
        if type(value) is not wanted and not (value is None and name in _OPTIONAL):
            message = f"{name} is no {wanted.__name__}"
            raise TypeError(message)
    return Voice(**facts)


def _sweep(folder: Path) -> None:
    """A process that died in the middle may have left somebody's voice without what is known of it."""
    for file in folder.iterdir():
        ours = _STEM.fullmatch(file.stem) is not None
        if ours and (file.suffix == ".part" or (file.suffix == ".sound" and not file.with_suffix(".json").exists())):
            file.unlink(missing_ok=True)


def _facts(folder: Path, name: str) -> Path:
    return folder / f"{_stem(name)}.json"


def _sound(folder: Path, name: str) -> Path:
    return folder / f"{_stem(name)}.sound"


def _stem(name: str) -> str:
    """Not the name itself, whatever a name may one day be."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def _write(file: Path, data: bytes) -> None:
    """Whole or not at all."""
    beside = file.with_suffix(".part")
    try:
        # Whatever the folder was before: somebody's voice is nobody else's to read.
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
            opened.write(data)
        beside.replace(file)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no voice {name[:64]!r} here.", param="voice")
