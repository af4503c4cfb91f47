"""The local stack of deploy/: its parts are pinned, watched, and know each other by the right names and ports."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from deployed import DASHBOARDS, DEPLOY, ROOT, dashboards
from pixvox import settings


def loaded(path: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / path).read_text())


COMPOSE = loaded("compose.observability.yaml")
SERVICES = COMPOSE["services"]
COLLECTOR = loaded("otel-collector.yaml")
# Its image holds one program and nothing that could ask it how it is.
WITHOUT_HEALTHCHECK = {"otel-collector"}


def mounts(service: str) -> dict[str, str]:
    """Where a service sees the files of deploy/, by their paths there."""
    pairs = (volume.split(":") for volume in SERVICES[service].get("volumes", ()))
    return {source: inside for source, inside, *_ in pairs if source.startswith(".")}


def test_the_stack_has_its_five_parts():
    assert set(SERVICES) == {"pixvox", "otel-collector", "jaeger", "prometheus", "grafana"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_part_is_pinned_or_built_here(name):
    service = SERVICES[name]
    if name == "pixvox":
        assert (DEPLOY / service["build"]["context"]).resolve() == ROOT
        assert (ROOT / "Dockerfile").is_file()
    else:
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_part_says_whether_it_is_well(name):
    assert ("healthcheck" in SERVICES[name]) == (name not in WITHOUT_HEALTHCHECK)


@pytest.mark.parametrize("name", SERVICES)
def test_a_part_waits_only_for_parts_that_say_whether_they_are_well(name):
    for other, condition in SERVICES[name].get("depends_on", {}).items():
        assert condition == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[other]


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_part_is_given_is_there(name):
    assert all((DEPLOY / source).exists() for source in mounts(name))
    volumes = {volume.split(":")[0] for volume in SERVICES[name].get("volumes", ())} - set(mounts(name))
    assert volumes <= set(COMPOSE["volumes"])


def test_nothing_is_reached_from_other_machines():
    assert all(port.startswith("127.0.0.1:") for service in SERVICES.values() for port in service["ports"])


def test_no_secret_is_written_down():
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("KEY|PASSWORD|TOKEN|SECRET", name):
                # Given by the shell, or the stack does not start.
                assert value is None or re.fullmatch(r"\$\{\w+:\?[^}]*\}", value), name


def test_the_service_sends_its_traces_to_the_collector():
    environment = SERVICES["pixvox"]["environment"]
    assert environment["OTEL_TRACES_EXPORTER"] == "otlp"
    host, port = environment["OTEL_EXPORTER_OTLP_ENDPOINT"].removeprefix("http://").split(":")
    assert host in SERVICES
    assert COLLECTOR["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"] == f"0.0.0.0:{port}"


def test_metrics_of_the_service_have_one_way_into_prometheus():
    # Pushed and read as well, every sum would count twice.
    assert SERVICES["pixvox"]["environment"]["OTEL_METRICS_EXPORTER"] == "prometheus"
    assert (
        'resource.attributes["service.name"] == "pixvox"'
        in COLLECTOR["processors"]["filter/scraped"]["metrics"]["metric"]
    )
    assert "filter/scraped" in COLLECTOR["service"]["pipelines"]["metrics"]["processors"]


def test_the_settings_that_the_service_is_given_exist():
    environment = {name: value for name, value in SERVICES["pixvox"]["environment"].items() if value is not None}
    loaded_settings = settings.load(environment=environment)
    assert loaded_settings.log.format == "json"


@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
def test_a_pipeline_of_the_collector_is_made_of_parts_that_it_has(signal):
    pipeline = COLLECTOR["service"]["pipelines"][signal]
    for part in ("receivers", "processors", "exporters"):
        assert pipeline[part]
        assert set(pipeline[part]) <= set(COLLECTOR[part])
    assert pipeline["processors"][0] == "memory_limiter"


def test_every_part_of_the_collector_is_in_use():
    pipelines = COLLECTOR["service"]["pipelines"].values()
    for part in ("receivers", "processors", "exporters"):
        assert {name for pipeline in pipelines for name in pipeline[part]} == set(COLLECTOR[part])
    assert set(COLLECTOR["service"]["extensions"]) == set(COLLECTOR["extensions"])


def test_the_collector_reads_the_file_that_it_is_given():
    (inside,) = mounts("otel-collector").values()
    assert SERVICES["otel-collector"]["command"] == [f"--config={inside}"]


def test_traces_go_to_a_part_of_the_stack():
    host, _, port = COLLECTOR["exporters"]["otlp_grpc/jaeger"]["endpoint"].partition(":")
    assert (host, port) == ("jaeger", "4317")


def test_prometheus_reads_parts_of_the_stack_at_ports_that_they_have():
    metrics = COLLECTOR["service"]["telemetry"]["metrics"]["readers"][0]["pull"]["exporter"]["prometheus"]
    _, _, shared = COLLECTOR["exporters"]["prometheus"]["endpoint"].partition(":")
    jobs = {
        job["job_name"]: job["static_configs"][0]["targets"]
        for job in loaded("prometheus.yml")["scrape_configs"]
        if "static_configs" in job
    }
    assert jobs == {
        "pixvox": ["pixvox:8080"],
        "otlp": [f"otel-collector:{shared}"],
        "otel-collector": [f"otel-collector:{metrics['port']}"],
        "prometheus": ["localhost:9090"],
    }
    # As the image is started by default.
    assert "0.0.0.0:8080" in (ROOT / "Dockerfile").read_text()


def test_prometheus_looks_for_the_workers_that_may_run_beside_the_stack():
    (job,) = [job for job in loaded("prometheus.yml")["scrape_configs"] if "dns_sd_configs" in job]
    workers = {name for name in loaded("compose.yaml")["services"] if "worker" in name}
    assert [(set(one["names"]), one["type"], one["port"]) for one in job["dns_sd_configs"]] == [(workers, "A", 8000)]


def test_prometheus_is_given_the_base_of_the_runbook():
    assert "PIXVOX_RUNBOOK_BASE" in SERVICES["prometheus"]["environment"]
    assert loaded("prometheus.yml")["global"]["external_labels"] == {"runbook_base": "${PIXVOX_RUNBOOK_BASE}"}
    assert set(mounts("prometheus").values()) == {"/etc/prometheus/prometheus.yml", "/etc/prometheus/rules"}


SOURCES = {
    source["uid"]: source for source in loaded("grafana/provisioning/datasources/datasources.yaml")["datasources"]
}


@pytest.mark.parametrize("uid", SOURCES)
def test_a_data_source_is_a_part_of_the_stack(uid):
    host, port = SOURCES[uid]["url"].removeprefix("http://").split(":")
    assert any(published.endswith(f":{port}") for published in SERVICES[host]["ports"])


def test_grafana_finds_its_dashboards():
    (provider,) = loaded("grafana/provisioning/dashboards/dashboards.yaml")["providers"]
    assert mounts("grafana") == {
        "./grafana/provisioning": "/etc/grafana/provisioning",
        "./grafana/dashboards": provider["options"]["path"],
    }


def test_there_are_five_dashboards_with_names_of_their_own():
    boards = dashboards()
    assert [*boards] == [
        f"{name}.json" for name in ("cost", "provider-comparison", "service-overview", "speech-quality", "workers")
    ]
    assert len({board["uid"] for board in boards.values()}) == len({board["title"] for board in boards.values()}) == 5


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.name)
def test_a_dashboard_is_whole(file):
    board = dashboards()[file.name]
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert "id" not in board
    for panel in panels:
        assert panel["title"]
        if panel["type"] != "row":
            assert panel["description"].endswith(".")
            assert panel["targets"]
            assert panel["datasource"]["uid"] in SOURCES
            assert all(target["datasource"]["uid"] in SOURCES for target in panel["targets"])
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.name)
def test_no_panel_lies_on_another(file):
    taken = set()
    for panel in dashboards()[file.name]["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.name)
def test_the_variables_of_a_dashboard_are_used_and_the_used_ones_are_there(file):
    board = dashboards()[file.name]
    names = {variable["name"] for variable in board["templating"]["list"]}
    expressions = " ".join(target["expr"] for panel in board["panels"] for target in panel.get("targets", ()))
    used = set(re.findall(r"\$(\w+)", expressions)) - {"__rate_interval", "__range"}
    assert used == names
