"""What to do about each outcome, in one sentence."""

from collections.abc import Mapping
from typing import Final

from residency.api.names import Outcome
from residency.audit.findings import Subject

OF_PODS: Final[Mapping[Outcome, str]] = {
    Outcome.MISPLACED: "Restart the workload (kubectl rollout restart) to have it placed anew, or put the facts right.",
    Outcome.UNPINNED: "Restart the workload (kubectl rollout restart) to have it kept where it may be.",
    Outcome.UNKNOWN: "Attest the facts of the node, or create the classification.",
    Outcome.NOT_LOCATED: "Delete the pod, and keep classified pods off virtual nodes.",
    Outcome.UNPLACEABLE: "Change what the pod asks for, attest the facts of more nodes, or allow more.",
    Outcome.INTRUDER: "Move it to other nodes, or have its namespace excluded from Residency.",
}
OF_VOLUMES: Final[Mapping[Outcome, str]] = {
    Outcome.MISPLACED: "Move its data to a volume of an allowed StorageClass and delete it, or put the facts right.",
    Outcome.UNKNOWN: "Have the facts of its StorageClass, or of its nodes, attested by whoever may.",
    Outcome.NOT_LOCATED: "Have the facts of its StorageClass attested, or label the volume itself.",
}
REMEDIES: Final[Mapping[Subject, Mapping[Outcome, str]]] = {
    Subject.PODS: OF_PODS,
    Subject.VOLUMES: OF_VOLUMES,
    Subject.OBSERVATION: {},
}
"""Of those that deviate."""
OF_OBSERVATION: Final = "See the controller's log; what the audit says now is complete again once this is resolved."
