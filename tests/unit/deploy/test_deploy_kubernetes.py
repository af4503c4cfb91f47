"""deploy/kubernetes: the manifests fit the schemas of Kubernetes and each other, and name what gateway and worker have."""

from __future__ import annotations

import re
import shutil
import subprocess
import urllib.request
from dataclasses import fields
from typing import Any

import kubernetes_validate
import pytest
import yaml

from calling import settings_for_tests
from deployed import DEPLOY
from fake_worker import free_port, process, wait_until_ready
from pixvox import settings
from pixvox_worker.settings import Settings as WorkerSettings
from pixvox_worker.settings import from_environment

FOLDER = DEPLOY / "kubernetes"
BASE = FOLDER / "base"
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
OF_OTHERS = {"HF_TOKEN"}

Manifest = dict[str, Any]


def documents(text: str) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(text) if document]


def kustomization(folder: Any) -> Manifest:
    return yaml.safe_load((folder / "kustomization.yaml").read_text())


def base() -> list[Manifest]:
    return [one for name in kustomization(BASE)["resources"] for one in documents((BASE / name).read_text())]


def built(overlay: str) -> list[Manifest]:
    """What is applied; by kubectl's own kustomize, where there is one."""
    folder = str(FOLDER / "overlays" / overlay)
    if shutil.which("kustomize"):
        command = ["kustomize", "build", folder]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize", folder]
    else:
        pytest.skip("neither kustomize nor kubectl is installed")
    return documents(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.fixture(scope="module", params=["base", *OVERLAYS])
def manifests(request) -> list[Manifest]:
    return base() if request.param == "base" else built(request.param)


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] == kind}


def pod(manifests: list[Manifest], name: str) -> Manifest:
    return of_kind(manifests, "Deployment")[name]["spec"]["template"]


def container(manifests: list[Manifest], name: str) -> Manifest:
    (one,) = pod(manifests, name)["spec"]["containers"]
    return one


def variables(manifests: list[Manifest], name: str) -> dict[str, str | None]:
    return {one["name"]: one.get("value") for one in container(manifests, name)["env"]}


def test_every_manifest_fits_its_schema(manifests):
    for one in manifests:
        kubernetes_validate.validate(one, "1.34", strict=True)


def test_a_misspelt_key_would_not_fit():
    deployment = of_kind(base(), "Deployment")["worker"]
    deployment["spec"]["template"]["spec"]["containers"][0]["redinessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.34", strict=True)


def test_selectors_match_the_pods_that_they_are_for(manifests):
    pods = {name: pod(manifests, name)["metadata"]["labels"] for name in ("gateway", "worker")}
    selected = {
        **{("Deployment", name): one["spec"]["selector"] for name, one in of_kind(manifests, "Deployment").items()},
        **{
            ("Service", name): {"matchLabels": one["spec"]["selector"]}
            for name, one in of_kind(manifests, "Service").items()
        },
        **{
            ("PodDisruptionBudget", name): one["spec"]["selector"]
            for name, one in of_kind(manifests, "PodDisruptionBudget").items()
        },
    }
    assert len(selected) == 6
    for (kind, name), selector in selected.items():
        met = {pod for pod, labels in pods.items() if selector["matchLabels"].items() <= labels.items()}
        assert met == {name}, kind


def test_a_service_leads_to_ports_that_its_pods_have(manifests):
    for name, service in of_kind(manifests, "Service").items():
        ports = {port["name"]: port["containerPort"] for port in container(manifests, name)["ports"]}
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]


def test_callers_find_every_gateway_by_its_name(manifests):
    assert of_kind(manifests, "Service")["gateway"]["spec"]["clusterIP"] == "None"


