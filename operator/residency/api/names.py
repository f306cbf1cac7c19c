"""Every label, annotation, object name, denial code and condition reason, once.

Nothing here computes; whoever needs one of these words imports it from here.
"""

from enum import StrEnum
from typing import Final, NewType

ClassificationName = NewType("ClassificationName", str)
"""The ``metadata.name`` of a DataClassification: a label value, 1 to 63 characters."""

GROUP: Final = "residency.dev"
VERSION: Final = "v1alpha1"
KIND: Final = "DataClassification"
PLURAL: Final = "dataclassifications"
DEFINITION: Final = f"{PLURAL}.{GROUP}"
"""The name of the CustomResourceDefinition."""
FINDING: Final = "ResidencyFinding"
FINDINGS: Final = "residencyfindings"
# Names of classifications that start so are Residency's own: the canary's, say.
RESERVED_PREFIX: Final = "residency-"

# A label on namespaces, an annotation on pods and pod templates.
CLASSIFICATION: Final = f"{GROUP}/classification"
# A label on namespaces: a lower mode than their classification's.
ENFORCEMENT: Final = f"{GROUP}/enforcement"
# A label on namespaces beside the classification, where nobody chose that: which ones got the default.
CLASSIFIED_BY: Final = f"{GROUP}/classified-by"
BY_DEFAULT: Final = "default"
# What the mutating policies leave on what they placed: which classifications did it.
PLACED_BY: Final = f"{GROUP}/placed-by"
# On a DaemonSet: the terms that Residency wrote into its template, so that it may replace them.
PLACED_TERMS: Final = f"{GROUP}/placed-terms"
# The same for tolerations.
PLACED_TOLERATIONS: Final = f"{GROUP}/placed-tolerations"
# The label of the canary namespace; no DataClassification can have this name.
CANARY: Final = "residency-canary"
# On the compiled policies: which catalogue they were compiled from.
REVISION: Final = f"{GROUP}/revision"
# The taint that keeps others off sovereign pools.
SOVEREIGN: Final = f"{GROUP}/sovereign"

# Kubernetes' own, on claims, volumes and StorageClasses. The first one overrules spec.storageClassName.
STORAGE_CLASS_ANNOTATION: Final = "volume.beta.kubernetes.io/storage-class"
BOUND_BY_CONTROLLER: Final = "pv.kubernetes.io/bound-by-controller"
DEFAULT_CLASS: Final = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
# Who binds claims and volumes to each other.
VOLUME_BINDERS: Final = ("system:serviceaccount:kube-system:persistent-volume-binder", "system:kube-controller-manager")
# Phases of pods that have ended.
ENDED: Final = ("Succeeded", "Failed")
# Kubernetes' own, on pods that a kubelet has made from a file, and makes again whoever deletes them.
MIRROR: Final = "kubernetes.io/config.mirror"
# How Virtual Kubelet marks its nodes: a label, and a taint.
VIRTUAL_LABEL: Final = "type"
VIRTUAL: Final = "virtual-kubelet"
VIRTUAL_TAINT: Final = "virtual-kubelet.io/provider"
# What a cloud provider, or a kubelet, calls the place of a node.
REGION: Final = "topology.kubernetes.io/region"

FINALIZER: Final = f"{GROUP}/in-use"
FIELD_MANAGER: Final = "residency-controller"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"

# What the API server demands of the names of policies that it reads from files, and reserves for those.
STATIC_SUFFIX: Final = ".static.k8s.io"
# The static policy that keeps everybody but the controller off all the others.
SELF_PROTECTION: Final = f"residency-self-protection{STATIC_SUFFIX}"
# The group that may do so all the same. Not an RBAC verb: who has all verbs has every verb, also one that we make up.
BREAK_GLASS: Final = "residency:break-glass"

# kubelets may not set labels below a `*.node-restriction.kubernetes.io/` prefix (NodeRestriction).
FACT_PREFIX: Final = "residency.node-restriction.kubernetes.io/"


class Fact(StrEnum):
    """A node fact: a label that is true of the machine."""

    COUNTRY = FACT_PREFIX + "country"
    SUBDIVISION = FACT_PREFIX + "subdivision"
    PROVIDER = FACT_PREFIX + "provider"
    CONTROLLED_FROM = FACT_PREFIX + "controlled-from"
    DEPLOYMENT_MODEL = FACT_PREFIX + "deployment-model"
    SEAL = FACT_PREFIX + "seal"


class Mode(StrEnum):
    """How far a classification goes: its own, and as a label's value on a namespace a lower one."""

    ENFORCE = "Enforce"
    """Places what can be placed and refuses the rest."""
    WARN = "Warn"
    """Changes and refuses nothing; warns of what Enforce would refuse."""
    AUDIT = "Audit"
    """Changes and refuses nothing; notes in the audit log what Enforce would refuse."""


