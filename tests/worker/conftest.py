"""What the worker's tests share; without torch, as in the environment of the service, none of them is collected."""

from __future__ import annotations

import importlib.util
import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["*.py"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A folder with one tiny pipeline of each kind."""
    import torch

    from pixvox_worker.tiny import KINDS, build

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny")
    for kind in KINDS:
        build(kind, folder / kind)
    return folder


@pytest.fixture(scope="session")
def editor(tiny):
    """A worker with the tiny Qwen-Image-Edit, for tests that leave it as it was."""
    from serving_worker import serve

    with serve(tiny / "qwen-image-edit") as worker:
        yield worker


@pytest.fixture(scope="session")
def painter(tiny):
    """A worker with the tiny Qwen-Image, for tests that leave it as it was."""
    from serving_worker import serve

    with serve(tiny / "qwen-image") as worker:
        yield worker
