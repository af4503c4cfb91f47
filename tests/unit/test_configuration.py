"""What is said of settings as values: the digest, what is shown, and how two differ."""

from __future__ import annotations

import json
import tomllib

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from pixvox import configuration, registry, reloading
from pixvox.configuration import MASK, Source, differences, kept, told
from pixvox.configuration.secrets import is_secret
from pixvox.settings import Settings, SettingsError, load

HUSH = "hush-4711"

ROUTED = """
[providers.first]
kind = "sandbox"

[providers.second]
kind = "sandbox"
faults = false

[routes.fast]
verbs = ["generate_image"]
targets = [{ to = "first", weight = 9 }, { to = "second", weight = 1, guard = {} }]

[routes.slow]
verbs = ["generate_image"]
targets = [{ to = "second" }]
"""

QWEN = f"""
[providers.qwen]
kind = "dashscope"
api_key = "{HUSH}"
"""


@pytest.fixture
def loaded(tmp_path):
    """Settings from the text of a file."""
    file = tmp_path / "pixvox.toml"

    def read(text, environment=None, **overrides):
        file.write_text(text)
        return load(file, {name.replace("__", "."): value for name, value in overrides.items()}, environment or {})

    return read


@pytest.fixture
def digest(loaded):
    return lambda text, environment=None, **overrides: reloading.digest(loaded(text, environment, **overrides))


def test_a_digest_is_16_hexadecimal_digits(digest):
    assert len(digest("")) == 16
    assert int(digest(""), 16)


@pytest.mark.parametrize(
    "text",
    [
        "[deadlines]\nread = 10.0\n",
        "[deadlines]\nread = 10\n",
        '[providers.sandbox]\nkind = "sandbox"\n',
        '[providers.sandbox]\nenabled = true\nkind = "sandbox"\nfaults = true\nswitched_off = []\n',
        "[switches]\nedit_image = true\n",
        "[targets.sandbox]\nfailures = 5\nerror_rate = 0.5\n",
        "[target_defaults]\nmin_calls = 10\n",
        "[routes]\n[targets]\n[defaults]\n",
    ],
)
def test_a_default_that_is_spelled_out_is_as_one_that_is_left_out(digest, text):
    assert digest(text) == digest("")


@pytest.mark.parametrize(
    ("dotted", "value"),
    [
        ("server__listen", "0.0.0.0:1"),
        ("server__http", ""),
        ("server__admin", "127.0.0.1:7"),
        ("server__workers", 4),
        ("log__level", "debug"),
        ("log__format", "json"),
        ("telemetry__span_file", "/tmp/spans"),
    ],
)
def test_instances_that_are_configured_alike_may_listen_log_and_report_elsewhere(digest, dotted, value):
    assert digest("", **{dotted: value}) == digest("")


@pytest.mark.parametrize(
    "text",
    [
        "[deadlines]\nread = 11.0\n",
        "[server]\ngrace_seconds = 1.0\n",
        "[inputs]\nmax_pixels = 1\n",
        "[fetch]\nallowed_hosts = ['store.internal']\n",
        "[idempotency]\nretention_seconds = 1.0\n",
        "[switches]\nedit_image = false\n",
        "[defaults]\ngenerate_image = 'sandbox'\n",
        "[targets.sandbox]\nfailures = 4\n",
        "[target_defaults]\nfailures = 4\n",
        "[database]\nurl = 'postgresql+psycopg://db.internal/pixvox'\n",
        '[providers.other]\nkind = "sandbox"\n',
        '[providers.sandbox]\nkind = "sandbox"\nfaults = false\n',
        '[providers.sandbox]\nkind = "sandbox"\nswitched_off = ["edit_image"]\n',
        '[providers.sandbox]\nkind = "sandbox"\nenabled = false\n',
        ROUTED,
    ],
)
def test_everything_that_decides_what_calls_get_changes_the_digest(digest, text):
    assert digest(text) != digest("")


