"""Which contents of the settings file are taken over, which are refused, and what of them waits for a restart."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest
import structlog

from calling import until
from reloaded import SANDBOX, SLOW, SMALL, TWO, closed, reloaded, reloads, served, serving

__all__ = ["closed", "served"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[providers.sandbox\n", "pixvox.toml"),
        ("[server]\nnonsense = 1\n", "nonsense"),
        ('[providers.mine]\nkind = "nothing"\n', "providers.mine"),
        ('[providers.new]\nkind = "sandbox"\n[defaults]\nedit_image = "nobody"\n', "nobody"),
        ('[providers.sandbox]\nkind = "sandbox"\nfaults = "often"\n', "providers.sandbox"),
        ('[routes.fast]\nverbs = ["generate_image"]\ntargets = [{ to = "nobody" }]\n', "nobody"),
        ('[defaults]\ngenerate_image = "nobody"\n', "nobody"),
        ("[prices]\nfile = 'missing.toml'\n", "missing.toml"),
    ],
)
async def test_a_bad_file_leaves_the_old_one_running_and_is_reported_once(served, closed, text, named):
    before, provider = served.digest, served.provider()
    with structlog.testing.capture_logs() as logs:
        served.file.write_text(text)
        await until(lambda: any(line["event"] == "configuration refused" for line in logs))
        await asyncio.sleep(0.2)
        (line,) = [line for line in logs if line["event"] == "configuration refused"]
    assert line["log_level"] == "error"
    assert named in line["error"]
    assert line["digest"] == before
    assert served.digest == before
    assert served.provider() is provider
    assert provider not in closed
    # What was already made of the bad file is closed again.
    assert len(closed) == text.count("providers.new")
    assert await reloads(served, "refused") == 1
    assert (await served.stubs.images.GenerateImage(SMALL)).images
    await served.changed(SANDBOX.format("false"))
    assert served.digest != before


async def test_a_provider_whose_code_fails_leaves_the_old_one_running(served, monkeypatch):
    from pixvox.providers import sandbox

    def broken(*_: object) -> None:
        raise RuntimeError("no luck")

    before = served.digest
    monkeypatch.setattr(sandbox, "create", broken)
    served.file.write_text(SANDBOX.format("false"))
    await reloaded(served, "refused")
    assert served.digest == before
    monkeypatch.undo()
    await served.changed(SANDBOX.format("false") + "# again\n")
    assert served.digest != before


async def test_a_file_that_is_being_written_is_taken_when_it_is_whole(tmp_path):
    whole = TWO.format("true")
    async with serving(tmp_path / "pixvox.toml", SANDBOX.format("true"), watch_seconds=0.3) as served:
        before = served.running.current.generation
        # Each piece by itself would be taken, or refused.
        for end in range(10, len(whole), 2):
            served.file.write_text(whole[:end])
            await asyncio.sleep(0.01)
        served.file.write_text(whole)
        await until(lambda: served.running.current.generation is not before)
        assert [entry.name for entry in served.running.current.generation.entries] == ["sandbox", "other"]
        assert await reloads(served, "reloaded") == 1
        assert await reloads(served, "refused") == 0


async def test_a_file_behind_links_that_are_swapped_is_noticed(tmp_path):
    for name, text in (("one", SANDBOX.format("true")), ("two", SANDBOX.format("false"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pixvox.toml").write_text(text)
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "pixvox.toml").symlink_to("..data/pixvox.toml")
    async with serving(tmp_path / "pixvox.toml", SANDBOX.format("true")) as served:
        before = served.digest
        (tmp_path / "..new").symlink_to("two")
        (tmp_path / "..new").rename(tmp_path / "..data")
        await until(lambda: served.digest != before)


async def test_a_changed_comment_changes_nothing(served):
    before = served.running.current.generation
    served.file.write_text(SANDBOX.format("true") + "# a comment\n")
    await reloaded(served, "unchanged")
    assert served.running.current.generation is before


async def test_what_needs_a_restart_keeps_its_value_and_is_told(served):
    before = served.running.current.settings
    with structlog.testing.capture_logs() as logs:
        await served.changed(
            SANDBOX.format("false") + '[log]\nlevel = "debug"\n[fetch]\nseconds = 1.0\nmax_bytes = 5\n'
        )
        await until(lambda: any("restart" in line["event"] for line in logs))
    (line,) = [line for line in logs if line["event"] == "configuration needs a restart"]
    assert line["changed"] == ["fetch.seconds", "log.level"]
    now = served.running.current.settings
    assert (now.log, now.server, now.fetch.seconds) == (before.log, before.server, before.fetch.seconds)
    assert now.fetch.max_bytes == 5
    (line,) = [line for line in logs if line["event"] == "configuration reloaded"]
    assert line["changed"] == ["fetch.max_bytes", "providers.sandbox.faults"]
    assert line["digest"] == served.digest != line["old_digest"]


async def test_a_change_that_only_a_restart_takes_over_leaves_everything_as_it_is(served):
    before = served.running.current.generation
    with structlog.testing.capture_logs() as logs:
        served.file.write_text(SANDBOX.format("true") + "[server]\nreflection = false\n")
        await until(lambda: any("restart" in line["event"] for line in logs))
    assert served.running.current.generation is before


async def test_a_changed_secret_takes_over_and_is_told_nowhere(tmp_path):
    text = '[providers.qwen]\nkind = "dashscope"\napi_key = "hush-{}"\n'
    async with serving(tmp_path / "pixvox.toml", text.format(1)) as served:
        old, digest = served.provider("qwen"), served.digest
        with structlog.testing.capture_logs() as logs:
            await served.changed(text.format(2))
        assert served.provider("qwen") is not old
        assert served.digest == digest
    (line,) = [line for line in logs if line["event"] == "configuration reloaded"]
    assert line["changed"] == ["providers.qwen.api_key"]
    assert "hush" not in json.dumps(logs, default=str)


async def test_a_changed_price_file_takes_over(tmp_path):
    prices = tmp_path / "prices.toml"
    own = 'version = "{0}"\n[prices.sandbox.""]\ncurrency = "EUR"\nimage = {{ sandbox-image = "{1}" }}\n'
    prices.write_text(own.format("a", "1.5"))
    text = SANDBOX.format("true") + f"[prices]\nfile = '{prices}'\n"
    async with serving(tmp_path / "pixvox.toml", text) as served:
        before = served.running.current.generation
        prices.write_text(own.format("b", "2.5"))
        await until(lambda: served.running.current.generation is not before)
        assert served.digest != before.digest


async def test_deadlines_take_over(served):
    await served.changed(SANDBOX.format("true") + "[deadlines]\ngenerate_image = 0.2\n")
    with pytest.raises(grpc.RpcError) as raised:
        await served.stubs.images.GenerateImage(SLOW)
    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_without_watching_the_file_is_read_when_asked(tmp_path):
    async with serving(tmp_path / "pixvox.toml", SANDBOX.format("true"), watch_seconds=0) as served:
        before = served.digest
        served.file.write_text(SANDBOX.format("false"))
        await asyncio.sleep(0.3)
        assert served.digest == before
        served.ask.set()
        await until(lambda: served.digest != before)
