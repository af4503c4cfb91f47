"""What a provider is given, and whether checking it may cost money."""

from __future__ import annotations

import types

import pytest

from pixvox.settings import SettingsError
from pixvox.testing.conformance import Hints, Subject, costs
from pixvox.testing.conformance.hints import opened, source_in
from pixvox.testing.conformance.subject import is_loopback

pytestmark = pytest.mark.usefixtures("third_party_kinds")


async def test_a_kind_that_says_that_it_is_free_costs_nothing_whatever_its_table() -> None:
    assert await costs(Subject("sandbox")) == ""
    assert await costs(Subject("sandbox", {"faults": False})) == ""
    assert await costs(Subject("good")) == ""


async def test_the_table_of_the_hints_costs_nothing_and_another_one_asks_the_vendor() -> None:
    assert await costs(Subject("dashscope")) == ""

    why = await costs(Subject("dashscope", {"api_key": "sk-mine"}))

    assert "https://dashscope-intl.aliyuncs.com/api/v1 (http_base)" in why
    assert "wss://dashscope-intl.aliyuncs.com/api-ws/v1 (ws_base)" in why


async def test_addresses_of_this_machine_cost_nothing() -> None:
    assert await costs(Subject("dashscope", {"api_key": "sk", "http_base": "http://127.0.0.1:9/api/v1"})) == ""


async def test_a_kind_of_which_nothing_is_known_may_cost_money() -> None:
    subject = Subject("good", hints=Hints)

    assert await costs(subject) == "Nothing says that calls of kind good are free."


async def test_one_address_elsewhere_is_enough() -> None:
    table = {"http_base": "http://127.0.0.1:9/api/v1", "ws_base": "wss://vendor.example/ws"}

    assert await costs(Subject("dashscope", table)) == "It asks wss://vendor.example/ws (ws_base)."


async def test_a_wrong_table_is_refused_before_anything_is_called() -> None:
    with pytest.raises(SettingsError, match="unknown field `colour`"):
        await costs(Subject("good", {"colour": "red"}))


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("http://127.0.0.1:1/", True),
        ("http://[::1]/", True),
        ("ws://localhost:5", True),
        ("https://db.localhost/", True),
        ("https://10.0.0.1/", False),
        ("https://localhost.example/", False),
        ("https://0.0.0.0/", False),
    ],
)
def test_only_addresses_of_this_machine_are_loopback(address: str, here: bool) -> None:
    assert is_loopback(address) is here


async def test_hints_with_a_table_are_ignored_where_another_table_is_given() -> None:
    hints = Hints(table={"a": 1}, seconds=1.0)

    async with opened(lambda: hints, given=False) as kept, opened(lambda: hints, given=True) as ignored:
        assert kept is hints
        assert ignored == Hints()


async def test_hints_without_a_table_hold_for_every_table() -> None:
    hints = Hints(seconds=1.0)

    async with opened(lambda: hints, given=True) as kept:
        assert kept is hints


def test_a_kind_without_hints_has_empty_ones() -> None:
    assert source_in(types.ModuleType("plain"))() == Hints()


def test_hints_stand_in_the_module_or_in_its_submodule() -> None:
    module = types.ModuleType("one_file")
    module.conformance = lambda: Hints(free=True)

    assert source_in(module)() == Hints(free=True)
    assert source_in(Subject("good").module())().free is True


def test_something_else_of_that_name_is_named() -> None:
    module = types.ModuleType("odd")
    module.conformance = {"free": True}

    with pytest.raises(TypeError, match="conformance of odd is dict; it has to be a function that returns Hints"):
        source_in(module)