def test_what_a_model_has_otherwise_than_its_provider_counts_even_if_it_is_the_default(digest):
    provider = '[targets.sandbox]\nfailures = 3\n[targets."sandbox/m"]\n'
    assert digest(f"{provider}failures = 5\n") != digest(f"{provider}failures = 3\n")
    assert digest(f"{provider}failures = 3\n") == digest(provider)


def test_the_order_of_keys_does_not_count(digest):
    turned = ROUTED.replace('kind = "sandbox"\nfaults = false', 'faults = false\nkind = "sandbox"')
    assert turned != ROUTED
    assert digest(turned) == digest(ROUTED)
    assert digest("[server]\ngrace_seconds = 1.0\n[deadlines]\nread = 1.0\n") == digest(
        "[deadlines]\nread = 1.0\n[server]\ngrace_seconds = 1.0\n"
    )


@pytest.mark.parametrize("part", ["providers", "routes", "targets"])
def test_the_order_of_providers_of_routes_and_of_targets_counts(digest, part):
    document = tomllib.loads(ROUTED)
    if part == "targets":
        document["routes"]["fast"]["targets"].reverse()
    else:
        document[part] = dict(reversed(document[part].items()))
    assert digest(tomli_w.dumps(document)) != digest(ROUTED)


def test_the_digest_is_that_of_the_effective_settings_wherever_they_come_from(digest, loaded):
    environment = {"QWEN_API_KEY": HUSH, "QWEN_TIMEOUT_MS": "900"}
    in_file = f"{QWEN}timeout_ms = 900\nregion = 'intl'\n"
    assert digest('[providers.qwen]\nkind = "dashscope"\n', environment) == digest(in_file)
    # Through the kind's own reading of its table alone: the texts of the environment are no numbers.
    plain = loaded('[providers.qwen]\nkind = "dashscope"\n', environment)
    assert configuration.digest(plain) != configuration.digest(registry.understood(plain))


def test_of_a_secret_only_counts_whether_it_is_set(digest):
    other = QWEN.replace(HUSH, "another")
    without = QWEN.replace(HUSH, "")
    assert digest(QWEN) == digest(other) != digest(without)
    assert digest(without) == digest('[providers.qwen]\nkind = "dashscope"\n')


def test_of_the_databases_address_all_but_the_user_counts(digest):
    text = "[database]\nurl = 'postgresql+psycopg://{}db.internal/{}'\n"
    assert digest(text.format("ann:1@", "a")) == digest(text.format("bob:2@", "a"))
    assert digest(text.format("ann:1@", "a")) == digest(text.format("ann:1@", "a?password=3"))
    assert digest(text.format("ann:1@", "a")) != digest(text.format("ann:1@", "b"))


def test_of_the_price_file_the_contents_count_and_not_the_name(digest, tmp_path):
    first, second = tmp_path / "1.toml", tmp_path / "2.toml"
    first.write_text("version = 'own'\n[prices]\n")
    second.write_text("version = 'own'\n[prices]\n")
    same = [digest("", prices__file=str(file)) for file in (first, second)]
    assert same[0] == same[1] != digest("")
    second.write_text("version = 'owner'\n[prices]\n")
    assert digest("", prices__file=str(second)) != same[0]


def test_a_price_file_that_is_missing_is_an_error_that_names_it(digest, tmp_path):
    with pytest.raises(SettingsError, match=r"prices\.file: .*none\.toml"):
        digest("", prices__file=str(tmp_path / "none.toml"))


