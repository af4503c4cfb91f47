"""deploy/compose.yaml: its profiles hold together, its health commands work, and the gateway can read what it is given."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from typing import Any

import grpc
import msgspec
import pytest
import yaml

from calling import photo, settings_for_tests, stubs_of
from deployed import DEPLOY, ROOT
from fake_worker import free_port, process, wait_until_ready
from pixvox import server, settings
from pixvox.v1.image_service_pb2 import EditImageRequest, GenerateImageRequest
from pixvox.v1.media_pb2 import MediaInput
from pixvox.v1.model_service_pb2 import ListModelsRequest
from pixvox_worker.settings import Settings as WorkerSettings
from pixvox_worker.settings import from_environment

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OBSERVED: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.observability.yaml").read_text())
WORKERS = ["worker-cpu", "worker", "worker-speech"]
ON_GPU = ["worker", "worker-speech", "vllm-omni"]
CONFIGS = sorted((DEPLOY / "compose").glob("*.toml"))
DOCKERFILE = re.sub("^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
# Not the worker's own: of the hub's client.
OF_OTHERS = {"HF_HUB_OFFLINE", "HF_TOKEN"}


def interpolated(text: str, **shell: str) -> str:
    """What Compose makes of `${NAME:-DEFAULT}`, the innermost first."""
    inner = re.compile(r"\$\{(\w+):-([^${}]*)\}")
    while found := inner.search(text):
        text = text[: found.start()] + (shell.get(found[1]) or found[2]) + text[found.end() :]
    return text


def environment(service: str, **shell: str) -> dict[str, str]:
    """What a service is told, of what the shell does not have."""
    given = SERVICES[service].get("environment", {})
    return {name: interpolated(str(value), **shell) for name, value in given.items() if value is not None}


def mounts(service: str, **shell: str) -> dict[str, str]:
    pairs = (interpolated(volume, **shell).split(":") for volume in SERVICES[service].get("volumes", ()))
    return {source: inside for source, inside, *_ in pairs}


def profile(name: str) -> list[str]:
    return [service for service, table in SERVICES.items() if table.get("profiles") == [name]]


def stage(target: str) -> str:
    """The lines of a stage of the Dockerfile, after those that it is built on."""
    found = re.search(rf"^FROM (\S+) AS {target}$\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert found is not None, target
    below = stage(found[1]) if re.search(rf"^FROM \S+ AS {found[1]}$", DOCKERFILE, re.MULTILINE) else ""
    return below + found[2]


def test_each_profile_has_its_backend_and_its_settings():
    assert {name for service in SERVICES.values() for name in service.get("profiles", ())} == {
        "cpu",
        "gpu",
        "speech",
        "vllm-omni",
    }
    assert "profiles" not in SERVICES["pixvox"]
    assert (profile("cpu"), profile("gpu")) == (["worker-cpu"], ["worker"])
    assert (profile("speech"), profile("vllm-omni")) == (["worker-speech"], ["vllm-omni"])


@pytest.mark.parametrize(
    ("shell", "file"),
    [
        ({}, "sandbox.toml"),
        ({"COMPOSE_PROFILES": "cpu"}, "cpu.toml"),
        ({"COMPOSE_PROFILES": "gpu"}, "gpu.toml"),
        ({"COMPOSE_PROFILES": "speech"}, "speech.toml"),
        ({"COMPOSE_PROFILES": "vllm-omni"}, "vllm-omni.toml"),
        ({"COMPOSE_PROFILES": "gpu,speech", "GATEWAY_CONFIG": "gpu-speech"}, "gpu-speech.toml"),
    ],
)
def test_the_gateway_is_given_the_settings_of_the_profile(shell, file):
    (source,) = [source for source, inside in mounts("pixvox", **shell).items() if inside.endswith(".toml")]
    assert (DEPLOY / source).resolve() == DEPLOY / "compose" / file
    assert (DEPLOY / source).is_file()
    assert mounts("pixvox", **shell)[source] == environment("pixvox")["PIXVOX_CONFIG"]


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_the_addresses_in_the_settings_are_services_of_the_profiles_that_the_file_is_for(file):
    on = [service for name in file.stem.split("-") for service in profile(name)] or profile(file.stem)
    hosts = set(re.findall(r'"http://([\w-]+):(\d+)', file.read_text()))
    assert hosts == {(service, "8000") for service in on}


def test_the_gateway_waits_for_the_backends_whose_profiles_are_on():
    backends = {name for name, service in SERVICES.items() if "profiles" in service}
    waits = {"condition": "service_healthy", "required": False}
    assert SERVICES["pixvox"]["depends_on"] == dict.fromkeys(backends, waits)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_or_a_target_of_the_dockerfile(name):
    service = SERVICES[name]
    if "build" in service:
        assert (DEPLOY / service["build"]["context"]).resolve() == ROOT
        assert stage(service["build"]["target"])
        for argument in service["build"].get("args", {}):
            assert re.search(rf"^ARG {argument}=", stage(service["build"]["target"]), re.MULTILINE)
    else:
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", interpolated(service["image"]))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_says_whether_it_is_well_and_without_curl(name):
    command = SERVICES[name]["healthcheck"]["test"]
    assert command[0] == "CMD"
    assert command[1] in {"python3", "pixvox"}


@pytest.mark.parametrize("name", ON_GPU)
def test_a_backend_on_a_gpu_has_one_and_the_time_to_load(name):
    service = SERVICES[name]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    # Docker gives the same first one to all that only say how many.
    which = {"device_ids": ["${SPEECH_GPU:-0}"]} if name == "worker-speech" else {"count": 1}
    assert device == {"driver": "nvidia", "capabilities": ["gpu"], **which}
    assert service["healthcheck"]["start_period"] == "600s"
    assert service["shm_size"]
    cache = mounts(name)
    assert set(cache) <= set(COMPOSE["volumes"])
    assert list(cache.values()) == ["/cache"]


def test_the_tiny_worker_needs_no_gpu():
    assert "deploy" not in SERVICES["worker-cpu"]
    assert "DEVICE=cpu" in stage("worker-cpu")


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_may_finish_what_it_has_begun(name):
    grace = WorkerSettings().shutdown_grace
    assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > 2 * grace


@pytest.mark.parametrize("name", WORKERS)
def test_the_variables_of_a_worker_are_its_own_and_have_good_values(name):
    known = {field.name.upper() for field in fields(WorkerSettings)}
    assert set(SERVICES[name]["environment"]) - OF_OTHERS <= known
    from_environment(environment(name))


def test_the_image_of_a_worker_keeps_the_weights_where_the_volume_is():
    for target in ("worker", "worker-speech", "worker-cpu"):
        assert "HF_HOME=/cache/huggingface" in stage(target)
        assert "VOLUME /cache" in stage(target)
        assert stage(target).rstrip().endswith("USER pixvox")
        assert "EXPOSE 8000" in stage(target)
        assert 'ENTRYPOINT ["python", "-m", "pixvox_worker"]' in stage(target)


def test_the_image_that_is_built_by_default_is_the_gateway():
    assert re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)[-1] == "gateway"
    assert "worker" not in stage("gateway")
    assert "requirements/worker" not in stage("build")


def test_what_the_images_copy_reaches_the_build():
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert set(copied) == let_through
    assert all((ROOT / source).exists() for source in copied)


def test_nothing_is_reached_from_other_machines():
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_no_secret_is_written_down():
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("KEY|PASSWORD|TOKEN|SECRET", name):
                assert value is None, name


def test_the_observability_stack_can_follow_and_finds_the_same_gateway():
    both = SERVICES["pixvox"], OBSERVED["services"]["pixvox"]
    assert both[0]["ports"] == both[1]["ports"]
    assert both[0]["healthcheck"] == both[1]["healthcheck"]
    assert both[0]["build"]["context"] == both[1]["build"]["context"]
    assert set(both[1]["volumes"]) <= set(both[0]["volumes"])
    shared = both[0]["environment"].keys() & both[1]["environment"].keys()
    assert all(both[0]["environment"][name] == both[1]["environment"][name] for name in shared)
    assert SERVICES.keys() & OBSERVED["services"].keys() == {"pixvox"}


@pytest.fixture(scope="module")
def worker_port():
    """The port of a worker with the fake engine."""
    port = free_port()
    with process(PORT=str(port), MODEL_NAME="/models/qwen-image-2.1", SERVED_MODEL_NAME="tiny"):
        wait_until_ready(port)
        yield port


def image_health() -> list[str]:
    """The command of the worker images' HEALTHCHECK, in Compose's form."""
    found = re.search(r"--start-period=600s \\\n *CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert found is not None
    return ["CMD", *yaml.safe_load(found[1])]


HEALTH_COMMANDS = [
    pytest.param(lambda: SERVICES["worker"]["healthcheck"]["test"], id="worker"),
    pytest.param(lambda: SERVICES["worker-cpu"]["healthcheck"]["test"], id="worker-cpu"),
    pytest.param(lambda: SERVICES["vllm-omni"]["healthcheck"]["test"], id="vllm-omni"),
    pytest.param(image_health, id="image"),
]


def exit_code(command: list[str], port: int) -> int:
    """That of a health command, with the port of the worker that is asked."""
    program, option, script = command[1:]
    assert program in {"python", "python3"}
    assert option == "-c"
    asked = [sys.executable, "-c", script.replace(":8000/", f":{port}/")]
    return subprocess.run(asked, env={"PORT": str(port)}, stderr=subprocess.DEVNULL, check=False).returncode


@pytest.mark.parametrize("command", HEALTH_COMMANDS)
def test_a_health_command_succeeds_for_a_worker_that_is_ready(command, worker_port):
    assert exit_code(command(), worker_port) == 0


@pytest.mark.parametrize("command", HEALTH_COMMANDS)
def test_a_health_command_fails_where_nobody_listens(command):
    assert exit_code(command(), free_port()) == 1


@pytest.mark.parametrize("command", HEALTH_COMMANDS)
def test_a_health_command_fails_for_a_worker_that_has_no_model(command, tmp_path):
    port = free_port()
    script = (
        "import os\n"
        "os.environ['ENGINE'] = 'fake'\n"
        "from pixvox_worker.engines import fake\n"
        "def load(self): raise RuntimeError('no weights')\n"
        "fake.FakeEngine.load = load\n"
        "from pixvox_worker.__main__ import main\n"
        "main()\n"
    )
    file = tmp_path / "without_weights.py"
    file.write_text(script)
    with process((str(file),), PORT=str(port)) as worker:
        wait_until_alive(port)
        assert exit_code(command(), port) == 1
        assert worker.poll() is None


def wait_until_alive(port: int) -> None:
    wait_until_ready(port, path="/livez")


VERBS = ("generate_image", "edit_image", "stream_speech")
EXPECTED = {
    "sandbox": {"sandbox": {"generate_image", "edit_image", "stream_speech"}},
    "cpu": {"worker": {"generate_image", "edit_image"}, "sandbox": {"generate_image", "edit_image", "stream_speech"}},
    "gpu": {"worker": {"edit_image"}},
    "speech": {"speech": {"stream_speech"}},
    "gpu-speech": {"worker": {"edit_image", "stream_speech"}},
    "vllm-omni": {"vllm_omni": {"generate_image"}},
}


def on_free_ports(name: str, worker_port: int | None = None) -> settings.Settings:
    """The settings of a profile for a gateway on this machine, perhaps with its worker here as well."""
    own = settings_for_tests().server, settings_for_tests().database
    given = {"server.listen": own[0].listen, "server.http": own[0].http, "database.url": own[1].url}
    found = settings.load(DEPLOY / "compose" / f"{name}.toml", given, environment={})
    if worker_port is None:
        return found
    here = {**found.providers["worker"], "url": f"http://127.0.0.1:{worker_port}"}
    return msgspec.structs.replace(found, providers={**found.providers, "worker": here})


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
async def test_a_gateway_serves_with_the_settings_of_a_profile(file):
    async with server.running(on_free_ports(file.stem)) as running, stubs_of(running.target) as stubs:
        models = (await stubs.models.ListModels(ListModelsRequest())).models
    verbs: dict[str, set[str]] = {}
    for model in models:
        verbs.setdefault(model.provider, set()).update(verb for verb in VERBS if model.HasField(verb))
    assert verbs.keys() == EXPECTED[file.stem].keys()
    for provider, expected in EXPECTED[file.stem].items():
        # Without espeak-ng the sandbox does not speak.
        assert verbs[provider] - {"stream_speech"} == expected - {"stream_speech"}


async def test_pictures_are_made_and_edited_through_the_gateway_of_the_cpu_profile_by_the_worker(worker_port):
    async with server.running(on_free_ports("cpu", worker_port)) as running, stubs_of(running.target) as stubs:
        made = await stubs.images.GenerateImage(GenerateImageRequest(prompt="a cat"), timeout=60)
        request = EditImageRequest(prompt="make it blue", images=[MediaInput(data=photo())])
        edited = await stubs.images.EditImage(request, timeout=60)
    for answer in (made, edited):
        assert answer.images
        assert (answer.receipt.provider, answer.receipt.model) == ("worker", "tiny")


async def test_a_worker_that_is_not_there_is_said_to_be_unavailable():
    async with server.running(on_free_ports("gpu", free_port())) as running, stubs_of(running.target) as stubs:
        request = EditImageRequest(prompt="make it blue", images=[MediaInput(data=photo())])
        with pytest.raises(grpc.RpcError) as caught:
            await stubs.images.EditImage(request, timeout=60)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
