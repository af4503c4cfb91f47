"""Checks of pictures made: sizes, formats, counts, deliveries, seeds and prompts are what the capability table says."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from pixvox.errors import InvalidMediaError
from pixvox.limits import MAX_SEED, effective_size
from pixvox.media.images import mime_type_of, probed
from pixvox.testing.conformance import requests
from pixvox.testing.conformance.cases import GENERATE, PICTURES, each
from pixvox.testing.conformance.findings import Check, CheckSkippedError
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from pixvox.media.images import ImageFacts
    from pixvox.provider import Blob, ImageResult
    from pixvox.testing.conformance.cases import Case

_OWN_FACTS = "A Blob says of its file what is true: type, width and height, or 0 for unknown."
_SCRIPTS = 'Ein Leuchtturm — 灯塔 маяк \U0001f6a2 منارة\nzwei Zeilen, "quotes" & <tags>'


async def check_sizes(case: Case) -> None:
    """Ask for the smallest, the largest and the default size."""
    rule = case.output.size
    for name, size in requests.extreme_sizes(rule).items():
        asked = media_pb2.Size(width=size[0], height=size[1])
        shown = f"asked for {size[0]}x{size[1]} pixels, {name} that the table allows"
        _check_size(case, await case.pictured(size=asked), size, shown)
    result = await case.pictured(size=None)
    if rule.HasField("default_size"):
        default = (rule.default_size.width, rule.default_size.height)
        shown = f"asked for no size, for which the table says {default[0]}x{default[1]} pixels"
        _check_size(case, result, default, shown)
    else:
        _facts(case, result)


async def check_formats(case: Case) -> None:
    """Ask for each format, and for none."""
    for image_format in (media_pb2.IMAGE_FORMAT_UNSPECIFIED, *case.output.formats):
        wanted = mime_type_of(image_format or case.output.formats[0])
        result = await case.pictured(format=image_format)
        asked = media_pb2.ImageFormat.Name(image_format) if image_format else "no format"
        for facts in _facts(case, result):
            seen = f"asked for {asked}; the file is {facts.mime_type}"
            contract = "The file has the format that was asked for; without one, the first of the table."
            case.require(facts.mime_type == wanted, seen, contract)


async def check_counts(case: Case) -> None:
    """Ask for the most pictures of one call, and for no number."""
    for asked in (None, case.output.max_n):
        result = await case.pictured(n=asked)
        count, wanted = len(result.images), asked or 1
        warned = any(warning.field == "n" for warning in result.warnings)
        most = "" if asked is None else f", the most that the table allows (max_n {asked})"
        contract = "As many pictures come as were asked for; fewer only with a warning about n."
        fits = count == wanted or (0 < count < wanted and warned)
        case.require(fits, f"asked for {wanted} pictures{most}, and got {count}", contract)
        usage = result.receipt.usage
        if usage.HasField("images"):
            seen = f"gave {count} pictures and the usage says {usage.images}"
            case.require(usage.images >= count, seen, "usage.images counts every picture that was made.")


async def check_deliveries(case: Case) -> None:
    """Ask for each delivery."""
    for delivery in case.output.deliveries:
        result = await case.pictured(delivery=delivery)
        for blob in result.images:
            _check_delivery(case, delivery, blob)


async def check_seeds(case: Case) -> None:
    """Ask with equal and with different seeds."""
    if not case.output.takes_seed:
        raise CheckSkippedError(f"{case.model.id} takes no seed to {case.verb}")
    first, again, other = [(await case.pictured(seed=seed)).images for seed in (7, 7, MAX_SEED)]
    told = {blob.seed for blob in first} - {None}
    seen = f"asked with seed 7, and the picture says {', '.join(map(str, told))}"
    case.require(told <= {7}, seen, "A Blob's seed is the one that made it.")
    if case.output.deterministic:
        same = [blob.data for blob in first] == [blob.data for blob in again]
        contract = "deterministic says that equal requests with equal seeds give identical bytes."
        case.require(same, "two equal requests with seed 7 gave different files", contract)
    if case.verb == GENERATE and first[0].data:
        seen = f"seeds 7 and {MAX_SEED} gave the same file"
        case.require(first[0].data != other[0].data, seen, "takes_seed says that the seed makes a difference.")


async def check_prompts(case: Case) -> None:
    """Send the longest prompts, and one of many scripts."""
    longest, longest_negative = case.output.max_prompt_characters, case.output.max_negative_prompt_characters
    fields = {"prompt": _filled(f"{requests.PROMPT}, and gulls. ", longest)}
    if longest_negative:
        fields["negative_prompt"] = _filled("fog, ", longest_negative)
    await case.pictured(**fields)
    await case.pictured(prompt=_SCRIPTS[:longest])


CHECKS = (
    Check(
        "image-sizes",
        "Pictures have the size that was asked for, at both ends of what the table allows.",
        each(check_sizes, *PICTURES),
        calls=12,
    ),
    Check(
        "image-formats",
        "Every format of the table is made, and is what the file says.",
        each(check_formats, *PICTURES),
        calls=8,
    ),
    Check(
        "image-counts",
        "As many pictures come as were asked for, up to max_n.",
        each(check_counts, *PICTURES),
        calls=4,
    ),
    Check(
        "image-deliveries",
        "Every delivery of the table is given, with all that belongs to it.",
        each(check_deliveries, *PICTURES),
        calls=4,
    ),
    Check(
        "image-seeds",
        "Seeds are taken and told, and are deterministic where the table says so.",
        each(check_seeds, *PICTURES),
        calls=6,
    ),
    Check(
        "image-prompts",
        "The longest prompts of the table are taken, and every script.",
        each(check_prompts, *PICTURES),
        calls=4,
    ),
)


def _check_size(case: Case, result: ImageResult, size: tuple[int, int], shown: str) -> None:
    wanted = effective_size(*size, case.output.size)
    if result.effective_size is not None:
        seen = f"{shown}; effective_size is {'x'.join(map(str, result.effective_size))}"
        contract = "effective_size is what was asked of the provider after defaults, aliases and rounding."
        case.require(result.effective_size == wanted, seen, contract)
    warned = any(warning.field == "size" for warning in result.warnings)
    for facts in _facts(case, result):
        seen = f"{shown}; the picture has {facts.width}x{facts.height}"
        contract = "A picture has the size that was asked for; another one only with a warning about size."
        case.require((facts.width, facts.height) == wanted or warned, seen, contract)


def _facts(case: Case, result: ImageResult) -> list[ImageFacts]:
    """Return what is in the files, and report those that are no pictures or are called something else."""
    found = []
    case.require(bool(result.images), "gave no picture", "An image verb gives at least one.")
    for blob in result.images:
        if not blob.data:
            case.note("pictures that are handed on by address were not looked at")
            continue
        try:
            facts = probed(blob.data)
        except InvalidMediaError as error:
            description = error.violations[0].description
            case.require(False, f"gave {len(blob.data)} bytes that are no picture: {description}", _OWN_FACTS)
            continue
        found.append(facts)
        _check_blob(case, blob, facts)
    return found


def _check_blob(case: Case, blob: Blob, facts: ImageFacts) -> None:
    seen = f"the Blob says {blob.mime_type} and the file is {facts.mime_type}"
    case.require(blob.mime_type == facts.mime_type, seen, _OWN_FACTS)
    if blob.width or blob.height:
        seen = f"the Blob says {blob.width}x{blob.height} and the picture has {facts.width}x{facts.height}"
        case.require((blob.width, blob.height) == (facts.width, facts.height), seen, _OWN_FACTS)


def _check_delivery(case: Case, delivery: media_pb2.Delivery.ValueType, blob: Blob) -> None:
    asked = f"asked for {media_pb2.Delivery.Name(delivery)}"
    if delivery == media_pb2.DELIVERY_INLINE:
        case.require(
            bool(blob.data), f"{asked}: the Blob has no data", "DELIVERY_INLINE puts the bytes into the answer."
        )
        return
    seen = f"{asked}: the Blob's uri is {blob.uri[:60]!r}"
    case.require(blob.uri.startswith(("http://", "https://")), seen, "DELIVERY_URI gives an address.")
    expires = blob.expire_time
    if expires is None:
        case.note("addresses have no expire_time")
        return
    case.require(expires.tzinfo is not None, f"{asked}: expire_time has no zone", "expire_time is aware of its zone.")
    aware = expires if expires.tzinfo else expires.replace(tzinfo=datetime.UTC)
    fresh = aware > datetime.datetime.now(datetime.UTC)
    case.require(fresh, f"{asked}: expire_time is past", "An address works when it is given.")


def _filled(sentence: str, length: int) -> str:
    """Return a sentence so often that it has the length, but for blanks at its end."""
    return (sentence * (length // len(sentence) + 1))[:length].strip()
