"""What people read when something is refused: one line each, under 1 KB, the same in Python and in CEL.

A template has named fields. Python fills them with ``str.format``; ``residency.policy`` splits the same
template into a CEL concatenation. Order: what is refused and where it stands, what the classification
allows, the fix, the legal reference, a code, where to read more.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from residency.api.countries import COUNTRY_SETS
from residency.api.names import BREAK_GLASS, CLASSIFICATION, ENFORCEMENT, FACT_PREFIX, Code, Fact, Right
from residency.core.requirements import Operator, Requirement

# In bytes, so that with the longest legal names the longest message stays below 1 KB.
_TITLE_LENGTH = 80
_REFERENCE_LENGTH = 155
_ALLOWS_LENGTH = 140
_REQUIRES_LENGTH = 280
_CLASSES_LENGTH = 100

_SHOWN = 2

KEY_LENGTH: Final = 80
"""What is shown of a label key."""

NAME_PATTERN: Final = "^[A-Za-z0-9._-]{1,63}$"
"""What somebody may call a classification and have it repeated, in Python and (RE2) in CEL alike."""

SHOWN_PATTERN: Final = "^[A-Za-z0-9._:/-]{1,253}$"
"""What may be repeated of other names that somebody chose, in Python and (RE2) in CEL alike."""

NOT_A_NAME: Final = "(not a name)"
"""Shown instead of anything else: an annotation may hold line ends, which the API server does not print, or a book."""

_NAME = re.compile(NAME_PATTERN.removesuffix("$") + r"\Z", re.ASCII)
_PRINTABLE = re.compile(SHOWN_PATTERN.removesuffix("$") + r"\Z", re.ASCII)

_MORE: Final = "{code}; more: kubectl describe dcl {name}"

CONTRADICTION: Final = (
    "Not allowed to run there: {asks}, but {subject} is {title}, which allows {allows}. "
    "Fix: remove it, or ask for what is allowed.{why} " + _MORE.replace("{code}", Code.CONTRADICTION)
)
CONFLICTING_CLASSIFICATIONS: Final = (
    "Not allowed to run anywhere: {path} together with {subject}, which is {title}, and the annotation "
    + CLASSIFICATION
    + " {other} leaves no node that satisfies all of them. Fix: change the affinity or the annotation, or use "
    "another namespace.{why} " + _MORE.replace("{code}", Code.CONTRADICTION)
)
ONLY_EMPTY_TERMS: Final = (
    "Not allowed to run anywhere: {path}.affinity.nodeAffinity has only empty nodeSelectorTerms, which match no node. "
    "Fix: remove them. " + _MORE.replace("{code}", Code.CONTRADICTION)
)
NODE_NAME: Final = (
    "Not allowed to choose the node itself: {path}.nodeName is {node}, which passes by the scheduler, but "
    "{subject} is {title}. "
    "Fix: remove nodeName; to aim at one node use a nodeSelector on kubernetes.io/hostname.{why} "
    + _MORE.replace("{code}", Code.NODE_NAME)
)
UNKNOWN_CLASSIFICATION: Final = (
    "Unknown classification: {subject} says {name}, but no DataClassification of that name is in force, so "
    "nothing may run. "
    "Fix: use one that is (kubectl get dcl), or create it and wait until it is Ready. " + Code.UNKNOWN_CLASSIFICATION
)
TOO_MANY_TERMS: Final = (
    "Too many alternatives: {path}.affinity.nodeAffinity crossed with the alternatives of {subject}, which is "
    "{title}, gives {count} "
    "nodeSelectorTerms; at most {most} are allowed. Fix: write fewer nodeSelectorTerms. "
    + _MORE.replace("{code}", Code.TOO_MANY_TERMS)
)
NOT_PLACED: Final = (
    "Not placed: {path} may run outside what {subject} allows, which is {title}. It was changed after "
    "Residency placed it (by another "
    "admission webhook), or created before and only released now. Fix: create it again; if it is refused "
    "again, see reinvocationPolicy "
    "in Residency's chart.{why} " + _MORE.replace("{code}", Code.NOT_PLACED)
)
MISPLACED_ANNOTATION: Final = (
    "Annotation in the wrong place: metadata.annotations of {kind} {workload} says "
    + CLASSIFICATION
    + ": {name}, but pods take it from "
    "their template, which says {found}. Fix: move that line to {path}.metadata.annotations. "
    + Code.MISPLACED_ANNOTATION
)
DAEMONSET_AFFINITY: Final = (
    "Not placed: {path}.affinity.nodeAffinity is the DaemonSet's own, so Residency leaves it as it is, but it "
    "reaches beyond what {subject} "
    "allows, which is {title}. Fix: in each nodeSelectorTerm require {requires}; or remove the node affinity "
    "and Residency writes it.{why} " + _MORE.replace("{code}", Code.DAEMONSET_AFFINITY)
)
DAEMONSET_TOLERATIONS: Final = (
    "Not placed: {path}.tolerations is the DaemonSet's own, so Residency leaves it as it is, but it lacks "
    "{requires}, which the nodes of "
    "{subject}, which is {title}, ask for. Fix: add it; or remove the tolerations and Residency writes them. "
    + _MORE.replace("{code}", Code.DAEMONSET_AFFINITY)
)
CLASSIFICATION_IN_USE: Final = (
    "Not deleted: DataClassification {name} is in use by {users}. Fix: classify those otherwise first. "
    + Code.CLASSIFICATION_IN_USE
)
EXCLUDED_NAMESPACE: Final = (
    "Not classified: namespace {name} is excluded from Residency, so that it can never block the cluster or itself. "
    "Fix: remove the label "
    + CLASSIFICATION
    + " and run classified workloads in another namespace. "
    + Code.EXCLUDED_NAMESPACE
)

DECLASSIFICATION: Final = (
    "Not declassified: namespace {name} is {title}, and {new} would let its workloads run where that does not allow. "
    "Fix: have it done by somebody who may "
    + Right.DECLASSIFY
    + " dataclassifications.residency.dev/{old}, or move it to a classification that implies {old}.{why} "
    + Code.DECLASSIFICATION
)
ENFORCEMENT_LOWERED: Final = (
    "Not lowered: namespace {name} is {title} in mode {before}, and mode {after} would let its workloads run "
    "where that does not allow. Fix: have it done by somebody who may "
    + Right.DECLASSIFY
    + " dataclassifications.residency.dev/{old}, or do without the lower mode (see the label "
    + ENFORCEMENT
    + ").{why} "
    + Code.ENFORCEMENT
)
NO_MODE: Final = (
    "Not a mode: the label " + ENFORCEMENT + " of namespace {name} says {said}. Fix: write Enforce, Warn or Audit, or "
    "remove the label. " + Code.ENFORCEMENT
)
NODE_FACTS: Final = (
    "Not attested: {user} may not set {keys} of node {name}, because workloads are placed by it. Fix: have it "
    "done by somebody who may " + Right.ATTEST + " nodes/{name} (ClusterRole residency-attestor). " + Code.NODE_FACTS
)
BINDING: Final = (
    "Not allowed to bind: {subject} is {title}, where only {schedulers} may bind pods to nodes, because a "
    "binding passes by "
    "every node affinity. Fix: leave it to the scheduler, or have {user} added to schedulers in Residency's "
    "chart.{why} " + _MORE.replace("{code}", Code.BINDING)
)
BINDING_METADATA: Final = (
    "Not allowed to bind: {keys} in the metadata of a Binding would be written onto the pod. Fix: leave it out. "
    + Code.BINDING
)
ANNOTATION_CHANGED: Final = (
    "Not changed: {keys} of pod {name} says what it was placed by, and cannot become true afterwards. Fix: "
    "change the template and let "
    "the pod be created again. " + Code.ANNOTATION_CHANGED
)
PROTECTED: Final = (
    "Not allowed to {operation} {kind} {name}: Residency enforces by it, so only its controller ({controller}) may; "
    "you are {user}. Fix: leave it to the controller, which follows the DataClassifications. Where it has to be (an "
    "upgrade that changes the CustomResourceDefinition, removing Residency), break the glass: act in the group "
    + BREAK_GLASS
    + ", as by kubectl --as=YOU --as-group="
    + BREAK_GLASS
    + " --as-group=system:masters. "
    + Code.PROTECTED
)

STORAGE_CLAIM: Final = (
    "Not allowed to store there: {asks}, but {subject} is {title}, which allows {allows}. "
    "Fix: {fix}.{why} " + _MORE.replace("{code}", Code.STORAGE_CLAIM)
)
VOLUME: Final = (
    "Not allowed to mount that: {asks}, but {subject} is {title}, which allows {allows}. "
    "Fix: {fix}.{why} " + _MORE.replace("{code}", Code.VOLUME)
)
VOLUME_RELEASED: Final = (
    "Not released: volume {name} was bound to claim {claim} and may hold classified data, because a classification "
    "allows {storage_class}. Fix: have it done by somebody who may "
    + Right.DECLASSIFY
    + " persistentvolumes/{name} (ClusterRole residency-declassifier), or delete it. "
    + Code.VOLUME_RELEASED
)
STORAGE_FACTS: Final = (
    "Not attested: {user} may not {deed} StorageClass {name}, because claims are judged by it. Fix: have it "
    "done by somebody who may "
    + Right.ATTEST
    + " storageclasses.storage.k8s.io/{name} (ClusterRole residency-attestor). "
    + Code.NODE_FACTS
)

CLAIM_PATH: Final = "the claim"
NO_CLASS: Final = 'StorageClass ""'
ASKS_CLASS: Final = "{path} asks {storage_class}"
ASKS_NO_CLASS: Final = "{path} names no StorageClass and the cluster has no default"
ASKS_DEFAULT: Final = "{path} names no StorageClass and the cluster's default is {default}"
ASKS_VOLUME: Final = "{path} names volume {volume} itself"
ASKS_SOURCE: Final = "{path} is filled from {kind} {name}"
ASKS_FAR_SOURCE: Final = "{path} is filled from {kind} {name} of namespace {namespace}"
MOUNTS_CLAIM: Final = "{path} mounts claim {claim}, which is older and not allowed"
MOUNTS_ANY_CLAIM: Final = "{path} mounts claim {claim}, and so many claims there are older and not allowed that none is"
MOUNTS_TYPE: Final = "{path} is {type}"
MOUNTS_DRIVER: Final = "{path} is csi of driver {driver}"
ALLOWS_NEW_VOLUMES: Final = "only volumes that are made for their claim"
ALLOWS_SOURCES: Final = "only claims and snapshots of the same namespace"
FIX_CLASS: Final = "set storageClassName to one that is allowed"
FIX_VOLUME_NAME: Final = "leave volumeName out"
FIX_SOURCE: Final = "use one of those as data source, or none"
FIX_VOLUME: Final = "use a claim, as persistentVolumeClaim or ephemeral"
FIX_MOUNT: Final = "move its data to a new claim of a class that is allowed"

# What the audit says of pods that are there.
INTRUDER: Final = "not classified, on a node that is kept for classified pods"
UNPLACEABLE: Final = "no node that {name} allows is one that the pod's own nodeSelector and node affinity accept"
NAMES_NOTHING: Final = "it names {name}, but no DataClassification of that name is in force"
UNPINNED: Final = "its node is one that {name} allows, but the pod would have run elsewhere too"
NO_SUCH_NODE: Final = "there is no such node"
VIRTUAL_NODE: Final = "its node is virtual, and says nothing of the machine that runs it"
FACTS_CONTRADICT: Final = "its node says country {country} and subdivision {subdivision}, which contradict each other"
REGION_CONTRADICTS: Final = "its node says country {country}, but its region is called {region}"
WRONG_FACT: Final = "its node has {key} {value}, where {name} allows {allows}"
FACT_MISSING: Final = "its node has no {key}, where {name} allows {allows}"

# Why a misplaced pod is not evicted.
EVICT_MIRROR: Final = "a mirror pod: its kubelet would make it again"
EVICT_NO_CONTROLLER: Final = "no controller owns it, so that nothing would bring it back"
EVICT_DAEMON_SET: Final = "its DaemonSet would make it again on the same node"
EVICT_JOB: Final = "it ends by itself, and its Job, or whatever else owns it, might take an eviction for a failure"
EVICT_CHANGED: Final = "read afresh it is gone or going, or complies, or is not to be enforced"
EVICT_NOWHERE: Final = "no usable node that {name} allows would take it: by its own terms, the taints and its volumes"
EVICT_REFUSED: Final = "its successor would be refused ({code})"
EVICT_BUDGET: Final = "its PodDisruptionBudget does not allow it now"
EVICT_GOING: Final = "{name}, of the same owner, is going: one at a time"
EVICT_UNREADY: Final = "{name}, of the same owner, is not Ready"
EVICT_NO_VOLUME: Final = "a claim that it mounts, or the volume of that, is not there any more"
EVICT_RELAPSED: Final = "made since its workload was first evicted, and misplaced again: it waits"
EVICT_HALTED: Final = "{count} pods made since its workload was first evicted were misplaced again"
EVICTED: Final = "evicted"
WOULD_EVICT: Final = "would be evicted"
# What it says of volumes that are there.
VOLUME_SAYS: Final = "its own label says"
CLASS_SAYS: Final = "its StorageClass {name} says"
NODE_SAYS: Final = "the node that it is on says"
NODES_SAY: Final = "the nodes that it is tied to say"
SAYS_WRONG: Final = "{who} {key} {value}, {allows}"
SAY_DIFFERENTLY: Final = "{who} {key} {value}, but {other} {wrong}, {allows}"
PLACES_CONTRADICT: Final = "{who} country {country}, but {other} subdivision {subdivision}, which is not in it"
NODES_DIFFER: Final = "not all places that it is tied to are alike: {why}"
NOBODY_SAYS: Final = "its {key} is not known, {allows}: not from {asked}"
NOWHERE: Final = "nothing says where it is: it has {storage_class}, {affinity} and no labels that count"
NO_CLASS_THERE: Final = "a StorageClass {name} that is not there"
RELEASED: Final = "released, and still there: {why}"
NO_SUCH_VOLUME: Final = "its volume {volume} is not there, or is not bound to it"
NAMESPACE_NAMES_NOTHING: Final = "its namespace names {name}, but no DataClassification of that name is in force"


def one_line(text: str, length: int) -> str:
    """Fold white space and cut to a number of bytes, with an ellipsis where something was cut."""
    folded = " ".join(text.split())
    encoded = folded.encode()
    if len(encoded) <= length:
        return folded
    return encoded[: length - len("…".encode())].decode(errors="ignore").rstrip() + "…"


def said(name: str) -> str:
    """What somebody called a classification, as far as it can be one."""
    return name if _NAME.match(name) else NOT_A_NAME


def titled(name: str, title: str) -> str:
    """How a message names a classification: ``nl-depv (Departementaal Vertrouwelijk)``."""
    return f"{name} ({one_line(title, _TITLE_LENGTH)})"


def because(references: Sequence[str]) -> str:
    """The legal references as a clause of their own, with a leading blank; empty where there are none."""
    if not references:
        return ""
    return f" Why: {one_line(listing(references, 'and'), _REFERENCE_LENGTH)}."


def listing(items: Sequence[str], last: str = "or") -> str:
    """``NL``, ``NL or DE``, ``NL, DE and 29 more``."""
    if len(items) <= _SHOWN:
        return f" {last} ".join(items)
    return f"{', '.join(items[:_SHOWN])} and {len(items) - _SHOWN} more"


def listed(items: Sequence[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``: all of a few."""
    *some, last = items
    return f"{', '.join(some)} or {last}" if some else last


