"""Where redirects of a web function may lead, however they write it."""

from __future__ import annotations

import time

import pytest

from pixvox.errors import OutcomeUnknownError, ProviderConfigError
from pixvox.providers.modal.redirects import followed
from pixvox.providers.modal.refusals import ids_of
from pixvox.upstream import Reply

URL = "https://Mine--app.modal.run/process"
QUERY = "__modal_function_call_id=fc-1"


def redirect(location):
    return Reply(303, {"Location": location}, b"")


async def targets_of(*locations):
    """What is asked for after redirects to these places."""
    asked = []
    answers = [*map(redirect, locations[1:]), Reply(200, {}, b"")]

    async def ask(target):
        asked.append(target)
        return answers.pop(0)

    await followed(redirect(locations[0]), URL, ask, time.monotonic)
    return asked


@pytest.mark.parametrize(
    "location",
    [
        f"https://mine--app.modal.run/process?{QUERY}",
        f"https://mine--app.modal.run:443/process?{QUERY}",
        f"//mine--app.modal.run/process?{QUERY}",
        f"/process?{QUERY}",
        f"?{QUERY}",
    ],
)
async def test_the_same_host_may_be_written_in_many_ways(location):
    assert await targets_of(location, location) == [f"/process?{QUERY}"] * 2


@pytest.mark.parametrize(
    "location", [f"https://mine--app.modal.run:444/process?{QUERY}", f"https://evil.test/?{QUERY}"]
)
async def test_work_that_has_a_name_was_accepted_even_if_it_cannot_be_followed(location):
    for chain in ([location], [f"/process?{QUERY}", location]):
        with pytest.raises(OutcomeUnknownError) as raised:
            await targets_of(*chain)
        assert raised.value.metadata["replay"] == "accepted"


@pytest.mark.parametrize(
    "location", ["https://[::1", f"https://[::1?{QUERY}", "/login", "/process?a=\u00e9", "https://h:x/"]
)
async def test_what_is_no_place_is_not_followed(location):
    assert ids_of(redirect(location)).task == ""
    with pytest.raises(ProviderConfigError):
        await targets_of(location)
    with pytest.raises(OutcomeUnknownError):
        await targets_of(f"/process?{QUERY}", location)
