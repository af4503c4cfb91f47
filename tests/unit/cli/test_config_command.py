"""`pixvox config`: check, show and diff."""

from __future__ import annotations

import asyncio
import json
import tomllib

import pytest
from click.testing import CliRunner

from calling import settings_for_tests
from pixvox import reloading, server
from pixvox.cli import main
from pixvox.cli.exits import ExitCode
from pixvox.settings import load

HUSH = "hush-4711"
ROUTED = f"""
[providers.qwen]
kind = "dashscope"
api_key = "{HUSH}"
region = "bj"

[providers.sandbox]
kind = "sandbox"

[providers.asleep]
kind = "sandbox"
enabled = false

[routes.fast]
verbs = ["generate_image"]
targets = [{{ to = "qwen" }}, {{ to = "sandbox/sandbox-image" }}]
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs `pixvox config` in an empty folder, with nothing of the machine's environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("QWEN_API_KEY", "DASHSCOPE_API_KEY", "PIXVOX_CONFIG"):
        monkeypatch.delenv(name, raising=False)

    def invoke(*arguments, **environment):
        return CliRunner().invoke(main, ["config", *map(str, arguments)], env=environment)

    return invoke


@pytest.fixture
def file(tmp_path):
    return tmp_path / "pixvox.toml"


def test_check_builds_everything_and_tells_the_digest_the_providers_and_the_routes(run, file):
    file.write_text(ROUTED)
    done = run("check", file)
    assert done.exit_code == ExitCode.OK, done.output
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert lines[0] == ["ok", str(file)]
    assert ["digest", reloading.digest(load(file, environment={}))] in lines
    told = [rest for what, rest in lines if what == "provider"]
    assert told[0].startswith("qwen (dashscope, region bj, ")
    assert told[1].startswith("sandbox (sandbox, ")
    assert told[2] == "asleep (sandbox), switched off"
    assert ["route", "fast (generate_image) -> qwen, sandbox/sandbox-image"] in lines
    assert HUSH not in done.output


def test_check_tells_which_provider_is_not_ready(run, file):
    file.write_text('[providers.qwen]\nkind = "dashscope"\n')
    assert "not ready: The provider has no key" in run("check", file).stdout


def test_check_without_a_file_checks_what_serve_would_take(run, file):
    assert run("check").stdout.startswith("ok         defaults and the environment")
    file.write_text("[server]\nlisten = 'here'\n")
    assert run("check").exit_code == ExitCode.USAGE


def test_check_leaves_nothing_behind(run, tmp_path):
    assert run("check", PIXVOX_SPAN_FILE="spans.jsonl").exit_code == ExitCode.OK
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[server\n", "pixvox.toml"),
        ('[providers.mine]\nkind = "nothing"\n', "providers.mine"),
        ('[providers.mine]\nkind = "sandbox"\nnonsense = 1\n', "nonsense"),
        ('[routes.fast]\nverbs = ["generate_image"]\ntargets = [{ to = "nobody" }]\n', "nobody"),
        ('[defaults]\ngenerate_image = "nobody"\n', "nobody"),
        ("[database]\nurl = 'mysql://x'\n", "database.url"),
        ("[prices]\nfile = 'missing.toml'\n", "missing.toml"),
        ("[fetch]\nallowed_hosts = ['a b']\n", "fetch.allowed_hosts"),
    ],
)
def test_check_says_what_is_wrong_and_exits_with_2(run, file, text, named):
    file.write_text(text)
    done = run("check", file)
    assert done.exit_code == ExitCode.USAGE
    assert named in done.stderr
    assert done.stdout == ""


def test_show_prints_the_effective_settings_as_toml_that_can_be_loaded(run, file, tmp_path):
    file.write_text('[server]\nlisten = "127.0.0.1:1"\n')
    done = run("show", file, PIXVOX_HTTP="127.0.0.1:2")
    assert done.exit_code == ExitCode.OK, done.output
    shown = tmp_path / "shown.toml"
    shown.write_text(done.stdout)
    assert load(shown, environment={}) == load(file, environment={"PIXVOX_HTTP": "127.0.0.1:2"})


def test_show_masks_secrets_wherever_they_come_from(run, file):
    file.write_text(ROUTED)
    url = f"postgresql+psycopg://ann:{HUSH}@db.internal/pixvox"
    for arguments in ([file], [file, "--json"]):
        done = run("show", *arguments, PIXVOX_DATABASE_URL=url)
        assert HUSH not in done.output
        shown = (json if "--json" in arguments else tomllib).loads(done.stdout)
        assert shown["providers"]["qwen"] == {"kind": "dashscope", "api_key": "***", "region": "bj"}
        assert shown["database"]["url"] == "postgresql+psycopg://***@db.internal/pixvox"


def test_show_of_a_missing_file_exits_with_2(run):
    done = run("show", "none.toml")
    assert done.exit_code == ExitCode.USAGE
    assert "none.toml: No such file" in done.stderr


def test_diff_marks_each_difference_and_exits_with_1(run, file, tmp_path):
    file.write_text(ROUTED)
    other = tmp_path / "other.toml"
    other.write_text(ROUTED.replace(HUSH, "hush-2").replace("bj", "sg") + '[server]\nlisten = "127.0.0.1:1"\n')
    done = run("diff", file, other)
    assert done.exit_code == ExitCode.FAILED
    assert done.stdout.splitlines() == [
        'restart  server.listen: "127.0.0.1:50051" -> "127.0.0.1:1"',
        'reload   providers.qwen.api_key: "***" -> "*** (changed)"',
        'reload   providers.qwen.region: "bj" -> "sg"',
    ]


def test_diff_of_equal_settings_says_nothing_and_exits_with_0(run, file, tmp_path):
    file.write_text(ROUTED)
    other = tmp_path / "other.toml"
    other.write_text(f"# the same\n{ROUTED}[deadlines]\nread = 10.0\n")
    done = run("diff", file, other)
    assert (done.exit_code, done.output) == (ExitCode.OK, "")


def test_diff_of_one_file_compares_it_with_what_serve_would_take(run, tmp_path):
    old = tmp_path / "old.toml"
    old.write_text("[deadlines]\nread = 1.0\n")
    assert run("diff", old).stdout == "reload   deadlines.read: 1.0 -> 10.0\n"


@pytest.mark.parametrize("arguments", [[], ["a.toml", "b.toml", "--running", "127.0.0.1:1"]])
def test_diff_of_nothing_or_too_much_is_a_usage_error(run, arguments):
    assert run("diff", *arguments).exit_code == ExitCode.USAGE


async def test_diff_with_a_running_service_compares_the_digests(run, file):
    settings = settings_for_tests()
    url = f"[database]\nurl = '{settings.database.url}'\n[server]\ngrace_seconds = 5.0\n"
    async with server.running(settings) as service:
        file.write_text(url)
        done = await asyncio.to_thread(run, "diff", file, "--running", service.target)
        assert (done.exit_code, done.stdout.splitlines()[-1]) == (ExitCode.OK, "equal"), done.output
        file.write_text(f"{url}[deadlines]\nread = 1.0\n")
        done = await asyncio.to_thread(run, "diff", file, "--running", service.target)
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (ExitCode.FAILED, "different")
    assert service.current.digest in done.stdout


def test_diff_with_a_service_that_is_not_there_exits_with_4(run):
    done = run("diff", "--running", "127.0.0.1:1")
    assert done.exit_code == ExitCode.UNAVAILABLE
    assert "127.0.0.1:1 cannot be asked" in done.stderr


def test_diff_with_something_that_is_no_pixvox_says_so(run, service):
    done = run("diff", "--running", service.target)
    assert done.exit_code == ExitCode.FAILED
    assert "does not tell its digest" in done.stderr
