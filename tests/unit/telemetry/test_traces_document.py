"""The page about traces has every attribute of the service's own."""

from __future__ import annotations

import re
from pathlib import Path

from pixvox.telemetry import names, sampling

PAGE = (Path(__file__).parents[3] / "docs" / "observability.md").read_text()
TRACES = PAGE.partition("\n## Traces\n")[2].partition("\n## ")[0]


def test_every_attribute_of_our_own_is_told_and_no_other():
    constants = [*vars(names).items(), ("KEPT", sampling.KEPT), ("LOST", sampling.LOST)]
    known = {value for name, value in constants if name.isupper() and str(value).startswith("pixvox.")}
    assert set(re.findall(r"`(pixvox\.[a-z_.]+)`", TRACES)) == known
