"""What the dashboard shows: rows of panels, and the query of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]
Query = tuple[str, str]
"""An expression, and how what it returns is called."""

CHOSEN: Final = 'classification=~"$classification"'
CHECKS: Final = "apiserver_validating_admission_policy_check_total"
OURS: Final = 'policy=~"residency-.*"'
ENFORCED: Final = 'mode="Enforce"'
RUNNING: Final = 'outcome!~"Waiting|Unplaceable|Intruder"'
PLACE: Final = "country, provider, controlled_from, deployment_model"
NONE_IS_GOOD: Final = ((None, "green"), (1, "red"))
NONE_IS_BETTER: Final = ((None, "green"), (1, "orange"))
SEEING: Final = "(min(residency_audit_synced) == 1)"
"""1 while everything is seen, and otherwise nothing: a panel then shows that there is no data, not that all is well."""
NONE: Final = f"0 * {SEEING}"
"""A zero that somebody has seen."""
ONE_IS_GOOD: Final = ((None, "red"), (1, "green"))

Steps = Sequence[tuple[float | None, str]]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel; how wide it is of 24, and how high."""

    title: str
    queries: tuple[Query, ...]
    says: str
    """What it means, for whoever points at it."""
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    unit: str = "short"
    steps: Steps = ((None, "blue"),)
    words: Mapping[int, str] | None = None
    """What single values are called."""
    stacked: bool = False
    matrix: tuple[str, str] | None = None
    """Labels that become the rows and the columns of a table."""

    @property
    def instant(self) -> bool:
        """Whether it shows how things are now, not how they became so."""
        return self.kind != "timeseries"


def _or_none(label: str) -> str:
    """A zero with a name where there is nothing; a plain ``or`` would add it to what there is."""
    return f' or on () label_replace(vector(0), "{label}", "none", "", "")'


def _number(title: str, expression: str, says: str, **options: Any) -> Panel:
    return Panel(
        title=title, queries=((expression, ""),), says=says, kind="stat", **{"width": 4, "height": 4, **options}
    )


def _pods(outcomes: str, mode: str = "Enforce") -> str:
    return f'sum(residency_pods{{{CHOSEN}, mode=~"{mode}", outcome=~"{outcomes}"}}) or {NONE}'


def _located(label: str, title: str) -> Panel:
    return Panel(
        title=title,
        queries=((f"sum by ({label}) (residency_located_pods{{{CHOSEN}}})", f"{{{{{label}}}}}"),),
        says="Pods by this fact of the node that they are bound to.",
        kind="bargauge",
        width=6,
    )


_OVERVIEW: Final = (
    _number(
        "Pods that comply",
        f'1 - sum(residency_pods{{{CHOSEN}, {ENFORCED}, {RUNNING}, outcome!="Compliant"}})'
        f" / sum(residency_pods{{{CHOSEN}, {ENFORCED}, {RUNNING}}})"
        f" or {SEEING}",
        "Of the pods that run where their classification is enforced, those that are compliant.",
        unit="percentunit",
        steps=((None, "red"), (0.95, "orange"), (1, "green")),
    ),
    _number(
        "Misplaced",
        _pods("Misplaced"),
        "Pods on nodes that are not allowed, where that is enforced.",
        steps=NONE_IS_GOOD,
    ),
    _number(
        "Unknown or not located",
        _pods("Unknown|NotLocated"),
        "Pods on nodes of which too little is known, or that are virtual or not there, where it is enforced.",
        steps=NONE_IS_BETTER,
    ),
    _number(
        "Unpinned",
        _pods("Unpinned"),
        "Pods that nothing keeps where they are, where it is enforced.",
        steps=NONE_IS_BETTER,
    ),
    _number("Unplaceable", _pods("Unplaceable", mode=".*"), "Pods for which there is no node.", steps=NONE_IS_BETTER),
    _number(
        "Intruders",
        f'sum(residency_pods{{outcome="Intruder"}}) or {NONE}',
        "Unclassified pods on nodes that are kept for classified ones.",
        steps=NONE_IS_BETTER,
    ),
    _number(
        "Guard",
        "min(residency_policies_in_force and on (instance) residency_leader == 1) or vector(0)",
        "Whether the last canary saw the policies in force.",
        steps=ONE_IS_GOOD,
        words={0: "not in force", 1: "in force"},
    ),
    _number(
        "Audit",
        "min(residency_audit_synced) or vector(0)",
        "Whether pods, nodes and namespaces are all being watched.",
        steps=ONE_IS_GOOD,
        words={0: "does not see", 1: "sees all"},
    ),
    _number(
        "Audit last heard",
        "time() - min(residency_audit_last_contact_timestamp_seconds)",
        "How long ago the API server last told the audit something, of the resource that it told of least lately.",
        unit="s",
        steps=((None, "green"), (120, "orange"), (300, "red")),
    ),
    _number(
        "No eligible node",
        f"count(residency_eligible_nodes{{{CHOSEN}}} == 0) or {NONE}",
        "Classifications for which no node is Ready and not cordoned.",
        steps=NONE_IS_BETTER,
    ),
    _number(
        "Misplaced volumes",
        f'sum(residency_volumes{{{CHOSEN}, outcome="Misplaced"}}) or {NONE}',
        "Volumes that are where their data may not be.",
        steps=NONE_IS_GOOD,
    ),
    _number(
        "Alerts",
        'count(ALERTS{alertname=~"Residency.*", alertstate="firing"}) or vector(0)',
        "Alerts of Residency that fire now.",
        steps=NONE_IS_GOOD,
    ),
)