def test_settings_are_shown_with_every_default_and_can_be_loaded_again(loaded, tmp_path):
    settings = loaded(ROUTED, server__listen="127.0.0.1:1")
    file = tmp_path / "shown.toml"
    file.write_text(tomli_w.dumps(told(settings)))
    assert load(file, environment={}) == settings
    assert told(settings)["deadlines"]["read"] == 10.0


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (f"api_key = '{HUSH}'", MASK),
        (f"accessToken = '{HUSH}'", MASK),
        (f"headers = {{ Authorization = 'Bearer {HUSH}', accept = 'x' }}", {"Authorization": MASK, "accept": "x"}),
        (f"keys = ['{HUSH}', 'b']", MASK),
        (f"base = 'https://ann:{HUSH}@proxy.internal/v1'", "https://***@proxy.internal/v1"),
        (f"base = 'https://{HUSH}@proxy.internal/v1'", "https://***@proxy.internal/v1"),
        (f"base = 'https://ann:{HUSH}/x@proxy.internal'", "https://***@proxy.internal"),
        (f"base = 'https://x.internal/v1?a=1&api-key={HUSH}'", "https://x.internal/v1?a=1&api-key=***"),
        (f"hooks = [{{ secret = '{HUSH}' }}]", [{"secret": MASK}]),
        ("base = 'https://proxy.internal:8443/@scope/x'", "https://proxy.internal:8443/@scope/x"),
        ("api_key = ''", ""),
        ("max_tokens = 5", 5),
        ("key_file = '/run/key'", "/run/key"),
        ("api_key_env = 'ACME_KEY'", "ACME_KEY"),
        ("monkey = 'x'", "x"),
    ],
)
def test_secrets_of_a_provider_are_masked_and_nothing_else_is(loaded, line, shown):
    settings = loaded(f"[providers.token]\nkind = 'acme'\n{line}\n")
    (value,) = [one for key, one in told(settings)["providers"]["token"].items() if key != "kind"]
    assert value == shown
    assert HUSH not in json.dumps(told(settings))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            f"postgresql+psycopg://ann:{HUSH}@db.internal:5432/pixvox",
            "postgresql+psycopg://***@db.internal:5432/pixvox",
        ),
        (f"postgresql+psycopg://ann:{HUSH}@/#?@db.internal/pixvox", "postgresql+psycopg://***@db.internal/pixvox"),
        (f"postgresql+psycopg://db.internal/pixvox?password={HUSH}", "postgresql+psycopg://db.internal/pixvox"),
        ("sqlite+aiosqlite:////var/@x/pixvox.db", "sqlite+aiosqlite:////var/@x/pixvox.db"),
    ],
)
def test_the_databases_password_is_masked(loaded, url, shown):
    assert told(loaded("", database__url=url))["database"] == {"url": shown}


@given(st.text(st.characters(exclude_characters="@\n\r", exclude_categories=["Cs"]), min_size=1))
def test_no_password_of_the_database_is_shown_whatever_is_in_it(password):
    settings = load(environment={}, overrides={"database.url": f"postgresql+psycopg://ann:{password}@db/pixvox"})
    assert told(settings)["database"] == {"url": "postgresql+psycopg://***@db/pixvox"}


def test_labels_of_a_route_are_no_secrets(loaded):
    text = ROUTED.replace('{ to = "second" }', '{ to = "second", when = { labels = { token = ["a"] } } }')
    assert told(loaded(text))["routes"]["slow"]["targets"][0]["when"]["labels"] == {"token": ["a"]}


@pytest.mark.parametrize("name", ["key", "x-api-key", "apiKey", "db_password", "dbpassword", "client_secret", "Cookie"])
def test_names_of_secrets_are_known(name):
    assert is_secret(name)


@pytest.mark.parametrize("name", ["region", "keyboard", "tokenizer_", "author", "password_file", "secretary"])
def test_other_names_are_not_taken_for_secrets(name):
    assert not is_secret(name)


def test_differences_have_dotted_names_both_values_and_what_they_need(loaded):
    new = (
        ROUTED.replace("weight = 9", "weight = 4")
        .replace("[routes.slow]", '[routes."slow one"]')
        .replace("faults = false", "faults = true")
    )
    old, new = loaded(ROUTED), loaded(new, server__listen="127.0.0.1:1", fetch__seconds=1, deadlines__read=1)
    found = {one.name: (one.old, one.new, one.restart) for one in differences(old, new)}
    assert found["server.listen"] == ("127.0.0.1:50051", "127.0.0.1:1", True)
    assert found["fetch.seconds"] == (15.0, 1.0, True)
    assert found["deadlines.read"] == (10.0, 1.0, False)
    assert found["providers.second.faults"] == (False, True, False)
    assert found["routes.fast.targets[0].weight"] == (9.0, 4.0, False)
    assert found["routes.slow.verbs"] == (["generate_image"], None, False)
    assert found['routes."slow one".verbs'] == (None, ["generate_image"], False)


