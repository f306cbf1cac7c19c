"""For every alert a cluster in which it fires, and one much alike in which it does not, as promtool is told of them.

A sample is taken every minute. Whatever is not said is as in a healthy cluster, in which nothing ever fires.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

LONG: Final = 2000
"""Minutes that everything lasts: the longest that an alert looks back are 30 hours."""
FIRING: Final = 'count by (alertname) (ALERTS{alertstate="firing"})'

Series = Mapping[str, str]


def always(value: float) -> str:
    """The same all the time."""
    return f"{value:g}x{LONG}"


def rising(by: float, start: float = 0) -> str:
    """More every minute."""
    return f"{start:g}+{by:g}x{LONG}"


def pods(outcome: str, classification: str = "nl", mode: str = "Enforce") -> str:
    """The series of some pods."""
    return f'residency_pods{{classification="{classification}", mode="{mode}", outcome="{outcome}", instance="a"}}'


def checks(policy: str, action: str = "deny", error: str = "invalid_error", kind: str = "validating") -> str:
    """The API server's own series of a policy; what mutates has no action."""
    acted = f'enforcement_action="{action}", ' if kind == "validating" else ""
    return f'apiserver_{kind}_admission_policy_check_total{{policy="{policy}", {acted}error_type="{error}"}}'


def contact(resource: str) -> str:
    """When the audit last heard of something."""
    return f'residency_audit_last_contact_timestamp_seconds{{resource="{resource}", instance="a"}}'


def repairs(cause: str) -> str:
    """Repairs of the guard of pods."""
    return f'residency_policy_repairs_total{{policy="{GUARD}", kind="ValidatingAdmissionPolicy", cause="{cause}"}}'


SYNCED: Final = 'residency_audit_synced{instance="a"}'
LEADER: Final = 'residency_leader{instance="a"}'
IN_FORCE: Final = 'residency_policies_in_force{instance="a"}'
ELIGIBLE: Final = 'residency_eligible_nodes{classification="nl", instance="a"}'
DEFAULT: Final = 'residency_default_classification_in_force{classification="nl", instance="a"}'
SUCCESS: Final = 'residency_last_successful_reconcile_timestamp_seconds{instance="a"}'
RESTARTS: Final = 'residency_audit_restarts_total{instance="a"}'
NODES: Final = 'residency_nodes{country="(unknown)", provider="(unknown)", sovereign="false", instance="a"}'
GUARD: Final = "residency-guard-pods"

HEALTHY: Final[Series] = {
    LEADER: always(1),
    'residency_leader{instance="b"}': always(0),
    IN_FORCE: always(1),
    # The replica that stands by knows nothing, and says so.
    'residency_policies_in_force{instance="b"}': always(0),
    'residency_last_successful_reconcile_timestamp_seconds{instance="b"}': always(0),
    SUCCESS: rising(60),
    SYNCED: always(1),
    RESTARTS: always(0),
    contact("pods"): rising(60),
    contact("nodes"): rising(60),
    'residency_classifications{ready="true", instance="a"}': always(2),
    'residency_classifications{ready="false", instance="a"}': always(0),
    DEFAULT: always(1),
    'residency_daemonsets_refused{instance="a"}': always(0),
    'residency_pods_waiting_unplaced{classification="nl", instance="a"}': always(0),
    ELIGIBLE: always(3),
    pods("Compliant"): always(40),
    pods("Waiting"): always(2),
    **{pods(outcome): always(0) for outcome in ("Misplaced", "Unpinned", "Unknown", "NotLocated", "Unplaceable")},
    # The canary is refused too.
    checks(GUARD): rising(1),
}


@dataclass(frozen=True)
class Case:
    """One alert: the series with which it fires, the minute from which on, and those with which it does not."""

    alert: str
    fires: Series
    minute: int
    near: Series = field(default_factory=dict)


SLOW: Final = 24 * 60
"""Minutes from which on an alert is looked at less often."""
BREAKS: Final = 30
"""The minute in which something breaks, where it worked before."""


