"""deploy/modal_app.py: it needs no token, asks Modal for the right things, and what it deploys is the worker."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import io
import re
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from dataclasses import asdict, fields

import aiohttp
import pytest
from modal.cli.import_refs import import_app_from_ref, list_cli_commands, parse_import_ref
from PIL import Image

from deployed import DEPLOY, ROOT
from fake_worker import free_port, served
from pixvox_worker.app import create_app
from pixvox_worker.engines.fake import FakeEngine
from pixvox_worker.settings import Settings, SettingsError

VARIABLES = {field.name.upper() for field in fields(Settings)}


@pytest.fixture
def imported(monkeypatch, tmp_path):
    """Imports the file as `modal deploy` would with these variables, on a machine that has no token."""
    monkeypatch.setenv("MODAL_CONFIG_PATH", str(tmp_path / "none.toml"))
    for name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET", *VARIABLES):
        monkeypatch.delenv(name, raising=False)

    def load(file=DEPLOY / "modal_app.py", **environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        name = f"modal_app_{uuid.uuid4().hex}"
        spec = importlib.util.spec_from_file_location(name, file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def local(module):
    """What a container of the web function would serve."""
    with pytest.warns(UserWarning, match="will not have access to the mounted Volume"):
        return module.web.local()


def png():
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    return buffer.getvalue()


async def test_the_web_function_is_the_worker_and_makes_and_edits_pictures(imported):
    module = imported(ENGINE="fake", MODEL_NAME="Qwen/Qwen-Image-Edit")
    async with served(local(module)) as client:
        async with client.get("/health") as answer:
            assert answer.status == 200
            assert (await answer.json())["engine"] == "fake"
        body = {"prompt": "a cat", "size": "64x64", "num_inference_steps": 2, "seed": 1}
        async with client.post("/v1/images/generations", json=body) as answer:
            assert answer.status == 200
            made = (await answer.json())["data"][0]["b64_json"]
        assert Image.open(io.BytesIO(base64.b64decode(made))).size == (64, 64)
        form = aiohttp.FormData({"prompt": "make it blue", "options": '{"steps": 2, "seed": 1}'})
        form.add_field("image", png(), filename="image.png", content_type="image/png")
        async with client.post("/process", data=form) as answer:
            assert answer.status == 200
            edited = await answer.json()
        assert edited["success"]
        assert Image.open(io.BytesIO(base64.b64decode(edited["processed_image"]))).size == (64, 64)


async def test_the_worker_on_modal_asks_for_its_key(imported):
    module = imported(ENGINE="fake", API_KEY="k-1")
    async with served(local(module)) as client:
        async with client.get("/v1/models") as answer:
            assert answer.status == 401
        async with client.get("/v1/models", headers={"Authorization": "Bearer k-1"}) as answer:
            assert answer.status == 200


async def test_a_container_has_started_when_its_model_is_loaded(imported):
    module = imported(ENGINE="fake")
    loading, go_on = threading.Event(), threading.Event()

    class Slow(FakeEngine):
        def load(self):
            loading.set()
            assert go_on.wait(60)

    application = create_app(module.SETTINGS, Slow(module.SETTINGS))

    async def first_answer():
        async with (
            served(module.ReadyFirst(application, application.state.worker.inference)) as client,
            client.get("/health") as answer,
        ):
            return answer.status

    starting = asyncio.create_task(first_answer())
    assert await asyncio.to_thread(loading.wait, 60)
    await asyncio.sleep(0.3)
    assert not starting.done()
    go_on.set()
    assert await starting == 200


async def test_a_container_whose_model_cannot_be_loaded_does_not_start(imported):
    module = imported(ENGINE="fake")

    class Broken(FakeEngine):
        def load(self):
            message = "no weights"
            raise RuntimeError(message)

    application = create_app(module.SETTINGS, Broken(module.SETTINGS))
    ready_first = module.ReadyFirst(application, application.state.worker.inference)
    given: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    told: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    given.put_nowait({"type": "lifespan.startup"})
    task = asyncio.create_task(ready_first({"type": "lifespan", "asgi": {"version": "3.0"}}, given.get, told.put))
    assert (await told.get())["type"] == "lifespan.startup.failed"
    given.put_nowait({"type": "lifespan.shutdown"})
    await task


async def test_the_server_starts_the_worker_waits_for_its_model_and_ends_it(imported, monkeypatch):
    module = imported(ENGINE="fake", MODEL_NAME="Qwen/Qwen-Image-Edit")
    monkeypatch.setattr(module, "PORT", free_port())
    container = module.Server._get_user_cls()()
    await container.start()
    try:
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{module.PORT}/health") as answer:
            assert (await answer.json())["status"] == "ready"
    finally:
        await container.stop()
    assert container.process._process.returncode in (0, -signal.SIGTERM)


async def test_a_worker_that_ends_at_once_fails_the_start_of_the_server(imported):
    module = imported(ENGINE="fake", MAX_STEPS="200")
    process = module.WorkerProcess(free_port())
    process._environment["MAX_STEPS"] = "none"
    with pytest.raises(RuntimeError, match="before it was ready"):
        await process.start()


def test_the_web_function_asks_modal_for_what_the_worker_needs(imported):
    module = imported(MODEL_NAME="Qwen/Qwen-Image-Edit", MAX_CONCURRENT_REQUESTS="5")
    asked = module.web.info()
    assert module.app.name == "pixvox-qwen-image-edit"
    assert not asked.web_info.unauthenticated
    assert asked.concurrency_info.max_inputs == 5
    assert asked.gpus == [("A100-80GB", 1)]
    assert [mount.name for mount in asked.volumes.values()] == ["pixvox-weights"]
    assert list(asked.volumes) == ["/cache"]
    assert asked.startup_timeout == 900
    # What may wait the longest and then work the longest still gets the worker's own answer.
    assert asked.timeout == 300 + 600 + 60
    assert asked.max_retries is None


def test_the_server_asks_modal_for_what_the_worker_needs(imported):
    module = imported(MODEL_NAME="Qwen/Qwen-Image-Edit", MAX_CONCURRENT_REQUESTS="5")
    asked = module.Server.info()
    assert module.server_app.name == "pixvox-qwen-image-edit-server"
    assert not asked.unauthenticated
    assert asked.gpus == [("A100-80GB", 1)]
    assert asked.port == module.PORT == 8000
    assert asked.startup_timeout == 900
    assert asked.exit_grace_period == 120
    assert list(asked.volumes) == ["/cache"]


@pytest.mark.parametrize(("reference", "name"), [("", ""), ("::server_app", "-server")])
def test_the_commands_in_the_file_find_what_they_deploy(imported, monkeypatch, reference, name):
    assert f"modal deploy deploy/modal_app.py{reference} " in (DEPLOY / "modal_app.py").read_text()
    imported()
    # Where modal's command line leaves its traces.
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "modal_app", None)
    found = import_app_from_ref(parse_import_ref(f"{DEPLOY / 'modal_app.py'}{reference}"), base_cmd="modal deploy")
    assert found.name == f"pixvox-qwen-image-edit{name}"


def test_fetching_weights_starts_nothing_else(imported):
    module = imported()
    (command,) = [one for one in list_cli_commands(vars(module)) if "fetch" in one.names]
    assert command.names == ["fetch", "fetch_app.fetch"]
    others = [name for one in list_cli_commands(vars(module)) for name in one.names if name.startswith("fetch_app.")]
    assert others == ["fetch_app.fetch"]
    assert module.fetch.info().gpus in (None, [])


def test_the_environment_of_the_deployment_decides(imported):
    module = imported(
        MODEL_NAME="Qwen/Qwen-Image-2512",
        REQUEST_TIMEOUT="100",
        MAX_QUEUE_SECONDS="20",
        DEPLOY_APP="drawing",
        DEPLOY_GPU="H200, H100",
        DEPLOY_VOLUME="weights",
        DEPLOY_STARTUP_TIMEOUT="120",
        DEPLOY_REGION="eu-west",
        DEPLOY_ROUTING_REGION="eu-west",
        DEPLOY_SECRET="worker-key",
    )
    asked = module.web.info()
    assert module.app.name == "drawing"
    assert [kind for kind, _ in asked.gpus] == ["H200", "H100"]
    assert asked.volumes["/cache"].name == "weights"
    assert (asked.startup_timeout, asked.timeout) == (120, 180)
    assert asked.regions == ["eu-west"]
    assert any("worker-key" in secret for secret in asked.secrets)
    server = module.Server.info()
    assert (server.routing_region, server.compute_regions) == ("eu-west", ["eu-west"])


@pytest.mark.parametrize("name", ["Qwen3-TTS-12Hz-1.7B-CustomVoice", "Qwen3-TTS-12Hz-1.7B-VoiceDesign"])
def test_a_speech_checkpoint_gets_its_own_app_packages_and_gpu(imported, name):
    module = imported(MODEL_NAME=f"Qwen/{name}")
    assert module.app.name == "pixvox-" + re.sub("[^a-z0-9]+", "-", name.lower())
    assert module.web.info().gpus == [("A10", 1)]
    assert [file.name for file in module.LOCKS] == ["worker-speech.txt", "worker-speech-no-deps.txt"]


def test_a_worker_without_gpu_asks_for_none(imported):
    assert not imported(DEVICE="cpu").web.info().gpus


def test_a_container_reads_what_the_deployment_read(imported, monkeypatch, tmp_path):
    given = {"MODEL_NAME": "Qwen/Qwen-Image-2512", "DTYPE": "float16", "DEPLOY_GPU": "H200", "DEPLOY_OFFLINE": "false"}
    first = imported(**given, API_KEY="k-1", DEPLOY_MAX_CONTAINERS="3")
    assert "API_KEY" not in first.ENVIRONMENT
    for name in (*given, "API_KEY", "DEPLOY_MAX_CONTAINERS"):
        monkeypatch.delenv(name)
    # In a container the file lies alone, without the lock files.
    alone = tmp_path / "root" / "modal_app.py"
    alone.parent.mkdir()
    shutil.copy(DEPLOY / "modal_app.py", alone)
    second = imported(alone, **first.ENVIRONMENT)
    assert asdict(second.DEPLOYMENT) == asdict(first.DEPLOYMENT)
    assert second.SETTINGS.model_name == "Qwen/Qwen-Image-2512"
    assert second.SETTINGS.dtype == first.SETTINGS.dtype
    assert second.web.info().gpus == first.web.info().gpus


def test_weights_come_from_the_volume_alone_unless_told_otherwise(imported):
    assert imported().ENVIRONMENT["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in imported(DEPLOY_OFFLINE="no").ENVIRONMENT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEPLOY_MAX_CONTAINERS", "many"),
        ("DEPLOY_MIN_CONTAINERS", "-1"),
        ("DEPLOY_OFFLINE", "perhaps"),
        ("MAX_STEPS", "0"),
    ],
)
def test_a_value_that_does_not_fit_stops_the_deployment(imported, name, value):
    with pytest.raises((ValueError, SettingsError), match=name):
        imported(**{name: value})


def test_modal_installs_the_torch_and_the_locks_of_the_container(imported):
    module = imported()
    torch = re.search(r"^torch==.*$", (ROOT / "requirements" / "worker.in").read_text(), re.MULTILINE)
    assert torch is not None
    assert torch.group() == module.TORCH
    assert f'ARG TORCH="{module.TORCH}"' in (ROOT / "Dockerfile").read_text()
    assert all(file.is_file() for file in module.LOCKS)


def test_the_file_is_imported_without_token_or_network_in_a_process_of_its_own(tmp_path):
    script = (
        "import socket, sys\n"
        "def refuse(*args): raise AssertionError('a connection')\n"
        "socket.socket.connect = refuse\n"
        f"sys.path.insert(0, {str(DEPLOY)!r})\n"
        "import modal_app\n"
        "print(modal_app.app.name)\n"
    )
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONWARNINGS": "error",
    }
    answer = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert (answer.stdout, answer.stderr) == ("pixvox-qwen-image-edit\n", "")
