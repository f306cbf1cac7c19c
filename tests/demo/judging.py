"""Whether pods are where the examples say and where the facts of the nodes allow: two answers that must agree."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from demo.examples import Workload
from demo.sight import Node, Object, Pod, Sight, allows, tolerates
from residency.api.names import CLASSIFICATION, Fact


@dataclass(frozen=True, slots=True)
class Judging:
    """Judges pods by the nodes, the classifications and the namespaces as they were when it was made."""

    sight: Sight
    nodes: Mapping[str, Node]
    classifications: Mapping[str, Object]
    labels: Mapping[str, str]

    @classmethod
    def by(cls, sight: Sight) -> "Judging":
        """Look around."""
        classifications = {item["metadata"]["name"]: item for item in sight.classifications()}
        return cls(sight, sight.nodes(), classifications, sight.labels())

    def asked(self, workload: Workload) -> tuple[str, ...]:
        """The classifications that hold for a workload: its namespace's, then its own."""
        template = template_of(workload)
        own = template.get("metadata", {}).get("annotations", {}).get(CLASSIFICATION)
        return tuple(dict.fromkeys(filter(None, (self.labels.get(workload.namespace), own))))

    def of(self, workload: Workload, pods: Iterable[Pod] | None = None) -> list[Pod]:
        """The pods of a workload that are not about to go."""
        everything = self.sight.pods(workload.namespace) if pods is None else pods
        key = (workload.kind, workload.namespace, workload.name)
        return [
            pod for pod in everything if (pod.owner.kind, pod.owner.namespace, pod.owner.name) == key and not pod.going
        ]

    def expected(self, workload: Workload) -> int:
        """How many pods it should have."""
        spec = workload.manifest["spec"]
        if workload.kind == "DaemonSet":
            return sum(node.pool in workload.runs_on for node in self.nodes.values())
        return int(spec.get("replicas", spec.get("completions", 1)))

    def outside(self, workloads: Sequence[Workload], pods: Iterable[Pod]) -> list[str]:
        """Pods where the example does not say, or where the facts do not allow; each told in words."""
        found = list(pods)
        return [
            problem
            for workload in workloads
            for pod in self.of(workload, found)
            if pod.node and (problem := self._problem(workload, pod))
        ]

    def unsettled(self, workloads: Sequence[Workload]) -> str:
        """Which of the workloads does not yet run all its pods; empty when all do."""
        pods = self.sight.pods()
        for workload in workloads:
            settled = sum(pod.settled for pod in self.of(workload, pods))
            if settled < self.expected(workload):
                return f"{workload.kind} {workload.name} with {settled} of {self.expected(workload)}"
        return ""

    def use_unknown(self) -> str:
        """Which classification does not yet say by which namespaces it is used; empty when all do."""
        for name, namespaces in self.users.items():
            if name in self.classifications:
                used = self.sight.classification(name).get("status", {}).get("usedBy", {})
                if used.get("namespaceNames") != namespaces:
                    return f"{name} saying {used}"
        return ""

    def allowed(self, name: str, nodes: Sequence[Node]) -> str:
        """Whether the nodes of a pool are allowed: yes, no, or by their facts only."""
        classification = self.classifications[name]
        if not all(allows(classification, node) for node in nodes):
            return "no"
        return "yes" if all(tolerates(classification, node) for node in nodes) else "tainted"

    def unready(self) -> list[str]:
        """Classifications that are not Ready and Enforced as they are written now."""
        return [item["metadata"]["name"] for item in self.sight.classifications() if not _well(item)]

    @property
    def pools(self) -> dict[str, list[Node]]:
        """The nodes by pool, those of the highest level first, those without facts last."""
        pools: dict[str, list[Node]] = {}
        for node in sorted(self.nodes.values(), key=lambda node: (-int(node.fact(Fact.SEAL) or -1), node.name)):
            pools.setdefault(node.pool, []).append(node)
        return pools

    @property
    def users(self) -> dict[str, list[str]]:
        """The namespaces by classification."""
        users: dict[str, list[str]] = {}
        for namespace, name in sorted(self.labels.items()):
            users.setdefault(name, []).append(namespace)
        return users

    def most_used(self, workloads: Iterable[Workload]) -> str:
        """The classification that most of the workloads ask for."""
        return Counter(name for each in workloads for name in self.asked(each)).most_common(1)[0][0]

    def _problem(self, workload: Workload, pod: Pod) -> str:
        node = self.nodes[pod.node]
        forbidding = [name for name in self.asked(workload) if not allows(self.classifications[name], node)]
        where = f"pod {pod.owner.namespace}/{pod.name} is on {node.name}"
        if forbidding:
            return f"{where}, which {forbidding[0]} does not allow"
        return "" if node.pool in workload.runs_on else f"{where}, and its example says {', '.join(workload.runs_on)}"


def template_of(workload: Workload) -> Object:
    """The pod template of a workload; a pod is its own."""
    spec: Object = workload.manifest["spec"]
    if workload.kind == "Pod":
        return workload.manifest
    template: Object = (spec["jobTemplate"]["spec"] if workload.kind == "CronJob" else spec)["template"]
    return template


def _well(item: Object) -> bool:
    generation = item["metadata"]["generation"]
    true = {
        condition["type"]
        for condition in item.get("status", {}).get("conditions", ())
        if condition["status"] == "True" and condition["observedGeneration"] == generation
    }
    return {"Ready", "Enforced"} <= true
