"""Two providers of other distributions, one that keeps its contract and one that breaks it as it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import third_party

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory):
    return third_party.install(tmp_path_factory.mktemp("distributions"))


@pytest.fixture(scope="module")
def third_party_kinds(distributions) -> Iterator[None]:
    with third_party.importable(distributions):
        yield
