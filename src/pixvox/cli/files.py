"""Files of the command line: inputs as messages, and outputs that bear their name only when they are whole."""

from __future__ import annotations

import stat
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDARD = "-"


@contextmanager
def unfinished(path: Path) -> Iterator[BinaryIO]:
    """Open `path` with `.partial` appended for writing and reading; leaving the block renames it.

    If the block raises, what was written stays under the name with `.partial`, which the error gets as a note. A
    path that is something else than a file, such as /dev/null or a named pipe, is written as it is.
    """
    path = path.resolve()
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        with path.open("wb") as special:
            yield special
        return
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("w+b") as file:
            yield file
    except BaseException as error:
        if partial.exists() and partial.stat().st_size:
            error.add_note(f"What was received is in {partial}")
        else:
            partial.unlink(missing_ok=True)
        raise
    partial.replace(path)


def check_output(output: str, as_json: bool, count: int = 1) -> None:
    """Refuse, before anything is paid for, an output that could not be written.

    Args:
        output: Path, or `-` for standard output.
        as_json: Whether standard output has to hold a JSON document.
        count: How many files are to be written.

    Raises:
        click.BadParameter: Says why.
    """
    if output == STANDARD:
        if as_json:
            raise click.BadParameter("with --json standard output is taken; name a file", param_hint="-o")
        if count > 1:
            raise click.BadParameter(f"standard output cannot take {count} files", param_hint="-o")
        if sys.stdout.isatty():
            raise click.BadParameter("standard output is a terminal; name a file or a pipe", param_hint="-o")
        return
    folder = Path(output).resolve().parent
    if not folder.is_dir():
        raise click.BadParameter(f"there is no folder {folder}", param_hint="-o")
    if Path(output).is_dir():
        raise click.BadParameter(f"{output} is a folder; name a file in it", param_hint="-o")


def media_input(source: str) -> media_pb2.MediaInput:
    """Return an input that was named by a path, an http(s) address, or `-` for standard input.

    Raises:
        click.BadParameter: It cannot be read.
    """
    if source.startswith(("http://", "https://")):
        return media_pb2.MediaInput(uri=source)
    if source == STANDARD:
        return media_pb2.MediaInput(data=sys.stdin.buffer.read())
    try:
        return media_pb2.MediaInput(data=Path(source).read_bytes())
    except OSError as error:
        raise click.BadParameter(f"{source}: {error.strerror}") from error
