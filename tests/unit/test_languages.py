"""Tags of languages, and the names that the model has for them."""

from __future__ import annotations

from pixvox.languages import language_name, primary_code


def test_a_region_and_case_do_not_change_the_language():
    assert language_name("zh-TW") == language_name("ZH") == "Chinese"
    assert language_name("pt-BR") == "Portuguese"
    assert (primary_code("en-GB"), primary_code("")) == ("en", "")


def test_the_model_finds_out_what_it_is_not_told_or_has_no_name_for():
    assert language_name("") == language_name("nl") == "Auto"
