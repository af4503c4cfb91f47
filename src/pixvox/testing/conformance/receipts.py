"""Checks of what comes beside pictures and sound: receipts that can be billed, warnings that can be read."""

from __future__ import annotations

import decimal
from typing import TYPE_CHECKING

from pixvox.provider import Located
from pixvox.testing.conformance import requests
from pixvox.testing.conformance.cases import CLONE, DESIGN, EDIT, GENERATE, PICTURES, SPEECH, each
from pixvox.testing.conformance.findings import Check
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pixvox.testing.conformance.cases import Case

_UNITS = {
    GENERATE: ("images",),
    EDIT: ("images",),
    SPEECH: ("characters", "audio_duration"),
    CLONE: ("voices", "characters"),
    DESIGN: ("voices", "characters"),
}
_WARNING = "A warning has a reason, the path of its field, and a sentence that does not repeat the caller's words."
# What another kind of provider reads.
_FOREIGN = {"provider_options": {"somebody-else": {"depth": 3}}}


async def check_receipts(case: Case) -> None:
    """Make one call and look at its receipt."""
    if case.verb != SPEECH:
        check_receipt(case, (await case.pictured()).receipt)
        return
    spoken = await case.said()
    for receipt in spoken.receipts:
        check_receipt(case, receipt)
        if receipt.usage.HasField("audio_duration"):
            told = receipt.usage.audio_duration.ToMicroseconds() / 1e6
            seen = f"spoke for {spoken.seconds:.2f} s and the usage says {told:.2f} s"
            near = abs(told - spoken.seconds) <= max(0.05, spoken.seconds * 0.02)
            case.require(near, seen, "usage.audio_duration is the length of the audio.")


async def check_warnings(case: Case) -> None:
    """Ask for all that a request can ask for, and for the options of somebody else."""
    if case.verb == SPEECH:
        takes = case.model.stream_speech.takes_instructions
        how = {"instructions": f"Speak calmly, {requests.MARK}"} if takes else {}
        spoken = await case.said(f"{case.sentence} {requests.MARK}.", **how, **_FOREIGN)
        _check_warnings(case, spoken.warnings)
        return
    fields: dict[str, object] = {"watermark": False, "prompt_extend": False, **_FOREIGN}
    if case.output.max_negative_prompt_characters >= len(requests.MARK):
        fields["negative_prompt"] = requests.MARK
    prompt = f"{requests.MARK} {requests.PROMPT}"
    _check_warnings(case, (await case.pictured(prompt=prompt, **fields)).warnings)
    _check_warnings(case, (await case.pictured(prompt=prompt, prompt_extend=True, watermark=True)).warnings)


CHECKS = (
    Check(
        "receipts",
        "Every answer has a receipt with its usage.",
        each(check_receipts, *PICTURES, SPEECH),
        calls=3,
    ),
    Check(
        "warnings",
        "What is done otherwise than asked is said in warnings that can be read.",
        each(check_warnings, *PICTURES, SPEECH),
        calls=5,
    ),
)


def check_receipt(case: Case, receipt: media_pb2.Receipt) -> None:
    """Report what is wrong with the receipt of a call."""
    units = {field.name for field, _ in receipt.usage.ListFields()}
    wanted = _UNITS[case.verb]
    seen = f"the receipt's usage has {', '.join(sorted(units)) or 'no unit'}; it could have {' or '.join(wanted)}"
    contract = "A receipt has the usage in the units that the provider bills, or nothing can be priced."
    case.require(bool(units.intersection(wanted)), seen, contract)
    provider = case.trial.entry.provider
    if isinstance(provider, Located):
        seen = f"the provider is in region {provider.region!r} and the receipt says {receipt.region!r}"
        case.require(receipt.region in {"", provider.region}, seen, "Receipts name the provider's region.")
    if receipt.HasField("cost"):
        seen = f"the receipt's cost is {receipt.cost.amount!r} {receipt.cost.currency!r}"
        contract = "A cost that is PRICED is a decimal number of at least 0 in a currency of three letters."
        case.require(_is_cost(receipt.cost), seen, contract)


def _check_warnings(case: Case, warnings: Iterable[media_pb2.Warning]) -> None:
    for warning in warnings:
        whole = bool(warning.reason and warning.message.strip()) and requests.MARK not in warning.message
        # That an instruction names nothing to do is about no field.
        placed = bool(warning.field) or warning.reason == media_pb2.WARNING_REASON_NOTHING_APPLIED
        reason = media_pb2.WarningReason.Name(warning.reason)
        seen = f"a warning has the reason {reason}, the field {warning.field!r} and the message {warning.message!r}"
        case.require(whole and placed, seen, _WARNING)


def _is_cost(cost: media_pb2.Cost) -> bool:
    if cost.state != media_pb2.COST_STATE_PRICED:
        return cost.state == media_pb2.COST_STATE_UNPRICED
    try:
        return decimal.Decimal(cost.amount) >= 0 and len(cost.currency) == 3 and cost.currency.isupper()
    except decimal.InvalidOperation:
        return False
