"""`pixvox conformance`: what it is given, what it prints, and how it ends."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from pixvox.cli import main
from pixvox.cli.exits import ExitCode

pytestmark = pytest.mark.usefixtures("third_party_kinds")


def ran(*arguments: str):
    return CliRunner().invoke(main, ["conformance", *arguments])


def test_it_ends_with_0_if_nothing_is_wrong() -> None:
    result = ran("good", "--only", "table", "--only", "image-formats", "--only", "warmth")

    assert result.exit_code == ExitCode.OK
    assert "table          PASS" in result.stdout
    assert "the provider has no warm_up" in result.stdout
    assert "2 passed, 0 failed, 1 left out" in result.stdout


def test_it_ends_with_1_and_says_what_was_seen_what_the_contract_says_and_where_to_look() -> None:
    result = ran("bad", "--set", 'lies=["wrong-type"]', "--only", "image-formats")

    assert result.exit_code == ExitCode.FAILED
    assert "1 found, see below" in result.stdout
    assert "generate_image of painter: asked for IMAGE_FORMAT_JPEG; the file is image/png" in result.stdout
    assert "contract: The file has the format that was asked for" in result.stdout


def test_json_is_one_document() -> None:
    result = ran("bad", "--set", 'lies=["unbilled"]', "--only", "receipts", "--json")

    document = json.loads(result.stdout)
    assert document["kind"] == "bad"
    assert document["passed"] is False
    [check] = document["checks"]
    assert check["check"] == "receipts"
    assert check["result"] == "FAIL"
    assert check["findings"] == [
        {
            "seen": "the receipt's usage has no unit; it could have images",
            "contract": "A receipt has the usage in the units that the provider bills, or nothing can be priced.",
            "method": "generate_image",
            "model": "painter",
        }
    ]


def test_the_table_is_that_of_the_file_and_of_the_command_line(tmp_path) -> None:
    file = tmp_path / "pixvox.toml"
    file.write_text(
        "[providers.first]\nkind = 'bad'\nlies = ['unbilled']\n"
        "[providers.second]\nkind = 'bad'\nlies = []\n"
        "[providers.other]\nkind = 'sandbox'\n",
        encoding="utf-8",
    )
    only = ("--config", str(file), "--only", "receipts")

    assert ran("bad", *only).exit_code == ExitCode.FAILED
    assert ran("bad", *only, "--provider", "second").exit_code == ExitCode.OK
    assert ran("bad", *only, "--set", "lies=[]").exit_code == ExitCode.OK
    assert ran("bad", *only, "--provider", "second", "--set", 'lies=["unbilled"]').exit_code == ExitCode.FAILED


def test_a_table_that_is_not_there_is_named(tmp_path) -> None:
    file = tmp_path / "pixvox.toml"
    file.write_text("[providers.box]\nkind = 'sandbox'\n", encoding="utf-8")

    result = ran("good", "--config", str(file))

    assert result.exit_code == ExitCode.USAGE
    assert f"{file} has no provider of kind 'good'" in result.stderr
    assert ran("sandbox", "--config", str(file), "--provider", "boot").exit_code == ExitCode.USAGE
    assert ran("sandbox", "--provider", "box").exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nobody",), "there is no provider kind 'nobody'"),
        (("good", "--only", "smell"), "there is no check 'smell'"),
        (("good", "--set", "colour=red"), "unknown field `colour`"),
        (("good", "--set", "colour"), "--set 'colour' is not KEY=VALUE"),
        (("bad", "--set", "lies=['a'"), "--set lies: ['a' is no TOML"),
        (("good", "--config", "/nowhere/pixvox.toml"), "/nowhere/pixvox.toml: No such file or directory"),
    ],
)
def test_what_cannot_be_used_is_named_and_ends_with_2(arguments: tuple[str, ...], message: str) -> None:
    result = ran(*arguments)

    assert result.exit_code == ExitCode.USAGE
    assert message in result.stderr


def test_money_is_not_spent_without_a_yes() -> None:
    table = ("--set", "api_key=sk-mine", "--set", "http_base=https://vendor.example/api/v1", "--only", "table")

    refused = ran("dashscope", *table)
    allowed = ran("dashscope", *table, "--yes")

    assert refused.exit_code == ExitCode.USAGE
    assert "Checking this provider may cost money." in refused.stderr
    assert "https://vendor.example/api/v1 (http_base)" in refused.stderr
    assert allowed.exit_code == ExitCode.OK


def test_an_emulator_needs_no_yes() -> None:
    assert ran("dashscope", "--only", "image-formats").exit_code == ExitCode.OK


def test_the_checks_can_be_listed() -> None:
    result = ran("good", "--list", "--only", "edit")

    assert result.exit_code == ExitCode.OK
    assert "edit-masks" in result.stdout
    assert "What a mask protects stays as it is." in result.stdout


def test_a_model_can_be_named() -> None:
    result = ran("sandbox", "--model", "nobody", "--only", "receipts")

    assert "none of the chosen models has generate_image" in result.stdout
