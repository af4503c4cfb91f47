"""The lock files of the workers' images: they pin and hash everything but torch, and are those of what is asked for."""

from __future__ import annotations

import re

import pytest

from deployed import DEPLOY, ROOT

REQUIREMENTS = ROOT / "requirements"
LOCKS = ["worker", "worker-speech", "worker-speech-no-deps"]
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+?)(?: \\)?$", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    return dict(PIN.findall((REQUIREMENTS / name).read_text()))


@pytest.mark.parametrize("name", LOCKS)
def test_what_is_asked_for_is_what_is_locked(name):
    """`make lock` after a change."""
    asked = pins(f"{name}.in")
    assert asked
    assert {package: version for package, version in asked.items() if package != "torch"}.items() <= pins(
        f"{name}.txt"
    ).items()


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_a_hash(name):
    text = (REQUIREMENTS / f"{name}.txt").read_text()
    for package, version in pins(f"{name}.txt").items():
        assert re.search(
            rf"^{re.escape(package)}=={re.escape(version)} \\\n    --hash=sha256:[0-9a-f]{{64}}", text, re.MULTILINE
        )


@pytest.mark.parametrize("name", LOCKS)
def test_torch_and_what_belongs_to_one_build_of_it_are_left_to_the_image(name):
    apart = re.compile("torch|torchvision|torchaudio|triton|nvidia-.*")
    assert not [package for package in pins(f"{name}.txt") if apart.fullmatch(package)]
    assert "://" not in (REQUIREMENTS / f"{name}.txt").read_text()


def test_no_image_is_told_where_packages_come_from():
    text = (ROOT / "Dockerfile").read_text() + (DEPLOY / "compose.yaml").read_text()
    assert not re.search("index.url|find.links", text, re.IGNORECASE)


def test_the_steps_by_hand_install_the_locks_of_the_images():
    dockerfile = (ROOT / "Dockerfile").read_text()
    script = (ROOT / "scripts" / "try_worker_image.sh").read_text()
    installed = re.findall(r"--requirement /tmp/requirements/(\S+)", dockerfile)
    assert sorted(installed) == sorted(f"{name}.txt" for name in LOCKS)
    tried = re.findall(r'^install "\$folder/app" (.*)$', script, re.MULTILINE)
    assert sorted(" ".join(tried).split()) == sorted(installed)


def test_the_documentation_knows_every_variable_of_a_deployment_to_modal():
    text = (ROOT / "docs" / "deploy.md").read_text()
    source = (DEPLOY / "modal_app.py").read_text()
    (fields,) = re.findall(r"^class Deployment:\n(.*?)^def ", source, re.MULTILINE | re.DOTALL)
    names = {f"DEPLOY_{name.upper()}" for name in re.findall(r"^    (\w+): (?:str|int|bool) = ", fields, re.MULTILINE)}
    assert names == set(re.findall(r"`(DEPLOY_\w+)`", text))
