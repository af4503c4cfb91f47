"""`pixvox trace`: the tree of a call out of the service's own file of spans, while the service writes it and afterwards."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from calling import config_message, spoken, stubs_of, text_message
from emulated import failure_of
from pixvox import server
from pixvox.cli import main
from pixvox.cli.exits import ExitCode
from pixvox.cli.span_facts import size
from pixvox.telemetry import names
from pixvox.testing.dashscope import Behaviour, DashScopeEmulator, Fault, Refused
from traces import PARENT, REALTIME, TASKS, picture, settings_of

LIMITED = Refused(429, "Throttling.RateQuota")


def run(*arguments, code=ExitCode.OK):
    done = CliRunner().invoke(main, ["trace", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done


def documents(*arguments):
    return json.loads(run(*arguments, "--json").stdout)["calls"]


@pytest.fixture(scope="module")
def file(tmp_path_factory, folder_of_databases):
    """The spans of three calls: one that went to a second target, one by a task, and one of speech."""
    path = tmp_path_factory.mktemp("spans") / "spans.jsonl"

    async def call():
        async with DashScopeEmulator(behaviour=Behaviour(task_running=0)) as first, DashScopeEmulator() as second:
            first.faults.add(Fault("generate", LIMITED))
            settings = settings_of(first, second, telemetry={"span_file": str(path)})
            async with server.running(settings) as service, stubs_of(service.target) as stubs:
                metadata = [("traceparent", PARENT)]
                await stubs.images.GenerateImage(picture("two", request_id="mine"), metadata=metadata)
                await stubs.images.GenerateImage(picture(TASKS))
                await spoken(stubs, [config_message(model=REALTIME), text_message("Hello there.")])
                await failure_of(stubs.images.GenerateImage(picture(n=99)))

    asyncio.run(call())
    return path


def names_of(call):
    return [call["name"], *(name for child in call["children"] for name in names_of(child))]


def test_without_an_option_it_is_the_last_call(file):
    shown = run(file).stdout
    assert shown == run(file, "--last").stdout
    assert shown.startswith("pixvox.v1.ImageService/GenerateImage  ========================")
    assert "INVALID_ARGUMENT" in shown
    assert shown.count("\n") == 1


def test_the_last_calls_come_in_their_order(file):
    calls = documents(file, "--last", 3)
    assert [one["name"].rpartition("/")[2] for one in calls] == ["GenerateImage", "StreamSpeech", "GenerateImage"]
    assert names_of(calls[0])[1:] == [
        f"generate_content {TASKS}",
        "POST image generation",
        "GET task poll",
        "GET task poll",
        "GET result download",
    ]


def test_a_call_is_found_by_its_request_id_and_each_line_has_what_matters(file):
    shown = run(file, "--request-id", "mine").stdout
    call, refused, limited, served, asked, fetched = shown.splitlines()
    assert re.match(r"pixvox\.v1\.ImageService/GenerateImage +=+ +\d+\.\d ms  OK  request mine  trace 0af7", call)
    assert re.search(r"^\|- generate_content \S+ +=+ +\d+\.\d ms  RATE_LIMITED .*  qwen  sg  route two ", refused)
    assert re.search(
        r"^\|  `- POST image generation +=+ +\d+\.\d ms  429  accepted  code Throttling\.RateQuota  ", limited
    )
    assert "attempt 2  after qwen/qwen-image-2.0 RATE_LIMITED  1 image  0.035 USD" in served
    assert re.search(r"^   \|- POST image generation .*  200  sent \d+ B  received \d+ B  id ", asked)
    assert fetched.endswith("<- submit POST image generation")


def test_a_call_is_found_by_the_beginning_of_its_trace_id(file):
    (call,) = documents(file, "--trace-id", "0x0AF7")
    assert call["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    # Its parent is the caller's span, which is nowhere here.
    assert call["parent_id"] == "b7ad6b7169203331"
    assert call == documents(file, "--request-id", "mine")[0]


def test_a_stream_of_speech_tells_when_the_first_audio_came_and_of_its_messages(file):
    (call,) = [one for one in documents(file, "--last", 4) if "Stream" in one["name"]]
    shown = run(file, "--trace-id", call["trace_id"]).stdout
    assert re.search(r"12 characters  0\.72 s of audio  0\.000156 USD  first audio after \d+ ms  34\.6 kB", shown)
    assert re.search(r"101  sent 4 messages \(\d+ B\)  received \d+ messages \(50\.\d kB\)  id sess_", shown)


def test_every_attribute_is_shown_on_demand(file):
    shown = run(file, "--request-id", "mine", "--full").stdout
    (call,) = documents(file, "--request-id", "mine")
    for key, value in call["children"][1]["attributes"].items():
        assert f"{key} = {value}" in shown


def test_bars_show_when_within_the_call_a_span_was_under_way(file):
    (call,) = documents(file, "--request-id", "mine")
    lines = run(file, "--request-id", "mine").stdout.splitlines()
    start = {number: line.index("=") for number, line in enumerate(lines)}
    assert start[0] <= start[1] < start[3] <= start[5]
    assert lines[0].count("=") == 24
    assert call["seconds"] >= sum(one["seconds"] for one in call["children"])


def test_a_call_that_is_not_there_is_an_error_with_a_hint(file):
    done = run(file, "--request-id", "nobody", code=ExitCode.FAILED)
    assert "There is no call with request id nobody" in done.stderr
    assert done.stdout == ""


def test_the_ways_to_name_a_call_exclude_each_other(file):
    run(file, "--last", 1, "--request-id", "mine", code=ExitCode.USAGE)
    run(file.parent / "missing", code=ExitCode.USAGE)


def test_a_line_that_is_being_written_is_left_for_later_and_one_that_is_no_span_is_told(file, tmp_path):
    lines = file.read_text().splitlines(keepends=True)
    other = tmp_path / "spans.jsonl"
    other.write_text("".join([*lines, lines[-1][:100]]))
    assert run(other).stdout == run(file).stdout
    other.write_text("".join([*lines, '{"kind": "SpanKind.SERVER", "name": 3}\n']))
    done = run(other)
    assert done.stdout == run(file).stdout
    assert "1 lines of" in done.stderr


def test_of_a_call_that_has_not_ended_there_is_what_has(file, tmp_path):
    lines = [line for line in file.read_text().splitlines(keepends=True) if "SpanKind.SERVER" not in line]
    other = tmp_path / "spans.jsonl"
    other.write_text("".join(lines))
    (call,) = documents(other, "--request-id", "mine")
    assert (call["name"], call["complete"]) == ("not ended yet", False)
    assert len(call["children"]) == 2
    run(other, code=ExitCode.FAILED)


async def test_a_running_service_can_be_asked(tmp_path):
    path = tmp_path / "spans.jsonl"
    async with DashScopeEmulator() as emulator:
        settings = settings_of(emulator, telemetry={"span_file": str(path)})
        async with server.running(settings) as service, stubs_of(service.target) as stubs:
            await stubs.images.GenerateImage(picture(request_id="mine"))
            await asyncio.sleep(0.5)
            done = await asyncio.to_thread(run, path)
    assert "request mine" in done.stdout


def test_a_terminal_has_colours_and_lines(file):
    command = f"{sys.executable} -m pixvox.cli trace {file} --request-id mine"
    shown = subprocess.run(
        ["script", "--quiet", "--command", command, "/dev/null"], capture_output=True, text=True, check=True
    ).stdout
    assert "\x1b[1;31mgenerate_content" in shown
    assert "└─ " in shown
    assert "━" in shown


def test_a_call_without_a_service_is_shown_without_what_a_service_needs(file):
    script = f"""if True:
        import sys
        from pixvox.cli import main
        try:
            main(["trace", {str(file)!r}])
        except SystemExit:
            pass
        print("modules:", *sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {"opentelemetry", "pixvox.server", "pixvox.telemetry"}.isdisjoint(done.stdout.rpartition(":")[2].split())


def test_every_attribute_that_is_worded_is_one_of_the_services():
    from pixvox.cli import span_facts, spans

    known = {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
    worded = {name for name, _ in span_facts._WORDS} | {spans.REQUEST_ID}
    assert worded <= known | {"pixvox.trace.kept"}


@pytest.mark.parametrize(("count", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_500_000, "2.5 MB")])
def test_a_size_is_short(count, shown):
    assert size(count) == shown
