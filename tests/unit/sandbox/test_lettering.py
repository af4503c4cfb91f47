"""Text is drawn in the fonts that there are, fits its box, and nothing that was asked for disappears in silence."""

from __future__ import annotations

import pytest
from fontTools.ttLib import TTCollection, TTFont
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from pixvox.providers.sandbox.fonts import Fonts
from pixvox.providers.sandbox.lettering import draw, fitted, missing_characters

BUILT_IN = Fonts([])


def built_in_file(path):
    path.write_bytes(ImageFont.load_default(16).font_bytes)
    return path


def drawn(text, fonts=BUILT_IN, size=(400, 120)):
    image = Image.new("RGB", size, "black")
    setting = fitted(text, fonts, size, (9, 40))
    draw(image, (0, 0), setting, "white", width=size[0])
    return image


def words_of(setting):
    return ["".join(cluster.text for cluster in line.clusters) for line in setting.lines]


def test_without_any_installed_font_the_built_in_one_draws_latin_letters():
    assert [face.name for face in BUILT_IN.faces] == ["built-in"]
    assert BUILT_IN.covering("A").name == "built-in"
    assert BUILT_IN.covering("语") is None
    assert drawn("Hello").getbbox()


def test_a_font_file_is_found_in_any_folder_below(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    built_in_file(tmp_path / "a" / "b" / "Mine-Regular.TTF")
    assert [face.name for face in Fonts([tmp_path, tmp_path / "absent"]).faces] == ["Mine-Regular.TTF", "built-in"]


def test_a_collection_of_fonts_is_read(tmp_path):
    collection = TTCollection()
    collection.fonts = [TTFont(built_in_file(tmp_path / "one.ttf"))]
    collection.save(tmp_path / "Both.ttc")
    (tmp_path / "one.ttf").unlink()
    face = Fonts([tmp_path]).covering("A")
    assert face.name == "Both.ttc"
    assert face.at(20).getlength("A") > 5


def test_a_broken_font_is_passed_over(tmp_path):
    (tmp_path / "Arial.ttf").write_bytes(b"no font at all")
    (tmp_path / "Roboto.ttc").write_bytes(b"ttcf" + bytes(40))
    built_in_file(tmp_path / "Inter.ttf").write_bytes(ImageFont.load_default(16).font_bytes[:3000])
    assert Fonts([tmp_path]).covering("A").name == "built-in"


def test_the_upright_style_of_a_family_is_taken(tmp_path):
    for name in ("Some-Bold.ttf", "Some-Italic.ttf", "Some-Regular.ttf", "Some-ThinItalic.ttf"):
        built_in_file(tmp_path / name)
    assert [face.name for face in Fonts([tmp_path]).faces] == ["Some-Regular.ttf", "built-in"]


def test_a_font_that_claims_every_character_is_not_used(tmp_path):
    built_in_file(tmp_path / "LastResort.otf")
    assert [face.name for face in Fonts([tmp_path]).faces] == ["built-in"]


def test_missing_characters_are_told_once_and_in_order():
    assert missing_characters("a语b言语\u200b\n!", BUILT_IN) == ("语", "言")


def test_a_missing_character_is_drawn_as_a_visible_box():
    assert drawn("语").getbbox()
    assert drawn("语").tobytes() != drawn("言").tobytes()


@pytest.mark.parametrize("text", ["", "\u200b\u200d\ufe0f", "\n\n \t", "\x00\x07"])
def test_a_text_without_anything_to_see_has_no_lines(text):
    assert fitted(text, BUILT_IN, (100, 100), (9, 20)).lines == ()


def test_line_breaks_are_kept_and_control_characters_are_not():
    setting = fitted("one\r\ntwo\n\nfo\u200bur\tfive\x07", BUILT_IN, (400, 400), (9, 30))
    assert words_of(setting) == ["one", "two", "", "four five"]


def test_a_short_text_is_set_as_large_as_allowed():
    assert fitted("Hi", BUILT_IN, (400, 400), (9, 30)).size == 30


def test_words_are_wrapped_and_not_broken_where_a_smaller_size_keeps_them_whole():
    setting = fitted("extraordinary circumstances", BUILT_IN, (160, 200), (9, 60))
    assert words_of(setting) == ["extraordinary", "circumstances"]


def test_a_word_without_end_is_broken():
    setting = fitted("x" * 200, BUILT_IN, (100, 400), (9, 20))
    assert setting.whole
    assert len(setting.lines) > 5


def test_chinese_is_broken_between_any_signs_but_not_before_a_full_stop():
    for count in range(2, 12):
        setting = fitted("语" * count + "。", BUILT_IN, (90, 400), (20, 20))
        assert all(not line.startswith("。") for line in words_of(setting))
        assert "".join(words_of(setting)) == "语" * count + "。"


def test_korean_is_broken_between_words():
    assert words_of(fitted("텍스트 텍스트 텍스트", BUILT_IN, (100, 400), (20, 20))) == ["텍스트", "텍스트", "텍스트"]


def test_what_does_not_fit_at_the_smallest_size_ends_with_an_ellipsis():
    setting = fitted("many words " * 400, BUILT_IN, (200, 100), (9, 30))
    assert not setting.whole
    assert setting.size == 9
    assert words_of(setting)[-1].endswith("…")
    assert setting.height <= 100
    assert setting.width <= 200


def test_no_room_for_a_line_means_no_lines():
    assert fitted("word", BUILT_IN, (200, 5), (9, 30)).lines == ()


def test_a_right_to_left_text_ends_at_the_right():
    hebrew = drawn("שלום").getbbox()
    assert hebrew[0] > 200
    assert hebrew[2] > 380
    assert drawn("Hello").getbbox()[0] < 20


def test_latin_within_hebrew_keeps_its_own_order():
    # The boxes that stand for Hebrew letters are alike in width, so the places of the Latin letters tell the order.
    inside = drawn("אאאא abc אא", size=(400, 60))
    alone = drawn("abc", size=(400, 60)).getbbox()
    assert inside.getbbox()[2] > 380
    assert alone[2] - alone[0] < inside.getbbox()[2] - inside.getbbox()[0]


def test_a_sign_of_many_code_points_stays_together():
    setting = fitted("a👨‍👩‍👧b e\u0301 🇩🇪🇫🇷 1️⃣", BUILT_IN, (400, 100), (20, 20))
    texts = [cluster.text for cluster in setting.lines[0].clusters]
    assert texts == ["a", "👨‍👩‍👧", "b", " ", "é", " ", "🇩🇪", "🇫🇷", " ", "1️⃣"]


def test_installed_fonts_draw_what_they_have():
    fonts = Fonts()
    for text in ("Ελληνικά", "Русский", "你好", "مرحبا", "🎉"):
        assert drawn(text, fonts).getbbox()


@given(st.text(max_size=120), st.integers(1, 300), st.integers(1, 200))
@settings(max_examples=150, deadline=None)
def test_any_text_fits_any_box(text, width, height):
    setting = fitted(text, BUILT_IN, (width, height), (9, 30))
    assert setting.height <= height + 1
    image = Image.new("RGB", (width, height))
    draw(image, (0, 0), setting, "white", width=width)
