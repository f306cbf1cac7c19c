"""The story: what there is, what runs where, what is refused, and what holds when the controller is gone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from demo import pictures, refusals
from demo.checks import Checks
from demo.examples import Workload
from demo.judging import Judging, template_of
from demo.outage import Outage
from demo.pictures import Palette, Row, Term
from demo.setting import Setting
from demo.sight import Object, Pod, Sight, matches
from demo.view import View
from residency.api.names import FACT_PREFIX, PLACED_TERMS

SETTLE_SECONDS: Final = 120.0
REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"


@dataclass(slots=True)
class Story:
    """Tells it on one cluster, checking every claim."""

    setting: Setting
    view: View
    checks: Checks
    workloads: Sequence[Workload] = ()
    judging: Judging = field(init=False)
    palette: Palette = field(init=False)
    _refused: int = field(init=False, default=0)
    _away: float = field(init=False, default=0.0)

    def tell(self) -> None:
        """Tell all chapters."""
        self.workloads = self.setting.apply_applications()
        self._wait_until_settled()
        self.view.done(f"{len(self.workloads)} example applications are applied and settled")
        self.judging = Judging.by(Sight(self.setting.cluster))
        self._machines()
        self._classifications()
        self._workloads()
        self._terms()
        self._refusals()
        self._outage()

    def summary(self) -> list[str]:
        """What it came to, in a few lines."""
        pods = self.judging.sight.pods()
        mine = [pod for each in self.workloads for pod in self.judging.of(each, pods)]
        outside = self.judging.outside(self.workloads, mine)
        self.checks.that(not outside, "every pod to be where it may in the end", outside)
        kinds = {each.kind for each in self.workloads}
        return [
            f"[bold]{len(self.workloads)}[/] workloads of {len(kinds)} kinds run [bold]{len(mine)}[/] pods, "
            f"[bold]{len(outside)}[/] of them where they may not",
            f"[bold]{self._refused}[/] attempts refused with the reason, and refused again in "
            f"[bold]{self._away:.0f} s[/] without a controller",
            f"[bold]{self.checks.held}[/] claims hold, [bold]{len(self.checks.failures)}[/] do not; "
            f"{self.view.seconds:.0f} s in all",
        ]

    # Chapters

    def _machines(self) -> None:
        self.view.chapter(
            "The machines",
            "Facts are labels that no kubelet may set on its own node. A place does not say who controls it.",
        )
        pools = self.judging.pools
        self.palette = Palette(pools)
        self.view.show(pictures.machines(self.palette, pools))

    def _classifications(self) -> None:
        used = sorted({name for each in self.workloads for name in self.judging.asked(each)})
        others = len(self.judging.classifications) - len(used)
        self.view.chapter(
            "What the data requires",
            f"Where the classifications in use let it run; {others} more are installed. Unknown never qualifies.",
        )
        rows = []
        for name in used:
            marks = [self.judging.allowed(name, nodes) for nodes in self.judging.pools.values()]
            rows.append((name, self.judging.classifications[name]["spec"]["title"], marks))
            self.checks.that("yes" in marks, f"{name} to allow a pool", marks)
        self.view.show(pictures.classifications(self.palette, rows))
        self._claim_unknown()

    def _workloads(self) -> None:
        self.view.chapter(
            "What runs where",
            "Pods by the pools of the nodes that the scheduler chose; below each: country/controlled from.",
        )
        pods = self.judging.sight.pods()
        groups: dict[tuple[str, str], list[Row]] = {}
        for each in sorted(self.workloads, key=self._order):
            mine = self.judging.of(each, pods)
            self._check_pods(each, mine)
            row = Row(each.kind, each.name, mine, self._how(each, mine))
            groups.setdefault((each.namespace, self._by(each)), []).append(row)
        self.view.show(pictures.workloads(self.palette, self.judging.pools, groups), "")
        self._claim_placed(pods)
        self._claim_free(pods)

    def _terms(self) -> None:
        workload = next(each for each in self.workloads if len(_terms(template_of(each)["spec"])) > 1)
        written = _terms(template_of(workload)["spec"])
        run = _terms(self.judging.of(workload)[0].spec)
        self.view.chapter(
            "An affinity with an OR in it",
            f"{workload.kind} {workload.name} may run where any of its {len(written)} terms holds; each must be safe.",
        )
        self.view.show(pictures.terms(_explained(written, run)))
        before, after = self._pools_of(written), self._pools_of(run)
        holds = self.checks.that(
            after <= workload.runs_on and bool(before - workload.runs_on),
            f"the terms of {workload.name} to match more than {sorted(workload.runs_on)} as written only",
            f"{sorted(before)} and {sorted(after)}",
        )
        names = self.palette.names
        self.view.claim(holds, f"As written it could run on {names(before)}; as it runs, only on {names(after)}.")

    def _refusals(self) -> None:
        self.view.chapter(
            "What is refused",
            "Tried with kubectl by a cluster administrator. The message says what, why, and what would be right.",
        )
        self._wait_until_use_is_known()
        outcomes = refusals.make(self.setting.cluster, self._attempts())
        for number, outcome in enumerate(outcomes, 1):
            wanted = f"`{outcome.attempt.typed}` to be refused with {outcome.attempt.code} and to change nothing"
            self._refused += self.checks.that(outcome.as_it_should, wanted, outcome.found)
            self.view.show(pictures.refusal(number, outcome), "")
        refused = sum(outcome.as_it_should for outcome in outcomes)
        text = (
            f"{refused} of {len(outcomes)} attempts are refused with the code that was expected, and changed nothing."
        )
        self.view.claim(refused == len(outcomes), text)

    def _outage(self) -> None:
        self.view.chapter(
            "The controller is killed while applications scale",
            "What it compiled is in the API server: an outage stops no pod that complies and lets no other in.",
        )
        outage = Outage(self.setting, self.view, self.checks, self.judging, self.palette, self.workloads)
        self._away = outage.tell(self._attempts(), self.judging.most_used(self.workloads))

    # What is claimed

    def _claim_unknown(self) -> None:
        unknown = [pool for pool, nodes in self.judging.pools.items() if FACT_PREFIX not in str(nodes)]
        allowing = [
            name
            for name in self.judging.classifications
            for pool in unknown
            if self.judging.allowed(name, self.judging.pools[pool]) != "no"
        ]
        self.checks.that(bool(unknown) and not allowing, "no classification to allow nodes without facts", allowing)

    def _check_pods(self, workload: Workload, pods: Sequence[Pod]) -> None:
        expected = self.judging.expected(workload)
        self.checks.that(len(pods) == expected, f"{workload.kind} {workload.name} to have {expected} pods", len(pods))
        for pod in pods:
            outside = self.judging.outside([workload], [pod])
            self.checks.that(not outside, f"pod {pod.name} to run where it may", outside)

    def _claim_placed(self, pods: Sequence[Pod]) -> None:
        classified = [each for each in self.workloads if self.judging.asked(each)]
        count = sum(len(self.judging.of(each, pods)) for each in classified)
        outside = self.judging.outside(classified, pods)
        text = f"All {count} classified pods run on nodes that their classifications allow."
        self.view.claim(self.checks.that(not outside, text, outside), text)

    def _claim_free(self, pods: Sequence[Pod]) -> None:
        free = [each for each in self.workloads if not self.judging.asked(each)]
        mine = [pod for each in free for pod in self.judging.of(each, pods)]
        pools = {self.judging.nodes[pod.node].pool for pod in mine}
        holds = self.checks.that(
            pools == set(self.judging.pools) and not any(FACT_PREFIX in str(pod) for pod in mine),
            "pods that are not classified to run on every pool, untouched",
            sorted(pools),
        )
        self.view.claim(holds, f"What is not classified is untouched and runs on {self.palette.names(pools)}.")

    def _how(self, workload: Workload, pods: Sequence[Pod]) -> str:
        asked = self.judging.asked(workload)
        notes = {pod.placed_by for pod in pods}
        if not asked:
            self.checks.that(notes == {()}, f"pods of {workload.name} to be left alone", notes)
            return ""
        if workload.kind == "DaemonSet":
            live = self.setting.cluster.request("GET", refusals.path_of(workload))
            noted = PLACED_TERMS in live["metadata"].get("annotations", {})
            self.checks.that(noted, f"the template of {workload.name} to be placed", live["metadata"])
            return "template"
        if notes == {()}:
            return "as written"
        self.checks.that(notes == {asked}, f"pods of {workload.name} to be placed by {asked}", notes)
        return "each pod"

    def _by(self, workload: Workload) -> str:
        asked = self.judging.asked(workload)
        of_namespace = self.judging.labels.get(workload.namespace)
        told = [name if name == of_namespace else f"{name} (its annotation)" for name in asked]
        return " + ".join(told)

    def _order(self, workload: Workload) -> tuple[bool, str, str]:
        return (workload.namespace not in self.judging.labels, workload.namespace, self._by(workload))

    # What is waited for and looked up

    def _wait_until_settled(self) -> None:
        judging = Judging.by(Sight(self.setting.cluster))
        expected = "every example application to run all its pods"
        self.checks.soon(lambda: judging.unsettled(self.workloads), expected, SETTLE_SECONDS)

    def _wait_until_use_is_known(self) -> None:
        expected = "the status of every classification to name the namespaces that use it"
        self.checks.soon(self.judging.use_unknown, expected)

    def _attempts(self) -> list[refusals.Attempt]:
        return refusals.attempts(self.judging.most_used(self.workloads))

    def _pools_of(self, terms: Sequence[Object]) -> set[str]:
        nodes = self.judging.nodes.values()
        return {node.pool for node in nodes if any(matches(term, node) for term in terms)}


def _terms(spec: Object) -> list[Object]:
    required = spec.get("affinity", {}).get("nodeAffinity", {}).get(REQUIRED, {})
    terms: list[Object] = required.get("nodeSelectorTerms", [])
    return terms


def _explained(written: Sequence[Object], run: Sequence[Object]) -> list[Term]:
    """Tell for each term that runs which of the written ones it contains, and what it has beside that."""
    return [_explain(term["matchExpressions"], [each["matchExpressions"] for each in written]) for term in run]


def _explain(expressions: Sequence[Object], written: Sequence[Sequence[Object]]) -> Term:
    mine = next((each for each in written if all(one in expressions for one in each)), ())
    return Term(mine, [each for each in expressions if each not in mine])
