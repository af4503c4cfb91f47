"""The worker on Modal: the application of the container, as a web function or as a Server; docs/deploy.md tells how.

    modal run deploy/modal_app.py::fetch           # the weights into a volume, once per checkpoint
    modal deploy deploy/modal_app.py               # a web function: calls wait in Modal's queue
    modal deploy deploy/modal_app.py::server_app   # a Server: no queue, and streams of any kind and length

One app serves one checkpoint, MODEL_NAME. The worker's own variables and those of `Deployment` are read where this is run,
and travel with the containers.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
import sys
import urllib.request
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import modal

from pixvox_worker.settings import Device, EngineKind, Settings, from_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# As in requirements/worker.in; the wheels of PyPI bring CUDA along.
TORCH = "torch==2.13.0"
CACHE = "/cache"
REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
PORT = 8000
# Modal kills a Server that is still there 30 seconds after SIGTERM.
SERVER_GRACE = 20.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """One field per variable, whose name is the field's in capitals behind `DEPLOY_`. Times are seconds.

    Source of what they mean: `modal.App.function` and `modal.App.server` of the SDK 1.6.4.
    """

    app: str = ""
    """Name of the app; from the model's unless set."""
    gpu: str = ""
    """One kind, or several parted by commas in order of preference; by what the model makes unless set."""
    volume: str = "pixvox-weights"
    secret: str = ""
    """Name of the Modal secret that holds API_KEY. Without one the proxy's token alone lets callers in."""
    fetch_secret: str = ""
    """Name of the Modal secret that holds HF_TOKEN, for checkpoints that are not public."""
    offline: bool = True
    """Load only what `fetch` has put into the volume."""
    min_containers: int = 0
    max_containers: int = 1
    scaledown_window: int = 300
    startup_timeout: int = 900
    """From the start of a container until its model is ready."""
    timeout: int = 0
    """Of one request at a web function; what the worker allows in its queue and its steps, and a minute, unless set."""
    region: str = ""
    """Where containers run, several parted by commas; anywhere unless set."""
    routing_region: str = "us-east"
    """Where a Server's proxy stands."""
    memory_snapshot: bool = False
    """Start a web function from an image of the memory in which torch is imported already."""


def deployment(environment: Mapping[str, str]) -> Deployment:
    """Read the variables of the deployment.

    Raises:
        ValueError: a value does not fit its variable.
    """
    values: dict[str, Any] = {}
    for field in fields(Deployment):
        text = environment.get(f"DEPLOY_{field.name.upper()}", "").strip()
        if text:
            values[field.name] = _converted(field.name, text, type(field.default))
    return Deployment(**values)


