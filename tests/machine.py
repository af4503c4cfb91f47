"""What tests need of the machine: without it they are skipped on a developer's, and fail in CI, which installs it."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def lacks(program: str, package: str) -> NoReturn:
    """End the test because a program of a Debian package is not there."""
    if os.environ.get("CI"):
        pytest.fail(f"{program} is not installed; .ci/run installs the Debian package {package}")
    pytest.skip(f"{program} is not installed; the Debian package {package} has it")
