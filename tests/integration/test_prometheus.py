"""A real Prometheus reads a running service, with the rules of deploy/ loaded, and answers the dashboards' queries."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from calling import config_message, spoken, text_message
from deployed import DEPLOY, EXPECTED, alerts, dashboard_queries, rules, tool
from pixvox.v1 import media_pb2
from pixvox.v1.image_service_pb2 import GenerateImageRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from calling import Stubs
    from pixvox.server import Running

METHOD = "pixvox.v1.ImageService/GenerateImage"
PICTURES = 3


@dataclass
class Prometheus:
    """A running Prometheus.

    Attributes:
        address: HOST:PORT.
        complaints: Lines of its log that are more than information.
    """

    address: str
    complaints: list[str] = field(default_factory=list)

    async def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        answer = json.loads(await asyncio.to_thread(read, url))
        assert answer["status"] == "success"
        return answer["data"]

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        return (await self.get("query", query=expression))["result"]

    async def until(self, expression: str, value: float) -> None:
        """Wait until a query gives one sample with this value."""
        async with asyncio.timeout(20):
            while [float(sample["value"][1]) for sample in await self.query(expression)] != [value]:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.2)


def read(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error.read().decode()}") from error


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def configuration(target: str) -> dict[str, Any]:
    """deploy/prometheus.yml in a hurry, and with the running service as the only thing to read."""
    document = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    document["global"] |= {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    document["rule_files"] = [str(DEPLOY / pattern) for pattern in document["rule_files"]]
    (job,) = (job for job in document["scrape_configs"] if job["job_name"] == "pixvox")
    job["static_configs"] = [{"targets": [target]}]
    document["scrape_configs"] = [job]
    return document


@contextlib.asynccontextmanager
async def prometheus(target: str, folder: Path) -> AsyncIterator[Prometheus]:
    program = tool("prometheus")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration(target)))
    running = Prometheus(free_address())
    process = await asyncio.create_subprocess_exec(
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={running.address}",
        "--enable-feature=expand-external-labels",
        env={**os.environ, "PIXVOX_RUNBOOK_BASE": "https://example.org/pixvox/"},
        stderr=subprocess.PIPE,
    )
    log = asyncio.create_task(listen(process, running.complaints))
    try:
        await ready(running.address, process)
        yield running
    finally:
        process.terminate()
        await process.wait()
        await log


async def listen(process: asyncio.subprocess.Process, complaints: list[str]) -> None:
    assert process.stderr is not None
    async for line in process.stderr:
        text = line.decode()
        if "level=warn" in text or "level=error" in text:
            complaints.append(text)


async def ready(address: str, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(30):
        while True:
            assert process.returncode is None, "Prometheus ended"
            with contextlib.suppress(urllib.error.URLError, AssertionError):
                await asyncio.to_thread(read, f"http://{address}/-/ready")
                return
            await asyncio.sleep(0.1)


async def use(stubs: Stubs) -> None:
    """Some pictures, a refusal and a stream of speech."""
    small = media_pb2.Size(width=8, height=8)
    for _ in range(PICTURES):
        await stubs.images.GenerateImage(GenerateImageRequest(prompt="x", size=small))
    with pytest.raises(grpc.aio.AioRpcError):
        await stubs.images.GenerateImage(GenerateImageRequest(prompt="x", n=99))
    await spoken(stubs, [config_message(), text_message("Hello.")])


async def test_prometheus_reads_the_service_and_its_rules_cleanly(service: Running, stubs: Stubs, tmp_path: Path):
    await use(stubs)
    async with prometheus(service.http, tmp_path) as watcher:
        calls = f'sum(rpc_server_call_duration_seconds_count{{job="pixvox", rpc_method="{METHOD}"}})'
        await watcher.until(calls, PICTURES + 1)
        await watcher.until('up{job="pixvox"}', 1)
        (target,) = (await watcher.get("targets"))["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        await evaluated(watcher)
        firing = await watcher.query('ALERTS{alertstate="firing"}')
        assert firing == []
        # What Prometheus reads twice, out of order or against its own rules it complains of here.
        assert watcher.complaints == []


async def evaluated(watcher: Prometheus) -> None:
    """Every rule is there and was evaluated without an error."""
    names = {rule.get("alert", rule.get("record")) for rule in rules()}
    async with asyncio.timeout(20):
        while True:
            groups = (await watcher.get("rules"))["groups"]
            found = {rule["name"]: rule for group in groups for rule in group["rules"]}
            assert set(found) == names
            health = {rule["health"] for rule in found.values()}
            assert "err" not in health, [rule["lastError"] for rule in found.values() if rule["health"] == "err"]
            if health == {"ok"}:
                break
            await asyncio.sleep(0.2)
    assert {rule["name"] for rule in found.values() if rule["type"] == "alerting"} == set(alerts())


async def test_prometheus_answers_every_query_of_the_dashboards(tmp_path: Path):
    async with prometheus(free_address(), tmp_path) as watcher:
        for query in dashboard_queries():
            await watcher.query(query.text)


async def test_an_instance_that_is_gone_becomes_an_alert(tmp_path: Path):
    async with prometheus(free_address(), tmp_path) as watcher:
        pending = 'sum by (alertname) (ALERTS{alertname="PixvoxInstanceDown", alertstate="pending"})'
        await watcher.until(pending, 1)
        (alert,) = (
            one for one in (await watcher.get("alerts"))["alerts"] if one["labels"]["alertname"] == "PixvoxInstanceDown"
        )
        assert alert["annotations"]["runbook_url"] == "https://example.org/pixvox/docs/runbook.md#pixvoxinstancedown"


async def test_the_text_of_the_metrics_is_whole(service: Running, stubs: Stubs):
    await use(stubs)
    text = await asyncio.to_thread(read, f"http://{service.http}/metrics")
    checked = await asyncio.to_thread(
        subprocess.run, [tool("promtool"), "check", "metrics"], input=text, capture_output=True, check=False
    )
    # 3 is a matter of taste, on which the conventions of OpenTelemetry and Prometheus differ; 1 is a broken text.
    assert checked.returncode in {0, 3}, checked.stderr.decode()


async def test_a_running_service_shows_no_metric_and_no_label_that_is_not_expected(service: Running, stubs: Stubs):
    await use(stubs)
    text = (await asyncio.to_thread(read, f"http://{service.http}/metrics")).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    known = EXPECTED | {"target_info": set()}
    assert {sample.name for sample in samples} - set(known) == set()
    for sample in samples:
        labels = {label for label in sample.labels if not label.startswith("otel_scope_")}
        assert sample.name == "target_info" or labels - known[sample.name] == set(), sample.name
