"""The chart: what it renders, what it refuses, and what its rights allow on a real API server."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from controlplane import ControlPlane
from e2e.installation import wait_for
from residency.api.names import PolicyName
from residency.policy.canary import canary_pod
from selector_cases import BAD_SELECTORS, SELECTORS

ROOT: Final = Path(__file__).parents[2]
CHART: Final = str(ROOT / "charts" / "residency")
NAMESPACE: Final = "residency-system"
CANARY: Final = "residency-canary"
ACCOUNT: Final = f"system:serviceaccount:{NAMESPACE}:residency-controller"
MUTATING: Final = ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings")
VALIDATING: Final = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
WRITERS: Final = tuple(name for name in PolicyName if name.startswith(("residency-place-", "residency-default-")))
GUARDS: Final = tuple(
    name for name in PolicyName if name.startswith(("residency-guard-", "residency-warn-", "residency-audit-"))
)
POLICIES: Final = (
    *((kind, name) for kind in MUTATING for name in WRITERS),
    *((kind, name) for kind in VALIDATING for name in GUARDS),
)

OPERATOR: Final = ("--api-versions", "monitoring.coreos.com/v1")
NO_OPERATOR: Final = (
    "this cluster does not serve monitoring.coreos.com/v1; install the Prometheus Operator's CRDs first"
)

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    with ControlPlane(scheduler=False, kwok=False, type_checking=False) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def installed(cluster: ControlPlane) -> ControlPlane:
    cluster.helm("install", "residency", CHART, "--namespace", NAMESPACE, "--create-namespace")
    return cluster


@pytest.fixture(scope="module")
def rendered(cluster: ControlPlane) -> list[Manifest]:
    return render(cluster)


def render(cluster: ControlPlane, *settings: str) -> list[Manifest]:
    text = cluster.helm("template", "residency", CHART, "--namespace", NAMESPACE, *settings)
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def the_deployment(manifests: list[Manifest]) -> Manifest:
    (deployment,) = of_kind(manifests, "Deployment")
    return deployment


def container_of(manifests: list[Manifest]) -> Manifest:
    (container,) = the_deployment(manifests)["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def rules_of(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [rule for kind in kinds for role in of_kind(manifests, kind) for rule in role["rules"]]


# What it renders


def test_helm_lint_has_nothing_to_say(cluster: ControlPlane) -> None:
    assert "0 chart(s) failed" in cluster.helm("lint", "--strict", CHART)


def test_a_package_carries_the_custom_resource_the_rules_and_the_dashboard(
    cluster: ControlPlane, tmp_path: Path
) -> None:
    cluster.helm("package", CHART, "--destination", str(tmp_path))
    (package,) = tmp_path.glob("residency-*.tgz")
    with tarfile.open(package) as archive:
        names = archive.getnames()
        packed = {Path(name).name for name in names if "/files/crds/" in name}
    assert packed == {path.name for path in (ROOT / "crds").glob("*.yaml")} != set()
    assert {"residency/files/rules/residency.yaml", "residency/files/dashboards/residency.json"} <= set(names)


def test_the_custom_resources_are_rendered_as_they_are_and_kept_at_uninstall(rendered: list[Manifest]) -> None:
    definitions = {one["metadata"]["name"]: one for one in of_kind(rendered, "CustomResourceDefinition")}
    sources = [yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*.yaml")]
    assert len(definitions) == len(sources) > 1
    for source in sources:
        definition = definitions[source["metadata"]["name"]]
        assert definition["metadata"]["annotations"].pop("helm.sh/resource-policy") == "keep"
        source["metadata"].setdefault("annotations", {})
        assert definition == source


def test_the_custom_resource_can_be_left_to_others(cluster: ControlPlane) -> None:
    assert of_kind(render(cluster, "--set", "crds.install=false"), "CustomResourceDefinition") == []


def test_the_canary_namespace_is_classified_as_the_canary(rendered: list[Manifest]) -> None:
    (namespace,) = of_kind(rendered, "Namespace")
    assert namespace["metadata"]["name"] == CANARY
    assert namespace["metadata"]["labels"]["residency.dev/classification"] == CANARY


def test_values_reach_the_controller(cluster: ControlPlane) -> None:
    settings = {
        "logFormat": "text",
        "resyncSeconds": "30",
        "reinvocationPolicy": "IfNeeded",
        "findings.keepDays": "30",
        "findings.maxStored": "500",
        "canaryNamespace": "canary",
        "schedulers": "{system:kube-scheduler,volcano}",
        "excludedNamespaces": "{cilium,rook}",
        "metrics.series": "1500",
        "metrics.namespaceDetail": "true",
        "reports.enabled": "false",
        "defaultClassification.name": "nl-bio",
        "defaultClassification.excludeSelectors": r"{team in (ci\, sandbox)\,!tenant,legacy=}",
    }
    arguments = [f"--set={name}={value}" for name, value in settings.items()]
    manifests = render(cluster, *arguments)
    assert container_of(manifests)["args"] == [
        "controller",
        "--http-address=0.0.0.0:8080",
        "--canary-namespace=canary",
        "--log-format=text",
        "--resync-seconds=30",
        "--findings-days=30",
        "--findings-stored=500",
        "--reinvocation-policy=IfNeeded",
        "--metrics-series=1500",
        "--metrics-namespace-detail",
        "--scheduler=system:kube-scheduler",
        "--scheduler=volcano",
        "--exclude-namespace=cilium",
        "--exclude-namespace=rook",
        "--default-classification=nl-bio",
        "--default-exclude-selector=team in (ci, sandbox),!tenant",
        "--default-exclude-selector=legacy=",
        "--no-reports",
    ]
    (namespace,) = of_kind(manifests, "Namespace")
    assert namespace["metadata"]["name"] == "canary"


@pytest.mark.parametrize(
    ("settings", "image"),
    [
        ([], "residency:0.1.0"),
        (["image.repository=registry.example/r", "image.tag=1.2"], "registry.example/r:1.2"),
        (["image.tag=1.2", f"image.digest=sha256:{'0' * 64}"], f"residency@sha256:{'0' * 64}"),
    ],
)
def test_the_image_is_named_by_digest_before_tag(cluster: ControlPlane, settings: list[str], image: str) -> None:
    manifests = render(cluster, *(f"--set={setting}" for setting in settings))
    assert container_of(manifests)["image"] == image


def test_the_pod_may_be_placed_by_the_platform_team(cluster: ControlPlane) -> None:
    values = {
        "nodeSelector": {"pool": "platform"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "imagePullSecrets": [{"name": "registry"}],
    }
    manifests = render(cluster, *(f"--set-json={name}={json.dumps(value)}" for name, value in values.items()))
    pod = the_deployment(manifests)["spec"]["template"]["spec"]
    assert {name: pod[name] for name in values} == values


def test_nothing_of_monitoring_is_there_unless_asked_for(rendered: list[Manifest]) -> None:
    assert {m["kind"] for m in rendered} & {"ServiceMonitor", "PrometheusRule", "ConfigMap"} == set()


def test_a_service_monitor_selects_the_service_of_the_controller(cluster: ControlPlane) -> None:
    labels = "monitoring.serviceMonitor.labels.release=prometheus"
    manifests = render(cluster, *OPERATOR, "--set", f"monitoring.serviceMonitor.enabled=true,{labels}")
    (monitor,), (service,) = of_kind(manifests, "ServiceMonitor"), of_kind(manifests, "Service")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint == {"port": "http", "path": "/metrics", "interval": "30s", "honorLabels": True}
    assert service["spec"]["publishNotReadyAddresses"]
    assert service["spec"]["ports"][0]["name"] == "http"


def test_a_service_monitor_without_the_service_is_refused(cluster: ControlPlane) -> None:
    settings = "monitoring.serviceMonitor.enabled=true,metrics.service.enabled=false"
    said = cluster.helm("template", "residency", CHART, *OPERATOR, "--set", settings, check=False)
    assert "set metrics.service.enabled=true" in said


def alerts(manifests: list[Manifest]) -> dict[str, Manifest]:
    (rule,) = of_kind(manifests, "PrometheusRule")
    return {alert["alert"]: alert for group in rule["spec"]["groups"] for alert in group["rules"]}


def test_the_rules_are_those_of_the_file_and_point_to_the_runbook(cluster: ControlPlane) -> None:
    base = "https://git.example/residency/"
    settings = f"monitoring.rules.enabled=true,monitoring.rules.runbookBaseUrl={base}"
    shipped = alerts(render(cluster, *OPERATOR, "--set", settings))
    file = yaml.safe_load((Path(CHART) / "files" / "rules" / "residency.yaml").read_text())
    expected = {alert["alert"]: alert for group in file["groups"] for alert in group["rules"]}
    for alert in expected.values():
        alert["annotations"]["runbook_url"] = base + alert["annotations"]["runbook_url"]
    assert shipped == expected


def test_single_alerts_can_be_left_out_and_changed(cluster: ControlPlane) -> None:
    rules = {
        "enabled": True,
        "labels": {"role": "alert-rules"},
        "alertLabels": {"team": "platform"},
        "disabled": ["ResidencyNodesUnknown"],
        "overrides": {"ResidencyPodsUnpinned": {"for": "4h", "severity": "info"}},
    }
    manifests = render(cluster, *OPERATOR, "--set-json", f"monitoring.rules={json.dumps(rules)}")
    shipped = alerts(manifests)
    assert of_kind(manifests, "PrometheusRule")[0]["metadata"]["labels"]["role"] == "alert-rules"
    assert "ResidencyNodesUnknown" not in shipped
    assert shipped["ResidencyPodsUnpinned"]["for"] == "4h"
    assert shipped["ResidencyPodsUnpinned"]["labels"] == {"severity": "info", "team": "platform"}
    assert shipped["ResidencyPodsMisplaced"]["labels"] == {"severity": "critical", "team": "platform"}


@pytest.mark.parametrize("setting", ["disabled={ResidencyPods}", "overrides.ResidencyPods.for=1m"])
def test_an_alert_that_there_is_not_is_refused(cluster: ControlPlane, setting: str) -> None:
    settings = f"monitoring.rules.enabled=true,monitoring.rules.{setting}"
    said = cluster.helm("template", "residency", CHART, *OPERATOR, "--set", settings, check=False)
    assert 'monitoring.rules: there is no alert "ResidencyPods"; there are ResidencyPodsMisplaced, ' in said


def test_the_dashboard_is_the_file_under_the_label_that_sidecars_look_for(cluster: ControlPlane) -> None:
    annotation = "monitoring.dashboard.annotations.grafana_folder=Platform"
    manifests = render(cluster, "--set", f"monitoring.dashboard.enabled=true,{annotation}")
    (shipped,) = of_kind(manifests, "ConfigMap")
    assert shipped["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert shipped["metadata"]["annotations"] == {"grafana_folder": "Platform"}
    assert shipped["data"]["residency.json"] == (Path(CHART) / "files" / "dashboards" / "residency.json").read_text()


@pytest.mark.parametrize(("default", "told"), [("", False), ("nl-depv", True)])
def test_the_notes_name_the_default_for_new_namespaces_where_there_is_one(
    cluster: ControlPlane, default: str, told: bool
) -> None:
    settings = f"defaultClassification.name={default}"
    said = cluster.helm("install", "residency", CHART, "--dry-run=client", "--set", settings)
    notes = said.partition("NOTES:")[2]
    assert "After `helm uninstall`" in notes
    assert ("labelled as nl-depv." in notes) is told
    assert ("labelled as" in notes) is told


# What it refuses


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("replicas=0", "'/replicas': minimum: got 0, want 1"),
        ("replicas=two", "'/replicas': got string, want integer"),
        ("logFormat=xml", "'/logFormat': value must be one of 'json', 'text'"),
        ("resyncSeconds=1", "'/resyncSeconds': minimum: got 1, want 5"),
        ("findings.keepDays=0", "'/findings/keepDays': minimum: got 0, want 1"),
        ("findings.kept=3", "'/findings': additional properties 'kept' not allowed"),
        ("reinvocationPolicy=Always", "'/reinvocationPolicy': value must be one of 'Never', 'IfNeeded'"),
        (
            "image.pullPolicy=Sometimes",
            "'/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'",
        ),
        ("image.digest=abc", "'/image/digest': 'abc' does not match pattern"),
        ("image.repository=", "'/image/repository': minLength: got 0, want 1"),
        ("canaryNamespace=Not_A_Name", "'/canaryNamespace': 'Not_A_Name' does not match pattern"),
        ("excludedNamespaces={a,a}", "'/excludedNamespaces': items at 0 and 1 are equal"),
        ("replicaCount=3", "additional properties 'replicaCount' not allowed"),
        ("image.name=x", "'/image': additional properties 'name' not allowed"),
        ("metrics.enabled=true", "'/metrics': additional properties 'enabled' not allowed"),
        ("metrics.series=100", "'/metrics/series': minimum: got 100, want 200"),
        ("monitoring.serviceMonitor.interval=soon", "'/monitoring/serviceMonitor/interval': 'soon' does not match"),
        ("monitoring.rules.runbookBaseUrl=x", "'/monitoring/rules/runbookBaseUrl': 'x' does not match pattern"),
        ("monitoring.serviceMonitor.enabled=true", f"monitoring.serviceMonitor.enabled: {NO_OPERATOR}"),
        ("monitoring.rules.enabled=true", f"monitoring.rules.enabled: {NO_OPERATOR}"),
        ("canaryNamespace=kube-system", 'canaryNamespace: "kube-system" is in use for something else; name'),
        (
            f"canaryNamespace={NAMESPACE}",
            f'canaryNamespace: "{NAMESPACE}" is in use for something else; name',
        ),
        (f"excludedNamespaces={{{CANARY}}}", f'excludedNamespaces: "{CANARY}" is the canaryNamespace'),
        ("reports.enable=false", "'/reports': additional properties 'enable' not allowed"),
        ("defaultClassification=nl-bio", "'/defaultClassification': got string, want object"),
        ("defaultClassification.name=NL", "'/defaultClassification/name': 'NL' does not match pattern"),
        ("defaultClassification.name=residency-x", "'/defaultClassification/name': 'not' failed"),
        ("defaultClassification.excludeSelector=a", "additional properties 'excludeSelector' not allowed"),
        ("defaultClassification.excludeSelectors={a,a}", "items at 0 and 1 are equal"),
        ("eviction.enabled=maybe", "'/eviction/enabled': got string, want boolean"),
        ("eviction.maxPerMinute=6", "'/eviction': additional properties 'maxPerMinute' not allowed"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_what_would_do(
    cluster: ControlPlane, setting: str, message: str
) -> None:
    said = cluster.helm("template", "residency", CHART, "--namespace", NAMESPACE, "--set", setting, check=False)
    assert "Error: " in said
    assert message in said


def with_selector(cluster: ControlPlane, selector: str) -> str:
    values = json.dumps({"defaultClassification": {"name": "nl-bio", "excludeSelectors": [selector]}})
    return cluster.helm("template", "residency", CHART, "--values", "-", input=values, check=False)


def test_the_chart_takes_the_selectors_that_the_controller_takes(cluster: ControlPlane) -> None:
    values = json.dumps({"defaultClassification": {"name": "nl-bio", "excludeSelectors": [*SELECTORS]}})
    text = cluster.helm("template", "residency", CHART, "--values", "-", input=values)
    arguments = container_of([document for document in yaml.safe_load_all(text) if document])["args"]
    assert [a for a in arguments if "selector" in a] == [f"--default-exclude-selector={text}" for text in SELECTORS]


@pytest.mark.parametrize("selector", BAD_SELECTORS)
def test_a_bad_selector_is_refused_before_the_controller_is_started_with_it(
    cluster: ControlPlane, selector: str
) -> None:
    said = with_selector(cluster, selector)
    assert "is not a label selector, such as team in (ci, sandbox),!tenant" in said
    assert "defaultClassification.excludeSelectors: " in said


def test_a_cluster_too_old_is_refused(cluster: ControlPlane) -> None:
    said = cluster.helm("template", "residency", CHART, "--kube-version", "v1.35.9", check=False)
    assert "chart requires kubeVersion: >=1.36.0-0 which is incompatible with Kubernetes v1.35.9" in said


# Its rights


def test_rights_to_policies_name_exactly_the_compiled_policies(rendered: list[Manifest]) -> None:
    bound = {
        (resource, name)
        for rule in rules_of(rendered, "ClusterRole")
        for resource in rule["resources"]
        for name in rule.get("resourceNames", ())
    }
    assert bound == {*POLICIES, ("reports", "residency")}
    assert {*WRITERS, *GUARDS} == set(PolicyName)


def test_without_reports_there_are_no_rights_to_any(cluster: ControlPlane) -> None:
    rules = rules_of(render(cluster, "--set", "reports.enabled=false"), "ClusterRole", "Role")
    assert [rule for rule in rules if "openreports.io" in rule["apiGroups"]] == []


def test_rights_have_no_wildcard_no_secrets_and_no_way_to_more_rights(rendered: list[Manifest]) -> None:
    for rule in rules_of(rendered, "ClusterRole", "Role"):
        assert "nonResourceURLs" not in rule
        words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert words.isdisjoint({"*", "secrets", "escalate", "bind", "impersonate", "rbac.authorization.k8s.io"})


def test_what_may_be_written_everywhere_without_a_name_is_little(rendered: list[Manifest]) -> None:
    written = {
        (resource, verb)
        for rule in rules_of(rendered, "ClusterRole")
        if "resourceNames" not in rule
        for resource in rule["resources"]
        for verb in rule["verbs"]
    } - {(resource, verb) for resource in ALL_READ for verb in ("list", "watch")}
    # Rights for people to bind; the controller has none of them.
    written -= {("dataclassifications", "declassify"), ("persistentvolumes", "declassify")}
    written -= {("nodes", "attest"), ("storageclasses", "attest")}
    written -= {("residencyfindings", verb) for verb in ("get", "patch", "update")}
    assert written == {
        ("dataclassifications", "patch"),
        ("dataclassifications/status", "patch"),
        ("daemonsets", "patch"),
        ("residencyfindings", "create"),
        ("residencyfindings", "delete"),
        ("residencyfindings/status", "patch"),
        ("events", "create"),
        ("events", "patch"),
        # Owners of pods, by their metadata.
        *((resource, "get") for resource in ("pods", "nodes", "replicasets", "jobs")),
    }


ALL_READ: Final = (
    "dataclassifications",
    "residencyfindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "namespaces",
    "pods",
    "nodes",
    "daemonsets",
    "storageclasses",
    "persistentvolumeclaims",
    "persistentvolumes",
)


# On a real API server


def test_every_rendered_object_is_accepted(installed: ControlPlane, rendered: list[Manifest]) -> None:
    manifests = "\n---\n".join(json.dumps(manifest) for manifest in rendered)
    applied = installed.kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", input=manifests
    )
    assert len(applied.splitlines()) == len(rendered)


def test_the_examples_in_the_readme_are_accepted(installed: ControlPlane) -> None:
    _, *examples = (ROOT / "README.md").read_text().split("```yaml\n")
    manifests = "---\n".join(example.partition("```")[0] for example in examples)
    applied = installed.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", input=manifests)
    assert len(applied.splitlines()) == manifests.count("kind: ")


def test_only_the_policies_refuse_the_canary(installed: ControlPlane) -> None:
    """Without policies it passes, pod security of its namespace included: a refusal proves something."""
    installed.request("POST", f"/api/v1/namespaces/{CANARY}/pods?dryRun=All", canary_pod())


def test_the_pod_is_admitted_where_the_restricted_standard_is_enforced(
    installed: ControlPlane, rendered: list[Manifest]
) -> None:
    installed.request(
        "PATCH",
        f"/api/v1/namespaces/{NAMESPACE}",
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
    )
    pod = the_deployment(rendered)["spec"]["template"] | {"apiVersion": "v1", "kind": "Pod"}
    pod["metadata"]["name"] = "as-the-deployment-makes-it"
    created = installed.request("POST", f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All", pod)
    assert created["spec"]["priorityClassName"] == "system-cluster-critical"


EVICTING: Final = [
    ("create", "", "pods", "any", "default", "eviction"),
    ("get", "", "persistentvolumeclaims", "any", "default", ""),
    *(("get", "", resource, "any", "", "") for resource in ("namespaces", "persistentvolumes")),
]
"""What the controller may do besides where eviction is enabled; it reads pods and nodes by name anyway, for Events."""
STORED: Final = ("persistentvolumeclaims", "persistentvolumes")
ALLOWED: Final = [
    ("list", "residency.dev", "dataclassifications", "", "", ""),
    ("watch", "residency.dev", "dataclassifications", "", "", ""),
    ("patch", "residency.dev", "dataclassifications", "nl-depv", "", ""),
    ("patch", "residency.dev", "dataclassifications", "nl-depv", "", "status"),
    ("watch", "residency.dev", "residencyfindings", "", "", ""),
    ("create", "residency.dev", "residencyfindings", "", "payments", ""),
    ("delete", "residency.dev", "residencyfindings", "nl-depv-misplaced", "payments", ""),
    ("patch", "residency.dev", "residencyfindings", "nl-depv-misplaced", "payments", "status"),
    ("watch", "", "namespaces", "", "", ""),
    ("list", "", "pods", "", "", ""),
    ("watch", "", "pods", "", "", ""),
    ("list", "", "nodes", "", "", ""),
    ("watch", "", "nodes", "", "", ""),
    *((verb, "", kind, "", "", "") for verb in ("list", "watch") for kind in STORED),
    *((verb, "storage.k8s.io", "storageclasses", "", "", "") for verb in ("list", "watch")),
    ("patch", "apps", "daemonsets", "agent", "monitoring", ""),
    ("create", "events.k8s.io", "events", "", "default", ""),
    ("patch", "events.k8s.io", "events", "web.0123", "payments", ""),
    ("get", "", "pods", "web", "payments", ""),
    ("get", "", "nodes", "node", "", ""),
    ("get", "apps", "replicasets", "web-1", "payments", ""),
    ("get", "batch", "jobs", "nightly-1", "payments", ""),
    *(
        (verb, "openreports.io", "reports", "residency", "payments", "")
        for verb in ("list", "create", "patch", "delete")
    ),
    ("create", "", "pods", "", CANARY, ""),
    ("create", "coordination.k8s.io", "leases", "", NAMESPACE, ""),
    ("update", "coordination.k8s.io", "leases", "residency-controller", NAMESPACE, ""),
    ("list", "discovery.k8s.io", "endpointslices", "", "default", ""),
    *(
        (verb, "admissionregistration.k8s.io", kind, name, "", "")
        for verb in ("get", "create", "patch", "update")
        for kind, name in POLICIES
    ),
    *(("watch", "admissionregistration.k8s.io", kind, "", "", "") for kind in (*MUTATING, *VALIDATING)),
]
FORBIDDEN: Final = [
    ("create", "residency.dev", "dataclassifications", "", "", ""),
    ("delete", "residency.dev", "dataclassifications", "nl-depv", "", ""),
    ("declassify", "residency.dev", "dataclassifications", "nl-depv", "", ""),
    ("patch", "residency.dev", "residencyfindings", "nl-depv-misplaced", "payments", ""),
    ("patch", "", "namespaces", "payments", "", ""),
    ("patch", "", "nodes", "node", "", ""),
    ("get", "", "secrets", "any", NAMESPACE, ""),
    *((verb, "", kind, "any", "default", "") for verb in ("patch", "delete") for kind in STORED),
    ("declassify", "", "persistentvolumes", "any", "", ""),
    ("create", "", "pods", "", NAMESPACE, ""),
    ("create", "", "pods", "", "default", ""),
    ("delete", "", "pods", "any", "default", ""),
    *EVICTING,
    ("get", "events.k8s.io", "events", "web.0123", "payments", ""),
    ("list", "events.k8s.io", "events", "", "", ""),
    ("delete", "events.k8s.io", "events", "web.0123", "payments", ""),
    ("list", "apps", "replicasets", "", "", ""),
    ("list", "openreports.io", "reports", "", "", ""),
    ("patch", "openreports.io", "reports", "somebody-elses", "payments", ""),
    ("create", "", "pods", "any", CANARY, "exec"),
    ("update", "coordination.k8s.io", "leases", "another", NAMESPACE, ""),
    ("update", "coordination.k8s.io", "leases", "residency-controller", "kube-system", ""),
    ("list", "discovery.k8s.io", "endpointslices", "", "payments", ""),
    *(
        ("create", "admissionregistration.k8s.io", kind, "", "", "")
        for kind in (*MUTATING, *VALIDATING, "validatingwebhookconfigurations")
    ),
    *(
        (verb, "admissionregistration.k8s.io", kind, "somebody-elses", "", "")
        for verb in ("patch", "update")
        for kind in (*MUTATING, *VALIDATING)
    ),
    *(("delete", "admissionregistration.k8s.io", kind, name, "", "") for kind, name in POLICIES),
]


def may(
    cluster: ControlPlane, verb: str, group: str, resource: str, name: str, namespace: str, subresource: str
) -> bool:
    attributes = {
        "verb": verb,
        "group": group,
        "resource": resource,
        "name": name,
        "namespace": namespace,
        "subresource": subresource,
    }
    review = cluster.request(
        "POST",
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": ACCOUNT, "resourceAttributes": attributes},
        },
    )
    return bool(review["status"]["allowed"])


def test_the_controller_may_do_what_it_does(installed: ControlPlane) -> None:
    assert [right for right in ALLOWED if not may(installed, *right)] == []


def test_the_controller_may_do_nothing_else(installed: ControlPlane) -> None:
    assert [right for right in FORBIDDEN if may(installed, *right)] == []


def test_the_right_to_evict_is_given_where_it_is_asked_for_and_no_other_with_it(installed: ControlPlane) -> None:
    chart = ("upgrade", "residency", CHART, "--namespace", NAMESPACE)
    installed.helm(*chart, "--set", "eviction.enabled=true")
    try:
        wait_for(lambda: all(may(installed, *right) for right in EVICTING))
        assert [right for right in FORBIDDEN if right not in EVICTING and may(installed, *right)] == []
    finally:
        # Without any value helm would take those of the last time.
        installed.helm(*chart, "--set", "eviction.enabled=false")
    wait_for(lambda: not any(may(installed, *right) for right in EVICTING))


def policy(name: str) -> str:
    """A policy that concerns nothing."""
    rule = {
        "apiGroups": ["example.com"],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["nothings"],
    }
    return json.dumps(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "true"}]},
        }
    )


def test_server_side_apply_makes_a_policy_under_its_own_name_only(installed: ControlPlane) -> None:
    account = installed.service_account_kubeconfig(NAMESPACE, "residency-controller")
    apply = ("apply", "--server-side", "-f", "-")
    installed.kubectl(*apply, input=policy(PolicyName.GUARD_PODS), kubeconfig=account)
    refused = installed.kubectl(*apply, input=policy("residency-another"), kubeconfig=account, check=False)
    assert '"residency-another" is forbidden' in refused


def test_classifications_outlive_the_release_and_it_comes_back(installed: ControlPlane) -> None:
    installed.helm("uninstall", "residency", "--namespace", NAMESPACE, "--wait")
    definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/dataclassifications.residency.dev"
    before = installed.request("GET", definition)["metadata"]["uid"]
    installed.helm("install", "residency", CHART, "--namespace", NAMESPACE)
    assert installed.request("GET", definition)["metadata"]["uid"] == before
