"""Whether a misplaced pod may be evicted, by what was just read of it: pure.

The first line that fits:

====================================================  =================
its owner is a node, or it says it is a mirror pod    ``mirror``
no controller owns it                                 ``no-controller``
a DaemonSet owns it                                   ``daemonset``
a Job owns it, or it is not always restarted          ``job``
it is not misplaced, or that is not to be enforced    ``changed``
no usable node would take it                          ``nowhere-to-go``
admission would refuse its successor                  ``nowhere-to-go``
it is Ready, and another of its owner is going, or is
where it may be and not Ready                         ``others-not-ready``
otherwise                                             None: it may be
====================================================  =================

Only Misplaced is a ground: a fact stands against where the pod is. Unknown is no ground for ending anything; an
Unpinned pod is where it may be; and of a pod that is NotLocated nobody can say where it is.

The successor of a pod is taken to be like it: going by its own terms, to which Residency has added, it has fewer
places than its owner's template has, never more.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from residency.api.names import ENDED, MIRROR, ClassificationName, EvictionResult, Mode, Outcome
from residency.core import messages
from residency.core.audit import NodeView, judge_bound, satisfies, selects
from residency.core.judge import Ask, Catalogue, Denied, NamespaceLabels, asks, in_mode, judge_pod
from residency.core.placement import Classification
from residency.core.surroundings import Surroundings
from residency.core.workload import PodToleration, PodView

Json = Mapping[str, Any]

READY: Final = ("Ready", "True")
"""Type and status of the condition of a pod that serves."""
TEMPLATE_HASH: Final = "pod-template-hash"


@dataclass(frozen=True, slots=True)
class Live:
    """A pod as it was just read."""

    view: PodView
    uid: str = ""
    created: str = ""
    """When, in RFC 3339 as the API server writes it."""
    going: bool = False
    """Whether it has ended, or is about to."""
    mirror: bool = False
    owner: str = ""
    """The kind of the controller that owns it; empty without one."""
    owner_uid: str = ""
    template: str = ""
    """What all pods of its ReplicaSet have as `TEMPLATE_HASH`; empty for pods of others."""
    ends: bool = False
    """Whether it is to end by itself: it is not always restarted."""
    ready: bool = True
    claims: tuple[str, ...] = ()
    """The claims that it mounts and its successor will."""

    @classmethod
    def of(cls, pod: Json) -> "Live":
        """Read a Pod."""
        metadata, spec = pod["metadata"], pod.get("spec") or {}
        owner: Json = next((o for o in metadata.get("ownerReferences") or () if o.get("controller")), {})
        volumes = [volume.get("persistentVolumeClaim") or {} for volume in spec.get("volumes") or ()]
        status: Json = pod.get("status") or {}
        return cls(
            PodView.from_template(pod),
            uid=metadata.get("uid") or "",
            created=metadata.get("creationTimestamp") or "",
            going=status.get("phase") in ENDED or metadata.get("deletionTimestamp") is not None,
            mirror=MIRROR in (metadata.get("annotations") or {}),
            owner=owner.get("kind") or "",
            owner_uid=owner.get("uid") or "",
            template=(metadata.get("labels") or {}).get(TEMPLATE_HASH) or ""
            if owner.get("kind") == "ReplicaSet"
            else "",
            ends=(spec.get("restartPolicy") or "Always") != "Always",
            ready=any((c["type"], c["status"]) == READY for c in status.get("conditions") or ()),
            claims=tuple(claim["claimName"] for claim in volumes if claim.get("claimName")),
        )


@dataclass(frozen=True, slots=True)
class Sibling:
    """Another pod of the same owner that has not ended, as it was just read."""

    name: str
    going: bool
    """Whether it is about to end."""
    ready: bool


@dataclass(frozen=True, slots=True)
class Around:
    """What else decides about one pod."""

    node: NodeView | None
    """Its own, just read; None where there is no such node."""
    namespace: str
    says: NamespaceLabels
    """What its namespace says, just read."""
    nodes: Mapping[str, NodeView]
    """All of them, as they are watched."""
    catalogue: Catalogue
    surroundings: Surroundings
    reaches: Sequence[PodView] = ()
    """For each volume that the pod's claims are bound to: from which nodes it can be reached."""


Found = tuple[EvictionResult, str]


