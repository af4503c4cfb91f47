"""The command tree: help, exit codes, imports and `serve`."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import click
import pytest
from click.testing import CliRunner

import pixvox
from pixvox.cli import COMMANDS, main
from pixvox.cli.exits import MEANINGS, ExitCode

HEAVY = ("pixvox.server", "pixvox.settings", "PIL", "av", "uvicorn", "opentelemetry", "structlog", "httpx", "starlette")


def python(script, *, code=0):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def loaded_after(arguments):
    """Return the modules that a command line has loaded when it ends."""
    script = f"""if True:
        import sys
        from pixvox.cli import main
        try:
            main({arguments!r})
        except SystemExit:
            pass
        print("modules:", *sys.modules)
    """
    return set(python(script).stdout.rpartition("modules:")[2].split())


def test_help_loads_neither_grpc_nor_rich():
    assert loaded_after(["--help"]).isdisjoint({"grpc", "rich", "google.protobuf", *HEAVY})


@pytest.mark.parametrize(
    "arguments",
    [["health", "--target", "127.0.0.1:1"], ["speak", "--help"], ["image", "edit", "--help"], ["smoke", "--help"]],
)
def test_a_client_command_loads_nothing_of_the_server(arguments):
    assert loaded_after(arguments).isdisjoint(HEAVY)


def test_help_is_quick():
    begun = time.monotonic()
    python("import sys; from pixvox.cli import main; main(['--help'])")
    assert time.monotonic() - begun < 1.0


def test_help_lists_every_command_and_every_exit_code():
    shown = CliRunner().invoke(main, ["--help"]).stdout
    for name, (_, summary) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", shown, re.MULTILINE)
    for code in ExitCode:
        assert re.search(rf"^ +{code:d}  {re.escape(MEANINGS[code])}$", shown, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_in_the_list_is_that_of_the_command(name):
    command = main.get_command(click.Context(main), name)
    assert command.name == name
    summary = COMMANDS[name][1].rstrip(".")
    assert command.get_short_help_str(200).startswith(summary)


@pytest.mark.parametrize(
    "command", [["image", "generate"], ["image", "edit"], ["speak"], ["models"], ["providers"], ["health"], ["smoke"]]
)
def test_every_client_command_takes_target_json_and_timeout(command):
    shown = CliRunner().invoke(main, [*command, "--help"]).stdout
    for option in ("--target", "--json", "--timeout"):
        assert option in shown
    assert "127.0.0.1:50051" in shown
    assert "PIXVOX_TARGET" in shown


def test_an_unknown_command_is_a_usage_error():
    assert CliRunner().invoke(main, ["dance"]).exit_code == ExitCode.USAGE


def test_version_prints_the_version():
    assert CliRunner().invoke(main, ["version"]).stdout.strip() == pixvox.__version__


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "pixvox.cli", "version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == pixvox.__version__


def test_serve_refuses_bad_settings_with_2_and_names_the_source():
    done = CliRunner().invoke(main, ["serve", "--listen", "nonsense"])
    assert done.exit_code == ExitCode.USAGE
    assert "server.listen: 'nonsense' is not HOST:PORT" in done.stderr


def test_serve_with_a_settings_file_that_is_missing_exits_with_2():
    done = CliRunner().invoke(main, ["serve", "--config", "missing.toml"])
    assert done.exit_code == ExitCode.USAGE
    assert "missing.toml" in done.stderr


def test_serve_without_the_servers_packages_says_what_to_install():
    done = python("import sys; sys.modules['structlog'] = None; from pixvox.cli import main; main(['serve'])", code=2)
    assert "pip install 'pixvox[server]'" in done.stderr