def test_probes_ask_for_what_is_there(manifests):
    gateway, worker = container(manifests, "gateway"), container(manifests, "worker")
    assert gateway["startupProbe"]["grpc"] == gateway["readinessProbe"]["grpc"] == {"port": 50051}
    assert gateway["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert worker["startupProbe"]["httpGet"]["path"] == worker["readinessProbe"]["httpGet"]["path"] == "/health"
    # One that still loads, or drains, is alive.
    assert worker["livenessProbe"]["httpGet"]["path"] == "/livez"
    # The weights may have to be fetched.
    assert worker["startupProbe"]["periodSeconds"] * worker["startupProbe"]["failureThreshold"] >= 1800


def test_pods_have_the_time_to_finish_what_they_have_begun(manifests):
    pause = 5
    config = settings.load(BASE / "pixvox.toml", environment={})
    gateway = pod(manifests, "gateway")["spec"]["terminationGracePeriodSeconds"]
    assert gateway > pause + config.server.grace_seconds
    probe = container(manifests, "gateway")["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > config.server.grace_seconds
    worker = pod(manifests, "worker")["spec"]["terminationGracePeriodSeconds"]
    told = from_environment({name: value for name, value in variables(manifests, "worker").items() if value})
    assert worker > pause + 2 * told.shutdown_grace
    for name in ("gateway", "worker"):
        command = container(manifests, name)["lifecycle"]["preStop"]["exec"]["command"]
        assert command == ["python", "-c", f"import time; time.sleep({pause})"]


@pytest.mark.parametrize("name", ["gateway", "worker"])
def test_pods_may_do_little(manifests, name):
    spec = pod(manifests, name)["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert container(manifests, name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("name", ["gateway", "worker"])
def test_pods_have_a_place_for_all_that_they_write(manifests, name):
    mounts = container(manifests, name)["volumeMounts"]
    volumes = {volume["name"] for volume in pod(manifests, name)["spec"]["volumes"]}
    assert {mount["name"] for mount in mounts} == volumes
    writable = {mount["mountPath"] for mount in mounts if not mount.get("readOnly")}
    assert {"/tmp", "/var/lib/pixvox"} <= writable
    assert name == "gateway" or "/cache" in writable


def test_the_autoscaler_follows_the_queue_of_a_deployment_that_is_there(manifests):
    (autoscaler,) = of_kind(manifests, "HorizontalPodAutoscaler").values()
    target = autoscaler["spec"]["scaleTargetRef"]
    deployment = of_kind(manifests, target["kind"])[target["name"]]
    assert target["apiVersion"] == deployment["apiVersion"]
    # It would be reset at each `apply`.
    assert "replicas" not in deployment["spec"]
    (metric,) = autoscaler["spec"]["metrics"]
    (rule,) = yaml.safe_load((FOLDER / "prometheus-adapter-rules.yaml").read_text())["rules"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert re.fullmatch(rule["name"]["matches"], rule["seriesQuery"].split("{")[0])


def test_the_worker_has_the_metric_of_the_autoscaler():
    port = free_port()
    with process(PORT=str(port)):
        wait_until_ready(port)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    assert re.search(r"^worker_queue_depth 0\.0$", text, re.MULTILINE)


def test_the_variables_of_a_worker_are_its_own_and_have_good_values(manifests):
    told = variables(manifests, "worker")
    assert set(told) - OF_OTHERS <= {field.name.upper() for field in fields(WorkerSettings)}
    from_environment({name: value for name, value in told.items() if value is not None})


def test_secrets_are_named_and_not_written_down(manifests):
    assert not of_kind(manifests, "Secret")
    for name in ("gateway", "worker"):
        for one in container(manifests, name)["env"]:
            if re.search("KEY|TOKEN|URL|SECRET", one["name"]):
                assert one["valueFrom"]["secretKeyRef"]["name"] == "pixvox"


def test_gateways_reach_workers_and_nobody_else_does(manifests):
    policies = of_kind(manifests, "NetworkPolicy")
    assert policies["nothing"]["spec"].keys() == {"podSelector", "policyTypes"}
    labels = {name: pod(manifests, name)["metadata"]["labels"] for name in ("gateway", "worker")}
    for name in ("gateway", "worker"):
        spec = policies[name]["spec"]
        assert spec["podSelector"]["matchLabels"].items() <= labels[name].items()
        named = {port["name"] for port in container(manifests, name)["ports"]}
        assert {port["port"] for rule in spec["ingress"] for port in rule["ports"]} <= named
    allowed = [
        source["podSelector"]["matchLabels"]
        for rule in policies["worker"]["spec"]["ingress"]
        for source in rule["from"]
        if "podSelector" in source
    ]
    assert allowed == [labels["gateway"]]
    to = [
        (target["podSelector"]["matchLabels"], rule["ports"])
        for rule in policies["gateway"]["spec"]["egress"]
        for target in rule.get("to", ())
        if "podSelector" in target
    ]
    assert to == [(labels["worker"], [{"port": 8000}])]


@pytest.mark.parametrize("file", [BASE / "pixvox.toml", FOLDER / "overlays" / "cpu-tiny" / "pixvox.toml"], ids=str)
def test_the_settings_of_the_gateway_can_be_read_and_lead_to_the_workers(file):
    own = settings_for_tests()
    found = settings.load(file, {"database.url": own.database.url}, environment={})
    gateway = {port["name"]: port["containerPort"] for port in container(base(), "gateway")["ports"]}
    assert found.server.listen == f"0.0.0.0:{gateway['grpc']}"
    assert found.server.http == f"0.0.0.0:{gateway['http']}"
    (service,) = [one for name, one in of_kind(base(), "Service").items() if name == "worker"]
    assert found.providers["worker"]["url"] == f"http://worker:{service['spec']['ports'][0]['port']}"


@pytest.mark.parametrize(
    "folder", [BASE, *(FOLDER / "overlays" / name for name in OVERLAYS)], ids=lambda path: path.name
)
def test_what_a_kustomization_names_is_there_and_nothing_else_is(folder):
    found = kustomization(folder)
    named = [
        *(path for path in found["resources"]),
        *(patch["path"] for patch in found.get("patches", ())),
        *(file for one in found.get("configMapGenerator", ()) for file in one["files"]),
    ]
    assert all((folder / path).exists() for path in named)
    files = {path.name for path in folder.iterdir()} - {"kustomization.yaml"}
    assert files == {path for path in named if "/" not in path}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_patch_changes_something_of_the_base(overlay):
    folder = FOLDER / "overlays" / overlay
    there = {(one["kind"], one["metadata"]["name"]) for one in base()}
    for patch in kustomization(folder)["patches"]:
        (document,) = documents((folder / patch["path"]).read_text())
        assert (document["kind"], document["metadata"]["name"]) in there
        for one in document["spec"].get("template", {}).get("spec", {}).get("containers", ()):
            assert one["name"] == container(base(), document["metadata"]["name"])["name"]


def test_the_overlay_for_gpus_gives_each_worker_one_and_a_volume():
    manifests = built("gpu")
    assert container(manifests, "worker")["resources"]["limits"]["nvidia.com/gpu"] == "1"
    volumes = {volume["name"]: volume for volume in pod(manifests, "worker")["spec"]["volumes"]}
    (claim,) = of_kind(manifests, "PersistentVolumeClaim")
    assert volumes["weights"]["persistentVolumeClaim"] == {"claimName": claim}
    assert container(manifests, "worker")["image"] == "pixvox-worker:0.1.0"


def test_the_overlay_with_tiny_models_needs_no_gpu_no_secret_and_no_storage():
    manifests = built("cpu-tiny")
    assert "nvidia.com/gpu" not in container(manifests, "worker")["resources"]["limits"]
    assert not of_kind(manifests, "PersistentVolumeClaim")
    secrets = [
        one["valueFrom"]["secretKeyRef"]
        for name in ("gateway", "worker")
        for one in container(manifests, name)["env"]
        if "valueFrom" in one
    ]
    assert all(secret["optional"] for secret in secrets)
    assert container(manifests, "worker")["image"] == "pixvox-worker-cpu:0.1.0"
    assert of_kind(manifests, "Deployment")["gateway"]["spec"]["replicas"] == 1


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_settings_of_an_overlay_reach_its_gateways(overlay):
    manifests = built(overlay)
    (name,) = of_kind(manifests, "ConfigMap")
    volumes = {volume["name"]: volume for volume in pod(manifests, "gateway")["spec"]["volumes"]}
    assert volumes["config"]["configMap"] == {"name": name}
    (mount,) = [one for one in container(manifests, "gateway")["volumeMounts"] if one["name"] == "config"]
    assert variables(manifests, "gateway")["PIXVOX_CONFIG"] == f"{mount['mountPath']}/pixvox.toml"
    own = FOLDER / "overlays" / overlay / "pixvox.toml"
    expected = own if own.exists() else BASE / "pixvox.toml"
    assert of_kind(manifests, "ConfigMap")[name]["data"] == {"pixvox.toml": expected.read_text()}