class Outcome(StrEnum):
    """What the audit says of a pod, or a volume, and what is asked of it: one word each, in metrics as they stand here.

    Of pods unless they say otherwise; volumes have some of them.
    """

    COMPLIANT = "Compliant"
    """Runs where it may, and its own required node affinity keeps it there; or a volume that is where it may be."""
    MISPLACED = "Misplaced"
    """Runs on a node whose facts do not allow it; or a volume of which facts stand against it."""
    UNPINNED = "Unpinned"
    """Runs where it may, but nothing in the pod keeps it there."""
    UNPLACEABLE = "Unplaceable"
    """Waits, and there is no node that it may run on."""
    WAITING = "Waiting"
    """Waits for a node; there is one that it may run on. Or a claim that waits for a volume."""
    UNKNOWN = "Unknown"
    """Facts of its node or of the volume are missing or contradict each other; or no classification is in force."""
    NOT_LOCATED = "NotLocated"
    """Runs on a node that is not there, or is only the face of machines elsewhere; or a volume of unknown place."""
    INTRUDER = "Intruder"
    """Not classified, and on a node that is kept for those who are."""


class RunningPods(StrEnum):
    """What becomes of pods that run where their classification does not allow it any more."""

    REPORT = "Report"
    """They are shown, and left where they are."""
    EVICT = "Evict"
    """Those that have somewhere to go are evicted, one by one."""


class EvictionResult(StrEnum):
    """What came of looking at a misplaced pod that may have to be evicted: in metrics as they stand here."""

    EVICTED = "evicted"
    WOULD_EVICT = "would-evict"
    """A dry run: the API server would have evicted it."""
    BLOCKED_BY_BUDGET = "blocked-by-budget"
    """A PodDisruptionBudget does not allow it just now."""
    OTHERS_NOT_READY = "others-not-ready"
    """Another pod of its owner is going, or is where it may be and not Ready yet."""
    NOWHERE_TO_GO = "nowhere-to-go"
    """No usable node would take it, or its successor would be refused."""
    NO_CONTROLLER = "no-controller"
    """Nothing would bring it back."""
    MIRROR = "mirror"
    """A kubelet makes it from a file, and would make it again at once."""
    DAEMON_SET = "daemonset"
    """Its DaemonSet would make it again on the same node, or takes it away itself."""
    JOB = "job"
    """It ends by itself, and an eviction may count as its failure: a Job's, or any that is not always restarted."""
    CHANGED = "changed"
    """Read afresh it was gone or going, or was not misplaced, or not to be enforced."""
    RELAPSED = "relapsed"
    """It was made since its workload was first evicted, so the next eviction of that has to wait."""
    HALTED = "halted"
    """Its workload is left alone from here on, since evictions do not help."""
    FAILED = "failed"
    """The API server could not be asked, or refused for another reason."""


class EvictionState(StrEnum):
    """How the correction of one classification is getting on."""

    IDLE = "Idle"
    """Nothing is misplaced that could be corrected."""
    EVICTING = "Evicting"
    """Misplaced pods are being evicted, or asked about in a dry run."""
    BLOCKED = "Blocked"
    """What is left cannot be evicted, at least not now."""
    HALTED = "Halted"
    """Evictions do not help; nothing more is evicted, or nothing more of some workloads."""
    SUSPENDED = "Suspended"
    """Nothing is evicted while the policies are not in force or the audit cannot see."""
    LOWER_MODE = "LowerMode"
    """Nothing is evicted for a classification that does not enforce."""
    NOT_PERMITTED = "NotPermitted"
    """The controller has not been given the right."""


class EventReason(StrEnum):
    """Reasons of Kubernetes Events."""

    MISPLACED = "Misplaced"
    UNPINNED = "Unpinned"
    UNPLACEABLE = "Unplaceable"
    PLACE_UNKNOWN = "PlaceUnknown"
    NOT_LOCATED = "NotLocated"
    INTRUDER = "Intruder"
    COMPLIANCE_RESTORED = "ComplianceRestored"
    """What an Event of another reason told of is no more."""
    EVICTED = "Evicted"
    """A pod was evicted because it was misplaced."""


EVENT_CONTROLLER: Final = f"{GROUP}/controller"
"""Who tells of it, in Events."""
EVENT_ACTION: Final = "Audit"

# OpenReports: where its Reports are, and how Residency's is called in every namespace. RBAC names it too.
REPORTS_VERSION: Final = "openreports.io/v1alpha1"
REPORT_NAME: Final = "residency"
REPORT_SOURCE: Final = "residency"

# In metrics, where a classification's name would stand. No classification can have these names.
NO_CLASSIFICATION: Final = "(none)"
NOT_IN_FORCE: Final = "(unknown)"
# In metrics, where a fact's value would stand; no label can have this value.
MISSING: Final = "(unknown)"
# In metrics, where a name would stand of what shares one series with others.
OTHER: Final = "(other)"