def short(key: str) -> str:
    """A label key as people say it: facts without their prefix, and what is very long cut."""
    return _cut(key.removeprefix(FACT_PREFIX))


def describe(requirement: Requirement) -> str:
    """A requirement of a classification in words, a whole country set by its name."""
    name = short(requirement.key)
    match requirement.operator:
        case Operator.IN:
            return f"{name} {_values(requirement)}"
        case Operator.NOT_IN:
            return f"{name} other than {listing(requirement.values)}"
        case Operator.EXISTS:
            return f"any {name}"
        case Operator.DOES_NOT_EXIST:
            return f"no {name}"
        case Operator.GT:
            return f"{name} above {requirement.values[0]}"
    return f"{name} below {requirement.values[0]}"


def _values(requirement: Requirement) -> str:
    if requirement.key in (Fact.COUNTRY, Fact.CONTROLLED_FROM):
        for country_set in COUNTRY_SETS.values():
            if set(requirement.values) == set(country_set.members):
                return f"in {country_set.name} ({len(country_set.members)} countries)"
    return listing(requirement.values)


def allowance(alternatives: Iterable[Sequence[Requirement]]) -> str:
    """What is allowed of one key, where each alternative says all of some requirements about it."""
    return one_line(" or ".join(dict.fromkeys(map(_together, alternatives))), _ALLOWS_LENGTH)