_CLASSIFICATIONS: Final = (
    Panel(
        title="Pods by outcome",
        queries=((f"sum by (outcome) (residency_pods{{{CHOSEN}}})", "{{outcome}}"),),
        says="All outcomes are described in docs/audit.md.",
        stacked=True,
    ),
    Panel(
        title="Classifications",
        queries=((f"sum by (classification, outcome) (residency_pods{{{CHOSEN}}})", ""),),
        says="Pods of each classification by outcome, as it is now.",
        kind="table",
        matrix=("classification", "outcome"),
    ),
    Panel(
        title="Eligible nodes",
        queries=((f"min by (classification) (residency_eligible_nodes{{{CHOSEN}}})", "{{classification}}"),),
        says="Nodes that satisfy a classification, are Ready and not cordoned.",
        width=8,
    ),
    Panel(
        title="Namespaces by mode",
        queries=((f"sum by (classification, mode) (residency_namespaces{{{CHOSEN}}})", ""),),
        says="In how many namespaces each classification holds, and how far it goes there.",
        kind="table",
        width=8,
        matrix=("classification", "mode"),
    ),
    Panel(
        title="Findings",
        queries=((f"sum by (state) (residency_findings{{{CHOSEN}}})" + _or_none("state"), "{{state}}"),),
        says="Deviations by where they are in their life.",
        width=8,
    ),
    Panel(
        title="Volumes by outcome",
        queries=((f"sum by (outcome) (residency_volumes{{{CHOSEN}}})" + _or_none("outcome"), "{{outcome}}"),),
        says="Volumes of classified namespaces, judged by where they are.",
    ),
    Panel(
        title="Evictions",
        queries=(
            (
                f"sum by (classification, result) (increase(residency_evictions_total{{{CHOSEN}}}[$__rate_interval]))"
                + _or_none("classification"),
                "{{classification}} {{result}}",
            ),
        ),
        says="What came of looking at misplaced pods that might be evicted, where a classification asks for that.",
    ),
)

_PLACES: Final = (
    _located("country", "By country"),
    _located("provider", "By provider"),
    _located("controlled_from", "By controlling jurisdiction"),
    _located("deployment_model", "By deployment model"),
    Panel(
        title="Where classified pods run",
        queries=((f"sum by (classification, {PLACE}) (residency_located_pods{{{CHOSEN}}})", ""),),
        says="The same in full. Sort and filter by any column.",
        kind="table",
    ),
    Panel(
        title="Nodes",
        queries=((f"sum by ({PLACE}, sovereign) (residency_nodes)", ""),),
        says="Nodes by their facts; sovereign ones are kept for classified pods.",
        kind="table",
    ),
)

_NAMESPACES: Final = (
    Panel(
        title="Pods that deviate, by namespace",
        queries=(
            (
                "sum by (namespace, classification, outcome) "
                f'(residency_namespace_pods{{{CHOSEN}, outcome!~"Compliant|Waiting"}})',
                "",
            ),
        ),
        says="Needs metrics.namespaceDetail=true in the chart's values.",
        kind="table",
    ),
    Panel(
        title="All pods, by namespace",
        queries=((f"sum by (namespace, classification, mode, outcome) (residency_namespace_pods{{{CHOSEN}}})", ""),),
        says="Needs metrics.namespaceDetail=true in the chart's values.",
        kind="table",
    ),
)