@pytest.mark.parametrize(
    ("overrides", "restart"),
    [
        ({"server.grace_seconds": 1}, True),
        ({"server.watch_seconds": 1}, True),
        ({"database.url": "sqlite:///x.db"}, True),
        ({"telemetry.span_file": "x"}, True),
        ({"log.level": "debug"}, True),
        ({"fetch.allowed_hosts": ["a.internal"]}, True),
        ({"fetch.max_bytes": 1}, False),
        ({"inputs.max_pixels": 1}, False),
        ({"prices.file": "x"}, False),
    ],
)
def test_what_needs_a_restart_is_told_and_keeps_its_running_value(overrides, restart):
    running, new = load(environment={}), load(environment={}, overrides=overrides)
    (found,) = differences(running, new)
    assert found.restart is restart
    assert kept(running, new) == (running if restart else new)


def test_equal_settings_do_not_differ(loaded):
    assert differences(loaded(ROUTED), loaded(ROUTED)) == ()


@pytest.mark.parametrize("part", ["providers", "routes"])
def test_a_changed_order_is_a_difference(loaded, part):
    document = tomllib.loads(ROUTED)
    document[part] = dict(reversed(document[part].items()))
    (found,) = differences(loaded(ROUTED), loaded(tomli_w.dumps(document)))
    assert found.name == f"{part} (order)"
    assert list(reversed(found.old)) == found.new


def test_a_changed_secret_is_told_without_the_secret(loaded):
    old, new = loaded(QWEN), loaded(QWEN.replace(HUSH, "other-4712"))
    (found,) = differences(old, new)
    assert (found.name, found.old, found.new) == ("providers.qwen.api_key", MASK, "*** (changed)")
    url = "postgresql+psycopg://ann:{}@db/pixvox"
    (found,) = differences(loaded("", database__url=url.format(1)), loaded("", database__url=url.format(2)))
    assert found.new == "postgresql+psycopg://***@db/pixvox (changed)"


def test_tables_that_mean_the_same_to_their_kind_do_not_differ(loaded):
    old = loaded('[providers.qwen]\nkind = "dashscope"\n', {"QWEN_TIMEOUT_MS": "900"})
    new = loaded('[providers.qwen]\nregion = "intl"\ntimeout_ms = 900\nkind = "dashscope"\nenabled = true\n')
    assert differences(old, registry.aligned(old, new)) == ()
    off = loaded('[providers.qwen]\nkind = "dashscope"\ntimeout_ms = 900\nswitched_off = ["edit_image"]\n')
    assert "providers.qwen.switched_off" in {one.name for one in differences(old, registry.aligned(old, off))}


def test_a_source_reads_what_it_was_made_for_again(tmp_path):
    file = tmp_path / "pixvox.toml"
    file.write_text("[server]\nworkers = 2\n")
    source = Source.find(file, {"server.listen": "127.0.0.1:1"}, {"PIXVOX_HTTP": "127.0.0.1:2"})
    first = source.read()
    file.write_text("[server]\nworkers = 3\n")
    second = source.read()
    assert [one.settings.server.workers for one in (first, second)] == [2, 3]
    assert second.settings.server.listen == "127.0.0.1:1"
    assert second.settings.server.http == "127.0.0.1:2"
    assert first.contents != second.contents == configuration.contents(second.contents)


def test_a_source_keeps_to_the_file_that_was_there_at_the_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pixvox.toml").write_text("")
    source = Source.find(environment={})
    (tmp_path / "pixvox.toml").unlink()
    with pytest.raises(SettingsError, match=r"pixvox\.toml: No such file"):
        source.read()


def test_settings_of_all_defaults_are_told_without_a_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    read = Source.find(environment={}).read()
    assert read.settings == Settings()
    assert read.source.path is None
