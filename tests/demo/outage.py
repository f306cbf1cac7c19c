"""The controller is killed while applications scale: what the cluster does without it, and what it does afterwards."""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from controlplane import RequestError
from demo import pictures
from demo.checks import Checks
from demo.examples import Workload
from demo.judging import Judging
from demo.pictures import Palette, Row
from demo.refusals import Attempt, Outcome, make, path_of
from demo.setting import Setting
from demo.sight import Pod
from demo.view import View
from residency.api.names import Code

TIMES: Final = 5
NEWCOMER: Final = "written-meanwhile"
SECONDS: Final = 120.0
PAUSE: Final = 0.25
_SCALABLE: Final = ("Deployment", "ReplicaSet", "ReplicationController")


@dataclass(frozen=True, slots=True)
class Outage:
    """Tells that chapter."""

    setting: Setting
    view: View
    checks: Checks
    judging: Judging
    palette: Palette
    workloads: Sequence[Workload]

    def tell(self, attempts: Sequence[Attempt], classification: str) -> float:
        """Kill it, scale, try to escape, create, scale back, start it again; the seconds without a controller."""
        began = time.monotonic()
        status = self.setting.controller.kill()
        text = f"The controller is killed with SIGKILL (its exit status is {status})."
        self._claim(status < 0, text, "the controller to be killed by a signal", status)
        with ThreadPoolExecutor(1) as aside:
            escapes = aside.submit(make, self.setting.cluster, attempts)
            self._show(self._scale(TIMES, "Scaled up"))
            self._escapes(escapes.result())
        self._create()
        self._classify(classification)
        self._scale(1, "Scaled down")
        self.setting.restart_controller()
        away = time.monotonic() - began
        self._recover()
        return away

    # While it is away

    def _scale(self, times: int, what: str) -> list[Pod]:
        wanted = [(each, each.manifest["spec"]["replicas"] * times) for each in self._scalable()]
        for each, replicas in wanted:
            self.setting.cluster.request("PATCH", path_of(each), {"spec": {"replicas": replicas}})
        total = sum(replicas for _, replicas in wanted)
        pods, outside = self._watch(total)
        self._claim(
            len(pods) == total and not outside,
            f"{what}: {len(pods)} of {total} pods of {len(wanted)} classified applications run, "
            f"[bold]{len(outside)}[/] ever where they may not.",
            f"{total} pods of the applications that scale, all where they may be",
            outside or f"{len(pods)} pods",
        )
        return pods

    def _watch(self, total: int) -> tuple[list[Pod], set[str]]:
        """Count until exactly so many pods are there and run; those, and all that was ever seen where it may not be."""
        deadline = time.monotonic() + SECONDS
        outside: set[str] = set()
        with self.view.counting() as tell:
            while True:
                pods = self._mine()
                settled = [pod for pod in pods if pod.settled]
                outside.update(self.judging.outside(self.workloads, pods))
                tell(f"{len(settled)} of {total} pods run, {len(outside)} where they may not", not outside)
                if len(pods) == len(settled) == total or time.monotonic() > deadline:
                    return settled, outside
                time.sleep(PAUSE)

    def _show(self, pods: Sequence[Pod]) -> None:
        rows = []
        for each in self._scalable():
            row = Row(each.kind, each.name, self.judging.of(each, pods), " + ".join(self.judging.asked(each)))
            rows.append((row, each.manifest["spec"]["replicas"]))
        self.view.show(pictures.scaled(self.palette, self.judging.pools, rows))

    def _escapes(self, outcomes: Sequence[Outcome]) -> None:
        bad = [outcome for outcome in outcomes if not outcome.as_it_should]
        self._claim(
            not bad,
            f"Meanwhile everything above is tried again: {len(outcomes) - len(bad)} of {len(outcomes)} refused, "
            "with the same codes.",
            "the API server to refuse the same attempts, with the same codes, without the controller",
            [outcome.found for outcome in bad],
        )

    def _create(self) -> None:
        example = next(each for each in self.workloads if each.kind == "Pod")
        manifest = example.manifest | {"metadata": example.manifest["metadata"] | {"name": NEWCOMER}}
        self.setting.cluster.request("POST", path_of(example).rpartition("/")[0], manifest)
        newcomer = Workload(example.file, manifest)
        self.checks.soon(
            lambda: "" if any(pod.settled for pod in self.judging.of(newcomer)) else "no such pod running",
            f"a new pod in {example.namespace} to run without the controller",
        )
        pods = self.judging.of(newcomer)
        outside = self.judging.outside([newcomer], pods)
        self._claim(
            not outside,
            f"A new pod in {example.namespace} is placed as before, on {self._pools(pods)}.",
            f"a new pod in {example.namespace} to be placed as before",
            outside,
        )

    def _classify(self, like: str) -> None:
        self.setting.installation.classify(NEWCOMER, self.judging.classifications[like]["spec"])
        try:
            self.setting.installation.namespace("too-early", NEWCOMER)
            said = "accepted"
        except RequestError as refusal:
            said = refusal.message
        self._claim(
            Code.UNKNOWN_CLASSIFICATION in said and not self.setting.installation.condition(NEWCOMER),
            f"A new classification is not in force, so a namespace that names it is refused "
            f"({Code.UNKNOWN_CLASSIFICATION}).",
            "a classification that nobody has compiled to be unusable",
            said,
        )

    # When it is back

    def _recover(self) -> None:
        began = time.monotonic()
        try:
            self.setting.installation.wait_ready(NEWCOMER, SECONDS)
            problems = self.judging.unready()
        except AssertionError as error:
            problems = [str(error)]
        self._claim(
            not problems and self.setting.controller.leads,
            f"The controller is started again; {time.monotonic() - began:.1f} s later everything is Ready, "
            "the new classification too.",
            f"everything to be Ready within {SECONDS:g} s of a restart of the controller",
            problems or "that it does not lead",
        )

    def _scalable(self) -> list[Workload]:
        return [each for each in self.workloads if each.kind in _SCALABLE and self.judging.asked(each)]

    def _mine(self) -> list[Pod]:
        pods = self.judging.sight.pods()
        return [pod for each in self._scalable() for pod in self.judging.of(each, pods)]

    def _pools(self, pods: Iterable[Pod]) -> str:
        return self.palette.names(self.judging.nodes[pod.node].pool for pod in pods if pod.node)

    def _claim(self, holds: bool, text: str, expected: str, found: object) -> None:
        self.view.claim(self.checks.that(holds, expected, found), text)
