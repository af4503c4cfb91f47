"""What the command line knows about media without a codec: headers of pictures, lengths of WAV, whole and partial files."""

from __future__ import annotations

import io
import os
import stat
import struct
import wave

import pytest
from PIL import Image

from pixvox.cli import wav
from pixvox.cli.files import unfinished
from pixvox.cli.pictures import read_picture


def encoded(name, size=(123, 45), mode="RGB", **options):
    file = io.BytesIO()
    noise = Image.frombytes("L", size, os.urandom(size[0] * size[1])).convert(mode)
    noise.save(file, name, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        (encoded("PNG"), "image/png"),
        (encoded("PNG", mode="RGBA", optimize=True), "image/png"),
        (encoded("JPEG"), "image/jpeg"),
        (encoded("JPEG", progressive=True, comment=b"hello", exif=Image.Exif()), "image/jpeg"),
        (encoded("WEBP"), "image/webp"),
        (encoded("WEBP", lossless=True), "image/webp"),
        (encoded("WEBP", mode="RGBA", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"), "image/webp"),
    ],
    ids=["png", "png-alpha", "jpeg", "jpeg-progressive", "webp", "webp-lossless", "webp-extended"],
)
def test_type_and_size_are_read_and_a_cut_file_is_noticed(data, mime_type):
    picture = read_picture(data)
    assert (picture.mime_type, picture.width, picture.height) == (mime_type, 123, 45)
    for kept in (len(data) - 3, len(data) // 2, 20):
        with pytest.raises(ValueError, match=r"cut off|damaged"):
            read_picture(data[:kept])


def test_a_flipped_bit_in_a_png_is_noticed():
    data = bytearray(encoded("PNG"))
    data[len(data) // 2] ^= 1
    with pytest.raises(ValueError, match="checksum"):
        read_picture(bytes(data))


@pytest.mark.parametrize("data", [b"", b"hello", b"GIF89a" + bytes(50), b"RIFF" + bytes(50)])
def test_other_bytes_are_no_picture(data):
    with pytest.raises(ValueError, match="not a PNG, JPEG or WebP"):
        read_picture(data)


def streamed_wav(*chunks):
    header = b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16_000, 2, 16)
    return io.BytesIO(header + b"".join(chunks) + b"data\xff\xff\xff\xff" + b"\1\2" * 500)


@pytest.mark.parametrize("chunks", [(), (b"LIST" + struct.pack("<I", 5) + b"abcde\0",)])
def test_a_streamed_wav_gets_its_true_lengths(chunks):
    file = streamed_wav(*chunks)
    wav.set_lengths(file)
    assert struct.unpack("<I", file.getvalue()[4:8]) == (len(file.getvalue()) - 8,)
    file.seek(0)
    with wave.open(file) as opened:
        assert opened.getnframes() == 500


@pytest.mark.parametrize("data", [b"", b"RIFF", b"ID3 is no WAV at all", b"RIFF\0\0\0\0WAVE"])
def test_other_files_keep_every_byte(data):
    file = io.BytesIO(data)
    wav.set_lengths(file)
    assert file.getvalue() == data


def test_a_file_bears_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "a.wav"
    with unfinished(path) as file:
        file.write(b"half")
        assert [one.name for one in tmp_path.iterdir()] == ["a.wav.partial"]
    assert path.read_bytes() == b"half"
    assert [one.name for one in tmp_path.iterdir()] == ["a.wav"]


def test_a_file_gets_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "usual").touch()
    with unfinished(tmp_path / "a") as file:
        file.write(b"x")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with unfinished(tmp_path / "link") as file:
        file.write(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"x"


def half_written(path):
    with unfinished(path) as file:
        file.write(b"half")
        raise OSError("full")


def test_what_was_written_before_an_error_is_kept_under_another_name_and_noted(tmp_path):
    with pytest.raises(OSError, match="full") as raised:
        half_written(tmp_path / "a")
    assert (tmp_path / "a.partial").read_bytes() == b"half"
    assert "a.partial" in raised.value.__notes__[0]


def test_an_error_before_the_first_byte_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="full"), unfinished(tmp_path / "a"):
        raise OSError("full")
    assert list(tmp_path.iterdir()) == []
