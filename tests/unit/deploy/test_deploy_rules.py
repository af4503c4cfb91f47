"""The recording and alerting rules of deploy/: that Prometheus takes them, that their tests pass, and what each must have."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from deployed import DEPLOY, RULE_FILES, RULE_TESTS, alerts, rules, tool
from pixvox import errors
from pixvox.v1 import error_reason_pb2

# Not the caller's fault, and not lost either: the operator or an earlier call has said so, or the caller asks for too much.
NOT_LOST = {"METHOD_NOT_FOUND", "SWITCHED_OFF", "ANSWER_NOT_KEPT", "OUTPUT_TOO_LARGE"}
REASONS = {value.name.removeprefix("ERROR_REASON_") for value in error_reason_pb2.ErrorReason.DESCRIPTOR.values} - {
    "UNSPECIFIED"
}


def run(*command: str) -> None:
    process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=DEPLOY)
    assert process.returncode == 0, process.stdout + process.stderr


def test_prometheus_takes_the_rules():
    run(tool("promtool"), "check", "rules", *map(str, RULE_FILES))


def test_prometheus_takes_its_configuration_which_loads_the_rules():
    run(tool("promtool"), "check", "config", "prometheus.yml")
    patterns = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["rule_files"]
    assert {file for pattern in patterns for file in DEPLOY.glob(pattern)} == set(RULE_FILES)


def test_the_rules_do_what_their_tests_say():
    run(tool("promtool"), "test", "rules", *map(str, RULE_TESTS))


def test_every_file_of_rules_has_a_file_of_tests():
    assert [file.name for file in RULE_TESTS] == [file.name for file in RULE_FILES]


def cases() -> tuple[set[str], set[str]]:
    """The names of the alerts for which a test has a case in which they fire, and one in which they do not."""
    firing, quiet = set(), set()
    for test in (test for file in RULE_TESTS for test in yaml.safe_load(file.read_text())["tests"]):
        for case in test.get("alert_rule_test", ()):
            (firing if case.get("exp_alerts") else quiet).add(case["alertname"])
        for case in test.get("promql_expr_test", ()):
            if case["exp_samples"] and 'alertstate="firing"' in case["expr"]:
                firing.update(re.findall(r'ALERTS\{alertname="(\w+)"', case["expr"]))
    return firing, quiet


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not():
    firing, quiet = cases()
    assert firing == set(alerts())
    assert quiet == set(alerts())


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_how_bad_it_is_since_when_and_what_to_do(name):
    alert = alerts()[name]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert re.fullmatch(r"\d+[sm]", alert["for"])
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert (
        alert["annotations"]["runbook_url"] == f"{{{{ $externalLabels.runbook_base }}}}docs/runbook.md#{name.lower()}"
    )
    assert all(text.endswith(".") for key, text in alert["annotations"].items() if key != "runbook_url")


def test_names_of_alerts_begin_with_the_service():
    assert all(name.startswith("Pixvox") for name in alerts())


def subclasses(one: type) -> set[type]:
    return {one}.union(*(subclasses(each) for each in one.__subclasses__()))


def test_what_callers_could_have_avoided_is_not_lost_and_everything_else_is():
    (rule,) = (rule for rule in rules() if rule.get("record") == "job:pixvox_calls_lost:rate5m")
    (pattern,) = re.findall(r'reason!~"([^"]+)"', rule["expr"])
    own = {one for one in subclasses(errors.RequestError) if one.__module__ == errors.__name__}
    avoidable = {errors.reason_name(one.reason) for one in own}
    assert {reason for reason in REASONS if re.fullmatch(pattern, reason)} == avoidable | NOT_LOST


@pytest.mark.parametrize("name", [rule.get("alert", rule.get("record")) for rule in rules()])
def test_a_rule_speaks_of_reasons_that_there_are(name):
    (rule,) = (rule for rule in rules() if name in {rule.get("alert"), rule.get("record")})
    for pattern in re.findall(r'(?:reason|outcome|error_type)(?:=~|!~|=)"([^"]+)"', rule["expr"]):
        for part in re.split(r"\|(?![^(]*\))", pattern):
            assert part == "refused" or any(re.fullmatch(part, reason) for reason in REASONS), part
