"""What routes, defaults and limits may name, and what is switched off."""

from __future__ import annotations

import msgspec
import pytest

from pixvox.errors import SwitchedOffError, reason_name
from pixvox.routing.candidates import CallFacts
from pixvox.routing.routes import Route, compiled, default_of, switched_off
from pixvox.settings import SettingsError
from routed import PROVIDERS, SPLIT, WITHOUT_QWEN, configured, read, route, speech, tried


@pytest.mark.parametrize(
    ("text", "providers", "off"),
    [
        ("", WITHOUT_QWEN, "Provider qwen is switched off"),
        (
            "",
            PROVIDERS.replace('kind = "dashscope"', 'kind = "dashscope"\nswitched_off = ["stream_speech"]'),
            "Provider qwen is switched off for stream_speech",
        ),
        ("[switches]\nstream_speech = false\n", PROVIDERS, "stream_speech is switched off"),
    ],
)
def test_what_is_switched_off_stays_in_the_route_and_is_passed_over(text, providers, off):
    settings, entries = read(text + SPLIT, providers)
    made = compiled(settings, entries)["r"]
    first = next(one for one in made.candidates(speech(), configured) if one.entry.name == "qwen")
    assert isinstance(first.error, SwitchedOffError)
    assert (first.error.message, reason_name(first.error.reason)) == (f"{off}.", "SWITCHED_OFF")
    assert first.target.off == switched_off(settings, "qwen", "stream_speech") == off


def test_a_switch_of_one_verb_leaves_the_others_on():
    providers = PROVIDERS.replace('kind = "dashscope"', 'kind = "dashscope"\nswitched_off = ["stream_speech"]')
    settings, _ = read("[switches]\nedit_image = false\n", providers)
    assert switched_off(settings, "qwen", "generate_image") == ""
    assert switched_off(settings, "sandbox", "stream_speech") == ""


def test_a_provider_that_is_switched_off_keeps_the_model_that_the_settings_name():
    made = route('[routes.r]\nverbs = ["edit_image"]\ntargets = [{ to = "qwen/any" }, { to = "qwen" }]', WITHOUT_QWEN)
    assert [str(target.key) for target in made.listed] == ["qwen/any", "qwen/"]
    assert made.listed[0].entry.kind == "dashscope"


def test_limits_of_a_provider_that_is_switched_off_may_stay():
    assert compiled(*read('[targets]\n"qwen" = { burst = 1 }\n"qwen/x" = { burst = 1 }\n', WITHOUT_QWEN)) == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            'to = "modal"',
            r"routes\.r\.targets\[0\]\.to: 'modal': there is no provider 'modal'; there are: qwen, sandbox, second",
        ),
        ('to = ""', r"routes\.r\.targets\[0\]\.to: '': there is no provider ''"),
        ('to = "qwen/no"', r"targets\[0\]\.to: 'qwen/no': qwen has no model 'no'; it has: qwen-image-edit-max, .*…"),
        ('to = "qwen/"', r"targets\[0\]\.to: 'qwen/': qwen has no model ''"),
        ('to = "qwen/qwen-image"', r"'qwen/qwen-image' cannot do clone_voice; these can: qwen/qwen3-tts-vc-"),
        ('to = "sandbox"', r"'sandbox' cannot do clone_voice; these can: qwen/"),
    ],
)
def test_a_route_to_what_is_not_there_is_refused(text, told):
    with pytest.raises(SettingsError, match=told):
        compiled(*read(f'[routes.r]\nverbs = ["clone_voice"]\ntargets = [{{ {text} }}]'))


def test_a_verb_that_nobody_has_is_told_as_such():
    providers = '[providers.sandbox]\nkind = "sandbox"\n'
    with pytest.raises(SettingsError, match="cannot do clone_voice; nothing that is configured can"):
        compiled(*read('[routes.r]\nverbs = ["clone_voice"]\ntargets = [{ to = "sandbox" }]', providers))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("modal", r'targets\."modal": there is no provider \'modal\'; there are: qwen, sandbox, second'),
        ("qwen/no", r'targets\."qwen/no": qwen has no model \'no\''),
        ("qwen/", r'targets\."qwen/": qwen has no model \'\''),
    ],
)
def test_limits_of_what_is_not_there_are_refused(name, told):
    with pytest.raises(SettingsError, match=told):
        compiled(*read(f'[targets]\n"{name}" = {{ burst = 1 }}\n'))


