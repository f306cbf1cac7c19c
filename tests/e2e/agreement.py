"""Judge and API server side by side: whether they agree, how often which verdict came up, and what to keep if not."""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TextIO

from e2e.enforcement import expect
from golden import Case, around, judge
from keepalive import Answer, KeepAlive
from residency.api.names import PLACED_TOLERATIONS, Code, Mode
from residency.core.judge import Denied, Place, Untouched, Verdict
from residency.core.storage import CLAIM
from residency.core.templates import canonical_tolerations
from residency.core.workload import PodToleration, PodView, template_of
from workload_strategies import RESOURCES

Json = dict[str, Any]

PODS: Final = int(os.environ.get("RESIDENCY_JUDGE_PODS", "3400"))
CLAIMS: Final = int(os.environ.get("RESIDENCY_JUDGE_CLAIMS", "600"))
WORKLOADS: Final = int(os.environ.get("RESIDENCY_JUDGE_WORKLOADS", "1600"))
SEED: Final = int(os.environ.get("RESIDENCY_JUDGE_SEED", "20261123"))
ROUNDS: Final = max(4, (PODS + WORKLOADS) // 2500)
"""Each with a catalogue of its own, and no two with the same pods."""

FAILURES: Final = "validation.policy.admission.k8s.io/validation_failure"
AUDIT_POLICY: Final = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
"""What an API server has to log for the notes of policies to be read."""

FOLDER: Final = Path(__file__).parents[2] / ".residency-differences"
"""Where differences are written; git ignores it."""

_PROGRESS_SECONDS = 60.0
# What DefaultTolerationSeconds, an admission plugin of Kubernetes' own, adds to every pod.
_DEFAULTS = tuple(
    PodToleration(f"node.kubernetes.io/{trouble}", "Exists", "", "NoExecute", 300)
    for trouble in ("not-ready", "unreachable")
)


def settings_line() -> str:
    """What is compared, and how to have the same again."""
    return (
        f"one judge: {PODS} pods, {WORKLOADS} workloads and {CLAIMS} claims under {ROUNDS} catalogues, "
        f"RESIDENCY_JUDGE_SEED={SEED} RESIDENCY_JUDGE_PODS={PODS} RESIDENCY_JUDGE_WORKLOADS={WORKLOADS} "
        f"RESIDENCY_JUDGE_CLAIMS={CLAIMS}"
    )


@dataclass
class Tally:
    """How often each verdict, and each reason for it, was compared over the whole run."""

    verdicts: Counter[str] = field(default_factory=Counter)
    branches: Counter[str] = field(default_factory=Counter)
    _started: float = field(default_factory=time.monotonic)
    _told: float = field(default_factory=time.monotonic)

    def count(self, case: Case) -> None:
        """Count a case that was compared."""
        verdict = case.verdict
        self.verdicts[verdict.code if isinstance(verdict, Denied) else type(verdict).__name__] += 1
        self.branches[branch(case.object["kind"], verdict)] += 1

    def count_told(self, case: Case, mode: Mode, verdict: Verdict) -> None:
        """Count what was only told."""
        if isinstance(verdict, Denied):
            self.branches[f"{mode} {branch(case.object['kind'], verdict)}"] += 1

    def tell(self, say: Callable[[str], None]) -> None:
        """Say now and then how far it is: a deep run takes half an hour."""
        now = time.monotonic()
        if now - self._told >= _PROGRESS_SECONDS:
            self._told = now
            done = self.verdicts.total()
            say(f"one judge: {done} of {PODS + WORKLOADS + CLAIMS} compared in {now - self._started:.0f} s")

    def lines(self) -> Iterator[str]:
        """What was compared, for the end of a run."""
        yield f"compared: {self.verdicts.total()}: {_counts(self.verdicts)}"
        yield f"of these: {_counts(self.branches)}"


TALLY: Final = Tally()


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


_CONTRADICTIONS = {
    "nodeSelector asks": "selector",
    "nodeAffinity asks": "affinity",
    "leaves no node": "classifications",
    "only empty": "empty terms",
}
_SHORTFALLS = {"reaches beyond": "terms", "lacks": "tolerations"}


def branch(kind: str, verdict: Verdict) -> str:
    """A verdict and the reason for it, as finely as messages and placements tell."""
    subject = kind if kind in ("Pod", "DaemonSet", CLAIM) else "template"
    match verdict:
        case Denied(code=code, message=message):
            reasons = _CONTRADICTIONS if code is Code.CONTRADICTION else _SHORTFALLS
            known = code in (Code.CONTRADICTION, Code.DAEMONSET_AFFINITY)
            reason = next(reason for words, reason in reasons.items() if words in message) if known else ""
            return f"{subject} {code} {reason}".strip()
        case Place(terms=terms, tolerations=tolerations):
            what = [name for name, some in (("terms", terms), ("tolerations", tolerations)) if some]
            return f"{subject} Place {' and '.join(what) or 'nothing'}"
    return f"{subject} Untouched"


_OTHERS: Final = {"Pod": "api/v1/namespaces/{}/pods", CLAIM: "api/v1/namespaces/{}/persistentvolumeclaims"}


def send(api: KeepAlive, case: Case) -> Answer:
    """Have the API server judge the object of a case."""
    kind = case.object["kind"]
    collection = (RESOURCES | _OTHERS)[kind]
    return api.send("POST", f"/{collection.format(case.namespace)}?dryRun=All", case.object)


def agree(case: Case, answer: Answer) -> None:
    """Fail unless the API server did what the case says, to the letter of the message and of the placement."""
    verdict, kind, sent = case.verdict, case.object["kind"], case.object
    if isinstance(verdict, Denied):
        assert answer.status == 403
        assert answer.message.endswith("denied request: " + verdict.message)
        assert len(verdict.message) < 1024
        assert "\n" not in verdict.message
        return
    expect(answer, 201)
    if kind == CLAIM:
        return
    before, after = _view(kind, sent), _view(kind, answer.body)
    if isinstance(verdict, Untouched):
        assert after == before
        return
    written = tuple(PodToleration(t.key, t.operator, t.value, t.effect) for t in verdict.tolerations)
    kept = () if kind == "DaemonSet" and _tolerations_are_residencys(sent, before) else before.tolerations
    assert after == replace(before, terms=verdict.terms, tolerations=kept + written)


class AuditLog:
    """The log of an API server, read as it grows, and on in the next file when one is full."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def notes(self, audit_id: str) -> str:
        """What was noted of the request that was answered last; the log is written before the answer."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            for event in self._new():
                if event["auditID"] == audit_id:
                    return str(event.get("annotations", {}).get(FAILURES, ""))
        raise AssertionError(f"the audit log has nothing of {audit_id}")

    def _new(self) -> Iterator[Json]:
        if self._file is None:
            self._file = self.path.open()
        while True:
            read = self._file.tell()
            line = self._file.readline()
            if line.endswith("\n"):
                yield json.loads(line)
                continue
            # A line that is still being written is read the next time.
            self._file.seek(read)
            if line or not self._is_followed():
                return

    def _is_followed(self) -> bool:
        """Go on to the next file where there is one, which is when the path leads to another."""
        assert self._file is not None
        try:
            current = self.path.stat().st_ino
        except FileNotFoundError:
            return False
        if current == os.fstat(self._file.fileno()).st_ino:
            return False
        self._file.close()
        self._file = self.path.open()
        return True


def agree_in_lower_modes(case: Case, answer: Answer, log: AuditLog) -> Iterator[tuple[Mode, Verdict]]:
    """Fail unless the API server told what the judge says of the object as it was admitted, mode by mode."""
    noted = log.notes(answer.audit_id)
    if answer.status != 201:
        return
    warnings = [warning.replace('\\"', '"') for warning in answer.warnings if "residency-" in warning]
    catalogue, known = case.catalogue, around(case.cluster)
    told = 0
    for mode in (Mode.WARN, Mode.AUDIT):
        verdict = judge(answer.body, case.namespace, case.labels, catalogue, mode, known)
        if isinstance(verdict, Denied):
            told += 1
            assert json.dumps(verdict.message, ensure_ascii=False)[1:-1] in noted
        if mode is Mode.WARN:
            assert len(warnings) == isinstance(verdict, Denied)
            assert all(verdict.message in warning for warning in warnings if isinstance(verdict, Denied))
        yield mode, verdict
    assert len(json.loads(noted or "[]")) == told


def _view(kind: str, thing: Json) -> PodView:
    template = template_of(kind, thing)
    assert template is not None
    view = PodView.from_template(template)
    added = _DEFAULTS if kind == "Pod" else ()
    return replace(view, tolerations=tuple(t for t in view.tolerations if t not in added))


def _tolerations_are_residencys(daemonset: Json, view: PodView) -> bool:
    recorded = daemonset["metadata"].get("annotations", {}).get(PLACED_TOLERATIONS, "")
    return canonical_tolerations(view.tolerations) == str(recorded)


@dataclass
class Differences:
    """The last case on which judge and API server differed; Hypothesis ends with the smallest."""

    folder: Path = FOLDER
    last: str = ""

    def compare(self, case: Case, answer: Answer, log: AuditLog) -> None:
        """Fail where the two differ, and keep the case."""
        try:
            agree(case, answer)
            for mode, verdict in agree_in_lower_modes(case, answer, log):
                TALLY.count_told(case, mode, verdict)
        except AssertionError:
            said = f"the API server said {answer.status}: {answer.message or _placement(case, answer.body)}"
            self.last = case.restricted().render(f"Drawn with RESIDENCY_JUDGE_SEED={SEED}; {said}")
            raise

    @contextmanager
    def kept(self, name: str, say: Callable[[str], None]) -> Iterator[None]:
        """Write down and show what was found inside, if anything was."""
        try:
            yield
        finally:
            if self.last:
                path = self.folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}.yaml"
                path.parent.mkdir(exist_ok=True)
                path.write_text(self.last)
                say(f"judge and policies differ; the smallest case, for tests/golden_cases.yaml, is in {path}:")
                say(self.last)


def _placement(case: Case, body: Mapping[str, Any]) -> str:
    if case.object["kind"] == CLAIM:
        return "admitted"
    view = _view(case.object["kind"], dict(body))
    terms = None if view.terms is None else [term.to_dict() for term in view.terms]
    return f"nodeSelectorTerms {terms}, tolerations {canonical_tolerations(view.tolerations)!r}"


def teller(uncaptured: Callable[[], AbstractContextManager[None]]) -> Callable[[str], None]:
    """Something to say lines with that pytest does not swallow."""

    def say(line: str) -> None:
        with uncaptured():
            print(f"\n{line}", end="", flush=True)

    return say
