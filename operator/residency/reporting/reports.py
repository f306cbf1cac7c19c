"""Reports as OpenReports has them (openreports.io): one for each namespace, from findings to JSON.

What they say of a result, in their words, and what becomes that here:

======  ================================================  ==========================================================
pass    the requirements are met                          Compliant
fail    they are not                                      Misplaced, Unpinned and Intruder, where it is enforced
warn    they are not, and that is not scored              the same in a lower mode, or acknowledged by somebody
error   it could not be evaluated                         Unknown, NotLocated
skip    it was not selected, or does not apply            Unplaceable: what runs nowhere is nowhere where it may not
======  ================================================  ==========================================================

The summary counts pods (or volumes), not results: a result stands for all of a namespace to which the same is the
matter.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from residency.api.names import MANAGED_BY, REPORT_NAME, REPORT_SOURCE, REPORTS_VERSION, Mode, Outcome
from residency.audit.findings import Finding, State, Subject
from residency.core.messages import one_line

Json = dict[str, Any]

MOST_RESULTS: Final = 50
MOST_RESOURCES: Final = 5
CATEGORY: Final = "Data residency"
_LENGTH: Final = 1024

_RESULTS: Final[Mapping[Outcome, str]] = {
    Outcome.MISPLACED: "fail",
    Outcome.UNPINNED: "fail",
    Outcome.INTRUDER: "fail",
    Outcome.UNKNOWN: "error",
    Outcome.NOT_LOCATED: "error",
    Outcome.UNPLACEABLE: "skip",
}
_SEVERITIES: Final[Mapping[str, str]] = {"fail": "high", "error": "medium", "warn": "low", "skip": "info"}
_ORDER: Final = ("fail", "error", "warn", "skip", "pass")
_SUBJECTS: Final[Mapping[Subject, tuple[str, str]]] = {
    Subject.PODS: ("Pod", "pod"),
    Subject.VOLUMES: ("PersistentVolumeClaim", "volume"),
}


def reports(findings: Sequence[Finding], passing: Mapping[str, Mapping[str, int]]) -> dict[str, Json]:
    """Write the reports, by namespace: of every namespace with a finding that is not resolved, or in ``passing``.

    ``passing`` says how many pods comply, by namespace and classification.
    """
    open_: dict[str, list[Finding]] = {namespace: [] for namespace in passing}
    for finding in findings:
        if finding.namespace and finding.state is not State.RESOLVED and finding.subject in _SUBJECTS:
            open_.setdefault(finding.namespace, []).append(finding)
    return {namespace: _report(namespace, some, passing.get(namespace, {})) for namespace, some in open_.items()}


def _report(namespace: str, findings: Sequence[Finding], passing: Mapping[str, int]) -> Json:
    results = [_result(finding) for finding in findings]
    results += [_pass(name, count) for name, count in sorted(passing.items()) if count]
    results.sort(key=lambda result: (_ORDER.index(result["result"]), result["policy"], result["rule"]))
    counts = Counter({"pass": sum(passing.values())})
    for finding in findings:
        counts[_says(finding)] += finding.count
    return {
        "apiVersion": REPORTS_VERSION,
        "kind": "Report",
        "metadata": {"name": REPORT_NAME, "namespace": namespace, "labels": {MANAGED_BY: "residency"}},
        "source": REPORT_SOURCE,
        "scope": {"apiVersion": "v1", "kind": "Namespace", "name": namespace},
        "configuration": {"limits": {"maxResults": MOST_RESULTS}},
        "summary": {word: counts[word] for word in _ORDER},
        "results": results[:MOST_RESULTS],
    }


def _says(finding: Finding) -> str:
    says = "error" if finding.outcome is None else _RESULTS.get(finding.outcome, "error")
    excused = finding.mode not in (None, Mode.ENFORCE) or finding.state is State.ACKNOWLEDGED
    return "warn" if says == "fail" and excused else says


def _result(finding: Finding) -> Json:
    says = _says(finding)
    kind, _ = _SUBJECTS[finding.subject]
    result: Json = {
        "source": REPORT_SOURCE,
        "category": CATEGORY,
        "policy": finding.classification,
        "rule": str(finding.outcome),
        "result": says,
        "severity": _SEVERITIES[says],
        "scored": says == "fail",
        "message": _message(finding),
        "resources": [
            {"apiVersion": "v1", "kind": kind, "namespace": finding.namespace, "name": example.name}
            for example in finding.examples[:MOST_RESOURCES]
        ],
        "properties": _properties(finding),
    }
    if finding.first_seen:
        result["timestamp"] = {"seconds": int(finding.first_seen), "nanos": 0}
    return result


def _message(finding: Finding) -> str:
    noun = _SUBJECTS[finding.subject][1]
    said = f"{finding.count} {noun}{'' if finding.count == 1 else 's'}"
    if finding.examples:
        first = finding.examples[0]
        said += f"; {first.name}{f' on node {first.node}' if first.node else ''}: {first.why}"
    return one_line(f"{said}.", _LENGTH)


def _properties(finding: Finding) -> dict[str, str]:
    said = {
        "count": str(finding.count),
        "mode": "" if finding.mode is None else str(finding.mode),
        "cause": finding.cause,
        "remedy": finding.remedy,
        "reference": finding.reference.strip(),
        "acknowledged": finding.acknowledged or "",
    }
    return {name: one_line(text, _LENGTH) for name, text in said.items() if text}


def _pass(classification: str, count: int) -> Json:
    return {
        "source": REPORT_SOURCE,
        "category": CATEGORY,
        "policy": classification,
        "rule": str(Outcome.COMPLIANT),
        "result": "pass",
        "scored": True,
        "message": f"{count} pod{'' if count == 1 else 's'} where they may be, and kept there.",
        "properties": {"count": str(count)},
    }
