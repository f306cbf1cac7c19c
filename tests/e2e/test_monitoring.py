"""The chart's alerts and dashboard: a real Prometheus has data for them, from a real controller and API server."""

import math
import re
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from alert_cases import SYNCED, pods, promtool_tests
from controlplane import ControlPlane, RequestError, build
from controlplane.pools import EU_PRIVATE, POOL_LABEL
from dashboard.panels import ROWS, Panel
from e2e.installation import CHART, Controller, Installation, wait_for
from e2e.prometheus import RULES, Prometheus, api_server_job, controller_job
from residency.api.names import REGION, Fact

Object = dict[str, Any]

PROGRAMS: Final = ("promtool", "prometheus")
PANELS: Final = [panel for row in ROWS.values() for panel in row]
FRANKFURT: Final = "eu-private-0"
SCRAPED: Final = 12.0
"""Seconds that are scraped once a second before rates are asked for."""


@pytest.fixture(scope="module")
def programs() -> dict[str, Path]:
    return dict(build.ensure(names=PROGRAMS))


def promtool(programs: dict[str, Path], *arguments: str, stdin: str = "") -> str:
    """Run it, and return what it says; it must be content."""
    command = [str(programs["promtool"]), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


# What needs no cluster


def test_promtool_has_nothing_against_the_rules(programs: dict[str, Path]) -> None:
    assert "SUCCESS" in promtool(programs, "check", "rules", "--lint=all", "--lint-fatal", str(RULES))


def test_every_alert_fires_when_it_should_and_only_then(programs: dict[str, Path], tmp_path: Path) -> None:
    files = []
    for slow in (False, True):
        files.append(tmp_path / f"slow-{slow}.yaml")
        files[-1].write_text(yaml.safe_dump(promtool_tests(str(RULES), slow=slow), sort_keys=False))
    promtool(programs, "test", "rules", *map(str, files))


def test_no_panel_says_that_all_is_well_while_nobody_sees_it(programs: dict[str, Path], tmp_path: Path) -> None:
    """A panel shows nothing, or what is bad, where there are no series or the audit does not see everything."""
    numbers = [panel for panel in PANELS if panel.kind == "stat" and panel.steps[0][1] == "green" and panel.unit != "s"]
    unknown = {panel.title: None for panel in numbers if panel.title != "Alerts"}
    blind = {"Guard": 0.0, "Audit": 0.0, "Pods that comply": None}
    well = dict.fromkeys(unknown, 0.0) | {"Pods that comply": 1.0}
    misplaced = well | {"Misplaced": 3.0, "Pods that comply": 0.0}
    file = tmp_path / "panels.yaml"
    cases = [
        shown_in({}, unknown | blind),
        shown_in({SYNCED: 0}, unknown | {"Pods that comply": None}),
        shown_in({SYNCED: 1}, well),
        shown_in({SYNCED: 1, pods("Misplaced"): 3}, misplaced),
        shown_in({SYNCED: 1, pods("Misplaced"): 3, pods("Compliant"): 9}, misplaced | {"Pods that comply": 0.75}),
    ]
    file.write_text(yaml.safe_dump({"tests": cases}))
    assert len(unknown) == 7
    promtool(programs, "test", "rules", str(file))


def shown_in(series: Mapping[str, float], expected: Mapping[str, float | None]) -> Object:
    """What promtool is to find where there are these series: panels by title, and what they show."""
    said = {panel.title: panel.queries[0][0] for panel in PANELS}
    return {
        "input_series": [{"series": name, "values": f"{value:g}x5"} for name, value in series.items()],
        "promql_expr_test": [
            {
                "expr": as_grafana_asks(said[title]),
                "eval_time": "1m",
                "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
            }
            for title, value in expected.items()
        ],
    }


# On a real control plane


@pytest.fixture(scope="module")
def controller(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    # It looks so often that rates over seconds have something to show.
    flags = ("--resync-seconds", "2", "--metrics-namespace-detail")
    installed = Installation(cluster, tmp_path_factory.mktemp("controllers"), *flags)
    installed.install()
    controller = installed.controller()
    inhabit(installed)
    yield controller
    installed.close()


def inhabit(installed: Installation) -> None:
    """Classified namespaces in all modes, with pods that comply, are misplaced, refused, wait, and intrude."""
    germany = {"nodes": {"anyOf": [{"countries": ["DE"]}]}}
    installed.classify("de", {"title": "Germany"} | germany)
    installed.classify("de-soon", {"title": "Germany, some day", "mode": "Warn"} | germany)
    installed.classify("fr", {"title": "France", "nodes": {"anyOf": [{"countries": ["FR"]}]}})
    for name in ("de", "de-soon", "fr"):
        installed.wait_ready(name)
        installed.namespace(f"of-{name}", name)
    installed.namespace("plain")
    installed.wait_ready("fr")
    hostname = "kubernetes.io/hostname"
    for number in range(2):
        create(installed, "of-de", f"moved-{number}", nodeSelector={hostname: FRANKFURT})
        create(installed, "of-de", f"fine-{number}", nodeSelector={hostname: "eu-private-1"})
    create(installed, "of-de-soon", "elsewhere", nodeSelector={POOL_LABEL: "us-amsterdam"})
    create(installed, "of-de-soon", "warned", nodeName="plain-0")
    create(installed, "of-fr", "waits")
    create(installed, "plain", "intruder", nodeName="odc-noord-0")
    assert not create(installed, "of-de", "refused", nodeName="plain-0")
    pods = "/api/v1/namespaces/of-de/pods"
    wait_for(lambda: all(p["spec"].get("nodeName") for p in installed.cluster.request("GET", pods)["items"]))
    moved = {"metadata": {"labels": {Fact.COUNTRY: "US", REGION: "us-east-1"}}}
    installed.cluster.request("PATCH", f"/api/v1/nodes/{FRANKFURT}", moved)


def create(installed: Installation, namespace: str, name: str, **spec: Any) -> bool:
    """Create a pod, and say whether Residency allows it; a new namespace has no ServiceAccount for a moment."""
    body = {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "c"}], **spec}}

    def answered() -> str:
        try:
            installed.cluster.request("POST", f"/api/v1/namespaces/{namespace}/pods", body)
        except RequestError as error:
            return "" if "serviceaccount" in str(error) else "no"
        return "yes"

    return wait_for(answered) == "yes"