def broken(before: str, after: str) -> str:
    """One thing until then, another since."""
    return f"{before}x{BREAKS - 1} {after}x{LONG}"


CASES: Final = (
    Case(
        "ResidencyPodsMisplaced",
        {pods("Misplaced"): broken("0", "2")},
        BREAKS + 5,
        near={pods("Misplaced", mode="Audit"): always(2)},
    ),
    # The first sample that there ever is of it counts already.
    Case("ResidencyPodsMisplaced", {pods("Misplaced", "eu"): f"_x{BREAKS} 1x{LONG}"}, BREAKS + 5),
    Case(
        "ResidencyVolumesMisplaced",
        {'residency_volumes{classification="nl", mode="Enforce", outcome="Misplaced"}': always(1)},
        5,
        near={'residency_volumes{classification="nl", mode="Enforce", outcome="Compliant"}': always(1)},
    ),
    Case(
        "ResidencyNoEligibleNodes",
        {ELIGIBLE: broken("3", "0")},
        BREAKS + 5,
        near={ELIGIBLE: always(0), pods("Waiting"): always(0)},
    ),
    Case(
        "ResidencyPodsUnplaceable",
        {pods("Unplaceable"): always(1)},
        15,
        near={pods("Waiting"): always(9)},
    ),
    Case("ResidencyPodsUnknown", {pods("NotLocated"): always(1)}, 15, near={pods("Unknown", mode="Warn"): always(1)}),
    Case("ResidencyPodsUnknown", {pods("Unknown", "(unknown)"): always(1)}, 15),
    Case("ResidencyPodsUnpinned", {pods("Unpinned"): always(1)}, 60, near={pods("Unpinned", mode="Warn"): always(1)}),
    Case(
        "ResidencyPodsWaitingUnplaced",
        {'residency_pods_waiting_unplaced{classification="nl", instance="a"}': always(1)},
        15,
        near={'residency_pods_waiting_unplaced{classification="nl", instance="a"}': f"1x10 0x{LONG}"},
    ),
    Case(
        "ResidencyDaemonSetsRefused",
        {'residency_daemonsets_refused{instance="a"}': always(1)},
        30,
        near={'residency_daemonsets_refused{instance="a"}': f"1x20 0x{LONG}"},
    ),
    Case(
        "ResidencyIntruders",
        {pods("Intruder", "(none)", ""): always(1)},
        15,
        near={pods("Intruder", "(none)", ""): f"1x10 0x{LONG}"},
    ),
    Case("ResidencyNodesUnknown", {NODES: always(2)}, 60, near={NODES.replace("(unknown)", "NL", 1): always(2)}),
    Case(
        "ResidencyFindingsOpen",
        {'residency_findings{classification="nl", subject="Pods", outcome="Unknown", state="Open"}': always(1)},
        24 * 60,
        near={'residency_findings{classification="nl", subject="Pods", state="Acknowledged"}': always(1)},
    ),
    Case(
        "ResidencyFindingsNotStored",
        {"residency_findings_not_stored": always(3)},
        15,
        near={"residency_findings_not_stored": f"3x10 0x{LONG}"},
    ),
    Case(
        "ResidencyEvictionsHalted",
        {'residency_evictions_halted{classification="nl"}': always(1)},
        5,
        near={'residency_evictions_halted{classification="nl"}': always(0)},
    ),
    Case("ResidencyGuardNotInForce", {IN_FORCE: broken("1", "0")}, BREAKS + 5, near={IN_FORCE: f"1x9 0x3 1x{LONG}"}),
    # Not one sample was there before somebody first edited something.
    Case(
        "ResidencyPoliciesRepaired",
        {repairs("edited"): f"_x{BREAKS} 1x{LONG}"},
        BREAKS + 1,
        near={repairs("edited"): always(3)},
    ),
    Case("ResidencyPoliciesRepaired", {repairs("deleted"): broken("4", "5")}, BREAKS + 1),
    Case(
        "ResidencyPolicyErrors",
        {checks(GUARD, error="out_of_budget"): f"0x{BREAKS} 1+1x{LONG}"},
        BREAKS + 6,
        near={checks(GUARD): rising(2)},
    ),
    Case(
        "ResidencyPolicyErrors",
        {checks("residency-place-pods", error="invalid_error", kind="mutating"): f"0x{BREAKS} 1+1x{LONG}"},
        BREAKS + 6,
        near={checks("residency-place-pods", error="no_error", kind="mutating"): rising(50)},
    ),
    Case(
        "ResidencyDenialsRising",
        {checks(GUARD): f"0+1x{31 * 60} {31 * 60}+50x600"},
        31 * 60 + 30,
        near={checks(GUARD): rising(50)},
    ),
    Case(
        "ResidencyClassificationsNotReady",
        {'residency_classifications{ready="false", instance="a"}': always(1)},
        15,
        near={'residency_classifications{ready="false", instance="a"}': f"1x10 0x{LONG}"},
    ),
    Case("ResidencyDefaultNotInForce", {DEFAULT: broken("1", "0")}, BREAKS + 10, near={DEFAULT: f"1x9 0x5 1x{LONG}"}),
    # The audit fails: it is not synced any more, what it last heard grows old, and both are told.
    Case("ResidencyAuditNotSynced", {SYNCED: broken("1", "0")}, BREAKS + 5, near={SYNCED: f"1x9 0x3 1x{LONG}"}),
    Case(
        "ResidencyAuditStale",
        {contact("pods"): f"0+60x{BREAKS} {60 * BREAKS}x{LONG}"},
        BREAKS + 7,
        near={contact("pods"): f"0+60x{BREAKS} {60 * BREAKS}x3 {60 * BREAKS + 240}+60x{LONG}"},
    ),
    Case(
        "ResidencyAuditRestarting",
        {RESTARTS: f"0x{BREAKS} 1 2 3 4x{LONG}"},
        BREAKS + 3,
        near={RESTARTS: broken("0", "1")},
    ),
    Case("ResidencyNoLeader", {LEADER: f"1x{BREAKS} stale"}, BREAKS + 6, near={LEADER: f"1x{BREAKS} _x3 1x{LONG}"}),
    Case("ResidencyNoLeader", {LEADER: broken("1", "0")}, BREAKS + 5),
    Case(
        "ResidencyNotReconciling",
        {SUCCESS: f"0+60x{BREAKS} {60 * BREAKS}x{LONG}"},
        BREAKS + 16,
        near={SUCCESS: f"0+60x{BREAKS} {60 * BREAKS}x12 {60 * BREAKS + 780}+60x{LONG}"},
    ),
)


