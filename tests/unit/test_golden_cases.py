"""Golden cases: what the judge says of them, and that what is found is written as they are."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2e.agreement import FAILURES, AuditLog, Differences, branch
from golden import Case, Json, golden_cases, judge, read, resolved
from keepalive import Answer
from residency.api.classification import DataClassificationSpec
from residency.api.names import CLASSIFICATION, Code
from residency.core.judge import Denied, Untouched
from workload_strategies import NAMES, catalogues, pod_specs, workloads


@pytest.mark.parametrize("case", golden_cases(), ids=lambda case: case.name)
def test_the_judge_says_of_a_golden_case_what_is_written(case: Case) -> None:
    assert case.judged() == case.verdict


def test_golden_cases_are_told_apart_and_say_why_they_are_kept() -> None:
    names = [case.name for case in golden_cases()]
    assert len(names) == len(set(names)) >= 25
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)
    assert all(case.why for case in golden_cases())


def test_a_namespace_of_golden_cases_has_the_same_labels_everywhere() -> None:
    """All are made before the first policy; a label that changes would be judged by itself."""
    labels = {case.namespace: case.labels for case in golden_cases()}
    assert all(case.labels == labels[case.namespace] for case in golden_cases())


def test_there_are_golden_cases_of_every_verdict_on_pods_templates_and_daemonsets() -> None:
    said = {branch(case.object["kind"], case.verdict) for case in golden_cases()}
    codes = {code for code in Code if code <= Code.DAEMONSET_AFFINITY} - {Code.NOT_PLACED}
    assert {case.verdict.code for case in golden_cases() if isinstance(case.verdict, Denied)} == codes
    for subject in ("Pod", "DaemonSet"):
        assert {f"{subject} {what}" for what in ("Untouched", "Place terms", "Place terms and tolerations")} <= said


POD = next(case for case in golden_cases() if case.name == "selector-contradicts")


@pytest.mark.parametrize("case", golden_cases(), ids=lambda case: case.name)
def test_a_case_that_is_written_reads_the_same(case: Case) -> None:
    assert tuple(read(case.render("a comment,\nof two lines"))) == (case,)


@settings(max_examples=15)
@given(st.data(), catalogues(), workloads(), st.sampled_from(NAMES))
def test_whatever_is_generated_is_written_restricted_and_judged_the_same(
    data: st.DataObject, specs: dict[str, Json], workload: Json, label: str
) -> None:
    if data.draw(st.booleans()):
        workload = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"}, "spec": data.draw(pod_specs())}
    labels = {CLASSIFICATION: label}
    verdict = judge(workload, "payments", labels, resolved(specs))
    case = Case(
        name="x", why="x", specs=specs, namespace="payments", labels=labels, object=workload, verdict=verdict
    ).restricted()
    (again,) = read(case.render())
    assert again == case
    assert again.judged() == verdict


def test_a_case_is_restricted_to_what_its_object_is_under_and_what_that_includes() -> None:
    specs: dict[str, Json] = {
        "nl": {"title": "Dutch", "includes": ["eu"]},
        "eu": {"title": "European", "includes": ["all"]},
        "all": {"title": "All"},
        "us": {"title": "American"},
        "own": {"title": "Own"},
        "outer": {"title": "Outer"},
    }
    annotated = {"kind": "Pod", "metadata": {"annotations": {CLASSIFICATION: "own"}}, "spec": {}}
    case = replace(POD, specs=specs, labels={CLASSIFICATION: "nl"}, object=annotated)
    assert set(case.restricted().specs) == {"nl", "eu", "all", "own"}
    assert not replace(case, labels={}, object=annotated | {"metadata": {}}).restricted().specs
    template: Json = {"metadata": {}, "spec": {}}
    outside = {
        "kind": "Deployment",
        "metadata": {"annotations": {CLASSIFICATION: "outer"}},
        "spec": {"template": template},
    }
    assert set(replace(case, labels={}, object=outside).restricted().specs) == {"outer"}


def test_generated_classifications_are_what_the_api_server_takes_and_all_resolve() -> None:
    @settings(max_examples=8)
    @given(catalogues())
    def check(specs: dict[str, Json]) -> None:
        assert all(DataClassificationSpec.parse(spec) for spec in specs.values())
        assert set(resolved(specs)) == set(NAMES)

    check()


def differing(differences: Differences, *cases: Case) -> None:
    """Have an API server admit everything as it came."""
    for case in cases:
        with pytest.raises(AssertionError):
            differences.compare(case, Answer(201, dict(case.object)), AuditLog(Path("not read")))


def test_a_difference_is_shown_and_kept_as_a_golden_case(tmp_path: Path) -> None:
    differences, said = Differences(tmp_path / "new"), list[str]()
    with differences.kept("Round 3, pods", said.append):
        differing(differences, POD)
    written = (tmp_path / "new" / "round-3-pods.yaml").read_text()
    assert tuple(read(written)) == (POD.restricted(),)
    assert written.startswith("# Drawn with RESIDENCY_JUDGE_SEED=")
    assert "the API server said 201" in written
    assert written in said


def test_the_last_of_several_differences_is_kept_which_is_the_smallest(tmp_path: Path) -> None:
    differences = Differences(tmp_path)
    with differences.kept("x", lambda _: None):
        differing(differences, replace(POD, name="first"), replace(POD, name="last"))
    assert [case.name for case in read((tmp_path / "x.yaml").read_text())] == ["last"]


def test_nothing_is_written_where_there_is_no_difference(tmp_path: Path) -> None:
    differences = Differences(tmp_path / "new")
    untouched = next(case for case in golden_cases() if case.verdict == Untouched())
    with differences.kept("x", print):
        log = tmp_path / "audit.log"
        log.write_text(json.dumps({"auditID": "of the request"}) + "\n")
        differences.compare(untouched, Answer(201, dict(untouched.object), audit_id="of the request"), AuditLog(log))
    assert not (tmp_path / "new").exists()


def test_what_is_no_verdict_is_said_to_be_none() -> None:
    text = POD.render().replace("Denied:", "Refused:")
    with pytest.raises(ValueError, match="not a verdict"):
        list(read(text))


def test_an_audit_log_is_read_on_when_its_file_is_full(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"

    def line(audit_id: str, said: str) -> str:
        return json.dumps({"auditID": audit_id, "annotations": {FAILURES: said}}) + "\n"

    path.write_text(line("a", "one") + line("b", "two"))
    log = AuditLog(path)
    assert log.notes("a") == "one"
    path.rename(tmp_path / "audit-full.log")
    path.write_text(line("c", "three"))
    with (tmp_path / "audit-full.log").open("a") as full:
        full.write(line("late", "still in the old one"))
    assert log.notes("late") == "still in the old one"
    assert log.notes("c") == "three"