def owned(pod: Live) -> Found | None:
    """Say why a pod is not to be evicted whatever it is judged; None where that is not so."""
    if pod.mirror or pod.owner == "Node":
        return EvictionResult.MIRROR, messages.EVICT_MIRROR
    if not pod.owner:
        return EvictionResult.NO_CONTROLLER, messages.EVICT_NO_CONTROLLER
    if pod.owner == "DaemonSet":
        return EvictionResult.DAEMON_SET, messages.EVICT_DAEMON_SET
    # What owns a ReplicaSet's or a StatefulSet's like has its pods always restarted.
    if pod.owner == "Job" or pod.ends:
        return EvictionResult.JOB, messages.EVICT_JOB
    return None


def decide(pod: Live, around: Around, classification: ClassificationName) -> Found | None:
    """Say why a pod is not to be evicted for a classification; None where it is."""
    found = owned(pod)
    if found is not None:
        return found
    asked = _enforced(pod, around)
    if not _misplaced(pod, around, asked, classification):
        return EvictionResult.CHANGED, messages.EVICT_CHANGED
    return _stuck(pod, around, asked)


def held_by(pod: Live, siblings: Iterable[Sibling], misplaced: Callable[[str], bool]) -> Found | None:
    """Say which of its siblings a pod has to wait for, so that no workload is emptied; None: for none.

    A pod that is not Ready itself serves nobody, and what is misplaced too is to go, Ready or not.
    """
    if not pod.ready:
        return None
    for one in sorted(siblings, key=lambda sibling: sibling.name):
        if one.going:
            return EvictionResult.OTHERS_NOT_READY, messages.EVICT_GOING.format(name=one.name)
        if not one.ready and not misplaced(one.name):
            return EvictionResult.OTHERS_NOT_READY, messages.EVICT_UNREADY.format(name=one.name)
    return None


def _enforced(pod: Live, around: Around) -> tuple[Ask, ...]:
    label, enforcement = around.says
    asked = asks(around.namespace, label, pod.view.classification, enforcement)
    return in_mode(Mode.ENFORCE, asked, around.catalogue)


def _misplaced(pod: Live, around: Around, asked: Sequence[Ask], classification: ClassificationName) -> bool:
    if pod.going:
        return False
    judged = judge_bound(pod.view, around.node, asked, around.catalogue)
    return any(one.classification == classification and one.outcome is Outcome.MISPLACED for one in judged)


def _stuck(pod: Live, around: Around, asked: Sequence[Ask]) -> Found | None:
    successor = replace(pod.view, node_name="")
    known = [around.catalogue[ask.name] for ask in asked if ask.name in around.catalogue]
    if not any(_takes(node, successor, known, around.reaches) for node in around.nodes.values()):
        names = " and ".join(classification.name for classification in known)
        return EvictionResult.NOWHERE_TO_GO, messages.EVICT_NOWHERE.format(name=names)
    verdict = judge_pod(successor, asked, around.catalogue, surroundings=around.surroundings)
    if isinstance(verdict, Denied):
        return EvictionResult.NOWHERE_TO_GO, messages.EVICT_REFUSED.format(code=verdict.code)
    return None


def _takes(node: NodeView, pod: PodView, known: Iterable[Classification], reaches: Iterable[PodView]) -> bool:
    """Whether a node would take a pod, by its labels, taints and readiness; room is up to the scheduler."""
    placements = [classification.placement for classification in known]
    return (
        node.usable
        and all(satisfies(node, placement) for placement in placements)
        and selects(pod, node)
        and all(selects(reach, node) for reach in reaches)
        and (not node.repels or _tolerates(node, (*pod.tolerations, *_added(placements))))
    )


def _added(placements: Iterable[Any]) -> Iterable[PodToleration]:
    for placement in placements:
        for added in placement.tolerations:
            yield PodToleration(added.key, added.operator, added.value, added.effect)


def _tolerates(node: NodeView, tolerations: Sequence[PodToleration]) -> bool:
    return all(any(toleration.tolerates(taint) for toleration in tolerations) for taint in node.repels)


def reach(volume: Json) -> PodView:
    """From which nodes a PersistentVolume can be reached."""
    affinity = {"requiredDuringSchedulingIgnoredDuringExecution": _required(volume)}
    return PodView.from_template({"spec": {"affinity": {"nodeAffinity": affinity}}})


def _required(volume: Json) -> Any:
    return ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required")
