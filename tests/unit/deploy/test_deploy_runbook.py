"""docs/runbook.md and docs/observability.md: every reason and every alert is there, and nothing that is not."""

from __future__ import annotations

import re

import pytest
import yaml

from deployed import DASHBOARDS, DEPLOY, EXPECTED, ROOT, alerts, dashboards, recorded
from pixvox.cli import COMMANDS
from pixvox.settings import Settings
from pixvox.v1 import error_reason_pb2

RUNBOOK = ROOT / "docs" / "runbook.md"
DOCUMENTS = (RUNBOOK, ROOT / "docs" / "observability.md")
REASONS = [
    value.name.removeprefix("ERROR_REASON_") for value in error_reason_pb2.ErrorReason.DESCRIPTOR.values if value.number
]


def without_code(text: str) -> str:
    """A document without its blocks of code, in which # is no heading."""
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def sections(text: str, level: str) -> dict[str, str]:
    """The texts under the headings of a level, up to the next heading of any."""
    parts = re.split(rf"^{level} (.+)$", without_code(text), flags=re.MULTILINE)[1:]
    return {
        title: re.split(r"^#+ ", body, flags=re.MULTILINE)[0]
        for title, body in zip(parts[::2], parts[1::2], strict=True)
    }


def anchors(text: str) -> list[str]:
    """What a link can name in a document, as GitHub makes it from headings."""
    titles = re.findall(r"^#+ (.+)$", without_code(text), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def quoted(text: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", without_code(text)))


def metrics_in(text: str) -> set[str]:
    """Names in a document, its blocks of code included, that are those of metrics."""
    return set(
        re.findall(r"\b(?:(?:rpc_server|gen_ai_client|http_client)_\w+|(?:job:|target:)[\w:]+|pixvox_[a-z_]+)", text)
    )


BY_REASON = sections(RUNBOOK.read_text(), "####")
BY_ALERT = sections(RUNBOOK.read_text().split("\n## Reasons\n")[0].split("\n## Alerts\n")[1], "###")


def test_every_reason_and_no_other_has_a_section():
    assert sorted(BY_REASON) == sorted(REASONS)


def test_every_alert_and_no_other_has_a_section():
    assert sorted(BY_ALERT) == sorted(alerts())


@pytest.mark.parametrize("reason", BY_REASON)
def test_a_reason_says_what_it_means_where_to_look_and_what_to_do(reason):
    text = BY_REASON[reason]
    assert re.findall(r"^\*\*(\w+)\*\* ", text, re.MULTILINE) == ["Means", "Look", "Do"]
    look = text.split("**Look**")[1].split("**Do**")[0]
    assert metrics_in(look)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_speaks_of_metrics_that_there_are(document):
    assert metrics_in(document.read_text()) - set(EXPECTED) - set(recorded()) == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_speaks_of_settings_that_there_are(document):
    tables = {table: getattr(Settings(), table) for table in Settings.__struct_fields__}
    for name in quoted(document.read_text()):
        table, dot, key = name.partition(".")
        if dot and table in tables and hasattr(tables[table], "__struct_fields__"):
            assert key in tables[table].__struct_fields__, name
    for table in re.findall(r"`\[(\w+)\]`", document.read_text()):
        assert table in tables


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_links_of_a_document_lead_somewhere(document):
    links = re.findall(r"\]\(([^)]+)\)", document.read_text())
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_headings_make_anchors_of_their_own(document):
    found = anchors(document.read_text())
    assert len(found) == len(set(found))


@pytest.mark.parametrize("name", alerts())
def test_the_link_of_an_alert_leads_to_its_section(name):
    path, _, anchor = alerts()[name]["annotations"]["runbook_url"].rpartition("}}")[2].partition("#")
    assert ROOT / path == RUNBOOK
    assert anchor in anchors(RUNBOOK.read_text())


def test_the_list_of_alerts_is_complete_and_has_their_severities():
    rows = re.findall(r"^\| \[(\w+)\]\(runbook\.md#(\w+)\) \| (\w+) \|", DOCUMENTS[1].read_text(), re.MULTILINE)
    assert {name: severity for name, _, severity in rows} == {
        name: alert["labels"]["severity"] for name, alert in alerts().items()
    }
    assert all(anchor == name.lower() for name, anchor, _ in rows)


def test_the_dashboards_are_listed_with_the_questions_that_they_answer():
    text = DOCUMENTS[1].read_text()
    for file in DASHBOARDS:
        board = dashboards()[file.name]
        row = f"| [{board['title'].removeprefix('pixvox ')}](../deploy/grafana/dashboards/{file.name}) | {board['description']}"
        assert row in text


def test_the_parts_of_the_stack_are_listed_at_their_ports():
    services = yaml.safe_load((DEPLOY / "compose.observability.yaml").read_text())["services"]
    text = DOCUMENTS[1].read_text()
    for service in services.values():
        for port in service["ports"]:
            assert re.search(rf"127\.0\.0\.1:{port.split(':')[1]}\b| and {port.split(':')[1]}\b", text), port


def test_the_lines_of_the_log_that_the_runbook_quotes_are_written_by_the_service():
    source = "".join(file.read_text() for file in (ROOT / "src" / "pixvox").rglob("*.py"))
    lines = {name for name in quoted(RUNBOOK.read_text()) if re.fullmatch(r"[a-z]+( [a-z]+)+", name)}
    lines = {name for name in lines if not name.startswith("pixvox ")}
    assert "canary rolled back" in lines
    assert {name for name in lines if f'"{name}"' not in source} == set()


def test_the_commands_that_the_runbook_names_are_there():
    commands = set(re.findall(r"`pixvox ([a-z]+)", RUNBOOK.read_text()))
    assert commands
    assert commands <= set(COMMANDS)