@pytest.fixture(scope="module")
def prometheus(
    cluster: ControlPlane,
    controller: Controller,
    programs: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    wait_for(lambda: controller.metric("residency_pods", outcome="Misplaced", mode="Enforce") == 2)
    jobs = [controller_job(controller), api_server_job(cluster, folder)]
    with Prometheus(cluster.group, programs["prometheus"], folder, jobs).running() as prometheus:
        wait_for(lambda: len(prometheus.query("up == 1")) == 2, saying="both to be scraped")
        time.sleep(SCRAPED)
        yield prometheus


def test_promtool_has_nothing_against_the_metrics(programs: dict[str, Path], controller: Controller) -> None:
    assert promtool(programs, "check", "metrics", stdin=controller.get("/metrics")[1]) == ""


def test_the_commands_of_the_runbook_work(cluster: ControlPlane, controller: Controller) -> None:
    assert controller.alive
    text = (CHART.parents[1] / "docs" / "runbook.md").read_text()
    for placeholder, value in {"$C": "de", "NODE": FRANKFURT, "NAMESPACE": "of-de", "POD": "fine-0"}.items():
        text = re.sub(rf"{re.escape(placeholder)}\b", value, text)
    commands = set(re.findall(r"^kubectl (.+?)(?: +#| \||$)", text, re.MULTILINE))
    assert len(commands) > 15
    for command in commands:
        if "VOLUME" not in command and "NAME" not in command.split():
            cluster.kubectl(*shlex.split(command))


def test_every_panel_of_the_dashboard_has_data(prometheus: Prometheus) -> None:
    empty = [panel.title for panel in PANELS if not all(seen(prometheus, panel))]
    assert empty == []


def seen(prometheus: Prometheus, panel: Panel) -> Sequence[bool]:
    """Whether each query of a panel returns a number."""
    return [
        any(not math.isnan(float(found["value"][1])) for found in prometheus.query(as_grafana_asks(expression)))
        for expression, _ in panel.queries
    ]


def as_grafana_asks(expression: str) -> str:
    """With all classifications chosen."""
    asked = expression.replace("$classification", ".*").replace("$__rate_interval", "10s")
    assert "$" not in asked
    return asked


def test_panels_show_what_is_so(prometheus: Prometheus) -> None:
    said = {panel.title: panel.queries[0][0] for panel in PANELS}

    def shown(title: str) -> dict[tuple[str, ...], float]:
        found = prometheus.query(as_grafana_asks(said[title]))
        return {tuple(sorted(one["metric"].values())): float(one["value"][1]) for one in found}

    assert shown("Misplaced") == {(): 2}
    assert shown("Pods that comply") == {(): 0.5}
    assert shown("Intruders") == {(): 1}
    assert shown("No eligible node") == {(): 1}
    assert shown("Guard") == shown("Audit") == {(): 1}
    assert shown("By country") == {("DE",): 2, ("NL",): 1, ("US",): 2, ("(unknown)",): 1}
    assert shown("By controlling jurisdiction") == {("DE",): 4, ("US",): 1, ("(unknown)",): 1}
    assert shown("Pods that deviate, by namespace") == {
        ("Misplaced", "de", "of-de"): 2,
        ("Misplaced", "de-soon", "of-de-soon"): 1,
        ("Unknown", "de-soon", "of-de-soon"): 1,
        ("Unplaceable", "fr", "of-fr"): 1,
        ("(none)", "Intruder", "plain"): 1,
    }
    assert shown("Nodes")[("(unknown)", "(unknown)", "(unknown)", "(unknown)", "false")] == 2
    assert EU_PRIVATE.nodes == 3
    assert shown("Nodes")[("DE", "US", "false", "private-external", "rheincloud")] == 1
    assert shown("Evaluations that fail") == {("none",): 0}
    assert shown("Refused")[("residency-guard-pods",)] > 0
    assert shown("What lower modes would refuse") == {("residency-warn-pods",): 0}
    assert shown("What a pod waits for the policies, 99th percentile")[("residency-place-pods",)] > 0


def test_every_rule_can_be_evaluated_and_says_in_words_what_is_wrong(prometheus: Prometheus) -> None:
    groups = prometheus.ask("rules")["groups"]
    rules = {rule["name"]: rule for group in groups for rule in group["rules"]}
    written = yaml.safe_load(RULES.read_text())["groups"]
    assert set(rules) == {rule["alert"] for group in written for rule in group["rules"]}
    assert {name: rule.get("lastError") for name, rule in rules.items() if rule["health"] != "ok"} == {}
    begun = {name: [alert["annotations"] for alert in rule["alerts"]] for name, rule in rules.items() if rule["alerts"]}
    assert set(begun) == {
        "ResidencyPodsMisplaced",
        "ResidencyNoEligibleNodes",
        "ResidencyIntruders",
        "ResidencyNodesUnknown",
        "ResidencyFindingsOpen",
    }
    (misplaced,) = begun["ResidencyPodsMisplaced"]
    assert misplaced["summary"] == "Pods run where de does not allow it"
    assert misplaced["description"] == "2 pods classified de run on nodes whose facts do not allow it."


def test_every_metric_that_is_asked_for_is_one_that_there_is(prometheus: Prometheus) -> None:
    asked = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    asked += [expression for panel in PANELS for expression, _ in panel.queries]
    named = {name for text in asked for name in re.findall(r"\b(?:residency|apiserver|process)_\w+", text)}
    there = set(prometheus.ask("label/__name__/values"))
    assert named - there - ONLY_WHEN_IT_HAPPENS == set()


ONLY_WHEN_IT_HAPPENS: Final = {
    "residency_policy_repairs_total",
    "residency_reconcile_errors_total",
    "residency_audit_watches_lost_total",
    "residency_default_classification_in_force",
    "residency_findings",
    "residency_evictions_total",
    "residency_evictions_halted",
}
"""What has no series before there is anything to count, or, the default, where none is configured."""