def _together(requirements: Sequence[Requirement]) -> str:
    # Whatever else is said of a label, it goes without saying that the label has to be there.
    telling = [r for r in requirements if r.operator is not Operator.EXISTS] or requirements
    return " and ".join(map(describe, telling))


def asks_selector(path: str, key: str, value: str) -> str:
    """What a nodeSelector asks, and where it stands."""
    return f"{path}.nodeSelector asks {short(key)}={value}"


def asks_affinity(path: str, requirement: Requirement) -> str:
    """What a required node affinity asks, and where it stands."""
    asked = f"{path}.affinity.nodeAffinity asks {short(requirement.key)} {requirement.operator}"
    return f"{asked} {listing(requirement.values)}" if requirement.values else asked


def requires(alternative: Iterable[Requirement]) -> str:
    """An alternative as somebody would write it into a term of their own, long lists cut."""
    written = (
        f"{r.key} {r.operator} {listing(r.values, 'and')}" if r.values else f"{r.key} {r.operator}" for r in alternative
    )
    return one_line("; ".join(written), _REQUIRES_LENGTH)


def tolerates(tolerations: Iterable[Mapping[str, str]]) -> str:
    """Tolerations as ``key=value:effect``, as kubectl writes taints."""
    written = (
        t["key"] + (f"={t['value']}" if "value" in t else "") + (f":{t['effect']}" if "effect" in t else "")
        for t in tolerations
    )
    return one_line("; ".join(written), _REQUIRES_LENGTH)


