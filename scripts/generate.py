"""Generate the package pixvox.v1 from protos/pixvox/v1: modules, type stubs and the descriptor set.

Everything in src/pixvox/v1 is written by this script and committed; `--check` fails when the two differ.

The stubs come from mypy-protobuf, not from protoc's `--pyi_out`, which leaves servicers and clients untyped, says
nothing about `WhichOneof`, and drops the comments of the contract.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
SOURCES = ROOT / "src"
PACKAGE = Path("pixvox/v1")
DESCRIPTOR_SET = PACKAGE / "pixvox.binpb"
INIT = '"""The contract `pixvox.v1`, generated from protos/pixvox/v1 by scripts/generate.py."""\n'

# grpc.aio also takes a coroutine that writes through its context, which the plugin's stubs of streams do not know.
STREAM_RESULT = re.compile(r"_typing\.Union\[(_abc\w*)\.Iterator\[([\w.]+)\], \1\.AsyncIterator\[\2\]\]")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a generated file is stale")
    parser.add_argument("--protoset", type=Path, metavar="FILE", help="write only the descriptor set, to FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pixvox-generate-") as folder:
        fresh = Path(folder)
        if options.protoset:
            generate_descriptor_set(fresh)
            shutil.copyfile(fresh / DESCRIPTOR_SET, options.protoset)
            return 0
        generate(fresh)
        if options.check:
            return report(stale_files(fresh))
        install(fresh)
    return 0


def generate(out: Path) -> None:
    """Write the package pixvox.v1 below `out`."""
    generate_descriptor_set(out)
    scripts = Path(sysconfig.get_path("scripts"))
    protoc(
        f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
        f"--python_out={out}",
        f"--mypy_out=quiet:{out}",
        *proto_files(),
    )
    protoc(
        f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
        f"--grpc_python_out={out}",
        f"--mypy_grpc_out=quiet:{out}",
        *filter(has_service, proto_files()),
    )
    for stub in (out / PACKAGE).glob("*_pb2_grpc.pyi"):
        stub.write_text(STREAM_RESULT.sub(with_coroutine, stub.read_text("utf-8")), "utf-8")
    (out / PACKAGE / "__init__.py").write_text(INIT, "utf-8")


def generate_descriptor_set(out: Path) -> None:
    """Write the descriptor set, with imports and comments, below `out`."""
    (out / PACKAGE).mkdir(parents=True)
    protoc("--include_imports", "--include_source_info", f"--descriptor_set_out={out / DESCRIPTOR_SET}", *proto_files())


def protoc(*arguments: str) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", *arguments]
    if subprocess.run(command, check=False).returncode:
        sys.exit("generate: protoc failed, nothing was written")


def proto_files() -> list[str]:
    """List the protos in a fixed order, on which the bytes of the descriptor set depend."""
    return sorted(path.relative_to(PROTOS).as_posix() for path in (PROTOS / PACKAGE).glob("*.proto"))


def has_service(name: str) -> bool:
    return re.search(r"^service\s", (PROTOS / name).read_text("utf-8"), re.MULTILINE) is not None


def with_coroutine(match: re.Match[str]) -> str:
    abc, message = match.groups()
    return f"_typing.Union[{abc}.Iterator[{message}], {abc}.AsyncIterator[{message}], {abc}.Awaitable[None]]"


def stale_files(fresh: Path) -> list[str]:
    """Say of each file in which the committed package and `fresh` differ what is wrong with it."""
    wanted, committed = contents(fresh), contents(SOURCES)
    return [
        f"{(SOURCES / name).relative_to(ROOT)}: {'missing' if name not in committed else 'stale' if name in wanted else 'left over'}"
        for name in sorted(wanted.keys() | committed.keys())
        if wanted.get(name) != committed.get(name)
    ]


def contents(root: Path) -> dict[Path, bytes]:
    files = (path for path in (root / PACKAGE).glob("*") if path.is_file())
    return {path.relative_to(root): path.read_bytes() for path in files}


def report(stale: list[str]) -> int:
    if stale:
        sys.stderr.write("\n".join(["generated code is not what the protos say; run `make proto`:", *stale, ""]))
    return 1 if stale else 0


def install(fresh: Path) -> None:
    """Make src/pixvox/v1 equal to `fresh`, touching only the files that differ."""
    wanted, committed = contents(fresh), contents(SOURCES)
    (SOURCES / PACKAGE).mkdir(parents=True, exist_ok=True)
    for name in committed.keys() - wanted.keys():
        (SOURCES / name).unlink()
    for name, data in wanted.items():
        if committed.get(name) != data:
            (SOURCES / name).write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
