"""docs/contract.md tells the truth: its lines run, its twins agree, its table is complete."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2

from emulated import serving
from pixvox import errors
from pixvox.testing.dashscope import DashScopeEmulator
from pixvox.v1 import (
    error_reason_pb2,
    image_service_pb2,
    model_service_pb2,
    speech_service_pb2,
    voice_service_pb2,
)
from recording import cloning

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "contract.md").read_text()
LINES = [
    shlex.split(block.replace("\\\n", " ").split(" < ")[0])
    for block in re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL)
]
BUF_LINES = [line for line in LINES if line[0] == "buf"]
GRPCURL_LINES = [line for line in LINES if line[0] == "grpcurl"]
BUF = shutil.which("buf", path=str(Path(sys.executable).parent)) or "buf"
OUR_RPCS = {
    f"{service.full_name}/{method.name}"
    for module in (image_service_pb2, speech_service_pb2, voice_service_pb2, model_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


def rpc_of(line: list[str]) -> str:
    return "/".join(line[-1].split("/")[-2:])


def data_of(line: list[str]) -> str:
    return line[line.index("-d") + 1]


async def buf_curl(target: str, rpc: str, data: str, *more: str, folder: Path = ROOT) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        BUF,
        "curl",
        "--protocol",
        "grpc",
        "--http2-prior-knowledge",
        *more,
        "-d",
        data,
        f"http://{target}/{rpc}",
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


def documents(text: str) -> list[dict[str, object]]:
    """The JSON documents that follow each other in a text."""
    decoder, found, position = json.JSONDecoder(), [], 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        document, position = decoder.raw_decode(text, position)
        found.append(document)
    return found


VOICE_LINES = [line for line in BUF_LINES if "VoiceService" in rpc_of(line)]
EXAMPLE_ID = "voices/0198f2d4c0de7a5f8b1e2c3d4e5f6071"


@pytest.mark.parametrize("line", [line for line in BUF_LINES if line not in VOICE_LINES], ids=rpc_of)
async def test_every_buf_curl_line_runs(service, line):
    address = line[-1].removeprefix("http://").split("/")[0]
    assert address == "127.0.0.1:50051"
    code, out, err = await buf_curl(service.target, rpc_of(line), data_of(line))
    assert (code, err) == (0, "")
    answers = documents(out)
    assert answers[-1]
    if rpc_of(line).endswith("StreamSpeech"):
        assert "started" in answers[0]
        assert "summary" in answers[-1]
        assert {"flushed": {"id": "1"}} in answers


async def test_the_lines_of_voices_run_in_their_order(tmp_path):
    (tmp_path / "clone-voice.json").write_text(json_format.MessageToJson(cloning()))
    made = EXAMPLE_ID
    async with DashScopeEmulator(api_keys={"sk-test"}) as emulator, serving(emulator) as stubs:
        for line in VOICE_LINES:
            data = data_of(line).replace(EXAMPLE_ID, made)
            code, out, err = await buf_curl(stubs.target, rpc_of(line), data, folder=tmp_path)
            assert (code, err) == (0, ""), line
            (answer,) = documents(out)
            made = answer.get("voice", {}).get("id", made)
    assert made != EXAMPLE_ID


def test_every_rpc_has_a_line():
    assert {rpc_of(line) for line in BUF_LINES} >= OUR_RPCS


def test_every_grpcurl_twin_sends_the_same():
    def said(line: list[str]) -> tuple[str, object]:
        data = data_of(line)
        return rpc_of(line), "a file" if data.startswith("@") else documents(data)

    assert [said(line) for line in GRPCURL_LINES] == [said(line) for line in BUF_LINES]


async def test_buf_curl_shows_the_details_of_an_error(service):
    code, _, err = await buf_curl(service.target, "pixvox.v1.ImageService/GenerateImage", '{"prompt": "x", "n": 99}')
    assert code != 0
    error = json.loads(err)
    assert error["code"] == "invalid_argument"
    # buf prints the message, which names the field and what is allowed, as text, and the details in base64.
    assert error["message"] == "n: is 99; allowed: 1..4"
    details = {detail["type"]: base64.b64decode(detail["value"] + "==") for detail in error["details"]}
    info = error_details_pb2.ErrorInfo.FromString(details["google.rpc.ErrorInfo"])
    assert (info.reason, info.domain) == ("UNSUPPORTED", "pixvox")
    request = error_details_pb2.BadRequest.FromString(details["google.rpc.BadRequest"])
    assert [violation.field for violation in request.field_violations] == ["n"]


async def test_the_shipped_descriptor_set_serves_where_reflection_is_off(service):
    schema = ROOT / "src" / "pixvox" / "v1" / "pixvox.binpb"
    code, out, _ = await buf_curl(
        service.target, "pixvox.v1.ModelService/ListProviders", "{}", "--schema", str(schema), "--reflect=false"
    )
    assert code == 0
    assert documents(out)[0]["providers"]


async def test_a_picture_from_buf_curl_is_a_picture(service):
    _, out, _ = await buf_curl(
        service.target, "pixvox.v1.ImageService/GenerateImage", '{"prompt": "x", "size": {"width": 9, "height": 9}}'
    )
    (answer,) = documents(out)
    assert base64.b64decode(answer["images"][0]["data"]).startswith(b"\x89PNG")


def test_every_error_reason_is_explained_with_its_code():
    rows = dict(re.findall(r"^\| ([A-Z_]+) \| ([A-Z_]+) \|", DOCUMENT, re.MULTILINE))
    names = {value.name.removeprefix("ERROR_REASON_") for value in error_reason_pb2.ErrorReason.DESCRIPTOR.values} - {
        "UNSPECIFIED"
    }
    assert set(rows) == names
    classes = {errors.PixvoxError, *subclasses(errors.PixvoxError)}
    codes = {errors.reason_name(one.reason): one.code.name for one in classes if one.__doc__}
    leaves = {errors.reason_name(one.reason): one.code.name for one in classes if not one.__subclasses__()}
    assert rows == codes | leaves


def test_every_error_class_is_drawn_in_the_tree():
    drawn = set(re.findall(r"\w+Error", errors.__doc__ or ""))
    own = {one.__name__ for one in subclasses(errors.PixvoxError) if one.__module__ == errors.__name__}
    assert drawn == own | {"PixvoxError"}


def subclasses(one: type) -> set[type]:
    direct = set(one.__subclasses__())
    return direct.union(*(subclasses(each) for each in direct))