class Code(StrEnum):
    """Why something was refused; documented one by one in docs/denials.md."""

    CONTRADICTION = "RES-101"
    NODE_NAME = "RES-102"
    UNKNOWN_CLASSIFICATION = "RES-103"
    TOO_MANY_TERMS = "RES-104"
    NOT_PLACED = "RES-105"
    MISPLACED_ANNOTATION = "RES-106"
    DAEMONSET_AFFINITY = "RES-107"
    CLASSIFICATION_IN_USE = "RES-108"
    EXCLUDED_NAMESPACE = "RES-109"
    DECLASSIFICATION = "RES-110"
    NODE_FACTS = "RES-111"
    BINDING = "RES-112"
    ANNOTATION_CHANGED = "RES-113"
    STORAGE_CLAIM = "RES-114"
    VOLUME = "RES-115"
    VOLUME_RELEASED = "RES-116"
    ENFORCEMENT = "RES-117"
    PROTECTED = "RES-118"


class Right(StrEnum):
    """RBAC verbs of Residency's own, which the API server itself knows nothing of."""

    DECLASSIFY = "declassify"
    """On a DataClassification: take namespaces out of it, move them to one that does not imply it, or lower their mode;
    on a PersistentVolume: take it from the claim that it was bound to."""
    ATTEST = "attest"
    """On a Node or a StorageClass: set and change its facts."""


class PolicyName(StrEnum):
    """The compiled admission policies, and their bindings, which have the same names.

    RBAC carries these as ``resourceNames``: a new one goes into the chart too.
    """

    PLACE_PODS = "residency-place-pods"
    PLACE_ANNOTATED_PODS = "residency-place-annotated-pods"
    PLACE_DAEMONSETS = "residency-place-daemonsets"
    PLACE_ANNOTATED_DAEMONSETS = "residency-place-annotated-daemonsets"
    DEFAULT_NAMESPACES = "residency-default-namespaces"
    GUARD_PODS = "residency-guard-pods"
    GUARD_ANNOTATED_PODS = "residency-guard-annotated-pods"
    GUARD_TEMPLATES = "residency-guard-templates"
    GUARD_ANNOTATED_TEMPLATES = "residency-guard-annotated-templates"
    GUARD_NAMESPACES = "residency-guard-namespaces"
    GUARD_CLASSIFICATIONS = "residency-guard-classifications"
    GUARD_NODES = "residency-guard-nodes"
    GUARD_BINDINGS = "residency-guard-bindings"
    GUARD_ANNOTATIONS = "residency-guard-annotations"
    GUARD_CLAIMS = "residency-guard-claims"
    GUARD_VOLUMES = "residency-guard-volumes"
    GUARD_STORAGE_CLASSES = "residency-guard-storage-classes"
    WARN_PODS = "residency-warn-pods"
    WARN_ANNOTATED_PODS = "residency-warn-annotated-pods"
    WARN_TEMPLATES = "residency-warn-templates"
    WARN_ANNOTATED_TEMPLATES = "residency-warn-annotated-templates"
    WARN_CLAIMS = "residency-warn-claims"
    WARN_BINDINGS = "residency-warn-bindings"
    AUDIT_PODS = "residency-audit-pods"
    AUDIT_ANNOTATED_PODS = "residency-audit-annotated-pods"
    AUDIT_TEMPLATES = "residency-audit-templates"
    AUDIT_ANNOTATED_TEMPLATES = "residency-audit-annotated-templates"
    AUDIT_CLAIMS = "residency-audit-claims"
    AUDIT_BINDINGS = "residency-audit-bindings"


class Condition(StrEnum):
    """Condition types in the status of a DataClassification."""

    READY = "Ready"
    """Compiled and seen to be in force; says nothing of whether everything complies."""
    ENFORCED = "Enforced"
    """Ready, its mode is Enforce, and no pod from before is waiting without the placement."""
    SATISFIABLE = "Satisfiable"
    """Some node that is Ready and not cordoned satisfies it."""
    COMPLIANT = "Compliant"
    """Every pod that runs under it is where it may be, and is kept there; and so is every volume with its data."""


class Reason(StrEnum):
    """Condition reasons in the status of a DataClassification."""

    IN_FORCE = "InForce"
    NOT_YET_IN_FORCE = "NotYetInForce"
    INVALID = "Invalid"
    UNKNOWN_INCLUDE = "UnknownInclude"
    INCLUDE_CYCLE = "IncludeCycle"
    CONTRADICTORY = "Contradictory"
    TOO_MANY_ALTERNATIVES = "TooManyAlternatives"
    DOES_NOT_FIT = "DoesNotFit"
    IN_USE = "InUse"
    NONE_WAITING = "NoneWaiting"
    PODS_WAITING = "PodsWaiting"
    NOT_READY = "NotReady"
    LOWER_MODE = "LowerMode"
    NODES_ELIGIBLE = "NodesEligible"
    NO_ELIGIBLE_NODE = "NoEligibleNode"
    ALL_COMPLIANT = "AllCompliant"
    PODS_DEVIATE = "PodsDeviate"
    PODS_UNKNOWN = "PodsUnknown"
    VOLUMES_DEVIATE = "VolumesDeviate"
    VOLUMES_UNKNOWN = "VolumesUnknown"
    NOT_OBSERVED = "NotObserved"