def shown(name: str) -> str:
    """The name of something that somebody chose, cut where it is very long; nothing that could break a line."""
    return _cut(name) if _PRINTABLE.match(name) else NOT_A_NAME


def _cut(text: str) -> str:
    return text if len(text) <= KEY_LENGTH else text[: KEY_LENGTH - 1] + "…"


def storage_class(name: str) -> str:
    """A StorageClass as messages name it; the empty name is that of volumes made by hand."""
    return f"StorageClass {shown(name)}" if name else NO_CLASS


def classes(names: Sequence[str]) -> str:
    """Which StorageClasses a classification allows."""
    if not names:
        return "only StorageClasses with labels that none has here"
    return one_line(f"StorageClass {listing(names)}", _CLASSES_LENGTH)


def mounts(drivers: Sequence[str]) -> str:
    """Which volumes a classification allows."""
    inline = f" and inline CSI of {listing(drivers)}" if drivers else ""
    return one_line(f"claims, what is on the node{inline}", _CLASSES_LENGTH)


def namespace_subject(namespace: str) -> str:
    """How a message names the namespace whose label asks for a classification."""
    return f"namespace {namespace}"


ANNOTATION_SUBJECT: Final = f"the annotation {CLASSIFICATION}"
"""How a message names the pod's own annotation."""
