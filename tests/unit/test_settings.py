"""Settings: what wins, and what every mistake is told as."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from pixvox import settings
from pixvox.settings import (
    ConditionSettings,
    GuardSettings,
    RouteSettings,
    RouteTargetSettings,
    Settings,
    SettingsError,
    load,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "pixvox.toml"


def test_without_a_file_the_sandbox_is_the_provider(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = load(environment={})
    assert loaded.providers == {"sandbox": {"kind": "sandbox"}}
    assert loaded.server.listen == "127.0.0.1:50051"
    assert loaded.server.http == "127.0.0.1:8080"


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(file):
    file.write_text('[server]\nlisten = "127.0.0.1:1"\nhttp = "127.0.0.1:1"\nadmin = "127.0.0.1:1"\n')
    environment = {"PIXVOX_LISTEN": "127.0.0.1:2", "PIXVOX_HTTP": "127.0.0.1:2"}
    server = load(file, overrides={"server.listen": "127.0.0.1:3"}, environment=environment).server
    assert (server.listen, server.http, server.admin) == ("127.0.0.1:3", "127.0.0.1:2", "127.0.0.1:1")


def test_an_override_of_none_leaves_the_value_alone(file):
    file.write_text("[server]\nworkers = 3\n")
    assert load(file, overrides={"server.workers": None}, environment={}).server.workers == 3


def test_the_file_can_be_named_by_the_environment(file):
    file.write_text("[server]\nworkers = 3\n")
    assert load(environment={"PIXVOX_CONFIG": str(file)}).server.workers == 3


def test_the_working_directory_may_have_a_file(file, monkeypatch):
    file.write_text("[server]\nworkers = 4\n")
    monkeypatch.chdir(file.parent)
    assert load(environment={}).server.workers == 4


def test_hosts_in_the_environment_are_parted_by_commas():
    loaded = load(environment={"PIXVOX_FETCH_ALLOWED_HOSTS": "store.internal, 10.0.0.7:9000"})
    assert loaded.fetch.allowed_hosts == ("store.internal", "10.0.0.7:9000")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[server]\nlissen = 'x:1'\n", "lissen"),
        ("[serfer]\n", "serfer"),
        ("[server]\nworkers = 'many'\n", "workers"),
        ("[server]\nworkers = 0\n", "server.workers"),
        ("[server]\nlisten = 'localhost'\n", "server.listen"),
        ("[server]\nhttp = '127.0.0.1:99999'\n", "server.http"),
        ("[server]\ngrace_seconds = -1.0\n", "server.grace_seconds"),
        ("[deadlines]\nread = 0.0\n", "deadlines.read"),
        ("[log]\nlevel = 'loud'\n", "log.level"),
        ("[providers.mine]\nregion = 'sg'\n", "providers.mine"),
        ("[defaults]\npaint = 'sandbox'\n", "defaults"),
        ("[server\n", "pixvox.toml"),
    ],
)
def test_a_mistake_in_the_file_is_named(file, text, named):
    file.write_text(text)
    with pytest.raises(SettingsError, match=named):
        load(file, environment={})


def test_a_missing_file_is_named(file):
    with pytest.raises(SettingsError, match=r"pixvox\.toml: No such file"):
        load(file, environment={})


@pytest.mark.parametrize(
    ("name", "value"), [("PIXVOX_WORKERS", "x"), ("PIXVOX_LOG_LEVEL", "loud"), ("PIXVOX_LISTEN", "x")]
)
def test_a_mistake_in_the_environment_is_named(name, value):
    with pytest.raises(SettingsError, match=f"{name}|server.listen"):
        load(environment={name: value})


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80)), ("localhost:0", ("localhost", 0))],
)
def test_addresses_are_host_and_port(text, address):
    assert settings.address(text, "x") == address


def test_the_example_file_states_every_default():
    example = tomllib.loads((ROOT / "pixvox.example.toml").read_text())
    defaults = msgspec.to_builtins(Settings())
    # TOML has no word for what is not there; those stand in the file as comments, as is tested below.
    defaults = {table: {key: value for key, value in of.items() if value is not None} for table, of in defaults.items()}
    example["providers"]["sandbox"] = {"kind": example["providers"]["sandbox"]["kind"]}
    for table in (example["fetch"], example["telemetry"]):
        table.update({key: tuple(value) for key, value in table.items() if isinstance(value, list)})
    assert example == defaults


def test_the_example_file_explains_the_fields_that_have_no_default():
    text = (ROOT / "pixvox.example.toml").read_text()
    tables = msgspec.to_builtins(Settings()).values()
    unset = [field for table in tables for field, value in table.items() if value is None]
    assert unset == ["requests_per_minute", "max_in_flight"]
    assert [field for field in unset if f"\n# {field} = " not in text] == []


def test_the_example_route_has_every_field_that_a_route_can_have():
    text = (ROOT / "pixvox.example.toml").read_text()
    block = text[text.index("# [routes.best]") : text.index("# How much each target")]
    route = tomllib.loads("".join(line.removeprefix("# ") for line in block.splitlines(keepends=True) if line != "#\n"))
    loaded = msgspec.convert(route["routes"]["best"], type=RouteSettings)
    first = route["routes"]["best"]["targets"][0]
    assert {*route["routes"]["best"]} == {*RouteSettings.__struct_fields__}
    assert {*first} == {*RouteTargetSettings.__struct_fields__}
    assert {*first["when"]} == {*ConditionSettings.__struct_fields__}
    assert {*first["guard"]} == {*GuardSettings.__struct_fields__}
    assert msgspec.structs.replace(loaded, targets=()) == RouteSettings(verbs=("generate_image",), targets=())


def test_every_environment_name_is_in_the_example_file():
    text = (ROOT / "pixvox.example.toml").read_text()
    names = [*settings.ENVIRONMENT, "TTS_PROVIDER_MODE", "VOICE_DESIGN_ENABLED"]
    assert [name for name in names if name not in text] == []


def test_a_key_in_the_environment_puts_its_provider_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = load(environment={"DASHSCOPE_API_KEY": "second", "QWEN_API_KEY": "first", "QWEN_TIMEOUT_MS": "900"})
    assert list(loaded.providers) == ["dashscope", "sandbox"]
    assert loaded.providers["dashscope"] == {"kind": "dashscope", "api_key": "first", "timeout_ms": "900"}


def test_an_empty_key_is_no_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(load(environment={"QWEN_API_KEY": ""}).providers) == ["sandbox"]


def test_without_a_file_the_address_of_a_worker_or_a_job_app_makes_their_providers_appear_before_the_others():
    environment = {"QWEN_API_KEY": "key", "AI_SERVICE_HOST": "gpu", "AI_SERVICE_PORT": "9000"}
    found = load(environment=environment)
    assert list(found.providers) == ["worker", "dashscope", "sandbox"]
    assert found.providers["worker"] == {"host": "gpu", "port": "9000", "kind": "worker"}
    jobs = {f"MODAL_JOB_{name}": f"https://modal.test/{name}" for name in ("SUBMIT", "STATUS", "RESULT")}
    assert list(load(environment=environment | jobs).providers) == ["worker", "modal", "dashscope", "sandbox"]


def test_the_environment_fills_what_a_providers_table_leaves_out(file):
    file.write_text('[providers.qwen]\nkind = "dashscope"\nregion = "bj"\n')
    loaded = load(file, environment={"QWEN_API_KEY": "key", "QWEN_REGION": "sg"})
    assert loaded.providers == {"qwen": {"kind": "dashscope", "region": "bj", "api_key": "key"}}


def test_a_file_decides_which_providers_there_are(file):
    file.write_text('[providers.mine]\nkind = "sandbox"\n')
    assert list(load(file, environment={"QWEN_API_KEY": "key"}).providers) == ["mine"]


def test_keys_are_not_shown():
    assert "hush" not in repr(load(environment={"QWEN_API_KEY": "hush"}))
