"""Settings of routes and targets: the plans' switches of the environment, and what is refused before any provider is there."""

from __future__ import annotations

import pytest

from pixvox.settings import Settings, SettingsError, TargetSettings, load, target_settings

QWEN = '[providers.qwen]\nkind = "dashscope"\n'
MODAL = '[providers.modal]\nkind = "modal"\n'
# Has three targets with weights, the first of which has a guard.
ROUTE = """
[routes.fast]
verbs = ["generate_image", "stream_speech"]
targets = [
    { to = "a", weight = 5.0, guard = {} },
    { to = "b", weight = 95 },
    { to = "c" },
]
"""


@pytest.fixture
def read(tmp_path):
    """Read settings from a text and an environment."""

    def read(text: str = "", **environment: str) -> Settings:
        file = tmp_path / "pixvox.toml"
        file.write_text(text)
        return load(file, environment=environment)

    return read


@pytest.mark.parametrize(("mode", "other"), [("modal", "qwen"), ("qwen", "modal")])
def test_the_speech_mode_sends_speech_and_voices_to_its_provider_whatever_the_file_says(read, mode, other):
    text = f'{QWEN}{MODAL}[defaults]\nstream_speech = "{other}"\nclone_voice = "{other}"\nedit_image = "{other}"\n'
    assert read(text, TTS_PROVIDER_MODE=mode).defaults == {
        "stream_speech": mode,
        "clone_voice": f"{mode}?",
        "design_voice": f"{mode}?",
        "edit_image": other,
    }


def test_the_speech_mode_leaves_a_default_that_names_a_model_of_its_provider(read):
    text = f'{QWEN}{MODAL}[defaults]\nstream_speech = "qwen/qwen3-tts-flash"\ndesign_voice = "modal/x"\n'
    defaults = read(text, TTS_PROVIDER_MODE="qwen").defaults
    assert (defaults["stream_speech"], defaults["design_voice"]) == ("qwen/qwen3-tts-flash", "qwen?")


def test_the_speech_mode_replaces_a_route_as_default(read):
    text = f'{QWEN}{ROUTE}[defaults]\nstream_speech = "fast"\n'
    assert read(text, TTS_PROVIDER_MODE="qwen").defaults["stream_speech"] == "qwen"


@pytest.mark.parametrize(
    ("providers", "chosen"),
    [
        ('[providers.qwen]\nkind = "sandbox"\n[providers.other]\nkind = "dashscope"\n', "qwen"),
        ('[providers.first]\nkind = "dashscope"\n[providers.second]\nkind = "dashscope"\n', "first"),
        ('[providers.off]\nkind = "dashscope"\nenabled = false\n[providers.on]\nkind = "dashscope"\n', "on"),
        ('[providers.off]\nkind = "dashscope"\nenabled = false\n', "off"),
    ],
)
def test_a_mode_means_the_provider_of_that_name_or_the_first_of_its_kind_that_is_switched_on(read, providers, chosen):
    assert read(providers, TTS_PROVIDER_MODE="qwen").defaults["stream_speech"] == chosen


def test_a_mode_finds_the_provider_that_a_key_in_the_environment_brought(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = load(environment={"QWEN_API_KEY": "key", "TTS_PROVIDER_MODE": "qwen"})
    assert loaded.defaults["stream_speech"] == "dashscope"


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("openai", "TTS_PROVIDER_MODE: 'openai' is not one of modal, qwen"),
        ("QWEN", "TTS_PROVIDER_MODE: 'QWEN' is not one of modal, qwen"),
        ("modal", "TTS_PROVIDER_MODE: 'modal' has no provider; .*kind 'modal'; there are: qwen"),
    ],
)
def test_a_mode_that_cannot_be_is_refused(read, mode, told):
    with pytest.raises(SettingsError, match=told):
        read(QWEN, TTS_PROVIDER_MODE=mode)


def test_empty_switches_of_the_environment_are_none(read):
    loaded = read(QWEN, TTS_PROVIDER_MODE="", VOICE_DESIGN_ENABLED="")
    assert (loaded.defaults, loaded.switches) == ({}, {})


@pytest.mark.parametrize(
    ("text", "on"), [("false", False), ("0", False), ("true", True), ("1", True), ("FALSE", False)]
)
def test_the_environment_switches_voice_design_whatever_the_file_says(read, text, on):
    file = f"[switches]\ndesign_voice = {str(not on).lower()}\nedit_image = false\n"
    assert read(file, VOICE_DESIGN_ENABLED=text).switches == {"design_voice": on, "edit_image": False}


def test_what_is_neither_true_nor_false_is_refused(read):
    with pytest.raises(SettingsError, match="VOICE_DESIGN_ENABLED: 'off' is not one of true, 1, false, 0"):
        read(VOICE_DESIGN_ENABLED="off")


