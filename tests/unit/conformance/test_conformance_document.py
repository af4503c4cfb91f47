"""docs/conformance.md names what there is."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pixvox
from pixvox.cli.conformance import conformance as command
from pixvox.testing.conformance import CHECKS, Hints

TEXT = (Path(pixvox.__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return TEXT.split(f"## {title}\n")[1].split("\n## ")[0]


def test_every_check_is_there_and_no_other() -> None:
    named = []
    for row in re.findall(r"^\| (`.*?) \|", section("What is checked"), re.MULTILINE):
        names = re.findall(r"`([^`]+)`", row)
        first = names[0].partition("-")[0]
        named += [f"{first}{name}" if name.startswith("-") else name for name in names]

    assert named == [check.name for check in CHECKS if check.name in named]
    assert {check.name for check in CHECKS} == set(named)


def test_every_option_is_there() -> None:
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}

    assert options == set(re.findall(r"`(--[a-z]+)", section("From the command line")))


def test_every_hint_is_there() -> None:
    hints = re.findall(r"^\| `([a-z]+)` \|", section("Hints"), re.MULTILINE)

    assert set(hints) == {field.name for field in dataclasses.fields(Hints)}


def test_the_example_of_hints_is_right() -> None:
    code = re.search(r"```python\n(.*?)```", section("Hints"), re.DOTALL)
    scope: dict[str, object] = {}
    exec(compile(code[1], "docs/conformance.md", "exec"), scope)

    assert isinstance(scope["conformance"](), Hints)
