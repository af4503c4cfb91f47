"""Checks of editing: inputs are used, taken as the table says, and left as they are; masks hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import ImageChops, ImageStat

from pixvox.media.images import upright
from pixvox.provider import Blob
from pixvox.testing.conformance import requests
from pixvox.testing.conformance.cases import EDIT, PICTURES, each
from pixvox.testing.conformance.findings import Check, CheckSkippedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox.testing.conformance.cases import Case

# Of 255, in the part that a mask protects: what a lossy file differs by.
_MOST_DIFFERENCE = 12.0
_HUES = ("orange", "purple", "red", "yellow")


async def check_inputs(case: Case) -> None:
    """Edit different pictures, every format, and as many as are taken."""
    seed = {"seed": 7} if case.output.takes_seed else {}
    one, other = [
        (await case.pictured(hue=hue, prompt="Blur the picture a little", **seed)).images[0] for hue in _HUES[:2]
    ]
    seen = "two different pictures became the same one by the same instruction"
    different = not one.data or one.data != other.data
    case.require(different, seen, "edit_image changes the pictures that it is given.")
    for mime_type in case.model.edit_image.input_mime_types:
        await _edited(case, [requests.input_for(case.model, mime_type)])
    count = case.model.edit_image.max_images
    await _edited(case, [requests.input_for(case.model, hue=_HUES[index % len(_HUES)]) for index in range(count)])


async def check_masks(case: Case) -> None:
    """Edit with a mask that protects the right half."""
    if not case.model.edit_image.takes_mask:
        raise CheckSkippedError(f"{case.model.id} takes no mask")
    source = requests.input_for(case.model)
    mask = requests.left_half_mask(source.width, source.height)
    request = requests.editing(case.model, source, mask=mask)
    result = await case.served(lambda: case.trial.editing(request, [source], mask, case.model))
    _check_mask(case, source, result.images[0])


async def check_untouched(case: Case) -> None:
    """Look whether a verb changes what it is given."""
    contract = "Requests, models and inputs are the caller's; a verb reads them and changes nothing."
    model = case.model.SerializeToString(deterministic=True)
    request, make = case.asking()
    kept = request.SerializeToString(deterministic=True)
    if case.verb == EDIT:
        source = requests.input_for(case.model)
        copy = Blob(source.mime_type, bytes(bytearray(source.data)), width=source.width, height=source.height)
        given = [source]
        change = requests.editing(case.model, source)
        await case.served(lambda: case.trial.editing(change, given, None, case.model))
        case.require(given == [copy], "the inputs are others after the call", contract)
    await case.served(make)
    case.require(
        request.SerializeToString(deterministic=True) == kept, "the request is changed after the call", contract
    )
    same = case.model.SerializeToString(deterministic=True) == model
    case.require(same, "the model is changed after the call", contract)


CHECKS = (
    Check(
        "edit-inputs", "Inputs are used, in every format of the table, up to max_images.", each(check_inputs, EDIT), 10
    ),
    Check("edit-masks", "What a mask protects stays as it is.", each(check_masks, EDIT), 1),
    Check(
        "inputs-untouched",
        "Requests, models and input pictures are left as they are.",
        each(check_untouched, *PICTURES),
        calls=3,
    ),
)


async def _edited(case: Case, images: Sequence[Blob]) -> None:
    request = requests.editing(case.model, *images)
    await case.served(lambda: case.trial.editing(request, images, None, case.model))


def _check_mask(case: Case, source: Blob, result: Blob) -> None:
    if not result.data:
        case.note("pictures that are handed on by address were not looked at")
        return
    before, after = upright(source.data).convert("RGB"), upright(result.data).convert("RGB")
    if before.size != after.size:
        case.note(
            f"the result has {after.width}x{after.height} pixels instead of the input's, so the mask was not looked at"
        )
        return
    # A margin, because some blur the edge of a mask.
    protected = (before.width * 5 // 8, 0, before.width, before.height)
    difference = max(ImageStat.Stat(ImageChops.difference(before.crop(protected), after.crop(protected))).mean)
    seen = f"the part that the mask protects was changed, by {difference:.0f} of 255 on the average"
    case.require(difference <= _MOST_DIFFERENCE, seen, "Only where a mask is not black may the picture change.")
    free = (0, 0, before.width * 3 // 8, before.height)
    if ImageChops.difference(before.crop(free), after.crop(free)).getbbox() is None:
        case.note(f"{case.model.id} changed nothing where the mask allows it")
