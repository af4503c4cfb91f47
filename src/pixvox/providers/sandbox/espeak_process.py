"""The process that has espeak-ng in it; `pixvox.providers.sandbox.espeak` starts it and talks to it.

A text can bring espeak-ng 1.52 to a segmentation fault ("©ѱ" in Portuguese is one), and it keeps its state in globals
of C. So it gets a process of its own, which imports nothing of this distribution and is ready within 30 ms.

In: `MESSAGE` (kind, length), then that many bytes. `SPEAK` brings an `ORDER`, the name of a voice, NUL and a text in
UTF-8; `ABORT` ends what is being spoken. The end of the input ends the process.
Out: `PIECE` (length), then that many bytes. The very first piece is the sample rate, 4 bytes; the others are 16-bit
samples. A length of 0 ends a speech; a negative one is an error of espeak-ng and ends it as well.

Source: speak_lib.h of espeak-ng 1.52.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import sys

MESSAGE = struct.Struct("<cI")
# Words a minute, pitch 0..100, volume 0..200, whether to pause at the end.
ORDER = struct.Struct("<III?")
PIECE = struct.Struct("<i")
RATE = struct.Struct("<I")
SPEAK = b"S"
ABORT = b"A"

_STDIN, _STDOUT = 0, 1
_PIECE_MILLISECONDS = 100
_OUTPUT_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000
_UTF8 = 0x01
_END_PAUSE = 0x1000
_RATE_PARAMETER, _VOLUME_PARAMETER, _PITCH_PARAMETER = 1, 2, 3
_GO_ON, _STOP = 0, 1

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class Speaker:
    """espeak-ng, speaking to standard output."""

    def __init__(self, library: str, data: str) -> None:
        self._library = ctypes.CDLL(library)
        self._library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        self._library.espeak_Synth.argtypes = [
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int),
            *(ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p),
        ]
        self.rate = int(
            self._library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, _PIECE_MILLISECONDS, data.encode(), _DO_NOT_EXIT)
        )
        # espeak-ng keeps no more than the address.
        self._callback = _Callback(self._on_samples)
        self._library.espeak_SetSynthCallback(self._callback)
        self._voice = b""

    def speak(self, order: bytes) -> int:
        """Speak, and return espeak-ng's verdict: 0 if all went well."""
        rate, pitch, volume, pause = ORDER.unpack_from(order)
        voice, text = order[ORDER.size :].split(b"\0", 1)
        # Setting a voice takes up to 2 ms, so it is not done for every segment.
        if voice != self._voice:
            if verdict := int(self._library.espeak_SetVoiceByName(voice)):
                return verdict
            self._voice = voice
        for parameter, value in ((_RATE_PARAMETER, rate), (_VOLUME_PARAMETER, volume), (_PITCH_PARAMETER, pitch)):
            self._library.espeak_SetParameter(parameter, value, 0)
        flags = _UTF8 | (_END_PAUSE if pause else 0)
        return int(self._library.espeak_Synth(text, len(text) + 1, 0, 1, 0, flags, None, None))

    def _on_samples(self, samples: int | None, count: int, _events: int | None) -> int:
        # Whatever comes in while it speaks means that nobody wants to hear more.
        if select.select([_STDIN], [], [], 0)[0]:
            return _STOP
        if samples and count > 0:
            try:
                write(ctypes.string_at(samples, count * 2))
            except OSError:
                return _STOP
        return _GO_ON


def write(piece: bytes) -> None:
    """Write a piece that is not empty."""
    _write_all(PIECE.pack(len(piece)) + piece)


def main(library: str, data: str) -> int:
    """Serve until the input ends."""
    speaker = Speaker(library, data)
    if speaker.rate <= 0:
        return 1
    write(RATE.pack(speaker.rate))
    while (message := _read(MESSAGE.size)) is not None:
        kind, length = MESSAGE.unpack(message)
        body = _read(length)
        if body is None:
            break
        # An abort that comes after the end of what it was meant for has nothing to end.
        if kind == SPEAK:
            _write_all(PIECE.pack(-abs(speaker.speak(body))))
    return 0


def _read(length: int) -> bytes | None:
    """Return that many bytes, or None at the end of the input; unbuffered, since `select` sees no buffer."""
    data = b""
    while len(data) < length:
        more = os.read(_STDIN, length - len(data))
        if not more:
            return None
        data += more
    return data


def _write_all(data: bytes) -> None:
    while data:
        data = data[os.write(_STDOUT, data) :]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