def promtool_tests(rules: str, *, slow: bool) -> dict[str, Any]:
    """For ``promtool test rules``: what fires within hours, looked at every minute, or the rest, every ten."""
    tests = [test for case in CASES if (case.minute >= SLOW) is slow for test in _tests(case)]
    if not slow:
        tests.append(_test("a healthy cluster", HEALTHY, dict.fromkeys((10, 100, 300), "")))
    return {"rule_files": [rules], "evaluation_interval": "10m" if slow else "1m", "tests": tests}


def _tests(case: Case) -> Iterator[dict[str, Any]]:
    expected = {case.minute - 1: "", case.minute: case.alert, case.minute + 3: case.alert}
    if case.alert == "ResidencyPoliciesRepaired":
        expected = {case.minute - 2: "", case.minute: case.alert, case.minute + 16: ""}
    yield _test(f"{case.alert} fires", {**HEALTHY, **case.fires}, expected)
    if case.near:
        near = dict.fromkeys((case.minute - 1, case.minute, case.minute + 20), "")
        yield _test(f"{case.alert} does not", {**HEALTHY, **case.near}, near)


def _test(name: str, series: Series, expected: Mapping[int, str]) -> dict[str, Any]:
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": labels, "values": values} for labels, values in series.items()],
        "promql_expr_test": [
            {
                "expr": FIRING,
                "eval_time": f"{minute}m",
                "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if alert else [],
            }
            for minute, alert in expected.items()
        ],
    }