_ADMISSION: Final = (
    Panel(
        title="Refused",
        queries=(
            (
                f'sum by (policy) (increase({CHECKS}{{{OURS}, enforcement_action="deny"}}[$__rate_interval]))',
                "{{policy}}",
            ),
        ),
        says="What the guards refused. The controller's own canary is among it, once a minute at least.",
    ),
    Panel(
        title="What lower modes would refuse",
        queries=(
            (
                f'sum by (policy) (increase({CHECKS}{{{OURS}, enforcement_action="audit"}}[$__rate_interval]))'
                + _or_none("policy"),
                "{{policy}}",
            ),
        ),
        says="What classifications in mode Warn or Audit noted in the audit log.",
    ),
    Panel(
        title="What a pod waits for the policies, 99th percentile",
        queries=(
            (
                "histogram_quantile(0.99, sum by (le, policy) (rate("
                f"apiserver_mutating_admission_policy_check_duration_seconds_bucket{{{OURS}}}[$__rate_interval])))",
                "{{policy}}",
            ),
        ),
        says="How long the API server took to place a pod.",
        unit="s",
    ),
    Panel(
        title="Evaluations that fail",
        queries=(
            (
                f'sum by (policy, error_type) (increase({CHECKS}{{{OURS}, error_type=~"compile_error|out_of_budget"}}'
                "[$__rate_interval]))" + _or_none("policy"),
                "{{policy}} {{error_type}}",
            ),
            (
                "sum by (policy, error_type) (increase(apiserver_mutating_admission_policy_check_total"
                f'{{{OURS}, error_type!="no_error"}}[$__rate_interval]))' + _or_none("policy"),
                "{{policy}} {{error_type}}",
            ),
        ),
        says="Requests that were refused because a policy could not be evaluated. There should be none.",
    ),
)

_CONTROLLER: Final = (
    Panel(
        title="Policies restored",
        queries=(
            ("sum by (policy, cause) (residency_policy_repairs_total)" + _or_none("policy"), "{{policy}} {{cause}}"),
        ),
        says="Policies and bindings that somebody edited or deleted, since the controller began.",
        width=8,
    ),
    Panel(
        title="Reconciling, 90th percentile",
        queries=(
            (
                "histogram_quantile(0.9, sum by (le) "
                "(rate(residency_reconcile_duration_seconds_bucket[$__rate_interval])))",
                "all",
            ),
        ),
        says="How long it takes to compare everything, and to prove it in force.",
        unit="s",
        width=8,
    ),
    Panel(
        title="Failed steps",
        queries=(
            (
                "sum by (step) (increase(residency_reconcile_errors_total[$__rate_interval]))" + _or_none("step"),
                "{{step}}",
            ),
        ),
        says="Steps of reconciling that failed; the log says why.",
        width=8,
    ),
    Panel(
        title="Watches that ended",
        queries=(
            (
                "sum by (resource, cause) (increase(residency_audit_watches_lost_total[$__rate_interval]))"
                + _or_none("resource"),
                "{{resource}} {{cause}}",
            ),
        ),
        says="The API server ends a watch every few minutes (ended). All else is described in docs/metrics.md.",
        width=8,
    ),
    Panel(
        title="Memory",
        queries=(("process_resident_memory_bytes and on (instance) residency_leader", "{{instance}}"),),
        says="Of each replica.",
        unit="bytes",
        width=8,
    ),
    Panel(
        title="CPU",
        queries=(
            (
                "rate(process_cpu_seconds_total[$__rate_interval]) and on (instance) residency_leader",
                "{{instance}}",
            ),
        ),
        says="Of each replica.",
        width=8,
    ),
)

ROWS: Final[Mapping[str, tuple[Panel, ...]]] = {
    "Overview": _OVERVIEW,
    "Classifications": _CLASSIFICATIONS,
    "Where classified pods run": _PLACES,
    "Namespaces": _NAMESPACES,
    "Admission, as the API server counts it": _ADMISSION,
    "Controller": _CONTROLLER,
}