def test_a_model_is_found_by_its_alias_and_limited_by_its_id():
    providers = '[providers.sandbox]\nkind = "sandbox"\n'
    aliased = '[routes.r]\nverbs = ["edit_image"]\ntargets = [{ to = "sandbox/pictures" }]\n'
    settings, entries = read(aliased, providers)
    entries[0].models[0].aliases.append("pictures")
    assert tried(compiled(settings, entries)["r"], CallFacts("edit_image")) == ["sandbox/sandbox-image"]
    settings, _ = read('[targets]\n"sandbox/pictures" = { burst = 1 }\n', providers)
    with pytest.raises(SettingsError, match="'pictures' is an alias; name the model by its id, 'sandbox-image'"):
        compiled(settings, entries)


def test_a_route_that_was_read_from_no_file_is_checked_as_well():
    settings, entries = read(SPLIT)
    broken = msgspec.structs.replace(settings.routes["r"], sticky="moon")
    with pytest.raises(SettingsError, match=r"routes\.r\.sticky: 'moon'"):
        compiled(msgspec.structs.replace(settings, routes={"r": broken}), entries)


def default(verb, text, providers=PROVIDERS, routes=SPLIT):
    settings, entries = read(f'{routes}\n[defaults]\n{verb} = "{text}"\n', providers)
    found = default_of(verb, settings, compiled(settings, entries), entries)
    return found.name if isinstance(found, Route) else found and f"{found[0].name}/{found[1].id}"


@pytest.mark.parametrize(
    ("verb", "text", "found"),
    [
        ("stream_speech", "r", "r"),
        ("generate_image", "second", "second/sandbox-image"),
        ("generate_image", "qwen/qwen-image", "qwen/qwen-image"),
        ("clone_voice", "qwen?", "qwen/qwen3-tts-vc-realtime-2026-01-15"),
        ("clone_voice", "second?", "qwen/qwen3-tts-vc-realtime-2026-01-15"),
    ],
)
def test_a_default_is_a_route_a_provider_or_a_model(verb, text, found):
    assert default(verb, text) == found


def test_a_wish_that_nobody_can_fulfil_is_no_default():
    providers = '[providers.sandbox]\nkind = "sandbox"\n'
    assert default("clone_voice", "sandbox?", providers, "") is None


def test_a_default_may_name_a_provider_that_is_switched_off():
    assert default("clone_voice", "qwen", WITHOUT_QWEN) == "qwen/"
    assert default("clone_voice", "qwen?", WITHOUT_QWEN) == "qwen/"


@pytest.mark.parametrize(
    ("verb", "text", "told"),
    [
        ("edit_image", "r", r"defaults\.edit_image: route 'r' serves stream_speech alone"),
        (
            "edit_image",
            "no",
            r"defaults\.edit_image: there is no route or provider 'no'; there are: r, qwen, sandbox",
        ),
        ("edit_image", "no?", r"defaults\.edit_image: 'no\?': there is no provider 'no'"),
        ("edit_image", "no/x", r"defaults\.edit_image: 'no/x': there is no provider 'no'"),
        ("edit_image", "qwen/x", r"defaults\.edit_image: 'qwen/x': qwen has no model 'x'"),
        (
            "edit_image",
            "qwen/qwen-image",
            r"'qwen/qwen-image' cannot do edit_image; these can: qwen/qwen-image-edit-max",
        ),
        ("design_voice", "sandbox", r"defaults\.design_voice: 'sandbox' cannot do design_voice; these can: qwen/"),
    ],
)
def test_a_default_that_names_nothing_is_refused(verb, text, told):
    with pytest.raises(SettingsError, match=told):
        default(verb, text)


def test_the_speech_mode_makes_voices_where_its_provider_can():
    providers = PROVIDERS.replace("providers.second", "providers.modal")
    settings, entries = read("", providers, TTS_PROVIDER_MODE="modal")
    found = {verb: default_of(verb, settings, {}, entries)[0].name for verb in settings.defaults}
    assert found == {"stream_speech": "modal", "clone_voice": "qwen", "design_voice": "qwen"}
