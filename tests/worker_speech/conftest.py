"""What the tests of Qwen3-TTS share; without the package, as in every other environment, none of them is collected."""

from __future__ import annotations

import importlib.util
import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"

if importlib.util.find_spec("qwen_tts") is None:
    collect_ignore_glob = ["*.py"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A folder with one tiny checkpoint of each kind."""
    import torch

    from pixvox_worker.tiny import KINDS, build

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny")
    for kind in KINDS:
        build(kind, folder / kind)
    return folder


@pytest.fixture(scope="session")
def speaker(tiny):
    """A worker with the tiny CustomVoice, for tests that leave it as it was."""
    from serving_worker import serve

    with serve(tiny / "qwen3-tts-custom-voice") as client:
        yield client


@pytest.fixture(scope="session")
def designer(tiny):
    """A worker with the tiny VoiceDesign, for tests that leave it as it was."""
    from serving_worker import serve

    with serve(tiny / "qwen3-tts-voice-design") as client:
        yield client


@pytest.fixture(scope="session")
def cloner(tiny):
    """A worker with the tiny Base, for tests that leave it as it was."""
    from serving_worker import serve

    with serve(tiny / "qwen3-tts-base") as client:
        yield client
