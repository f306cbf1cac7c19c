"""Pods, nodes and namespaces as they are watched: what the picture needs of them is decoded, and nothing else.

What the reflector keeps of an object is emptied once the picture has it: 150,000 pods are kept twice otherwise.
"""

import sys
from typing import Final

import msgspec

from residency.api.names import CLASSIFICATION, ENDED, ENFORCEMENT
from residency.audit.picture import Picture
from residency.audit.shapes import PodShape, PodShapes
from residency.audit.volumes import VolumePicture
from residency.cluster.reflector import Key, Metadata
from residency.core.audit import NodeView
from residency.core.judge import NamespaceLabels
from residency.core.workload import PodView, Taint

MOST_KNOWN: Final = 10_000
"""Texts of which the shape is remembered; then it starts afresh."""

_REPELLING: Final = ("NoSchedule", "NoExecute")
_NOTHING: Final = msgspec.Raw(b"null")


class _Annotations(msgspec.Struct, gc=False):
    classification: str | None = msgspec.field(default=None, name=CLASSIFICATION)


class _PodMetadata(Metadata, gc=False):
    annotations: _Annotations | None = None
    deletion_timestamp: str | None = None


class _NodeAffinity(msgspec.Struct):
    required: msgspec.Raw = msgspec.field(default=_NOTHING, name="requiredDuringSchedulingIgnoredDuringExecution")


class _Affinity(msgspec.Struct, rename="camel"):
    node_affinity: _NodeAffinity | None = None


class _PodSpec(msgspec.Struct, rename="camel"):
    node_name: str = ""
    node_selector: msgspec.Raw = _NOTHING
    affinity: _Affinity | None = None


class _PodStatus(msgspec.Struct):
    phase: str = ""


class Pod(msgspec.Struct, gc=False):
    """Of a pod, what decides where it runs."""

    metadata: _PodMetadata
    spec: _PodSpec | None = None
    status: _PodStatus | None = None


class _NodeMetadata(Metadata):
    labels: dict[str, str] | None = None


class _Taint(msgspec.Struct):
    key: str
    value: str = ""
    effect: str = ""


class _NodeSpec(msgspec.Struct):
    taints: list[_Taint] | None = None
    unschedulable: bool = False


class _NodeCondition(msgspec.Struct):
    type: str
    status: str


class _NodeStatus(msgspec.Struct):
    conditions: list[_NodeCondition] | None = None


class Node(msgspec.Struct):
    """Of a node, what decides who may run there."""

    metadata: _NodeMetadata
    spec: _NodeSpec | None = None
    status: _NodeStatus | None = None


class _NamespaceLabels(msgspec.Struct):
    classification: str | None = msgspec.field(default=None, name=CLASSIFICATION)
    enforcement: str | None = msgspec.field(default=None, name=ENFORCEMENT)


class _NamespaceMetadata(Metadata):
    labels: _NamespaceLabels | None = None


class Namespace(msgspec.Struct):
    """Of a namespace, what it is classified as."""

    metadata: _NamespaceMetadata


class _Telling:
    """Tells the picture."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture


class Pods(_Telling):
    """Tells the picture of pods."""

    def __init__(self, picture: Picture) -> None:
        super().__init__(picture)
        self._shapes = PodShapes()
        self._known: dict[object, PodShape] = {}

    def put(self, key: Key, item: Pod, before: Pod | None) -> None:  # noqa: ARG002 (the reflector's)
        """Take in a pod; one that has ended, or is deleted before it began, is as good as gone."""
        spec, status, metadata = item.spec or _PodSpec(), item.status or _PodStatus(), item.metadata
        annotation = None if metadata.annotations is None else metadata.annotations.classification
        going = metadata.deletion_timestamp is not None
        if status.phase in ENDED or (going and not spec.node_name):
            self.picture.remove_pod(key)
        else:
            self.picture.put_pod(key, sys.intern(spec.node_name), self._shape(spec, annotation))
        item.spec = item.status = metadata.annotations = metadata.deletion_timestamp = None

    def removed(self, key: Key, item: Pod) -> None:  # noqa: ARG002 (the reflector's)
        """Take that a pod is gone."""
        self.picture.remove_pod(key)

    def _shape(self, spec: _PodSpec, annotation: str | None) -> PodShape:
        """Read what the pod is like, unless the same text was read before: most pods have many brothers."""
        affinity = spec.affinity and spec.affinity.node_affinity
        required = affinity.required if affinity else _NOTHING
        said = bytes(spec.node_selector), bytes(required), annotation, bool(spec.node_name)
        shape = self._known.get(said)
        if shape is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            shape = self._known[said] = self._shapes.of(_view(spec, required, annotation))
        return shape


def _view(spec: _PodSpec, required: msgspec.Raw, annotation: str | None) -> PodView:
    affinity = {"requiredDuringSchedulingIgnoredDuringExecution": msgspec.json.decode(required)}
    template = {
        "metadata": {"annotations": {} if annotation is None else {CLASSIFICATION: annotation}},
        "spec": {
            "nodeName": spec.node_name,
            "nodeSelector": msgspec.json.decode(spec.node_selector),
            "affinity": {"nodeAffinity": affinity},
        },
    }
    return PodView.from_template(template)


def node_view(node: Node) -> NodeView:
    """What of a node decides who may run there."""
    spec, conditions = node.spec or _NodeSpec(), (node.status or _NodeStatus()).conditions or ()
    labels = {sys.intern(label): sys.intern(value) for label, value in (node.metadata.labels or {}).items()}
    ready = any(condition.type == "Ready" and condition.status == "True" for condition in conditions)
    taints = spec.taints or ()
    repels = [Taint(taint.key, taint.value, taint.effect) for taint in taints if taint.effect in _REPELLING]
    keys = [taint.key for taint in taints]
    usable = ready and not spec.unschedulable
    return NodeView.of(node.metadata.name, labels, keys, usable=usable, repels=repels)


class Nodes(_Telling):
    """Tells the pictures of nodes."""

    def __init__(self, picture: Picture, volumes: VolumePicture | None = None) -> None:
        super().__init__(picture)
        self.volumes = volumes

    def put(self, key: Key, item: Node, before: Node | None) -> None:  # noqa: ARG002 (the reflector's)
        """Take in a node."""
        node = node_view(item)
        self.picture.put_node(node)
        if self.volumes is not None:
            self.volumes.put_node(node)
        item.spec = item.status = item.metadata.labels = None

    def removed(self, key: Key, item: Node) -> None:  # noqa: ARG002 (the reflector's)
        """Take that a node is gone."""
        self.picture.remove_node(key[1])
        if self.volumes is not None:
            self.volumes.remove_node(key[1])


class Namespaces(_Telling):
    """Tells the pictures of classified namespaces."""

    def __init__(self, picture: Picture, volumes: VolumePicture | None = None) -> None:
        super().__init__(picture)
        self.volumes = volumes

    def put(self, key: Key, item: Namespace, before: Namespace | None) -> None:  # noqa: ARG002 (the reflector's)
        """Take in what a namespace's labels say."""
        labels = item.metadata.labels or _NamespaceLabels()
        says = NamespaceLabels(labels.classification, labels.enforcement)
        self.picture.put_namespace(key[1], says)
        if self.volumes is not None:
            self.volumes.put_namespace(key[1], says)

    def removed(self, key: Key, item: Namespace) -> None:  # noqa: ARG002 (the reflector's)
        """Take that a namespace is gone, or no longer classified."""
        self.picture.remove_namespace(key[1])
        if self.volumes is not None:
            self.volumes.remove_namespace(key[1])