def containers_environment(chosen: Deployment, settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """What a container is told, so that this file and the worker read there what they read here; no secrets."""
    kept = {field.name.upper() for field in fields(Settings)} - {"API_KEY", "HOST", "PORT"}
    given = {name: environment[name] for name in sorted(kept) if environment.get(name, "").strip()}
    changed = [
        (field.name, value) for field in fields(chosen) if (value := getattr(chosen, field.name)) != field.default
    ]
    told = {f"DEPLOY_{name.upper()}": str(value) for name, value in changed}
    offline = {"HF_HUB_OFFLINE": "1"} if chosen.offline else {}
    return {"MODEL_NAME": settings.model_name, **told, **given, **offline}


def speaks(settings: Settings) -> bool:
    """Whether the checkpoint makes speech, and so needs the other set of packages."""
    by_name = settings.engine is EngineKind.AUTO and "tts" in settings.model_name.lower()
    return by_name or settings.engine is EngineKind.QWEN_TTS


def locks(settings: Settings) -> tuple[Path, ...]:
    """The files of requirements/ that are installed after torch, in this order."""
    names = ("worker-speech.txt", "worker-speech-no-deps.txt") if speaks(settings) else ("worker.txt",)
    return tuple(REQUIREMENTS / name for name in names)


def gpus(chosen: Deployment, settings: Settings) -> str | list[str] | None:
    """The kinds of GPU that will do: a picture model in bfloat16 takes 58 GB, a speech model of 1.7 billion parameters 4."""
    if settings.device is Device.CPU:
        return None
    return _listed(chosen.gpu) or ("A10" if speaks(settings) else "A100-80GB")


def app_name(chosen: Deployment, settings: Settings) -> str:
    """The app's name: a part of its URL, so in small letters, digits and hyphens."""
    return chosen.app or "pixvox-" + re.sub("[^a-z0-9]+", "-", settings.model_id.lower()).strip("-")


class ReadyFirst:
    """Holds the start of an application back until its model is loaded, so that a cold start is waited for.

    Modal sends requests to a container as soon as the application says that it has started. Ours says so at once and loads
    behind it, for probes; here the first requests would get a 503.
    """

    def __init__(self, application: ASGIApp, inference: Any) -> None:  # noqa: ANN401 - the worker's, known in the container
        self._application = application
        self._inference = inference

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on; of the lifespan, the end of the start comes late."""

        async def late(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                message = await self._loaded(message)
            await send(message)

        await self._application(scope, receive, late if scope["type"] == "lifespan" else send)

    async def _loaded(self, message: Message) -> Message:
        while self._inference.status == "loading":  # noqa: ASYNC110 - the worker has a status and no event
            await asyncio.sleep(0.1)
        if self._inference.status == "ready":
            return message
        return {"type": "lifespan.startup.failed", "message": self._inference.reason}


class WorkerProcess:
    """`python -m pixvox_worker` inside a Server's container."""

    def __init__(self, port: int) -> None:
        self._environment = {**os.environ, "HOST": "0.0.0.0", "PORT": str(port)}  # noqa: S104 - the proxy is outside
        self._health = f"http://127.0.0.1:{port}/health"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Return when the model is ready; Modal ends what takes longer than `startup_timeout`.

        Raises:
            RuntimeError: the process has ended.
        """
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pixvox_worker", env=self._environment
        )
        while not await asyncio.to_thread(_answers, self._health):
            if self._process.returncode is not None:
                message = f"The worker ended with {self._process.returncode} before it was ready."
                raise RuntimeError(message)
            await asyncio.sleep(0.2)

    async def stop(self) -> int | None:
        """Let it finish what it has begun, and return its exit code; Modal kills what takes more than 30 seconds."""
        if self._process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        return await self._process.wait()


def _converted(name: str, text: str, kind: type[Any]) -> object:
    try:
        if kind is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
        value = kind(text)
    except (ValueError, KeyError):
        message = f"DEPLOY_{name.upper()}={text!r} is not a {kind.__name__}."
        raise ValueError(message) from None
    if kind is int and value < 0:
        message = f"DEPLOY_{name.upper()} must be at least 0."
        raise ValueError(message)
    return value


def _listed(text: str) -> str | list[str] | None:
    names = [name for part in text.split(",") if (name := part.strip())]
    return names if len(names) > 1 else (names[0] if names else None)


def _secrets(name: str, key: str) -> list[modal.Secret]:
    return [modal.Secret.from_name(name, required_keys=[key])] if name else []


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own
            return True
    except (URLError, TimeoutError, ConnectionError):
        return False


SETTINGS = from_environment()
DEPLOYMENT = deployment(os.environ)
ENVIRONMENT = containers_environment(DEPLOYMENT, SETTINGS, os.environ)
NAME = app_name(DEPLOYMENT, SETTINGS)
GPU = gpus(DEPLOYMENT, SETTINGS)
REGIONS = _listed(DEPLOYMENT.region)
VOLUMES: dict[str | Any, Any] = {CACHE: modal.Volume.from_name(DEPLOYMENT.volume, create_if_missing=True)}
SECRETS = _secrets(DEPLOYMENT.secret, "API_KEY")
LOCKS = locks(SETTINGS)

image = modal.Image.debian_slim(python_version="3.11").pip_install(TORCH)
for lock in LOCKS:
    image = image.pip_install_from_requirements(str(lock), extra_options="--require-hashes --no-deps")
image = image.env({"HF_HOME": f"{CACHE}/huggingface", "PYTHONUNBUFFERED": "1"}).add_local_python_source("pixvox_worker")
# Each has what the other would start as well: a deployment is of one, and `fetch` needs neither.
app = modal.App(NAME)
server_app = modal.App(f"{NAME}-server")
fetch_app = modal.App(f"{NAME}-fetch")

if DEPLOYMENT.memory_snapshot and not modal.is_local():
    # Modal takes the snapshot when this file has been imported.
    importlib.import_module("torch")


@app.function(
    image=image,
    gpu=GPU,
    volumes=VOLUMES,
    env=dict(ENVIRONMENT),
    secrets=SECRETS,
    min_containers=DEPLOYMENT.min_containers,
    max_containers=DEPLOYMENT.max_containers,
    scaledown_window=DEPLOYMENT.scaledown_window,
    startup_timeout=DEPLOYMENT.startup_timeout,
    timeout=DEPLOYMENT.timeout or int(SETTINGS.max_queue_seconds + SETTINGS.request_timeout) + 60,
    region=REGIONS,
    enable_memory_snapshot=DEPLOYMENT.memory_snapshot,
)
@modal.concurrent(max_inputs=SETTINGS.max_concurrent_requests)
@modal.asgi_app(requires_proxy_auth=True)
def web() -> ASGIApp:
    """The worker's application, which answers once its model is loaded."""
    from pixvox_worker.app import create_app  # noqa: PLC0415 - whoever deploys needs no FastAPI

    application = create_app(from_environment())
    return ReadyFirst(application, application.state.worker.inference)


@server_app.server(
    image=image,
    gpu=GPU,
    volumes=VOLUMES,
    # The proxy lets calls finish first, as long as the worker would; what is left then has Modal's 30 seconds.
    env={**ENVIRONMENT, "SHUTDOWN_GRACE": str(min(SETTINGS.shutdown_grace, SERVER_GRACE))},
    exit_grace_period=min(int(SETTINGS.shutdown_grace), 3600),
    secrets=SECRETS,
    min_containers=DEPLOYMENT.min_containers,
    max_containers=DEPLOYMENT.max_containers,
    scaledown_window=DEPLOYMENT.scaledown_window,
    startup_timeout=DEPLOYMENT.startup_timeout,
    max_concurrency=SETTINGS.max_concurrent_requests,
    # A container whose queue is half full asks for another one.
    target_concurrency=max(1, SETTINGS.max_concurrent_requests // 2),
    port=PORT,
    compute_region=REGIONS,
    routing_region=DEPLOYMENT.routing_region,
)
class Server:
    """The worker's process behind Modal's proxy, which asks for its token unless told otherwise."""

    @modal.enter()
    async def start(self) -> None:
        """Start it and wait for its model."""
        self.process = WorkerProcess(PORT)
        await self.process.start()

    @modal.exit()
    async def stop(self) -> None:
        """End it."""
        await self.process.stop()


@fetch_app.function(
    image=image,
    volumes=VOLUMES,
    env={"MODEL_NAME": SETTINGS.model_name},
    secrets=_secrets(DEPLOYMENT.fetch_secret, "HF_TOKEN"),
    timeout=4 * 3600,
)
def fetch(repository: str = SETTINGS.model_name) -> str:
    """Put the weights of a checkpoint into the volume and return their folder there."""
    hub = importlib.import_module("huggingface_hub")
    folder: str = hub.snapshot_download(repository)
    VOLUMES[CACHE].commit()
    return folder
