"""The loop that sends again only what may be sent again."""

from __future__ import annotations

import datetime
from email.utils import format_datetime

import grpc
import pytest

from pixvox.errors import OutcomeUnknownError, ProviderUnavailableError
from pixvox.upstream import replay
from pixvox.upstream.replay import LostError, Replay, Reply, Safety, repeated

OK = Reply(200, {}, b"")
BUSY = Reply(503, {}, b"")
LIMITED = Reply(429, {}, b"")


@pytest.fixture
def waits(monkeypatch):
    """Time does not pass; what was waited is in the list."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(replay, "sleep", sleep)
    return waits


class Sender:
    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.numbers = []

    async def __call__(self, number):
        self.numbers.append(number)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def lost(replay=Replay.NOT_DISPATCHED):
    return LostError(replay, "reset", "broke the connection")


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("safety", Safety)
async def test_what_was_not_dispatched_is_sent_again_whatever_it_costs(safety):
    sender = Sender(lost(), lost(), OK)
    assert await repeated(sender, safety=safety, operation="test") is OK
    assert sender.numbers == [0, 1, 2]


@pytest.mark.usefixtures("waits")
async def test_a_billable_call_that_was_never_dispatched_says_so_after_three_attempts():
    sender = Sender(lost(), lost(), lost())
    with pytest.raises(ProviderUnavailableError) as caught:
        await repeated(sender, safety=Safety.BILLABLE, operation="test")
    assert caught.value.metadata == {"replay": "not_dispatched"}
    assert sender.numbers == [0, 1, 2]


async def test_a_billable_call_that_may_have_been_done_is_never_sent_again(waits):
    sender = Sender(lost(Replay.AMBIGUOUS), OK)
    with pytest.raises(OutcomeUnknownError, match=r"image generation.*billed") as caught:
        await repeated(sender, safety=Safety.BILLABLE, operation="image generation")
    assert caught.value.metadata == {"replay": "ambiguous"}
    assert caught.value.code is grpc.StatusCode.UNKNOWN
    assert sender.numbers == [0]
    assert waits == []


@pytest.mark.usefixtures("waits")
async def test_a_loss_after_one_that_was_not_dispatched_counts_as_what_it_is():
    sender = Sender(lost(), lost(Replay.AMBIGUOUS), OK)
    with pytest.raises(OutcomeUnknownError):
        await repeated(sender, safety=Safety.BILLABLE, operation="test")
    assert sender.numbers == [0, 1]


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize(
    ("safety", "error_class", "metadata"),
    [(Safety.FREE, ProviderUnavailableError, {}), (Safety.FOLLOW_UP, OutcomeUnknownError, {"replay": "accepted"})],
)
async def test_losing_a_question_about_accepted_work_does_not_look_as_if_nothing_had_been_done(
    safety, error_class, metadata
):
    sender = Sender(lost(Replay.AMBIGUOUS), lost(Replay.AMBIGUOUS), lost())
    with pytest.raises(error_class) as caught:
        await repeated(sender, safety=safety, operation="test")
    assert type(caught.value) is error_class
    assert caught.value.metadata == metadata


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_passing_status_is_asked_again_where_asking_is_free(status):
    passing = Reply(status, {}, b"")
    assert await repeated(Sender(passing, OK), safety=Safety.FREE, operation="test") is OK
    assert await repeated(Sender(passing, OK), safety=Safety.FOLLOW_UP, operation="test") is OK
    assert await repeated(Sender(passing, OK), safety=Safety.BILLABLE, operation="test") is passing


@pytest.mark.parametrize("safety", list(Safety))
async def test_a_429_that_the_vendors_rule_does_not_take_for_a_rate_limit_is_kept(safety, waits):
    def refusal(reply):
        return 1.0 if reply.body == b"rate" else None

    overdue = Reply(429, {}, b"bill overdue")
    sender = Sender(overdue)
    assert await repeated(sender, safety=safety, operation="test", refusal=refusal) is overdue
    assert (sender.numbers, waits) == ([0], [])


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 409, 501])
async def test_a_lasting_status_is_kept(status, waits):
    lasting = Reply(status, {}, b"")
    assert await repeated(Sender(lasting), safety=Safety.FREE, operation="test") is lasting
    assert waits == []


async def test_a_status_that_does_not_pass_is_returned_after_three_attempts(waits):
    sender = Sender(BUSY, BUSY, BUSY)
    assert await repeated(sender, safety=Safety.FREE, operation="test") is BUSY
    assert len(waits) == 2


@pytest.mark.usefixtures("waits")
async def test_a_refusal_is_sent_again_though_it_is_billable_and_other_replies_are_not():
    def refusal(reply):
        return 0.0 if reply.status == 429 else None

    sender = Sender(LIMITED, LIMITED, OK)
    assert await repeated(sender, safety=Safety.BILLABLE, operation="test", refusal=refusal) is OK
    sender = Sender(LIMITED, BUSY, OK)
    assert await repeated(sender, safety=Safety.BILLABLE, operation="test", refusal=refusal) is BUSY


async def test_a_refusal_says_how_long_to_wait_and_so_does_the_reply(waits):
    asking = Reply(429, {"Retry-After": "7"}, b"")
    sender = Sender(asking, LIMITED, OK)
    assert await repeated(sender, safety=Safety.BILLABLE, operation="test", refusal=lambda _: 3.0) is OK
    assert waits == [7.0, 3.0]


@pytest.mark.parametrize(("header", "seconds"), [("11", 0.0), ("", 10.1)])
async def test_who_would_have_to_wait_too_long_gets_the_reply_at_once(header, seconds, waits):
    asking = Reply(429, {"Retry-After": header}, b"")
    sender = Sender(asking, OK)
    assert await repeated(sender, safety=Safety.BILLABLE, operation="test", refusal=lambda _: seconds) is asking
    assert waits == []


async def test_waits_are_drawn_by_chance_and_their_limit_doubles(waits):
    for _ in range(200):
        await repeated(Sender(lost(), lost(), OK), safety=Safety.FREE, operation="test")
    first, second = waits[::2], waits[1::2]
    assert 0 <= min(first) < 0.05
    assert 0.45 < max(first) <= 0.5
    assert 0 <= min(second) < 0.1
    assert 0.9 < max(second) <= 1.0


async def test_another_error_ends_it_at_once(waits):
    with pytest.raises(ZeroDivisionError):
        await repeated(Sender(ZeroDivisionError()), safety=Safety.FREE, operation="test")
    assert waits == []


def test_retry_after_is_seconds_or_a_date():
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    assert Reply(429, {"Retry-After": " 12 "}, b"").retry_after == 12
    assert Reply(429, {"Retry-After": format_datetime(soon, usegmt=True)}, b"").retry_after == pytest.approx(30, abs=2)
    assert Reply(429, {"Retry-After": format_datetime(soon.replace(tzinfo=None))}, b"").retry_after == pytest.approx(
        30, abs=2
    )
    assert Reply(429, {"Retry-After": "Mon, 01 Jan 2001 00:00:00 GMT"}, b"").retry_after == 0


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5", "٣", "Mon, 99 Jan 2001 00:00:00 GMT"])
def test_a_retry_after_that_makes_no_sense_is_none(text):
    assert Reply(429, {"Retry-After": text}, b"").retry_after is None


@pytest.mark.parametrize("text", ["9" * 400, "86401", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_retry_after_beyond_a_day_is_a_day(text):
    assert Reply(429, {"Retry-After": text}, b"").retry_after == 86_400


def test_a_reply_shows_neither_its_headers_nor_its_body():
    assert repr(Reply(200, {"Set-Cookie": "a=b"}, b"secret")) == "Reply(status=200)"
