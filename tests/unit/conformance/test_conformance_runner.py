"""A check ends, whatever the provider does, and says what kept it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

import pytest

from pixvox.testing.conformance import Check, Hints, Result, Subject, chosen, run, run_one

pytestmark = pytest.mark.usefixtures("third_party_kinds")


def one(name: str) -> Check:
    [check] = chosen([name])
    return check


def bad(*lies: str, seconds: float = 1.0) -> Subject:
    return Subject("bad", {"lies": list(lies)}, seconds=seconds)


def test_a_provider_that_holds_the_event_loop_is_left_behind_with_the_line_at_which_it_is() -> None:
    started = time.monotonic()
    outcome = run_one(bad("holds"), one("receipts"), held_seconds=1.0)

    assert time.monotonic() - started < 10
    assert outcome.result is Result.FAIL
    [finding] = outcome.findings
    assert "holds up the event loop at bad_pixvox/pictures.py:" in finding.seen
    assert finding.seen.endswith("in hold")
    assert finding.contract == "A provider leaves the event loop to others: what blocks goes into a thread."


def test_a_call_that_cannot_be_cancelled_does_not_keep_the_check() -> None:
    started = time.monotonic()
    outcome = run_one(bad("stubborn"), one("image-cancel"))

    assert time.monotonic() - started < 20
    assert outcome.result is Result.FAIL


def test_a_call_without_an_end_is_given_up_after_its_time() -> None:
    outcome = run_one(Subject("bad", {"seconds": 600.0}, seconds=0.3), one("image-formats"))

    assert outcome.result is Result.FAIL
    assert {finding.seen for finding in outcome.findings} == {"did not end within 0.3 s"}
    assert outcome.seconds < 10


def test_a_provider_that_cannot_be_created_fails_once_and_leaves_the_rest_out() -> None:
    outcomes = list(run(bad("create-raises"), chosen(["table", "image"])))

    assert outcomes[0].result is Result.FAIL
    [finding] = outcomes[0].findings
    assert finding.seen.startswith(
        "raised ZeroDivisionError: the provider cannot be created (at bad_pixvox/__init__.py:"
    )
    assert finding.method == "create, Config and models()"
    assert {outcome.result for outcome in outcomes[1:]} == {Result.SKIP}
    assert outcomes[1].notes == ("left out because of what table found",)


def test_a_provider_that_is_not_ready_is_not_called() -> None:
    outcome, *rest = run(bad("unready"), chosen(["image"]))

    assert [finding.seen for finding in outcome.findings] == ["is not ready: It has no key."]
    assert outcome.calls == 0
    assert {one.result for one in rest} == {Result.SKIP}


def test_a_wrong_setting_is_named() -> None:
    outcome = run_one(Subject("bad", {"colour": "red"}), one("table"))

    assert [finding.seen for finding in outcome.findings] == ["providers.bad: Object contains unknown field `colour`"]


def test_a_kind_that_is_not_there_is_named() -> None:
    outcome = run_one(Subject("nobody"), one("table"))

    [finding] = outcome.findings
    assert finding.seen.startswith("there is no provider kind 'nobody'; there are: bad, dashscope, good")


def test_a_model_that_is_not_there_leaves_a_check_out() -> None:
    outcome = run_one(Subject("good", models=("nobody",)), one("receipts"))

    assert outcome.result is Result.SKIP
    assert "none of the chosen models has generate_image" in outcome.notes[0]


def test_all_models_are_called_if_all_are_chosen() -> None:
    first = run_one(Subject("dashscope"), one("image-counts"))
    every = run_one(Subject("dashscope", models=("all",)), one("image-counts"))

    assert first.calls == 4
    assert every.calls > 40
    assert every.result is Result.PASS


def test_a_fault_of_the_kit_is_told_from_one_of_the_provider() -> None:
    async def broken(_: object) -> None:
        raise LookupError("the check is broken")

    outcome = run_one(Subject("good"), Check("broken", "Nothing.", broken))

    # It was raised here, which is neither; what matters is that it comes out as a failure.
    assert outcome.result is Result.FAIL
    assert "raised LookupError: the check is broken" in outcome.findings[0].seen


def test_checks_leave_no_thread_of_a_good_provider_behind() -> None:
    before = set(threading.enumerate())
    list(run(Subject("good"), chosen(["image-cancel", "speech-cancel", "close"])))

    time.sleep(0.1)
    assert {thread.name for thread in threading.enumerate()} - {thread.name for thread in before} == set()


def test_tasks_of_an_emulator_are_not_blamed_on_the_provider() -> None:
    @contextlib.asynccontextmanager
    async def busy():
        async def spawn() -> None:
            while True:
                tasks.append(asyncio.create_task(asyncio.sleep(600)))
                await asyncio.sleep(0.005)

        tasks: list[asyncio.Task] = []
        spawning = asyncio.create_task(spawn())
        yield Hints(free=True)
        for task in (spawning, *tasks):
            task.cancel()

    outcome = run_one(Subject("good", hints=busy), one("tasks"))

    assert outcome.result is Result.PASS, outcome.findings


def test_hints_that_are_none_are_named() -> None:
    outcome = run_one(Subject("good", hints=lambda: "free"), one("table"))  # type: ignore[arg-type, return-value]

    assert outcome.result is Result.FAIL
    assert "conformance() gives str instead of Hints" in outcome.findings[0].seen


def test_a_secret_of_the_settings_is_in_no_report() -> None:
    table = {"lies": ["tells-key"], "api_key": "sk-very-secret"}
    outcome = run_one(Subject("bad", table), one("errors-odd-requests"))

    assert outcome.result is Result.FAIL
    assert "KeyError: 'no [secret]'" in outcome.findings[0].seen
    assert "sk-very-secret" not in str(outcome)