def test_the_environment_names_the_callers_key_and_the_pace_of_the_watch(read):
    server = read(PIXVOX_CALLER_METADATA="x-team", PIXVOX_WATCH_SECONDS="0").server
    assert (server.caller_metadata, server.watch_seconds) == ("x-team", 0.0)


def test_a_targets_own_table_is_laid_over_its_providers_and_that_over_the_defaults(read):
    loaded = read(
        "[target_defaults]\nburst = 3\nmax_queued = 7\nfailures = 1\n"
        '[targets.qwen]\nmax_queued = 8\nfailures = 2\n[targets."qwen/image"]\nfailures = 3\nrequests_per_minute = 2\n'
    )
    assert target_settings(loaded, "qwen", "image") == TargetSettings(
        burst=3, max_queued=8, failures=3, requests_per_minute=2.0
    )
    assert target_settings(loaded, "qwen", "speech") == TargetSettings(burst=3, max_queued=8, failures=2)
    assert target_settings(loaded, "sandbox", "image") == TargetSettings(burst=3, max_queued=7, failures=1)


def test_a_route_that_makes_sense_is_read(read):
    assert read(ROUTE).routes["fast"].targets[1].weight == 95.0


def changed(old: str, new: str) -> str:
    assert old in ROUTE
    return ROUTE.replace(old, new)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (changed("routes.fast", 'routes.""'), r"routes\.: '' cannot be a route's name"),
        (changed("routes.fast", 'routes."a/b"'), r"routes\.a/b: 'a/b' cannot be a route's name"),
        (changed("routes.fast", "routes.qwen") + QWEN, r"routes\.qwen: 'qwen' is a provider's name"),
        (changed('"generate_image", "stream_speech"', ""), r"routes\.fast\.verbs: is empty"),
        (changed('"stream_speech"', '"sing"'), "sing"),
        ('[routes.fast]\nverbs = ["edit_image"]\ntargets = []\n', r"routes\.fast\.targets: is empty"),
        (ROUTE + 'sticky = "label"', r"routes\.fast\.sticky: 'label' is not \"caller\", \"label:KEY\" or \"\""),
        (ROUTE + 'sticky = "label:"', r"routes\.fast\.sticky: 'label:'"),
        (ROUTE + 'sticky = "Caller"', r"routes\.fast\.sticky: 'Caller'"),
        (ROUTE + 'cold = "NEVER"', "cold"),
        (ROUTE + "sticki = 1", "sticki"),
        (changed("weight = 95", "weight = -1"), r"routes\.fast\.targets\[1\]\.weight: -1\.0 is not 0 or more"),
        (changed("weight = 95", "weight = nan"), r"targets\[1\]\.weight: nan is not 0 or more"),
        (changed("weight = 95", "weight = inf"), r"targets\[1\]\.weight: inf is not 0 or more"),
        (
            changed("weight = 5.0", "weight = 0").replace("weight = 95", "weight = 0"),
            r"routes\.fast\.targets\[0\]\.weight: the weights beside each other are all 0 for generate_image",
        ),
        (
            changed("weight = 95", 'weight = 95, when.verbs = ["generate_image"]').replace(
                "weight = 5.0", "weight = 0"
            ),
            r"targets\[0\]\.weight: the weights beside each other are all 0 for stream_speech",
        ),
        (
            changed('to = "c"', 'to = "c", guard = {}'),
            r"targets\[2\]\.guard: takes a weight away, and the target has none",
        ),
        (
            changed(", weight = 95", ""),
            r"targets\[0\]\.guard: there is no other target with a weight directly beside it",
        ),
        (
            changed("weight = 95", 'weight = 95, when.verbs = ["generate_image"]'),
            r"targets\[0\]\.guard: there is no other .* for stream_speech",
        ),
        (changed("guard = {}", "guard = { calls = 0 }"), r"guard\.calls: 0 is not 1 or more"),
        (changed("guard = {}", "guard = { min_calls = 0 }"), r"guard\.min_calls: 0 is not 1 or more"),
        (changed("guard = {}", "guard = { calls = 10 }"), r"guard\.min_calls: 20 is more than calls, 10"),
        (changed("guard = {}", "guard = { error_rate = 1.5 }"), r"guard\.error_rate: 1\.5 is not from 0 to 1"),
        (changed("guard = {}", "guard = { p95_ratio = 0 }"), r"guard\.p95_ratio: 0\.0 is not more than 0"),
        (changed("guard = {}", "guard = { first_audio_ratio = -1 }"), r"first_audio_ratio: -1\.0 is not more than 0"),
        (
            changed("guard = {}", 'guard = { first_audio_ratio = 2 }, when.verbs = ["generate_image"]'),
            r"guard\.first_audio_ratio: no call has it here: .* only calls of stream_speech",
        ),
        (
            changed('to = "c"', 'to = "c", when.verbs = ["edit_image"]'),
            r"targets\[2\]\.when\.verbs: 'edit_image' is no verb of the route; allowed: generate_image, stream_speech",
        ),
        (changed('to = "c"', 'to = "c", when.min_pixels = -1'), r"targets\[2\]\.when\.min_pixels: -1 is not 0 or more"),
        (
            changed('to = "c"', 'to = "c", when = { min_pixels = 2, max_pixels = 1 }'),
            r"targets\[2\]\.when\.max_pixels: 1 is less than min_pixels, 2",
        ),
        (changed('to = "c"', 'to = "c", when.labels.tier = []'), r"targets\[2\]\.when\.labels\.tier: is empty"),
        (
            changed('to = "c"', 'to = "c", when = { verbs = ["generate_image"], voices = ["x"] }'),
            r"targets\[2\]\.when\.voices: no call has it here: the target takes generate_image",
        ),
        (
            '[routes.fast]\nverbs = ["edit_image", "stream_speech"]\ntargets = [{ to = "a", when.verbs = ["edit_image"] }]',
            r"routes\.fast\.verbs: 'stream_speech' has no target",
        ),
        ("[target_defaults]\nerror_rate = 2.0\n", r"target_defaults\.error_rate: 2\.0 is not from 0 to 1"),
        ("[targets.a]\nburst = -1\n", r'targets\."a"\.burst: -1 is not 0 or more'),
        ("[targets.a]\nopen_seconds = 0\n", r'targets\."a"\.open_seconds: 0\.0 is not more than 0'),
        ("[targets.a]\nwindow_seconds = 0\n", r"window_seconds: 0\.0 is not more than 0"),
        ("[targets.a]\nprobes = 0\n", r"probes: 0 is not 1 or more"),
        ("[targets.a]\nmin_calls = 0\n", r"min_calls: 0 is not 1 or more"),
        ("[targets.a]\nfailures = -1\n", r"failures: -1 is not 0 or more"),
        ("[targets.a]\nmax_queued = -1\n", r"max_queued: -1 is not 0 or more"),
        ("[targets.a]\nmax_in_flight = -1\n", r"max_in_flight: -1 is not 0 or more"),
        ("[targets.a]\nrequests_per_minute = -2\n", r"requests_per_minute: -2\.0 is not 0 or more"),
        ('[targets."a/b"]\nbursts = 1\n', r'targets\."a/b": .*bursts.*; allowed: requests_per_minute, burst'),
        ('[targets."a/b"]\nburst = "many"\n', r'targets\."a/b": Expected `int`, got `str`'),
        ("[idempotency]\nretention_seconds = 0\n", r"idempotency\.retention_seconds: 0\.0 is not more than 0"),
        ("[idempotency]\nlease_seconds = 0\n", r"idempotency\.lease_seconds: 0\.0 is not more than 0"),
        ("[idempotency]\nlinger_seconds = -1\n", r"idempotency\.linger_seconds: -1\.0 is not 0 or more"),
        ("[idempotency]\nmax_answer_bytes = -1\n", r"idempotency\.max_answer_bytes: -1 is not 0 or more"),
        ("[server]\nwatch_seconds = -1\n", r"server\.watch_seconds: -1\.0 is not 0 or more"),
        ('[server]\ncaller_metadata = "X-Caller"\n', r"server\.caller_metadata: 'X-Caller' is no key of gRPC metadata"),
        ('[server]\ncaller_metadata = "x-caller-bin"\n', r"server\.caller_metadata"),
        ('[server]\ncaller_metadata = "grpc-caller"\n', r"server\.caller_metadata"),
        ("[switches]\nsing = false\n", "sing"),
        (
            QWEN + 'switched_off = ["sing"]\n',
            r"providers\.qwen\.switched_off: 'sing' is no verb; allowed: generate_image,",
        ),
        (
            QWEN + 'switched_off = "clone_voice"\n',
            r"providers\.qwen\.switched_off: 'clone_voice' is not a list of verbs",
        ),
        (QWEN + 'enabled = "false"\n', r"providers\.qwen\.enabled: 'false' is not true or false"),
        ('[providers."a/b"]\nkind = "sandbox"\n', r"providers\.a/b: 'a/b' cannot be a provider's name"),
    ],
)
def test_what_cannot_be_is_refused_by_its_place_with_what_is_allowed(read, text, told):
    with pytest.raises(SettingsError, match=told):
        read(text)


def test_a_guard_may_stand_beside_targets_whose_weight_is_0(read):
    # So that the last step of a rollout, or the first of a retreat, is a change of weights alone.
    assert read(changed("weight = 95", "weight = 0")).routes["fast"].targets[0].guard is not None


def test_nobody_may_be_let_to_give_a_name(read):
    assert read('[server]\ncaller_metadata = ""\n').server.caller_metadata == ""
